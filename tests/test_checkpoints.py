"""Promises of checkpoints: complete or absent, checked before use, and a killed run ends with the same bytes."""

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import disk_events
import numpy as np
import pytest
from apb import files
from apb.errors import ApbWarning, ConfigError, FileFormatError, MismatchError, RunFolderError
from apb.files import json_files
from apb.runs import CheckpointWriter, History, RunFolder, list_steps, load_checkpoint
from apb.runs.state_files import read_state, write_state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_run import IDENTITY, assert_is_at, assert_loads, assert_no_debris, at, contents, opened_at, save, saved


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    """A locked run without checkpoints."""
    folder = RunFolder.create(tmp_path / "run", {"env": "Toy-v0"})
    with folder.lock():
        yield folder


# --- state -------------------------------------------------------------------------------------------------------

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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
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


# --- saving and loading ------------------------------------------------------------------------------------------


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
    with pytest.raises(RunFolderError, match="no intact checkpoint"):
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


# --- damage ------------------------------------------------------------------------------------------------------


def damages() -> dict[str, Callable[[Path], object]]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)

    return {
        "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
        "emptied": lambda path: os.truncate(path, 0),
        "flipped": flip,
        "grown": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        "removed": lambda path: path.unlink(),
        "a folder": lambda path: (path.unlink(), path.mkdir()),
    }


@pytest.mark.parametrize("how", damages().keys())
def test_a_checkpoint_with_any_damaged_file_is_skipped_with_a_warning(tmp_path: Path, how: str) -> None:
    original = RunFolder.create(tmp_path / "original", {"env": "Toy-v0"})
    with original.lock():
        saved(original, 5, 10)
    newest = original.checkpoints / "000000010"
    segment = load_checkpoint(original).segments[-1].name
    victims = [path for path in newest.rglob("*") if path.is_file()] + [original.replay / segment]
    assert len(victims) == 5
    for victim in victims:
        shutil.copytree(original.path, tmp_path / "copy")
        damages()[how](tmp_path / "copy" / victim.relative_to(original.path))
        run = RunFolder.open(tmp_path / "copy")
        if how == "grown" and victim.name == "manifest.json":  # white space after JSON changes nothing
            assert_loads(run, 10)
        else:
            with pytest.raises(FileFormatError):
                load_checkpoint(opened_at(run, 10))
            with pytest.warns(ApbWarning, match="checkpoint 10 is damaged and skipped"):
                assert_loads(run, 5)
            with run.lock(), pytest.warns(ApbWarning):  # the run goes on from there, and all is well again
                save(CheckpointWriter(run, IDENTITY, parent=load_checkpoint(run)), 10)
            assert_is_at(run, 10)
            assert_no_debris(run)
        shutil.rmtree(tmp_path / "copy")


@pytest.mark.parametrize("content", [None, b"", b"000000099\n", b"../../x\n", b"\xff\xfe", b"10\n"])
def test_a_damaged_latest_is_reported_and_the_newest_checkpoint_loads(run: RunFolder, content: bytes | None) -> None:
    saved(run, 5, 10)
    if content is None:
        (run.checkpoints / "LATEST").unlink()
    else:
        (run.checkpoints / "LATEST").write_bytes(content)
    with pytest.warns(ApbWarning, match="LATEST"):
        assert_loads(run, 10)


def test_a_run_with_nothing_but_damage_is_refused(run: RunFolder) -> None:
    saved(run, 5, 10)
    for folder in ("000000005", "000000010"):
        (run.checkpoints / folder / "manifest.json").write_text("{}")
    with pytest.raises(RunFolderError, match="no intact checkpoint"), pytest.warns(ApbWarning):
        load_checkpoint(run)


def forge(run: RunFolder, step: int, **changes: Any) -> None:
    """Change fields of a manifest as an attacker would, with the right checksum."""
    path = run.checkpoints / f"{step:09d}" / "manifest.json"
    content = {**json.loads(path.read_text()), **changes}
    content.pop("sha256")
    digest = hashlib.sha256(json_files.dump_json(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "sha256": digest}))


