"""Atomic writing: a kill, a full disk or a power cut at any moment leaves either the old or the new, never a mixture.

A file is written beside its destination, flushed to the disk and renamed over it. A folder is built beside its
destination and published by one system call:

* nothing (or an empty folder) there: `rename`;
* a folder there: `renameat2(RENAME_EXCHANGE)`, which swaps the two names, after which the old folder is deleted;
* a folder there, but the file system or the operating system cannot exchange: the old one is renamed to
  `.<name>.previous`, then the new one takes its place. Between these two renames the destination does not exist;
  `published_folder` therefore tells readers to look at `.<name>.previous`, which is complete at that moment.

What a kill leaves behind is hidden (`.<name>.<random>.tmp`) and removed by the next write or by `remove_leftovers`.
"""

import ctypes
import errno
import itertools
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from apb.errors import RunFolderError

ABANDONED_SECONDS = 3600.0  # no write takes an hour, so a temporary that old belongs to a killed process

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_SUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends, and vanishes if the block raises.

    Raises `OSError` when the file cannot be written (no space, no permission); `path` is then as it was before.
    """
    path = Path(path)
    temporary = _temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def staged_folder(final: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends it is published as `final`, and removed if the block raises.

    An existing `final` is replaced as a whole; of a link to a folder, that folder. Raises `RunFolderError` when `final`
    is not a folder, or a link that leads nowhere, or holds something that the new folder does not (it may be the
    user's: nothing of theirs is ever deleted).
    """
    final = Path(final)
    if final.is_symlink() and not final.exists():
        raise RunFolderError(
            f"{final} is a link to {final.readlink()}, where nothing is; expected a folder, or a name that does not "
            "exist yet: remove the link, or make the folder that it leads to"
        )
    final = final.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(final.parent, final.name, older_than=ABANDONED_SECONDS)
    staging = _temporary_beside(final)
    staging.mkdir()
    try:
        yield staging
        publish_folder(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # after an exchange this is the old folder


def carry_over(final: Path, staging: Path) -> None:
    """Link into `staging` what `final` holds and `staging` does not, so that it survives when `final` is replaced."""

    def replaced(folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).relative_to(final)
        return [name for name in names if (staging / inside / name).is_file()]

    if final.is_dir():
        shutil.copytree(final, staging, symlinks=True, ignore=replaced, copy_function=_link_or_copy, dirs_exist_ok=True)


def _link_or_copy(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # a file system without hard links
        shutil.copy2(source, destination)


def publish_folder(staging: Path, final: Path) -> None:
    """Make the complete folder `staging` appear as `final`, in the same parent, as the module docstring describes.

    When `final` existed, `staging` may afterwards name the old folder; the caller removes it.
    """
    refuse_to_delete_foreign_files(final, {entry.name for entry in staging.iterdir()})
    for folder, _, names in os.walk(staging):
        for name in names:
            if stat.S_ISREG(os.lstat(Path(folder, name)).st_mode):  # not a link or a pipe that was carried over
                sync(Path(folder, name))
        sync(Path(folder))
    previous = _previous(final)
    try:
        staging.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not _exchange(staging, final):
            shutil.rmtree(previous, ignore_errors=True)  # left by a kill; `final` exists, so it is out of date
            final.rename(previous)
            try:
                staging.rename(final)
            except BaseException:
                previous.rename(final)
                raise
    sync(final.parent)
    shutil.rmtree(previous, ignore_errors=True)


def published_folder(path: str | os.PathLike[str]) -> Path:
    """The folder to read for `path`: itself, or what a kill between the two renames of `publish_folder` left of it."""
    path = Path(path)
    if path.exists():
        return path
    previous = _previous(path)
    return previous if previous.is_dir() else path


def remove_leftovers(folder: Path, name: str | None = None, *, older_than: float = 0.0) -> None:
    """Remove what killed writers of `name` (None: of anything) left in `folder` at least `older_than` seconds ago."""
    now = time.time()
    for leftover in folder.iterdir():
        match = _TEMPORARY.fullmatch(leftover.name)
        if match is None or name not in (None, match[1]):
            continue
        try:
            old_enough = now - leftover.lstat().st_mtime >= older_than
        except FileNotFoundError:
            continue  # another process removed it first
        if not old_enough:
            continue
        _remove(leftover)


def free_name(path: Path) -> Path:
    """The first of `<path>-1`, `<path>-2`, ... that nothing has, for what is put aside."""
    return first_free(path.with_name(f"{path.name}-{number}") for number in itertools.count(1))


def first_free(names: Iterable[Path]) -> Path:
    """The first of endlessly many `names` that nothing has, not even a link that leads nowhere."""
    return next(name for name in names if not os.path.lexists(name))


def discard(path: Path) -> None:
    """Delete a file or a folder so that a kill half way never leaves a part of it under its name."""
    hidden = _temporary_beside(path)
    path.rename(hidden)
    _remove(hidden)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder (names created, renamed and removed), to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _previous(final: Path) -> Path:
    return final.with_name(f".{final.name}.previous")


def refuse_to_delete_foreign_files(final: Path, names: set[str]) -> None:
    """Raise `RunFolderError` where a folder with these `names` in it could not take the place of `final`."""
    if not final.exists():
        return
    if not final.is_dir():
        raise RunFolderError(f"{final} is a file; expected a folder, or a name that does not exist yet")
    foreign = sorted({entry.name for entry in final.iterdir()} - names)
    if foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise RunFolderError(
            f"folder {final} already holds something else ({shown}); expected a new or empty folder, or one written by"
            " the same function; give another name"
        )


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_SUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))
