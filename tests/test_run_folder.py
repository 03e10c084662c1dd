"""Promises of run folders: nobody's files are touched, one process writes at a time, a stop is orderly."""

import getpass
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import disk_events
import pytest
from apb import system_info as system_info_module
from apb.errors import ConfigError, FileFormatError, RunFolderError
from apb.files import dump_json, read_json
from apb.runs import EXIT_STOPPED, RunFolder, StopSignals, json_hash, numbered_folder
from apb.system_info import system_info

COMMIT_OF_FOLDER = system_info_module._git_commit  # before `short_runs` takes its place

Child = Callable[..., subprocess.Popen[str]]
CONFIG = {"env": "HalfCheetah-v5", "strategy": "param_noise", "seed": 3}


@pytest.fixture
def child() -> Iterator[Child]:
    """Starts Python processes; those that still run at the end of the test are killed."""
    with ExitStack() as stack:

        def start(code: str, *arguments: object) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", code, *map(str, arguments)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process

        yield start


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# --- making and finding ------------------------------------------------------------------------------------------


def test_a_new_run_says_what_was_asked_for_how_and_on_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/private/apb", "adapt", "--run-dir", "my runs/1"])
    run = RunFolder.create(tmp_path / "a" / "b", CONFIG)
    assert run.config == CONFIG
    assert (run.path / "command.txt").read_text() == "apb adapt --run-dir 'my runs/1'\n"
    assert read_json(run.path / "system_info.json")["python"] == "{}.{}.{}".format(*sys.version_info)
    assert not run.is_locked


def test_a_folder_is_a_run_only_when_all_that_it_starts_from_is_there(tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        (folder / "backbone").mkdir()
        with pytest.raises(RunFolderError, match="not a run"):
            RunFolder.open(folder)

    run = RunFolder.create(tmp_path / "run", CONFIG, prepare)
    assert (RunFolder.open(run.path).path / "backbone").is_dir()
    with suppress(ZeroDivisionError):
        RunFolder.create(tmp_path / "failed", CONFIG, lambda folder: 1 / 0)
    with pytest.raises(RunFolderError, match="started again"):
        RunFolder.open(tmp_path / "failed")


def test_a_new_run_is_on_the_disk_when_it_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = disk_events.record(monkeypatch)
    run = RunFolder.create(tmp_path / "run", CONFIG)
    complete = events.index(("rename", "config.json"))
    assert {("sync", folder.stat().st_ino) for folder in (run.path, tmp_path)} <= set(events[complete:])


def test_a_folder_that_is_not_empty_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"):
        RunFolder.create(tmp_path, CONFIG)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    RunFolder.create(tmp_path / "run", CONFIG)
    with pytest.raises(RunFolderError, match="apb resume"):
        RunFolder.create(tmp_path / "run", CONFIG)


def test_of_two_that_make_the_same_folder_at_once_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = RunFolder._acquire

    def other_is_faster(run: RunFolder) -> int:
        monkeypatch.setattr(RunFolder, "_acquire", acquire)
        RunFolder.create(tmp_path / "run", {"seed": 1})
        return acquire(run)

    monkeypatch.setattr(RunFolder, "_acquire", other_is_faster)
    with pytest.raises(RunFolderError, match="not empty"):
        RunFolder.create(tmp_path / "run", {"seed": 2})
    assert RunFolder.open(tmp_path / "run").config == {"seed": 1}


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="file"):
        RunFolder.create(tmp_path / "file" / "run", CONFIG)


