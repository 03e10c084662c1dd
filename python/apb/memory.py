"""How many bytes this process may still allocate: free memory and the container's limit."""

from pathlib import Path


def available_memory(system: Path = Path("/")) -> int:
    """Bytes that can be allocated without swapping: `MemAvailable`, and what the control group's limit leaves; 2^62 if
    neither is known.

    `system` is the root under which /proc and /sys are looked up.
    """
    found = [2**62]
    lines = _read(system / "proc/meminfo").splitlines()
    found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for limit, usage in (
        ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        numbers = [_read(system / name).strip() for name in (limit, usage)]
        if all(number.isdigit() for number in numbers):
            found.append(max(0, int(numbers[0]) - int(numbers[1])))
    return min(found)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
