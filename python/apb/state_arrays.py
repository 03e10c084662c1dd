"""`require_like`: what was read from a file is what the program would have written there; `named`, `part`: states that
are made of states.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import FileFormatError, MismatchError

LARGEST = 2**62


def require_like(found: Any, own: Any, what: str, name: str = "") -> None:
    """Check `found` against `own`, a value that the program has in its place.

    Dicts must have the same keys; arrays the same dtype and shape, and finite numbers; an integer must be one in
    [0, 2^62), and a float a finite number >= 0.

    Raises:
        MismatchError: names, dtypes or shapes differ; it names `what` and the place in it.
        FileFormatError: a value cannot be.
    """
    if isinstance(own, Mapping) and isinstance(found, Mapping):
        for key in sorted(map(str, found.keys() | own.keys())):
            place = f"{name}.{key}" if name else key
            if key not in found or key not in own:
                raise _mismatch(what, place, found.get(key), own.get(key))
            require_like(found[key], own[key], what, place)
    elif isinstance(own, np.ndarray) and isinstance(found, np.ndarray):
        if (found.dtype, found.shape) != (own.dtype, own.shape):
            raise _mismatch(what, name, found, own)
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise FileFormatError(f"{what} in the checkpoint has NaN or infinity in {name!r}; use another checkpoint")
    elif not (_is_count(found) if type(own) is int else type(own) is float and _is_amount(found)):
        raise FileFormatError(
            f"{what} in the checkpoint has {name} = {found!r:.100}; expected {_described(own)}; use another checkpoint"
        )


def named(name: str, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays of a state as a part of a larger one, "<name>.<array>"."""
    return {f"{name}.{key}": array for key, array in state.items()}


def part(name: str, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `named` has put there."""
    return {key[len(name) + 1 :]: array for key, array in state.items() if key.startswith(f"{name}.")}


def require_counts(found: Mapping[str, NDArray[Any]], what: str) -> None:
    """Raise `FileFormatError` if an array of integers has one outside [0, 2^62)."""
    for name, array in found.items():
        if array.dtype.kind == "i" and array.size and not 0 <= array.min() <= array.max() < LARGEST:
            raise FileFormatError(
                f"{what} in the checkpoint has {name} = {array!r:.100}; expected counts; use another checkpoint"
            )


def require_pairs(found: Any, what: str) -> None:
    """Raise `FileFormatError` unless `found` is a list of `[name or number, number]`, all finite."""
    pairs = isinstance(found, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in found)
    if not pairs or not all(_is_number(value) and (isinstance(key, str) or _is_number(key)) for key, value in found):
        raise FileFormatError(f"{what} in the checkpoint is {found!r:.100}; expected pairs; use another checkpoint")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # NaN is not


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def _is_amount(value: Any) -> bool:
    return _is_number(value) and 0 <= value < LARGEST


def _mismatch(what: str, name: str, found: Any, own: Any) -> MismatchError:
    return MismatchError(
        f"{what} in the checkpoint holds {_described(found)} as {name!r}; expected {_described(own)}: it belongs to a "
        "run of other sizes or of another version, or was edited; use another checkpoint"
    )


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return "nothing" if value is None else f"a {type(value).__name__}"
