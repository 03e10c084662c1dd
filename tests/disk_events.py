"""What a test can see of the order in which things reach the disk."""

import os
from pathlib import Path
from typing import Any

import pytest


def record(patch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """A list that grows: ("sync", inode number) when something is flushed, ("rename", new name) before a rename."""
    events: list[tuple[str, Any]] = []
    fsync = os.fsync

    def recording_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("sync", os.fstat(descriptor).st_ino))

    patch.setattr(os, "fsync", recording_fsync)
    for method in ("rename", "replace"):
        original = getattr(Path, method)

        def recording_rename(path: Path, target: Path, original: Any = original) -> Any:
            events.append(("rename", target.name))
            return original(path, target)

        patch.setattr(Path, method, recording_rename)
    return events
