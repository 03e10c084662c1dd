"""`Manifest`: what a checkpoint consists of, with checksums, and what run it belongs to."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apb.errors import FileFormatError, MismatchError
from apb.files import dump_json, read_json, sha256_file, write_json_atomic
from apb.runs.replay_log import Segment
from apb.system_info import package_version

FORMAT = "apb-checkpoint"
FORMAT_VERSION = 1

_PART = re.compile(r"[A-Za-z0-9_.-]{1,200}")


@dataclass(frozen=True)
class Manifest:
    """Timestep of a checkpoint, what a run must have in common with it, its files by path (size in bytes, SHA-256), and
    the segments of the replay."""

    step: int
    identity: dict[str, str]
    files: dict[str, tuple[int, str]]
    segments: tuple[Segment, ...]


def write_manifest(folder: Path, step: int, identity: Mapping[str, str], segments: tuple[Segment, ...]) -> None:
    """List what is in the folder, with its checksums; the last file to be written there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "apb_version": package_version("apb"),
        "timesteps": step,
        "identity": dict(identity),
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for path in paths
        },
        "replay": [segment.to_json() for segment in segments],
    }
    write_json_atomic(folder / "manifest.json", {**content, "sha256": _digest(content)})


def _digest(content: Mapping[str, Any]) -> str:
    """The checksum of a manifest itself: of everything in it but this."""
    return hashlib.sha256(dump_json(content, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint's folder; the files that it lists are not looked at.

    Raises:
        FileFormatError: it is damaged or edited. MismatchError: it is of another format version.
    """
    path = folder / "manifest.json"
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileFormatError(f"{path} is not the manifest of a checkpoint")
    if content.pop("sha256", None) != _digest(content):  # the same rule in every format version
        raise FileFormatError(f"{path} does not have its own checksum; it was damaged or edited")
    if content.get("format_version") != FORMAT_VERSION:
        raise MismatchError(
            f"{path} has format_version {content.get('format_version')!r}; this version of apb reads {FORMAT_VERSION}:"
            f" use the version that wrote it, {content.get('apb_version')!r}"
        )
    step, identity, files, replay = (content.get(key) for key in ("timesteps", "identity", "files", "replay"))
    if (
        type(step) is not int
        or not isinstance(identity, dict)
        or not isinstance(files, dict)
        or not isinstance(replay, list)
        or not all(isinstance(value, str) for value in identity.values())
    ):
        raise FileFormatError(f"{path} has a field of the wrong type")
    for name, entry in files.items():
        if not isinstance(entry, dict) or entry.keys() != {"bytes", "sha256"} or not _is_safe(name):
            raise FileFormatError(f"{path} lists {name!r:.100} in a way that cannot be")
    checked = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    return Manifest(step, identity, checked, tuple(Segment.from_json(entry) for entry in replay))


def _is_safe(name: str) -> bool:
    """Whether a listed name is a plain relative path that stays inside the checkpoint."""
    return len(name) <= 500 and all(_PART.fullmatch(part) and part.strip(".") for part in name.split("/"))
