"""Reading and writing named arrays in the safetensors format: 8 bytes of header length, a JSON header, the raw values.

The codec is our own because it has to be stricter than the format (caps, known dtypes, finite values), to fail with
`OSError` on a full disk, and to write the same bytes for the same arrays. The `safetensors` library reads these files,
and its files are read here.
"""

import json
import math
from collections.abc import Mapping
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, FileFormatError
from apb.files.atomic import atomic_file
from apb.files.json_files import PathLike, open_regular, parse_json

MAX_HEADER_BYTES = 16 * 2**20
MAX_NAME_LENGTH = 512
MAX_RANK = 16
MAX_DIMENSION = 2**40  # a bound on each side, so that a shape with a zero in it cannot overflow elsewhere

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "U64": np.dtype("<u8"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_ALLOWED = ", ".join(dtype.name for dtype in _DTYPES.values())


def write_tensors(path: PathLike, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to `path` in the safetensors format; the same arrays always give the same bytes.

    Raises `ConfigError` for a dtype other than float64, float32, int64, uint64, int32, uint8 or bool, a name that is
    empty, too long or could be a path outside a folder, and values that are NaN or infinite.
    """
    arrays: list[tuple[str, NDArray[Any]]] = []
    for name, tensor in tensors.items():
        array = np.asarray(tensor)
        reason = _name_fault(name) or _shape_fault(array.shape)
        if reason:
            raise ConfigError(f"tensors[{name!r}] {reason}")
        if array.dtype not in _CODES:
            raise ConfigError(f"tensors[{name!r}] has dtype {array.dtype}; expected one of {_ALLOWED}")
        if not _all_finite(array):
            raise ConfigError(f"tensors[{name!r}] holds NaN or infinite values; expected finite ones")
        arrays.append((name, array))
    arrays.sort(key=lambda item: (-item[1].itemsize, item[0]))  # larger items first keeps every tensor aligned
    header: dict[str, Any] = {}
    position = 0
    for name, array in arrays:
        end = position + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise ConfigError(
            f"tensors have a header of {len(text)} bytes; expected at most {MAX_HEADER_BYTES}: fewer names"
        )
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in arrays:
            file.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")


def read_tensors(path: PathLike) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file, each its own writable memory.

    Raises `FileFormatError` for a file that is missing, truncated, has a
    malformed, oversized or inconsistent header, a dtype that `write_tensors` does not write, an unsafe name, or
    NaN or infinite values.
    """
    with open_regular(path) as (file, size):
        entries, data_start = _read_header(file, size, path)
        tensors: dict[str, NDArray[Any]] = {}
        for name, (dtype, shape, start, _) in entries.items():
            file.seek(data_start + start)
            raw = np.empty(shape, np.uint8 if dtype.kind == "b" else dtype)
            if raw.size and file.readinto(raw.data.cast("B")) != raw.nbytes:
                raise FileFormatError(f"{path} ended while tensor {name!r} was read; it is being written to")
            if dtype.kind == "b" and raw.size and raw.max() > 1:
                raise FileFormatError(f"{path}: tensor {name!r} is bool but holds bytes other than 0 and 1")
            if not _all_finite(raw):
                raise FileFormatError(f"{path}: tensor {name!r} holds NaN or infinite values")
            tensors[name] = raw.view(np.bool_) if dtype.kind == "b" else raw
        return tensors


def check_header(path: PathLike) -> None:
    """Raise `FileFormatError` unless the header of a safetensors file is sound and describes a file of its size; the
    values are not read, however many there are."""
    with open_regular(path) as (file, size):
        _read_header(file, size, path)


_Entry = tuple[np.dtype[Any], tuple[int, ...], int, int]


def _read_header(file: BufferedReader, size: int, path: PathLike) -> tuple[dict[str, _Entry], int]:
    if size < 8:
        raise FileFormatError(f"{path} has {size} bytes; expected a safetensors file, which has at least 8")
    length = int.from_bytes(file.read(8), "little")
    if length > min(MAX_HEADER_BYTES, size - 8):
        raise FileFormatError(
            f"{path} announces a header of {length} bytes; at most {min(MAX_HEADER_BYTES, size - 8)} fit"
        )
    header = parse_json(file.read(length), f"header of {path}")
    if not isinstance(header, dict):
        raise FileFormatError(f"header of {path} is not a JSON object")
    header.pop("__metadata__", None)  # free text for people; nothing here depends on it
    entries = {name: _parse_entry(name, entry, path) for name, entry in header.items()}
    position = 0
    for name, (_, _, start, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != position:
            raise FileFormatError(
                f"{path}: tensor {name!r} starts at byte {start}; expected {position} (gap or overlap)"
            )
        position = end
    if position != size - 8 - length:
        raise FileFormatError(f"{path} holds {size - 8 - length} bytes of values; its header describes {position}")
    return entries, 8 + length


def _parse_entry(name: str, entry: Any, path: PathLike) -> _Entry:
    where = f"{path}: tensor {name!r}"
    fault = _name_fault(name)
    if fault:
        raise FileFormatError(f"{where} {fault}")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise FileFormatError(f"{where} is described by {entry!r:.100}; expected dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = _DTYPES.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise FileFormatError(f"{where} has dtype {code!r:.40}; expected one of {', '.join(_DTYPES)}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise FileFormatError(f"{where} has {what} {numbers!r:.100}; expected a list of integers >= 0")
    fault = _shape_fault(tuple(shape))
    if fault:
        raise FileFormatError(f"{where} {fault}")
    needed = math.prod(shape) * dtype.itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != needed:
        raise FileFormatError(f"{where} has data_offsets {offsets!r:.100}; its shape needs {needed} bytes")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _name_fault(name: Any) -> str:
    """What is wrong with a tensor's name; "" when nothing is. Names may have '/' as parts of a path do."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        return f"has a name that is not printable text of 1 to {MAX_NAME_LENGTH} characters"
    if name == "__metadata__" or "\\" in name or ":" in name or {"", ".", ".."} & set(name.split("/")):
        return "has a name that could be a path outside its folder; expected parts joined by '/'"
    return ""


def _shape_fault(shape: tuple[int, ...]) -> str:
    if len(shape) > MAX_RANK or any(side > MAX_DIMENSION for side in shape):
        return f"has shape {list(shape)!s:.100}; expected at most {MAX_RANK} sides of at most 2^40"
    if math.prod(side for side in shape if side) >= 2**60:  # NumPy refuses it even when another side is 0
        return f"has shape {list(shape)!s:.100}, which is larger than any memory"
    return ""


def _all_finite(array: NDArray[Any]) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
