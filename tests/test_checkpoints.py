"""A checkpoint comes back bit for bit, on the disk before it has its name, and the last ones are kept."""

import math
import shutil
from pathlib import Path
from typing import Any

import disk_events
import numpy as np
import pytest
from apb.errors import ConfigError, FileFormatError, RunFolderError
from apb.runs import CheckpointWriter, History, RunFolder, list_steps, load_checkpoint
from apb.runs.state_files import read_state, write_state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_run import IDENTITY, assert_is_at, assert_no_debris, at, opened_at, save, saved

# --- state -----------------------------------------------------------------------------------------------------------


KEYS = st.text("abc_.0", min_size=1, max_size=4).filter(lambda key: key not in (".", ".."))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**130), 2**130)  # generators of NumPy have 128-bit integers in their state
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.lists(st.integers(), max_size=3)
    | st.builds(
        lambda dtype, shape, fill: np.full(shape, fill).astype(dtype),
        st.sampled_from(["f4", "f8", "i8", "u8", "i4", "u1", "?"]),
        st.lists(st.integers(0, 3), max_size=3),
        st.integers(0, 200),
    )
)


STATES = st.recursive(
    st.dictionaries(KEYS, LEAVES, max_size=4), lambda inner: st.dictionaries(KEYS, inner | LEAVES, max_size=4)
)


def assert_equal_states(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_equal_states(found[key], wanted[key])
    elif isinstance(wanted, np.ndarray):
        assert (found.dtype, found.shape, found.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())
    else:
        assert found == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(STATES)
def test_any_nested_state_comes_back(tmp_path: Path, state: dict[str, Any]) -> None:
    write_state(tmp_path, state)
    assert_equal_states(read_state(tmp_path), state)


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": {"b/c": 1}}, "b/c"),
        ({"a": {1: 2}}, "key 1"),
        ({"a": {"b": math.nan}}, "value.a.b"),
        ({"a": {"w": np.array([math.nan])}}, "a/w"),
        ({"a": [np.zeros(2)]}, r"value.a\[0\]"),
        ({"a": object()}, "value.a"),
    ],
)
def test_a_state_that_cannot_be_kept_is_refused_and_the_last_checkpoint_stays(
    run: RunFolder, state: dict[Any, Any], place: str
) -> None:
    writer = saved(run, 5)
    with pytest.raises(ConfigError, match=place):
        writer.save(10, state, at(10).write_policy, at(10).ring)
    assert_is_at(run, 5)
    assert_no_debris(run)


def test_arrays_without_a_place_in_the_json_are_refused(tmp_path: Path) -> None:
    write_state(tmp_path, {"a": {"w": np.zeros(2)}})
    for text in ("{}", '{"a": 3}', '{"a": {"w": 1}}', "[]"):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(FileFormatError):
            read_state(tmp_path)


# --- saving and loading ----------------------------------------------------------------------------------------------


def test_what_was_saved_loads_bit_for_bit(run: RunFolder) -> None:
    writer = saved(run)
    for step in (0, 5, 10, 40):
        folder = save(writer, step)
        assert folder == run.checkpoints / f"{step:09d}"
        assert_is_at(run, step)
        assert_no_debris(run)


def test_all_that_a_checkpoint_counts_on_is_on_the_disk_before_it_is_published(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = saved(run)
    History(run.path).append({"timesteps": 5})
    events = disk_events.record(monkeypatch)
    folder = save(writer, 5)
    published = events.index(("rename", "000000005"))
    synced = {inode for kind, inode in events[:published] if kind == "sync"}
    needed = [run.path / "history.jsonl", run.replay, *run.replay.iterdir(), *folder.rglob("*")]
    assert {path.stat().st_ino for path in needed} <= synced
    assert published < events.index(("rename", "LATEST"))


def test_the_folders_of_checkpoints_and_replay_are_on_the_disk_before_anything_in_them_counts(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = disk_events.record(monkeypatch)
    save(saved(run), 5)
    assert events.index(("sync", run.path.stat().st_ino)) < events.index(("rename", "000000005"))


@pytest.mark.parametrize("keep_last", [1, 2, 3])
def test_only_the_last_ones_are_kept_and_each_still_loads(run: RunFolder, keep_last: int) -> None:
    saved(run, 5, 10, 15, 20, keep_last=keep_last)
    steps = [5, 10, 15, 20][-keep_last:]
    assert list_steps(run) == steps
    for step in steps:
        checkpoint = load_checkpoint(opened_at(run, step))
        assert checkpoint.read_replay(np.zeros((2, 16, 3), np.float32)).total_added[1] == 2 * step
    assert_no_debris(run)


def test_a_checkpoint_folder_or_manifest_chooses_the_step(run: RunFolder) -> None:
    saved(run, 5, 10)
    assert load_checkpoint(RunFolder.open(run.checkpoints / "000000005")).step == 5
    assert load_checkpoint(RunFolder.open(run.checkpoints / "000000005" / "manifest.json")).step == 5
    assert load_checkpoint(RunFolder.open(run.path)).step == 10
    with pytest.raises(RunFolderError, match=r"timestep 7; it has \[5, 10\]"):
        load_checkpoint(opened_at(run, 7))


def test_a_run_without_a_checkpoint_says_so(run: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="no checkpoint yet, and is in use by process"):
        load_checkpoint(run)


def test_a_copied_run_folder_loads_elsewhere(run: RunFolder, tmp_path: Path) -> None:
    saved(run, 5, 10)
    shutil.copytree(run.path, tmp_path / "elsewhere")
    shutil.rmtree(run.path)
    assert_is_at(RunFolder.open(tmp_path / "elsewhere"), 10)


def test_saving_the_same_step_again_replaces_it(run: RunFolder) -> None:
    writer = saved(run, 5, 10)
    save(writer, 10)
    assert_is_at(run, 10)
    assert list_steps(run) == [5, 10]
    with pytest.raises(ConfigError, match="step = 9"):
        save(writer, 9)


def test_continuing_from_an_older_one_abandons_the_later_ones(run: RunFolder) -> None:
    saved(run, 5, 10, 15, keep_last=3)
    parent = load_checkpoint(opened_at(run, 5))
    writer = CheckpointWriter(run, IDENTITY, parent=parent)
    assert list_steps(run) == [5]
    assert_is_at(run, 5)
    assert_no_debris(run)
    save(writer, 12)
    assert_is_at(run, 12)
    assert_no_debris(run)


def test_a_writer_needs_the_lock_and_the_parent(run: RunFolder) -> None:
    saved(run, 5)
    with pytest.raises(RunFolderError, match="parent"):
        CheckpointWriter(run, IDENTITY)
    with pytest.raises(RunFolderError, match="not locked"):
        CheckpointWriter(RunFolder.open(run.path), IDENTITY, parent=load_checkpoint(run))
    with pytest.raises(ConfigError, match="keep_last = 0"):
        CheckpointWriter(run, IDENTITY, parent=load_checkpoint(run), keep_last=0)
