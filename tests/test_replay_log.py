"""Promises of `apb.runs.replay_log`: the ring comes back bit for bit, and a save writes only what is new."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apb.errors import ConfigError, FileFormatError
from apb.files import read_tensors
from apb.runs import replay_log
from apb.runs.replay_log import Ring, Segment, read_segments, remove_unlisted, write_segments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COUNTERS = ("position", "size", "total_added")


def empty(lanes: int, capacity: int, width: int) -> Ring:
    counters = (np.zeros(lanes, np.int64) for _ in range(3))
    return Ring(np.zeros((lanes, capacity, width), np.float32), *counters)


def add(ring: Ring, lane: int, rows: int) -> None:
    """The oracle: add rows one by one, each row unlike any other."""
    capacity = ring.table.shape[1]
    for _ in range(rows):
        number = int(ring.total_added[lane])
        ring.table[lane, ring.position[lane]] = 1000 * lane + number + np.arange(ring.table.shape[2]) / 8
        ring.position[lane] = (ring.position[lane] + 1) % capacity
        ring.size[lane] = min(ring.size[lane] + 1, capacity)
        ring.total_added[lane] += 1


def clear(ring: Ring) -> None:
    """The oracle: empty the ring; the next row of a lane lies at index 0."""
    capacity = ring.table.shape[1]
    ring.table[:] = 0
    for lane, total in enumerate(ring.total_added):
        ring.total_added[lane] = next(number for number in range(total, total + capacity) if number % capacity == 0)
    ring.position[:] = 0
    ring.size[:] = 0


def grown(lanes: int, capacity: int, rows: int) -> Ring:
    ring = empty(lanes, capacity, 3)
    for lane in range(lanes):
        add(ring, lane, rows)
    return ring


def assert_reads_back(folder: Path, segments: tuple[Segment, ...], ring: Ring) -> None:
    found = read_segments(folder, segments, np.zeros_like(ring.table))
    for name in ("table", *COUNTERS):
        assert getattr(found, name).dtype == getattr(ring, name).dtype
        assert getattr(found, name).tobytes() == getattr(ring, name).tobytes(), name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    capacity=st.integers(1, 9),
    saves=st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=6),
    rows_per_segment=st.integers(1, 12),
)
def test_the_ring_comes_back_bit_for_bit_after_any_adds_and_clears_between_any_saves(
    tmp_path_factory: pytest.TempPathFactory, capacity: int, saves: Any, rows_per_segment: int
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    ring = empty(2, capacity, 3)
    segments: tuple[Segment, ...] = ()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay_log, "SEGMENT_BYTES", rows_per_segment * 2 * 3 * 4)
        for emptied, *counts in saves:  # the two lanes need not be in step
            if emptied:
                clear(ring)
            for lane, count in enumerate(counts):
                add(ring, lane, count)
            before = {path.name for path in folder.iterdir()}
            held = np.minimum(counts, capacity)
            segments = write_segments(folder, ring, segments)
            remove_unlisted(folder, segments)
            names = {path.name for path in folder.iterdir()}
            assert names == {segment.name for segment in segments}
            new = [segment for segment in segments if segment.name not in before]
            assert sum(sum(segment.stop) - sum(segment.start) for segment in new) == held.sum()
            assert_reads_back(folder, segments, ring)


def test_a_save_writes_the_new_rows_and_nothing_else(tmp_path: Path) -> None:
    ring = grown(2, 1000, 900)
    first = write_segments(tmp_path, ring)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    for lane in range(2):
        add(ring, lane, 7)
    second = write_segments(tmp_path, ring, first)
    assert second[:-1] == first
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    rows = sum(len(array) for array in read_tensors(tmp_path / second[-1].name).values())
    assert rows == 14
    assert write_segments(tmp_path, ring, second) == second
    assert len(list(tmp_path.iterdir())) == 2


def test_segments_that_were_wholly_overwritten_are_dropped(tmp_path: Path) -> None:
    ring, segments = empty(1, 10, 3), ()
    for _ in range(7):
        add(ring, 0, 4)
        segments = write_segments(tmp_path, ring, segments)
    assert [(segment.start[0], segment.stop[0]) for segment in segments] == [(16, 20), (20, 24), (24, 28)]
    assert_reads_back(tmp_path, segments, ring)


def test_a_ring_that_was_emptied_overwrites_no_segment_of_an_older_checkpoint(tmp_path: Path) -> None:
    ring = grown(1, 10, 6)
    first = write_segments(tmp_path, ring)
    older = replace(ring, table=ring.table.copy(), **{name: getattr(ring, name).copy() for name in COUNTERS})
    clear(ring)
    for rows in (0, 6, 9):
        add(ring, 0, rows)
        assert_reads_back(tmp_path, write_segments(tmp_path, ring, first), ring)
        assert_reads_back(tmp_path, first, older)


def test_a_ring_that_lost_a_file_is_written_anew(tmp_path: Path) -> None:
    ring = grown(1, 10, 6)
    first = write_segments(tmp_path, ring)
    (tmp_path / first[0].name).unlink()
    add(ring, 0, 1)
    assert_reads_back(tmp_path, write_segments(tmp_path, ring, first), ring)


def test_entries_survive_json(tmp_path: Path) -> None:
    for segment in write_segments(tmp_path, grown(3, 5, 8)):
        assert (
            Segment.from_json(replace(segment, start=list(segment.start), stop=list(segment.stop)).to_json()) == segment
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../000000000000000-000000000000006.safetensors"),
        ("name", "/etc/passwd"),
        ("name", 3),
        ("start", [-1]),
        ("start", [7]),
        ("start", [0.0]),
        ("start", []),
        ("stop", [6, 6]),
        ("stop", [2**63]),
        ("stop", 6),
        ("bytes", "6"),
        ("sha256", None),
        ("surplus", 1),
    ],
)
def test_an_entry_is_refused_that_has_an_impossible(tmp_path: Path, field: str, value: Any) -> None:
    entry = write_segments(tmp_path, grown(1, 10, 6))[0].to_json()
    entry.update(start=list(entry["start"]), stop=list(entry["stop"]))
    with pytest.raises(FileFormatError):
        Segment.from_json({**entry, field: value})


def test_a_damaged_or_missing_segment_is_noticed(tmp_path: Path) -> None:
    segment = write_segments(tmp_path, grown(1, 10, 6))[0]
    segment.verify(tmp_path)
    path = tmp_path / segment.name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"manifest \(size or checksum\)"):
        segment.verify(tmp_path)
    path.unlink()
    with pytest.raises(FileFormatError, match="there is no file"):
        segment.verify(tmp_path)


def test_segments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    ring, segments = empty(1, 10, 3), ()
    for _ in range(3):
        add(ring, 0, 3)
        segments = write_segments(tmp_path, ring, segments)
    with pytest.raises(FileFormatError, match="in no segment"):
        read_segments(tmp_path, (segments[0], segments[2]), np.zeros((1, 10, 3), np.float32))
    with pytest.raises(FileFormatError, match="lanes; expected 2"):
        read_segments(tmp_path, segments, np.zeros((2, 10, 3), np.float32))
    with pytest.raises(FileFormatError, match="rows of 4"):
        read_segments(tmp_path, segments, np.zeros((1, 10, 4), np.float32))
    with pytest.raises(FileFormatError, match="3 rows, not 2"):
        read_segments(tmp_path, (replace(segments[0], stop=(2,)),), np.zeros((1, 10, 3), np.float32))
    with pytest.raises(ConfigError, match="writable float32"):
        read_segments(tmp_path, segments, np.zeros((1, 10, 3)))  # type: ignore[arg-type]


def test_counters_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    ring = grown(1, 10, 12)
    for field, value in (("size", 9), ("size", -8), ("size", 12), ("position", 3), ("total_added", 13)):
        wrong = np.array([value], np.int64)
        with pytest.raises(ConfigError, match="contradict"):
            write_segments(tmp_path, replace(ring, **{field: wrong}))
    with pytest.raises(ConfigError, match="int64"):
        write_segments(tmp_path, replace(ring, size=ring.size.astype(np.int32)))
    segments = write_segments(tmp_path, ring)
    with pytest.raises(ConfigError, match="behind"):
        write_segments(tmp_path, grown(1, 10, 11), segments)


def test_rows_never_added_are_neither_written_nor_touched(tmp_path: Path) -> None:
    ring = grown(1, 1000, 2)
    segments = write_segments(tmp_path, ring)
    assert sum(segment.bytes for segment in segments) < 1000
    table = np.full((1, 1000, 3), 7, np.float32)
    read_segments(tmp_path, segments, table)
    assert (table[0, 2:] == 7).all()
