"""`evolution`: ask and tell of 64 members with 6,000 parameters against the same in vectorised NumPy."""

import numpy as np
from apb import _native
from apb.threads import available_cpus

from benchmarks.harness import Row, compare, interleave, scaled

TOPIC = "evolution"
MEMBERS, PARAMETERS = 64, 6_000


def run(quick: bool) -> list[Row]:
    """CEM with antithetic draws and damping, float32 on both sides; the peer uses NumPy's own fastest generator.

    The target is for all cores, as evolution is used; one thread is there to compare with.
    """
    threads = available_cpus()
    ours = {count: f"apb, {count} thread{'s' if count > 1 else ''}" for count in sorted({1, threads})}
    calls = {name: _apb(count) for count, name in ours.items()}
    seconds = interleave({**calls, "NumPy": _numpy()}, repetitions=9 if quick else 41, calls=10)
    return [
        compare(
            TOPIC,
            f"{MEMBERS} x {PARAMETERS:,}, ask and tell",
            (name, scaled(seconds[name])),
            ("NumPy", scaled(seconds["NumPy"])),
            "us",
            higher_is_better=False,
            min_ratio=5.0 if count == threads else None,
        )
        for count, name in ours.items()
    ]


def _weights() -> np.ndarray:
    """Log-rank weights of the better half, as in CEM-RL."""
    parents = MEMBERS // 2
    weights = np.zeros(MEMBERS, dtype=np.float32)
    weights[:parents] = np.log(1 + parents) - np.log(np.arange(1, parents + 1))
    return weights / weights.sum()


def _apb(threads: int) -> object:
    mean, variance = np.zeros((1, PARAMETERS), np.float32), np.full((1, PARAMETERS), 0.01, np.float32)
    members = np.empty((1, MEMBERS, PARAMETERS), np.float32)
    keys, damping = np.array([[0, 0]], np.uint64), np.array([1e-3], np.float32)
    weights, pool = _weights()[None], None if threads == 1 else _native.ThreadPool(threads)
    generations = iter(range(10**9))

    def generation() -> None:
        _native.evolution_ask(mean, np.sqrt(variance), keys, next(generations), members, pool=pool)
        _native.evolution_recombine(members, weights, mean, variance, damping, 1.0, 1.0, pool=pool)

    return generation


def _numpy() -> object:
    state = {"mean": np.zeros(PARAMETERS, np.float32), "variance": np.full(PARAMETERS, 0.01, np.float32)}
    generator = np.random.Generator(np.random.SFC64(0))
    weights = _weights()

    def generation() -> None:
        mean, variance = state["mean"], state["variance"]
        noise = generator.standard_normal((MEMBERS // 2, PARAMETERS), dtype=np.float32) * np.sqrt(variance)
        members = np.concatenate([mean + noise, mean - noise])
        state["mean"] = weights @ members
        state["variance"] = weights @ np.square(members - mean) + np.float32(1e-3)

    return generation
