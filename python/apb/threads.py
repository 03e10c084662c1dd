"""How many CPUs this process may use: its affinity, its container's quota, or what the user says."""

import math
import os
from pathlib import Path

from apb.cgroups import control_groups
from apb.errors import ConfigError, require_integer

MAX_THREADS = 1024
"""What the native core takes."""


def available_cpus(system: Path = Path("/")) -> int:
    """The number of threads to use where nothing else is asked for: `APB_NUM_THREADS`, else `usable_cpus`.

    Raises `ConfigError` if that environment variable is not an integer in [1, `most_threads`].
    """
    override = os.environ.get("APB_NUM_THREADS", "")
    if not override:
        return usable_cpus(system)
    number = int(override[:8]) if override.isascii() and override.isdigit() else override
    return require_threads("APB_NUM_THREADS", number, system)


def most_threads(system: Path = Path("/")) -> int:
    """The largest number of threads that anybody may ask for here: four times the cores at hand, at most 1024."""
    return min(MAX_THREADS, 4 * usable_cpus(system))


def require_threads(argument: str, value: object, system: Path = Path("/")) -> int:
    """Return `value` as an int if it is one in [1, `most_threads`]; raise `ConfigError` otherwise."""
    try:
        return require_integer(argument, value, 1, most_threads(system))
    except ConfigError as error:
        raise ConfigError(
            f"{error}, up to four times the {usable_cpus(system)} cores that affinity and the container's quota allow; "
            "leave it out to use them all"
        ) from None


def usable_cpus(system: Path = Path("/")) -> int:
    """The number of threads that can run at once: `min(affinity, ceil(cgroup quota))`, at least 1.

    `system` is the root under which /proc and /sys are looked up.
    """
    quota = cgroup_quota(system)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if quota is None else max(1, min(usable, math.ceil(quota)))


def cgroup_quota(system: Path = Path("/")) -> float | None:
    """The smallest CPU quota, in CPUs, of the control groups (v1 or v2) around this process; None without a limit."""
    quotas = (quota for group in control_groups("cpu", system) for quota in (_quota_v2(group), _quota_v1(group)))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_v2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return None if quota <= 0 or period <= 0 else quota / period
