"""A kill, a full disk or a failing writer leaves the old or the new, whole, and what belongs to others."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import disk_events
import pytest
from apb import files
from apb.errors import RunFolderError
from apb.files import atomic


class InterruptionError(Exception):
    """What no code of the package raises or catches."""


def interrupted(write: Callable[..., object], *arguments: Any) -> None:
    write(*arguments)
    raise InterruptionError


def fill(folder: Path, generation: int) -> None:
    for name in ("config.json", "weights.json"):
        files.write_json_atomic(folder / name, generation)


# --- failing writers -------------------------------------------------------------------------------------------------


def test_a_failing_writer_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(InterruptionError), files.atomic_file(tmp_path / "f") as file:
        interrupted(file.write, b"new")
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


def test_a_failing_writer_leaves_the_old_folder_and_no_debris(tmp_path: Path) -> None:
    with files.staged_folder(tmp_path / "p") as staging:
        fill(staging, 1)
    with pytest.raises(InterruptionError), files.staged_folder(tmp_path / "p") as staging:
        interrupted(files.write_json_atomic, staging / "config.json", 2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]
    assert files.read_json(tmp_path / "p" / "config.json") == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_write_leaves_the_old_folder_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with files.staged_folder(tmp_path / "p") as staging:
        fill(staging, 0)
    original = os.fsync
    for failing in range(1, 100):
        calls, hit = iter(range(1, 1000)), []

        def fail(descriptor: int, calls: Any = calls, failing: int = failing, hit: list[int] = hit) -> None:
            if next(calls) == failing:
                hit.append(failing)
                raise OSError(code, os.strerror(code))
            original(descriptor)

        monkeypatch.setattr(os, "fsync", fail)
        told = None
        try:
            with files.staged_folder(tmp_path / "p") as staging:
                fill(staging, failing)
        except OSError as error:
            told = error.errno
        assert told == (code if hit else None)
        if not hit:  # every write has had its turn
            break
        assert [entry.name for entry in tmp_path.iterdir()] == ["p"]
        assert {files.read_json(tmp_path / "p" / name) for name in ("config.json", "weights.json")} <= {0, failing}
    assert 4 < failing < 99


@pytest.mark.parametrize("can_exchange", [True, False])
def test_an_error_at_any_rename_leaves_the_old_folder_under_its_name_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    with files.staged_folder(tmp_path / "p") as staging:
        fill(staging, 0)
    if not can_exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    rename = Path.rename
    for failing in range(1, 10):
        calls = iter(range(1, 100))

        def fail(path: Path, target: Path, calls: Any = calls, failing: int = failing) -> Path:
            if next(calls) == failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", fail)
            try:
                with files.staged_folder(tmp_path / "p") as staging:
                    fill(staging, failing)
            except OSError:
                expected = 0
            else:
                expected = failing
        assert [entry.name for entry in tmp_path.iterdir()] == ["p"]
        assert {files.read_json(tmp_path / "p" / name) for name in ("config.json", "weights.json")} == {expected}
        if expected:  # every rename has had its turn
            break
    assert failing == (2 if can_exchange else 4)


# --- what belongs to others ------------------------------------------------------------------------------------------


def test_a_folder_with_files_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"), files.staged_folder(tmp_path) as staging:
        fill(staging, 1)
    with pytest.raises(RunFolderError, match="is a file"), files.staged_folder(tmp_path / "thesis.tex") as staging:
        fill(staging, 1)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for generation in (1, 2):
        with files.staged_folder(tmp_path / "link") as staging:
            fill(staging, generation)
    assert (tmp_path / "link").is_symlink()
    assert files.read_json(tmp_path / "disk" / "config.json") == 2


@pytest.mark.parametrize("target", ["elsewhere/nothing", "link"])
def test_a_link_that_leads_nowhere_is_refused_and_nothing_is_made_there(target: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(target)
    told = pytest.raises(RunFolderError, match=f"is a link to {target}, where nothing is; .* remove the link")
    with told, files.staged_folder(tmp_path / "link") as staging:
        fill(staging, 1)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (tmp_path / "link").readlink() == Path(target)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["elsewhere", "link"]


def test_old_leftovers_are_removed_and_those_of_a_living_writer_are_not(tmp_path: Path) -> None:
    for name, age in ((".p.0123abcd.tmp", 2 * atomic.ABANDONED_SECONDS), (".p.89abcdef.tmp", 0), (".q.tmp", 1e7)):
        (tmp_path / name).mkdir()
        now = (tmp_path / name).stat().st_mtime
        os.utime(tmp_path / name, (now - age, now - age))
    with files.staged_folder(tmp_path / "p") as staging:
        fill(staging, 1)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".p.89abcdef.tmp", ".q.tmp", "p"]


# --- kills and power cuts --------------------------------------------------------------------------------------------


def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = disk_events.record(monkeypatch)
    files.write_json_atomic(tmp_path / "f", 1)
    content, folder = (tmp_path / "f").stat().st_ino, tmp_path.stat().st_ino
    assert events == [("sync", content), ("rename", "f"), ("sync", folder)]


def test_every_file_is_on_the_disk_before_the_name_that_publishes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for generation in (1, 2):
        with monkeypatch.context() as patch, files.staged_folder(tmp_path / "p") as staging:
            for name in ("config.json", "notes.md"):
                (staging / name).write_text(str(generation))
            wanted = {path.stat().st_ino for path in (staging, *staging.iterdir())}
            events = disk_events.record(patch)
        published = events.index(("rename", "p"))
        assert wanted <= {inode for kind, inode in events[:published] if kind == "sync"}
        assert ("sync", tmp_path.stat().st_ino) in events[published:]
        assert (tmp_path / "p" / "config.json").read_text() == str(generation)


KILLED_SAVE = """
import itertools, os, sys
from contextlib import suppress
from pathlib import Path
from apb import files
from apb.files import atomic
place, can_exchange = Path(sys.argv[1]), sys.argv[2] == "exchange"
if not can_exchange:
    atomic._exchange = lambda one, other: False
def fill(folder, generation):
    for name in ("config.json", "weights.json"):
        files.write_json_atomic(folder / name, generation)
def save(generation):
    with files.staged_folder(place) as staging:
        fill(staging, generation)
save(0)
generation = 0
for deadline in itertools.count(1):
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)
        def guard(event, arguments):
            relevant = event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "apb.step")
            if relevant and next(calls) == deadline:
                os._exit(9)
        sync, exchange = os.fsync, atomic._exchange
        os.fsync = lambda descriptor: (sys.audit("apb.step"), sync(descriptor))
        atomic._exchange = lambda *names: (sys.audit("apb.step"), exchange(*names), sys.audit("apb.step"))[1]
        sys.addaudithook(guard)
        save(generation + 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = files.published_folder(place)
    content = {files.read_json(found / name) for name in ("config.json", "weights.json")}
    assert len(content) == 1, (deadline, content)
    assert can_exchange <= place.is_dir(), deadline
    assert content <= {generation, generation + 1}, (deadline, content, generation)
    if content == {generation + 1}:
        generation += 1
    if status == 0:
        print(deadline, generation)
        break
"""


@pytest.mark.parametrize("how", ["exchange", "rename"])
def test_a_kill_at_any_step_of_replacing_a_folder_leaves_the_old_or_the_new(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", KILLED_SAVE, str(tmp_path / "p"), how]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    steps, generations = map(int, result.stdout.split())
    assert steps > 15  # the kills really happened at many places
    assert generations > 2
