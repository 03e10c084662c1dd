"""A checkpoint is checked before use: damage is skipped with a warning, and what is forged or foreign is refused."""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

import pytest
from apb import files
from apb.errors import ApbWarning, FileFormatError, MismatchError, RunFolderError
from apb.runs import CheckpointWriter, RunFolder, list_steps, load_checkpoint
from run_files import forge_manifest
from toy_run import IDENTITY, assert_is_at, assert_loads, assert_no_debris, contents, opened_at, save, saved

# --- damage ----------------------------------------------------------------------------------------------------------


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


def test_a_damaged_checkpoint_is_set_aside_when_the_run_goes_on(run: RunFolder) -> None:
    saved(run, 5, 10)
    newest = run.checkpoints / "000000010"
    (newest / "policy" / "notes.txt").write_text("walks best")
    (newest / "policy" / "model.safetensors").write_bytes(b"edited")
    before = contents(newest)
    for number in (1, 2):
        aside = run.checkpoints / f"000000010.damaged-{number}"
        with pytest.warns(ApbWarning, match="checkpoint 10 is damaged and skipped"):
            parent = load_checkpoint(run)
        with pytest.warns(ApbWarning, match=f"the damaged checkpoint 10 is kept as {aside}"):
            writer = CheckpointWriter(run, IDENTITY, parent=parent)
        assert list_steps(run) == [5]
        assert contents(aside) == before
        save(writer, 10)
        assert_is_at(run, 10)
        shutil.rmtree(newest)
        shutil.copytree(aside, newest)


@pytest.mark.parametrize("call", ["open", "read"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_damaged(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    saved(run, 5, 10)
    before = contents(run.path)
    for victim in [path for path in (run.checkpoints / "000000010").rglob("*") if path.is_file()]:
        with monkeypatch.context() as patch:
            unreadable(patch, victim, code, call)
            with pytest.raises(RunFolderError, match=f"10 may be good.*{victim} cannot be read: {os.strerror(code)}"):
                load_checkpoint(run)
        assert contents(run.path) == before
    assert_is_at(run, 10)


def test_the_segments_of_a_checkpoint_that_cannot_be_read_are_kept(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = saved(run, 5, 10)
    with monkeypatch.context() as patch:
        unreadable(patch, run.checkpoints / "000000010" / "manifest.json", errno.EIO, "open")
        save(writer, 30)  # the ring has wrapped, so the segments of step 10 are no longer its own
    for step in (10, 30):
        assert load_checkpoint(opened_at(run, step)).step == step


def unreadable(patch: pytest.MonkeyPatch, victim: Path, code: int, call: str) -> None:
    """Let a call that opens or reads `victim` fail."""

    def fail(*arguments: Any) -> Any:
        raise OSError(code, os.strerror(code))

    if call == "open":
        opener = os.open
        patch.setattr(os, "open", lambda path, *rest: (fail if Path(path) == victim else opener)(path, *rest))
        return
    inode, fdopen = victim.stat().st_ino, os.fdopen

    def failing(descriptor: int, *rest: Any) -> Any:
        file = fdopen(descriptor, *rest)
        if os.fstat(descriptor).st_ino != inode:
            return file
        return type("Failing", (BufferedReader,), {"read": fail, "readinto": fail})(file.detach())

    patch.setattr(os, "fdopen", failing)


# --- manifests of others ---------------------------------------------------------------------------------------------


def forge(run: RunFolder, step: int, **changes: Any) -> None:
    forge_manifest(run.checkpoints / f"{step:09d}", **changes)


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
        {"replay": [{"name": "../x"}]},
        {"replay": {}},
        {"identity": {"env": 3}},
    ],
)
def test_a_forged_manifest_is_refused(run: RunFolder, changes: dict[str, Any]) -> None:
    saved(run, 10)
    forge(run, 10)
    assert_is_at(run, 10)
    # All else is right: what is listed has the size and checksum that the list says, wherever it is.
    manifest = files.read_json(run.checkpoints / "000000010" / "manifest.json")
    if isinstance(changes.get("files"), dict):
        changes = {"files": manifest["files"] | {name: as_it_is(run, name, e) for name, e in changes["files"].items()}}
    if changes.get("replay"):
        (run.path / "x").write_bytes((run.replay / manifest["replay"][0]["name"]).read_bytes())
        changes = {"replay": [manifest["replay"][0] | changes["replay"][0]]}
    forge(run, 10, **changes)
    with pytest.raises(FileFormatError):
        load_checkpoint(opened_at(run, 10))


def as_it_is(run: RunFolder, name: str, entry: Any) -> Any:
    """The entry with the size and checksum of what it names, if it is an entry and that exists."""
    with suppress(OSError, ValueError, TypeError):
        path = run.checkpoints / "000000010" / name
        return entry | {"bytes": path.stat().st_size, "sha256": files.sha256_file(path)}
    return entry


def test_a_checkpoint_of_something_else_is_refused_by_field_and_both_values(run: RunFolder) -> None:
    saved(run, 5, 10)
    remedy = rf"put {run.path}/config\.json and backbone/ back .* the version of apb that wrote it, or start a new run"
    with pytest.raises(MismatchError, match=f"env = 'Toy-v0', not to 'Ant-v5'; {remedy}"):
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