def test_an_unwritable_configuration_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sigma"):
        RunFolder.create(tmp_path / "run", {"sigma": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_runs_without_a_name_are_numbered_and_two_processes_never_get_the_same(tmp_path: Path, child: Child) -> None:
    code = (
        "import os, sys; from apb.runs import RunFolder, numbered_folder; os.chdir(sys.argv[1])\n"
        "for _ in range(5):\n"
        "    with numbered_folder('ALE/Pong-v5', 'action_noise') as folder:\n"
        "        print(RunFolder.create(folder, {}).path)"
    )
    processes = [child(code, tmp_path) for _ in range(3)]
    names = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(names, key=lambda name: int(name.rsplit("-", 1)[1])) == [
        str(tmp_path / f"runs/ALE-Pong-v5-action_noise-{number}") for number in range(1, 16)
    ]


def test_a_default_name_cannot_leave_the_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with numbered_folder("../../x", "/etc") as folder:
        assert folder.parent == Path("runs")
        assert folder.is_dir()


def test_a_default_folder_that_no_run_came_about_in_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with suppress(ZeroDivisionError), numbered_folder("a", "b"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with numbered_folder("a", "b") as kept:
        RunFolder.create(kept, CONFIG)
    with numbered_folder("a", "b") as folder:
        assert folder == Path("runs/a-b-2")
    assert [path.name for path in Path("runs").iterdir()] == ["a-b-1"]


def test_a_default_folder_that_cannot_be_made_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("a file")
    with pytest.raises(RunFolderError, match="runs"), numbered_folder("a", "b"):
        pass
    assert Path("runs").read_text() == "a file"


def test_a_run_opens_by_its_folder_a_checkpoint_or_a_manifest(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "r", CONFIG)
    assert RunFolder.open(tmp_path / "r").step is None
    for place in ("checkpoints/000012000", "checkpoints/000012000/manifest.json"):
        run = RunFolder.open(tmp_path / "r" / place)
        assert (run.path, run.step) == (tmp_path / "r", 12000)
    for place in ("nothing", "r/best", "r/checkpoints"):
        with pytest.raises(RunFolderError, match=r"does not exist; expected the folder of a run|is not a run"):
            RunFolder.open(tmp_path / place)


def test_a_damaged_configuration_is_refused(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "r", CONFIG)
    for content in ("[]", '{"env": '):
        (run.path / "config.json").write_text(content)
        with pytest.raises(FileFormatError, match="config"):
            _ = run.config


def test_the_hash_of_a_configuration_depends_on_values_and_not_on_order() -> None:
    assert json_hash({"a": 1, "b": [2]}) == json_hash({"b": [2], "a": 1})
    assert json_hash({"a": 1}) != json_hash({"a": 2})


# --- one writer --------------------------------------------------------------------------------------------------

HOLD = (
    "import sys, time; from apb.runs import RunFolder\n"
    "with RunFolder.open(sys.argv[1]).lock():\n"
    "    print('locked', flush=True)\n"
    "    time.sleep(60)\n"
)


def test_a_second_writer_is_refused_by_the_number_of_the_first_until_that_is_dead(tmp_path: Path, child: Child) -> None:
    run = RunFolder.create(tmp_path / "r", CONFIG)
    process = child(HOLD, run.path)
    assert first_line(process) == "locked"
    with pytest.raises(RunFolderError, match=rf"process {process.pid};"), run.lock():
        pass
    process.kill()
    process.wait()
    with run.lock():
        assert run.is_locked
    assert not run.is_locked


def test_two_objects_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "r", CONFIG)
    with run.lock():
        with pytest.raises(RunFolderError, match=str(os.getpid())), RunFolder.open(tmp_path / "r").lock():
            pass
        with pytest.raises(RunFolderError, match=str(os.getpid())), RunFolder.open(tmp_path / "r").lock():
            pass
    with RunFolder.open(tmp_path / "r").lock():
        pass


def test_a_forked_worker_that_outlives_a_killed_run_does_not_keep_it_locked(tmp_path: Path, child: Child) -> None:
    run = RunFolder.create(tmp_path / "r", CONFIG)
    code = (
        "import os, sys, time; from apb.runs import RunFolder\n"
        "with RunFolder.open(sys.argv[1]).lock():\n"
        "    if os.fork() == 0: print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = child(code, run.path)
    worker = int(first_line(process))
    process.kill()
    process.wait()
    os.kill(worker, 0)  # the worker lives
    try:
        with run.lock():
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


# --- stopping ----------------------------------------------------------------------------------------------------

STOPPABLE = (
    "import sys, time; from apb.runs import EXIT_STOPPED, StopSignals\n"
    "try:\n"
    "    with StopSignals() as stop:\n"
    "        print('ready', flush=True)\n"
    "        while stop.requested is None: time.sleep(0.01)\n"
    "        print(stop.requested, flush=True)\n"
    "        if sys.argv[1] == 'twice': time.sleep(60)\n"
    "except KeyboardInterrupt: print('at once', flush=True)\n"
    "sys.exit(EXIT_STOPPED)\n"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(number: signal.Signals, child: Child) -> None:
    process = child(STOPPABLE, "once")
    assert first_line(process) == "ready"
    process.send_signal(number)
    assert first_line(process) == number.name
    assert process.wait() == EXIT_STOPPED == 75

    process = child(STOPPABLE, "twice")
    assert first_line(process) == "ready"
    process.send_signal(number)
    assert first_line(process) == number.name
    process.send_signal(number)
    assert first_line(process) == "at once"


def test_the_handlers_of_before_come_back_and_ignored_signals_stay_ignored() -> None:
    def mine(number: int, frame: Any) -> None: ...

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, mine)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with StopSignals() as stop:
            assert signal.getsignal(signal.SIGTERM) is not mine
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            assert stop.requested is None
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_outside_the_main_thread_it_does_nothing() -> None:
    results: list[Any] = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with StopSignals() as stop:
            results.extend([stop.requested, signal.getsignal(signal.SIGTERM) is before])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [None, True]


# --- the machine -------------------------------------------------------------------------------------------------


def test_system_info_is_json_without_host_user_or_path() -> None:
    info = system_info()
    text = dump_json(info)
    for private in (socket.gethostname(), str(Path.cwd()), str(Path.home())):
        assert len(private) < 3 or private not in text
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)
    assert set(info["packages"]) == {"apb", "numpy", "torch", "mujoco", "gymnasium"}
    assert info["available_cpus"] >= 1


def test_system_info_names_the_commit_and_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@e"]
        result = subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return result.stdout.strip()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(system_info_module, "_git_commit", COMMIT_OF_FOLDER)
    assert system_info()["git_commit"] is None
    git("init", "-q")
    (tmp_path / "f").write_text("1")
    git("add", "f")
    git("commit", "-q", "-m", "m")
    commit = git("rev-parse", "HEAD")
    git("tag", "-m", "t", "v1")
    assert system_info()["git_commit"] == commit
    (tmp_path / "f").write_text("2")
    assert system_info()["git_commit"] == commit + "-dirty"


def test_neither_runs_nor_files_import_torch() -> None:
    code = "import sys, apb.runs, apb.files, apb.system_info, apb.threads; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
