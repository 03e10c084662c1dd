"""Gymnasium `Box` spaces in a policy: written as JSON without loss, and compared."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from apb.env_spaces import FLOAT_DTYPES, MAX_DIMENSIONS, MAX_SIZE
from apb.errors import FileFormatError


def to_json(space: Box) -> dict[str, Any]:
    """JSON values that `from_json` turns into an equal space, bit for bit; infinite bounds become "inf" and "-inf"."""
    return {
        "type": "Box",
        "dtype": str(space.dtype),
        "shape": [int(size) for size in space.shape],
        "low": [_number_to_json(value) for value in space.low.ravel().tolist()],
        "high": [_number_to_json(value) for value in space.high.ravel().tolist()],
    }


def from_json(name: str, value: object) -> Box:
    """The `Box` that `to_json` wrote as `value`; `name` says in errors which space is meant.

    Raises:
        FileFormatError: `value` is not such a description.
    """
    if not isinstance(value, Mapping) or value.get("type") != "Box" or value.get("dtype") not in FLOAT_DTYPES:
        raise FileFormatError(
            f"{name}: expected an object with type 'Box' and dtype among {FLOAT_DTYPES}; found {_shorten(value)}"
        )
    shape = value.get("shape")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n > 0 for n in shape):
        raise FileFormatError(f"{name}.shape = {_shorten(shape)}; expected at most {MAX_DIMENSIONS} positive integers")
    size = 1
    for n in shape:
        size *= n
    if size > MAX_SIZE:
        raise FileFormatError(f"{name}.shape = {_shorten(shape)} has {size} elements; expected at most {MAX_SIZE}")
    dtype = np.dtype(str(value["dtype"]))
    low, high = (
        _bound_from_json(f"{name}.{end}", value.get(end), size, dtype).reshape(shape) for end in ("low", "high")
    )
    if not (low <= high).all():
        raise FileFormatError(f"{name}: low exceeds high; expected low <= high in every element")
    return Box(low, high, dtype=dtype.type)


def differences(expected: Box, found: gymnasium.Space[Any]) -> list[str]:
    """What tells two spaces apart, in words; empty if one policy serves both.

    Shapes must be equal and bounds close (as in `Box.__eq__`); the float dtype may differ, since policies read either.
    """
    if not isinstance(found, Box) or str(found.dtype) not in FLOAT_DTYPES:
        return [f"is {found}, expected {expected}"]
    if found.shape != expected.shape:
        return [f"has shape {found.shape}, expected {expected.shape}"]
    words = []
    for end in ("low", "high"):
        ours, theirs = (np.asarray(getattr(box, end), dtype=np.float64).ravel() for box in (expected, found))
        apart = np.flatnonzero(~np.isclose(ours, theirs))
        if apart.size:
            at = int(apart[0])
            words.append(f"has {end}[{at}] = {theirs[at]:g}, expected {ours[at]:g}")
    return words


def _number_to_json(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)


def _bound_from_json(name: str, values: object, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if not isinstance(values, list) or len(values) != size:
        found = f"{len(values)} elements" if isinstance(values, list) else _shorten(values)
        raise FileFormatError(f"{name}: expected a list of {size} numbers; found {found}")
    infinite = {"inf": np.inf, "-inf": -np.inf}
    largest = float(np.finfo(dtype).max)
    numbers = np.empty(size, dtype=dtype)
    for i, value in enumerate(values):
        if isinstance(value, str) and value in infinite:
            numbers[i] = infinite[value]
        elif type(value) in (int, float) and abs(value) <= largest:
            numbers[i] = value
        else:
            raise FileFormatError(f"{name}[{i}] = {_shorten(value)}; expected a {dtype} number, 'inf' or '-inf'")
    return numbers


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
