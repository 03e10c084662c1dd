"""`RunFolder`: where a run lives on the disk, who may write to it, and what it was asked to do.

What lies where in it is told in docs/files.md.
"""

import fcntl
import hashlib
import itertools
import os
import re
import shlex
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from apb.errors import ApbWarning, FileFormatError, RunFolderError, nearest_path, require_path
from apb.files import atomic_file, dump_json, kind_of_folder, open_regular, read_json, sync, write_json_atomic
from apb.runs.systems import INFO_FILE
from apb.system_info import system_info

DEFAULT_ROOT = Path("runs")
STEP_NAME = re.compile(r"[0-9]{9,18}")


FIRST_FILES = {"command.txt", INFO_FILE, "backbone"}
"""What a kill or a full disk can leave of a run before its `config.json`, the first of them always: no run yet, and
another one may begin in its place."""


class RunFolder:
    """One run on the disk. Make it with `RunFolder.create` or `RunFolder.open`.

    Attributes: `path`, the folder, absolute, since an env may change the current one; `step`, the checkpoint that
    `open` was pointed at, in timesteps, or None.
    """

    def __init__(self, path: str | os.PathLike[str], step: int | None = None) -> None:
        self.path = require_path("run_dir", path).absolute()
        self.step = step
        self._lock: int | None = None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        prepare: Callable[[Path], object] | None = None,
    ) -> "RunFolder":
        """Make a new run folder and write `command.txt`, `system_info.json` and `config.json` into it.

        `prepare(folder)` writes what else the run starts from. `config.json` comes last: with it the folder is a run,
        which can be resumed even if it is killed before its first checkpoint.

        Raises `RunFolderError` when `path` is not an empty folder or cannot be written.
        """
        dump_json(config)  # refuse an unwritable configuration before anything exists
        run = cls(path)
        with _begun_in(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
            _require_empty(run.path)
            with run.lock():
                _require_empty(run.path)  # another process may have been faster
                command = [Path(sys.argv[0]).name, *sys.argv[1:]]
                with atomic_file(run.path / "command.txt") as file:
                    file.write(shlex.join(command).encode(errors="backslashreplace") + b"\n")
                run.record_system()
                if prepare is not None:
                    prepare(run.path)
                write_json_atomic(run.path / "config.json", config)
                sync(run.path.parent)
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Open an existing run, given its folder, one of its checkpoint folders, or a checkpoint's `manifest.json`.

        Raises `RunFolderError` when there is no run.
        """
        given = require_path("run_dir", path)
        place = given.parent if given.name == "manifest.json" else given
        step = None
        if STEP_NAME.fullmatch(place.name) and place.parent.name == "checkpoints":
            place, step = place.parent.parent, int(place.name)
        if not os.path.lexists(place):
            near = nearest_path(place, DEFAULT_ROOT)
            raise RunFolderError(f"{str(place)!r} does not exist{near}; expected the folder of a run")
        if not cls.has_begun(place):
            raise RunFolderError(
                f"{str(given)!r} is not a run: {place / 'config.json'} does not exist; expected a run folder, one of"
                " its checkpoints/<step> folders, or a manifest.json in one (a run that was killed while its folder was"
                " being made has to be started again, which it can be in the same folder)"
            )
        return cls(place, step)

    @staticmethod
    def has_begun(path: Path) -> bool:
        """Whether there is a run in this folder; not where one was killed while the folder was being made."""
        return (path / "config.json").is_file()

    def record_system(self) -> None:
        """Write `system_info.json`: what the run is begun on."""
        write_json_atomic(self.path / INFO_FILE, system_info())

    @property
    def config(self) -> dict[str, Any]:
        """The content of `config.json`; raises `FileFormatError` when it is damaged, `RunFolderError` if of no run."""
        config = read_json(self.path / "config.json")
        if not isinstance(config, dict):
            raise FileFormatError(f"{self.path / 'config.json'} is not a JSON object")
        if "job" not in config and (kind := kind_of_folder(config)):
            raise RunFolderError(f"{self.path} is not a run: it holds {kind}; expected a run folder")
        return config

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def replay(self) -> Path:
        """The folder of the replay segments."""
        return self.path / "replay"

    @property
    def best(self) -> Path:
        """The folder of the policy of the best evaluation."""
        return self.path / "best"

    @property
    def pretrained(self) -> Path:
        """The folder of the backbone that a meta-training has made."""
        return self.path / "pretrained"

    @property
    def prior(self) -> Path:
        """The folder of the policy that a run was given as its prior."""
        return self.path / "prior"

    @property
    def result(self) -> Path:
        """The file with the summary of a run that has ended."""
        return self.path / "result.json"

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    @property
    def holder(self) -> str | None:
        """The number of the process that holds the lock, "unknown" if it does not tell; None if nobody holds it."""
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(descriptor)
        except OSError:  # a file system without locks
            return None
        finally:
            os.close(descriptor)
        return None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing. The system releases the lock when the process ends, however it ends.

        Raises `RunFolderError`, naming the process, when another one (or another `RunFolder` of this one) holds it.
        """
        self._lock = self._acquire()
        _holders.add(self)
        try:
            with suppress(OSError):  # the number is for people: a full disk must not keep a run from being resumed
                os.truncate(self._lock, 0)
                os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            self._release()

    def _acquire(self) -> int:
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise RunFolderError(
                f"{self.path / '.lock'} cannot be opened: {error.strerror}; expected a folder that you may write to, "
                "with no link of that name in it"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise RunFolderError(
                f"run folder {self.path} is in use by process {holder}; wait until it ends, or choose another folder"
            ) from None
        except OSError as error:
            warnings.warn(
                f"{self.path} is on a file system without locks ({error.strerror}); make sure that no other process"
                " writes to this run",
                ApbWarning,
                stacklevel=5,
            )
        return descriptor

    def _release(self) -> None:
        _holders.discard(self)
        if self._lock is not None:  # None in a forked child, which has closed its copy already
            os.close(self._lock)
            self._lock = None


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"


_holders: "weakref.WeakSet[RunFolder]" = weakref.WeakSet()


def _release_in_child() -> None:
    # A forked simulation worker that outlives a killed run must not keep the run locked.
    for run in list(_holders):
        run._release()


os.register_at_fork(after_in_child=_release_in_child)


def json_hash(value: Any) -> str:
    """The SHA-256 of a JSON value, independent of the order of keys; for `config_hash` in a checkpoint's identity."""
    return hashlib.sha256(dump_json(value, sort_keys=True).encode()).hexdigest()


def last_good_checkpoint(path: Path) -> str:
    """The end of an error message: where the last good checkpoint of the run in `path` lies."""
    name = latest_name(path) or newest_name(path)
    return f"the last good checkpoint is {path / 'checkpoints' / name}" if name else "there is no checkpoint yet"


def short_path(path: Path) -> Path:
    """`path` as people like to read and type it: relative to the current folder if it lies in there."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def latest_name(path: Path) -> str | None:
    """The name of a checkpoint that LATEST of the run in `path` holds; None if it holds none."""
    try:
        with open_regular(path / "checkpoints" / "LATEST") as (file, _):
            name = file.read(100).decode().strip()
    except (OSError, FileFormatError, UnicodeDecodeError):
        return None
    return name if STEP_NAME.fullmatch(name) else None


def newest_name(path: Path) -> str | None:
    """The name of the newest checkpoint of the run in `path`, for where LATEST does not tell; None if it has none."""
    folder = path / "checkpoints"
    names = [entry.name for entry in folder.iterdir() if STEP_NAME.fullmatch(entry.name)] if folder.is_dir() else []
    return max(names, key=int, default=None)


@contextmanager
def writing(run: Path, what: Path) -> Iterator[None]:
    """Turn an `OSError` of the block, which writes `what`, into a `RunFolderError`: what is kept, and what to do.

    So too one that a part of `what` was refused for already, in words that know nothing of the run.
    """
    try:
        yield
    except OSError as error:
        reason = error.__cause__ if isinstance(error, RunFolderError) else error
        if not isinstance(reason, OSError):
            raise
        raise RunFolderError(
            f"{what} cannot be written: {reason.strerror or reason}; {last_good_checkpoint(run)}; make room, or make "
            f"it a place that you may write to, and continue with `apb resume {shlex.quote(str(run))}`"
        ) from error


def require_new_folder(path: Path) -> None:
    """Raise `RunFolderError` when there is something at `path` in whose place no run may begin."""
    with _begun_in(path):
        if path.exists():
            _require_empty(path)


@contextmanager
def _begun_in(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block, in which a run begins in `path`, into a `RunFolderError`."""
    try:
        yield
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(
            f"run_dir = {str(path)!r} cannot be written: {error}; make room, or choose another place"
        ) from error


def _require_empty(path: Path) -> None:
    present = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    begun = "command.txt" in present and set(present) <= FIRST_FILES
    if present and not begun:
        raise RunFolderError(
            f"run_dir = {str(path)!r} is not empty ({', '.join(present[:3])}); expected a new or empty folder: give"
            " another name, or continue that run with `apb resume`"
        )


@contextmanager
def numbered_folder(env: str, strategy: str) -> Iterator[Path]:
    """Make the first free `runs/<env>-<strategy>-<n>`, for a run without a name; two processes never get the same.

    If it is still empty at the end of the block, because no run came about, it is removed.

    Raises `RunFolderError` when it cannot be made.
    """
    name = "-".join(re.sub(r"[^A-Za-z0-9_.-]+", "-", part)[:60].lstrip(".") for part in (env, strategy))
    is_first = not DEFAULT_ROOT.exists()
    try:
        DEFAULT_ROOT.mkdir(exist_ok=True)
        folder = _first_free(DEFAULT_ROOT / name)
    except OSError as error:
        raise RunFolderError(f"no run folder can be made in {DEFAULT_ROOT.absolute()}: {error}; name one") from error
    try:
        yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()
            if is_first:
                DEFAULT_ROOT.rmdir()


def _first_free(stem: Path) -> Path:
    for number in itertools.count(1):
        folder = stem.with_name(f"{stem.name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()  # fails when it exists, so that exactly one process gets each number
            return folder
    raise AssertionError("unreachable")