@pytest.mark.parametrize(
    "changes",
    [
        {"timesteps": 11},
        {"timesteps": "10"},
        {"format": "something"},
        {"files": {"../../config.json": {"bytes": 1, "sha256": ""}}},
        {"files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}},
        {"files": {"policy/none": {"bytes": 1, "sha256": ""}}},
        {"files": {"a\0b": {"bytes": 1, "sha256": ""}}},
        {"files": {"\ud800": {"bytes": 1, "sha256": ""}}},
        {"files": {"a" * 10_000: {"bytes": 1, "sha256": ""}}},
        {"files": {"training_state/state.json": 3}},
        {"files": []},
        {"replay": [{"name": "../../../x"}]},
        {"replay": {}},
        {"identity": {"env": 3}},
    ],
)
def test_a_forged_manifest_is_refused(run: RunFolder, changes: dict[str, Any]) -> None:
    saved(run, 10)
    forge(run, 10)
    assert_is_at(run, 10)
    forge(run, 10, **changes)
    with pytest.raises(FileFormatError):
        load_checkpoint(opened_at(run, 10))


def test_a_checkpoint_of_something_else_is_refused_by_field_and_both_values(run: RunFolder) -> None:
    saved(run, 5, 10)
    with pytest.raises(MismatchError, match="env = 'Toy-v0', not to 'Ant-v5'"):
        load_checkpoint(run, identity={**IDENTITY, "env": "Ant-v5"})
    with pytest.raises(MismatchError, match="dtype = None, not to 'f4'"):
        load_checkpoint(run, identity={**IDENTITY, "dtype": "f4"})
    with pytest.raises(MismatchError, match=r"config_hash = 'c+', not to None"):
        load_checkpoint(run, identity={key: IDENTITY[key] for key in ("env", "backbone_hash")})


def test_a_checkpoint_of_another_format_version_names_what_wrote_it(run: RunFolder) -> None:
    saved(run, 10)
    forge(run, 10, format_version=99, apb_version="7.0")
    with pytest.raises(MismatchError, match=r"format_version 99; .*'7\.0'"):
        load_checkpoint(run)


# --- failing and killed writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["fsync", "replace", "rename", "write"])
def test_a_disk_that_fails_at_any_call_leaves_the_last_checkpoint_and_no_debris(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    writer, last = saved(run, 5), 5
    failed = 0
    for failing in range(1, 100):
        calls, hit = iter(range(1, 1000)), []

        def fail(failing: int = failing, calls: Iterator[int] = calls, hit: list[int] = hit) -> None:
            if next(calls) == failing:
                hit.append(failing)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            inject(patch, function, fail)
            try:
                save(writer, last + 5)
            except RunFolderError as error:
                message = str(error)
            else:
                assert not hit
                break
        failed += 1
        assert "No space left" in message
        latest = int((run.checkpoints / "LATEST").read_text())
        assert f"{latest:09d}" in message
        assert latest in (last, last + 5)  # the failing call may be the flush after all was written
        last = latest
        assert_is_at(run, last)
        assert_no_debris(run)
    assert failed >= {"fsync": 10, "replace": 6, "rename": 1, "write": 7}[function]
    assert_is_at(run, last + 5)


def inject(patch: pytest.MonkeyPatch, function: str, fail: Callable[[], None]) -> None:
    """Let `fail` run, and perhaps raise, before every call of one kind that writes."""
    if function == "fsync":
        original = os.fsync
        patch.setattr(os, "fsync", lambda descriptor: (fail(), original(descriptor)))
    elif function == "write":
        atomic_file = files.atomic_file

        def failing_file(path: Any) -> Any:
            context = atomic_file(path)
            enter = type(context).__enter__

            class Context:
                def __enter__(self) -> Any:
                    self.file = enter(context)
                    return self

                def __exit__(self, *error: Any) -> Any:
                    return context.__exit__(*error)

                def write(self, data: Any) -> int:
                    self.file.write(bytes(data)[: len(data) // 2])
                    fail()
                    return int(self.file.write(bytes(data)[len(data) // 2 :]))

            return Context()

        for module in ("json_files", "tensor_files"):
            patch.setattr(f"apb.files.{module}.atomic_file", failing_file)
        patch.setattr("apb.runs.checkpoint.atomic_file", failing_file)
    else:
        method = getattr(Path, function)
        patch.setattr(Path, function, lambda path, target: (fail(), method(path, target))[1])


def test_a_failing_policy_writer_leaves_the_best_policy_of_before(run: RunFolder) -> None:
    writer = saved(run)
    writer.save_best(3, {"eval/mean_reward": 1.0}, at(3).write_policy)
    before = contents(run.best)
    with suppress(ZeroDivisionError):
        writer.save_best(4, {}, lambda folder: 1 / 0)
    assert contents(run.best) == before
    writer.save_best(6, {"eval/mean_reward": 2.0}, at(6).write_policy)
    assert files.read_json(run.best / "evaluation.json") == {"timesteps": 6, "eval/mean_reward": 2.0}
    weights = files.read_tensors(run.best / "model.safetensors")["weights"]
    assert weights.tobytes() == at(6).weights.tobytes()
    assert [path.name for path in run.path.iterdir() if path.name.endswith(".tmp")] == []


def test_files_of_somebody_else_stay_in_the_folder_of_the_best_policy(run: RunFolder) -> None:
    writer = saved(run)
    writer.save_best(3, {}, at(3).write_policy)
    (run.best / "notes.txt").write_text("mine")
    (run.best / "photos").mkdir()
    (run.best / "photos" / "one.png").write_bytes(b"png")
    (run.best / "link").symlink_to("nowhere")
    os.mkfifo(run.best / "pipe")
    writer.save_best(6, {}, at(6).write_policy)
    assert files.read_json(run.best / "evaluation.json") == {"timesteps": 6}
    assert files.read_tensors(run.best / "model.safetensors")["weights"].tobytes() == at(6).weights.tobytes()
    assert (run.best / "notes.txt").read_text() == "mine"
    assert (run.best / "photos" / "one.png").read_bytes() == b"png"
    assert (run.best / "link").readlink() == Path("nowhere")
    assert (run.best / "pipe").is_fifo()
