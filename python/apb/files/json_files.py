"""Reading and writing JSON that nobody has to trust: capped in size and depth, unique keys, finite numbers, atomic."""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from apb.errors import ConfigError, FileFormatError, RunFolderError
from apb.files.atomic import atomic_file

MAX_JSON_BYTES = 64 * 2**20
MAX_JSON_DEPTH = 64

PathLike = str | os.PathLike[str]


def read_json(path: PathLike, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the JSON value in a UTF-8 file.

    Raises `FileFormatError` when the file is missing, larger than `max_bytes`, nested deeper than 64 levels, not JSON,
    has a key twice, or holds NaN or a number that overflows to infinity.
    """
    with open_regular(path) as (file, size):
        if size > max_bytes:
            raise FileFormatError(f"{path} has {size} bytes; expected JSON of at most {max_bytes}")
        return parse_json(file.read(max_bytes + 1), path)


def parse_json(data: bytes, source: PathLike) -> Any:
    """Return the JSON value of `data`, with the checks of `read_json`; `source` is named in the error."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
    except RecursionError:
        raise FileFormatError(f"{source} is nested too deeply; expected at most {MAX_JSON_DEPTH} levels") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise FileFormatError(f"{source} is not valid JSON: {error}") from None
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return value
    raise FileFormatError(f"{source} is nested too deeply; expected at most {MAX_JSON_DEPTH} levels")


def dump_json(
    value: Any, *, indent: int | None = None, sort_keys: bool = False, max_bytes: int = MAX_JSON_BYTES
) -> str:
    """Return `value` as JSON text; NumPy scalars count as numbers.

    Raises `ConfigError`, naming the place, for NaN, infinity, keys that are not text, and anything that JSON has not,
    and for what `read_json` would not take: values nested deeper than 64 levels, and text that is larger than
    `max_bytes` as a line.
    """
    _check_json(value, "value", 0)
    text = json.dumps(value, allow_nan=False, indent=indent, sort_keys=sort_keys, default=_plain_scalar)
    if len(text) >= max_bytes:  # it is ASCII
        raise ConfigError(f"value has {len(text) + 1:,} bytes as a line of JSON; expected at most {max_bytes:,}")
    return text


def dump_json_file(value: Any, *, max_bytes: int = MAX_JSON_BYTES) -> str:
    """Return what `write_json_atomic` writes for `value`, and raise what it would raise."""
    return dump_json(value, indent=2, max_bytes=max_bytes) + "\n"


def write_json_atomic(path: PathLike, value: Any) -> None:
    """Write `value` to `path` as indented JSON; a kill or a full disk leaves what was there before."""
    text = dump_json_file(value)
    with atomic_file(path) as file:
        file.write(text.encode())


def append_jsonl(path: PathLike, record: Mapping[str, Any]) -> None:
    """Append one line of JSON to `path`, flushed to the operating system; a failed write leaves no part of a line."""
    line = dump_json(dict(record)).encode() + b"\n"
    with Path(path).open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[file.write(line) :]  # a disk that fills up takes a part first, and then fails
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


def sha256_file(path: PathLike) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open_regular(path) as (file, _):
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_content(path: PathLike, size: int, sha256: str) -> None:
    """Raise `FileFormatError` unless `path` is a file of that size and checksum."""
    with open_regular(path) as (file, found):
        if found != size or hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise FileFormatError(f"{path} differs from its manifest (size or checksum)")


@contextmanager
def open_regular(path: PathLike) -> Iterator[tuple[BufferedReader, int]]:
    """Open a file for reading and give its size; a pipe or device is refused instead of waited for.

    Raises `FileFormatError` when there is no such file, and `RunFolderError` when it cannot be read, now or in the
    block (permissions, a failing disk, too many open files): what is in it may be good, so nobody may take it for
    damaged.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise FileFormatError(f"{path} is not a regular file")
        with os.fdopen(descriptor, "rb") as file:
            yield file, status.st_size
    except (FileNotFoundError, NotADirectoryError):
        raise FileFormatError(f"there is no file {path}; check the path, or write it again") from None
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be read: {error.strerror}; expected a file that you may read: look at its permissions and "
            "its disk, and try again"
        ) from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return result


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large for a float64")
    return value


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _plain_scalar(value: Any) -> Any:
    return value.item()  # only NumPy scalars get past `_check_json` to here


def _check_json(value: Any, place: str, depth: int) -> None:
    if depth >= MAX_JSON_DEPTH:  # as `parse_json` counts: the innermost value is a level too
        raise ConfigError(f"{place:.200} is nested deeper than {MAX_JSON_DEPTH} levels")
    if isinstance(value, Mapping):
        for key, child in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"{place} has the key {key!r}; JSON keys are text")
            _check_json(child, f"{place}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            _check_json(child, f"{place}[{index}]", depth + 1)
    elif isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise ConfigError(f"{place} = {value!r} cannot be written as JSON; expected a finite number")
    elif value is not None and not isinstance(value, (bool, int, str, np.integer, np.bool_)):
        raise ConfigError(f"{place} is a {type(value).__name__}; expected text, numbers, lists, dicts, bool or None")
