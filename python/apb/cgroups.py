"""`control_groups`: where the limits that a container sets for this process stand."""

from collections.abc import Iterator
from pathlib import Path


def control_groups(controller: str, system: Path = Path("/")) -> Iterator[Path]:
    """The folders, v1 or v2, of the control groups around this process that have a `controller`, "cpu" or "memory".

    A limit on any group above counts too, so all are given; inside a container the path may name groups that are not
    visible. `system` is the root under which /proc and /sys are looked up.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            mounts = [f"sys/fs/cgroup/{controller}", f"sys/fs/cgroup/{controllers}"]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):
                yield system.joinpath(mount, *parts[:depth])
