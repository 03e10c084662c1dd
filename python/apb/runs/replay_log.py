"""The replay ring on the disk: a checkpoint writes the rows that are new since the last one, not the whole ring.

Rows are numbered, per lane, in the order in which they were added; row r lies at index `r mod capacity` of the ring.
Where the ring is emptied, the numbers go on with the next multiple of the capacity.
A *segment* is a file with the rows `[start_k, stop_k)` of every lane k. Segments are never changed: a checkpoint's
manifest lists those that together hold its ring, with their checksums. A segment goes when no manifest lists it.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, FileFormatError
from apb.files import discard, read_tensors, remove_leftovers, require_content, sha256_file, write_tensors

SEGMENT_BYTES = 16 * 2**20  # a segment is read as a whole, so its size bounds what a resume needs beside the ring

_SEGMENT_NAME = re.compile(r"[0-9]{15,20}-[0-9]{15,20}\.safetensors")


@dataclass(frozen=True)
class Ring:
    """The replay of K lanes.

    `table`: float32 (K, capacity, W). `position`, `size`, `total_added`: int64 (K,): where the next row goes, how many
    rows are held, the number of the next row, which is how many were ever added to a ring that was never emptied;
    `position = total_added mod capacity`, and what is held begins with a multiple of the capacity unless the ring is
    full.
    """

    table: NDArray[np.float32]
    position: NDArray[np.int64]
    size: NDArray[np.int64]
    total_added: NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """An entry of a manifest: file name, first row and end row of each lane, and what the file must be."""

    name: str
    start: tuple[int, ...]
    stop: tuple[int, ...]
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Any) -> "Segment":
        """The entry of a JSON object that nobody has checked; raises `FileFormatError` when it cannot be one."""
        if not isinstance(entry, dict) or entry.keys() != {"name", "start", "stop", "bytes", "sha256"}:
            raise FileFormatError(
                f"replay segment {entry!r:.100} is not an object with name, start, stop, bytes, sha256"
            )
        rows = (entry["start"], entry["stop"])
        if not (
            isinstance(entry["name"], str)
            and _SEGMENT_NAME.fullmatch(entry["name"])
            and all(isinstance(side, list) and all(type(row) is int and row >= 0 for row in side) for side in rows)
            and len(rows[0]) == len(rows[1]) > 0
            and all(start <= stop < 2**62 for start, stop in zip(*rows, strict=True))
            and type(entry["bytes"]) is int
            and isinstance(entry["sha256"], str)
        ):
            raise FileFormatError(f"replay segment {entry!r:.200} has an impossible value")
        return cls(entry["name"], tuple(rows[0]), tuple(rows[1]), entry["bytes"], entry["sha256"])

    def verify(self, folder: Path) -> None:
        """Raise `FileFormatError` unless the file in `folder` has the recorded size and checksum."""
        require_content(folder / self.name, self.bytes, self.sha256)


def write_segments(folder: Path, ring: Ring, previous: Sequence[Segment] = ()) -> tuple[Segment, ...]:
    """Write what `ring` holds and `previous` does not to `folder`; return the segments that together hold the ring.

    `previous` are the segments of the checkpoint that this ring grew from. Raises `ConfigError` when the ring's
    counters contradict each other or are behind `previous`, `OSError` when the disk is full.
    """
    total, oldest = _check_ring(ring)
    lanes, capacity, width = ring.table.shape
    if any(len(s.stop) != lanes or not _is_there(folder, s) for s in previous):
        previous = ()  # somebody removed a file: write the whole ring rather than lose the run
    written = np.array(previous[-1].stop if previous else [0] * lanes, dtype=np.int64)
    if (written > total).any():
        raise ConfigError(f"ring.total_added = {total.tolist()} is behind the rows already saved, {written.tolist()}")
    segments = [segment for segment in previous if (np.array(segment.stop) > oldest).any()]
    folder.mkdir(exist_ok=True)
    start = np.maximum(written, oldest)
    step = max(1, SEGMENT_BYTES // (lanes * width * 4))
    # An empty ring that has held rows needs a segment too, which tells the number of the next one.
    while (start < total).any() or (total.any() and not segments):
        stop = np.minimum(start + step, total)
        name = f"{start.sum():015d}-{stop.sum():015d}.safetensors"
        tensors: dict[str, NDArray[Any]] = {}
        for lane in range(lanes):
            first, rows = int(start[lane] % capacity), int(stop[lane] - start[lane])
            until_wrap = min(rows, capacity - first)
            tensors[f"{lane:05d}/0"] = ring.table[lane, first : first + until_wrap]
            tensors[f"{lane:05d}/1"] = ring.table[lane, : rows - until_wrap]
        path = folder / name
        write_tensors(path, tensors)
        size, digest = path.stat().st_size, sha256_file(path)
        segments.append(Segment(name, tuple(start.tolist()), tuple(stop.tolist()), size, digest))
        start = stop
    return tuple(segments)


def read_segments(folder: Path, segments: Sequence[Segment], table: NDArray[np.float32]) -> Ring:
    """Fill `table`, float32 (K, capacity, W), with the rows of `segments`; return it with its counters.

    Every row lies where it lay when it was saved, provided that K, the capacity and W are the same. Rows never added
    stay as they are in `table`. Raises `FileFormatError` when the segments do not fit the table or leave a gap.
    """
    if table.ndim != 3 or table.dtype != np.float32 or not table.flags.writeable:
        raise ConfigError(f"table is {table.dtype} of rank {table.ndim}; expected writable float32 (K, capacity, W)")
    lanes, capacity, width = table.shape
    for segment in segments:
        if len(segment.stop) != lanes:
            raise FileFormatError(f"replay segment {segment.name} has {len(segment.stop)} lanes; expected {lanes}")
    total = np.array(segments[-1].stop if segments else [0] * lanes, dtype=np.int64)
    begun = np.array(segments[0].start if segments else [0] * lanes, dtype=np.int64) // capacity * capacity
    oldest = np.maximum(total - capacity, begun)
    filled = oldest.copy()
    for segment in segments:
        rows = [stop - start for start, stop in zip(segment.start, segment.stop, strict=True)]
        tensors = read_tensors(folder / segment.name)
        for lane in range(lanes):
            parts = [tensors.get(f"{lane:05d}/{part}") for part in (0, 1)]
            if any(part is None or part.dtype != np.float32 or part.shape[1:] != (width,) for part in parts):
                raise FileFormatError(f"replay segment {segment.name}, lane {lane}: expected float32 rows of {width}")
            data = np.concatenate([part for part in parts if part is not None])
            if len(data) != rows[lane]:
                raise FileFormatError(f"replay segment {segment.name}, lane {lane}: {len(data)} rows, not {rows[lane]}")
            start, stop = segment.start[lane], min(segment.stop[lane], int(total[lane]))
            if start > filled[lane] and stop > start:
                raise FileFormatError(f"replay rows {filled[lane]} to {start} of lane {lane} are in no segment")
            if stop > filled[lane]:
                table[lane, np.arange(filled[lane], stop) % capacity] = data[filled[lane] - start : stop - start]
                filled[lane] = stop
    if (filled != total).any():
        raise FileFormatError(f"replay segments end at rows {filled.tolist()}; expected {total.tolist()}")
    return Ring(table, total % capacity, total - oldest, total)


def remove_unlisted(folder: Path, listed: Sequence[Segment]) -> None:
    """Remove the segments in `folder` that no manifest lists: what was overwritten, abandoned, or half written.

    Only names that segments or their temporary files have are touched: the folder may be a link to somewhere else.
    """
    names = {segment.name for segment in listed}
    for path in folder.glob("*"):
        segment = _SEGMENT_NAME.fullmatch(path.name)
        if segment and (path.name not in names or not path.is_file()):
            discard(path)
    remove_leftovers(folder)


def _is_there(folder: Path, segment: Segment) -> bool:
    path = folder / segment.name
    return path.is_file() and path.stat().st_size == segment.bytes


def _check_ring(ring: Ring) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the next row and of the oldest row still held, per lane."""
    if ring.table.ndim != 3 or ring.table.dtype != np.float32 or 0 in ring.table.shape:
        raise ConfigError(f"ring.table is {ring.table.dtype} {ring.table.shape}; expected float32 (K, capacity, W)")
    lanes, capacity, _ = ring.table.shape
    for name in ("position", "size", "total_added"):
        array = getattr(ring, name)
        if array.dtype != np.int64 or array.shape != (lanes,):
            raise ConfigError(f"ring.{name} is {array.dtype} {array.shape}; expected int64 ({lanes},)")
    total, size = ring.total_added.copy(), ring.size
    held = (size == capacity) | ((total - size) % capacity == 0)
    possible = held & (size >= 0) & (size <= np.minimum(total, capacity)) & (ring.position == total % capacity)
    if not possible.all():
        raise ConfigError(
            f"ring.position = {ring.position.tolist()} and ring.size = {ring.size.tolist()} contradict"
            f" ring.total_added = {total.tolist()} with capacity {capacity}"
        )
    return total, total - size
