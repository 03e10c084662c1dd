"""How everything here is measured: `interleave` times contestants in turns, `Row` is a line of the table."""

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from apb.threads import available_cpus

Name = TypeVar("Name")

INSTALL = 'pip install ".[bench]"'
"""Installs all peers."""


@dataclass(frozen=True)
class Row:
    """One comparison: median, minimum and maximum of both sides, and the target that ours has.

    Attributes:
        topic: Name of the benchmark.
        case: What was done.
        ours, peer: Who did it, with the number of threads.
        ours_value, peer_value: (median, min, max) in `unit`; None where ours could not be measured, and for a peer that
            is not installed or not needed.
        ratio: How many times better ours is, from the medians; None without a peer.
        target: What ours must reach, in words; "" where nothing is promised.
        reached: Whether it does; None without a target, or where ours or the peer that it refers to is missing.
    """

    topic: str
    case: str
    ours: str
    ours_value: tuple[float, float, float] | None
    unit: str
    peer: str = ""
    peer_value: tuple[float, float, float] | None = None
    ratio: float | None = None
    target: str = ""
    reached: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        return asdict(self)


def compare(
    topic: str,
    case: str,
    ours: tuple[str, list[float] | None],
    peer: tuple[str, list[float] | None] | None,
    unit: str,
    *,
    higher_is_better: bool,
    min_ratio: float | None = None,
    limit: float | None = None,
) -> Row:
    """A row from the measured values of both sides.

    Args:
        topic, case, unit: As in `Row`.
        ours: Name and values; None as its values, and why as its name, if it could not be measured.
        peer: Likewise; None as its values if it is not installed, None altogether where there is none.
        higher_is_better: True for rates, False for times.
        min_ratio: Target: so many times better than the peer.
        limit: Target: an absolute value.
    """
    value = None if ours[1] is None else spread(ours[1])
    other = None if peer is None or peer[1] is None else spread(peer[1])
    ratio = None
    if value is not None and other is not None:
        ratio = value[0] / other[0] if higher_is_better else other[0] / value[0]
    targets, checks = [], []
    if min_ratio is not None:
        targets.append(f">= {min_ratio:g} x peer")
        checks.append(None if ratio is None else ratio >= min_ratio)
    if limit is not None:
        targets.append(f"{'>=' if higher_is_better else '<='} {limit:g} {unit}")
        met = None if value is None else (value[0] >= limit if higher_is_better else value[0] <= limit)
        checks.append(met)
    reached = None if not checks or None in checks else all(checks)
    name = ""
    if peer is not None:
        name = peer[0] if peer[1] is not None else f"{peer[0]}: not installed, {INSTALL}"
    return Row(topic, case, ours[0], value, unit, name, other, ratio, " and ".join(targets), reached)


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, minimum and maximum."""
    return statistics.median(values), min(values), max(values)


def thread_counts() -> list[int]:
    """1, 2 and all cores, as far as there are so many."""
    return sorted({1, min(2, available_cpus()), available_cpus()})


def fastest(rates: Mapping[Name, list[float]], names: Iterable[Name]) -> Name:
    """Which of the names has the highest median."""
    return max(names, key=lambda name: statistics.median(rates[name]))


def interleave(
    contestants: Mapping[str, Callable[[], object]], *, repetitions: int, calls: int = 1
) -> dict[str, list[float]]:
    """Seconds per call of every contestant, in turns A B A B ..., so that a change of the machine's load meets all.

    Each is called once beforehand. `calls` are timed together.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for call in contestants.values():
        call()
    for _ in range(repetitions):
        for name, call in contestants.items():
            begin = time.perf_counter()
            for _ in range(calls):
                call()
            seconds[name].append((time.perf_counter() - begin) / calls)
    return seconds


def scaled(seconds: list[float], factor: float = 1e6) -> list[float]:
    """Seconds in another unit: microseconds by default."""
    return [value * factor for value in seconds]


def installed(module: str) -> bool:
    """Whether a peer can be imported; nothing is imported."""
    return importlib.util.find_spec(module) is not None
