"""How many bytes this process may still allocate, by free memory and its container's limits, and whether that is
enough."""

from pathlib import Path

from apb.cgroups import control_groups
from apb.errors import ConfigError

LIMIT_AND_USAGE = {
    "memory.max": "memory.current",  # v2
    "memory.limit_in_bytes": "memory.usage_in_bytes",  # v1
}


def available_memory(system: Path = Path("/")) -> int:
    """Bytes that can be allocated without swapping: `MemAvailable`, and what the limits of the control groups leave;
    2^62 if nothing is known.

    `system` is the root under which /proc and /sys are looked up.
    """
    lines = _read(system / "proc/meminfo").splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for group in control_groups("memory", system):
        for names in LIMIT_AND_USAGE.items():
            numbers = [_read(group / name).strip() for name in names]
            if all(number.isdigit() for number in numbers):
                limit, usage = map(int, numbers)
                found.append(max(0, limit - usage + _reclaimable(group)))
    return min(found, default=2**62)


def require_room(needed: int, free: int, argument: str, use: str, instead: str) -> None:
    """Raise `ConfigError` if more bytes are `needed` than are `free`: `argument` needs them for a `use`, and `instead`
    can be chosen."""
    if needed > free:
        raise ConfigError(
            f"{argument} needs {needed / 2**20:,.0f} MiB {use}; {free / 2**20:,.0f} MiB are free; choose {instead}"
        )


def _reclaimable(group: Path) -> int:
    """Bytes of files that lie in memory unused, which count as usage and make room when it is needed."""
    stat = dict(line.split()[:2] for line in _read(group / "memory.stat").splitlines() if " " in line)
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))  # v1's with the groups below, or v2's


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
