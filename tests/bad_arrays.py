"""Every way in which one array argument of a native call can be wrong, for tests that the call refuses it by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Call:
    """A native call that works as it stands; `arguments()` makes fresh ones.

    Args:
        function: The native function.
        arguments: Returns all its arguments by name.
        written: Names of the arrays that the call writes.
        strided: Names of the arrays that may have any strides.
        real: Names of the arrays that may be float32 or float64.
        free: (name, axis) of the axes whose extent no other array shares.
    """

    function: Callable[..., None]
    arguments: Callable[[], dict[str, Any]]
    written: frozenset[str] = field(default_factory=frozenset)
    strided: frozenset[str] = field(default_factory=frozenset)
    real: frozenset[str] = field(default_factory=frozenset)
    free: frozenset[tuple[str, int]] = field(default_factory=frozenset)

    def having(self, **replaced: object) -> None:
        """Make the call with some arguments replaced."""
        self.function(**(self.arguments() | replaced))


def spread(array: np.ndarray) -> np.ndarray:
    """A copy of the array of which no two elements are neighbours in memory."""
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def misaligned(array: np.ndarray) -> np.ndarray:
    """A copy of the array that starts at an odd address."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    copy = memory[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def in_one_buffer(first: np.ndarray, second: np.ndarray, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Copies of two arrays in one buffer, the second starting `offset` bytes after the first."""
    memory = np.zeros(offset + max(first.nbytes, second.nbytes) + 8, np.uint8)
    copies = []
    for start, array in ((0, first), (offset, second)):
        copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        copies.append(copy)
    return copies[0], copies[1]


def _mistakes(call: Call, name: str, array: np.ndarray) -> Iterator[tuple[str, object, type[Exception]]]:
    yield "list", array.tolist(), TypeError
    yield "none", None, TypeError
    yield "float16", np.zeros_like(array, np.float16), TypeError
    yield "complex", np.zeros_like(array, np.complex64), TypeError
    yield "int32", np.zeros_like(array, np.int32), TypeError
    yield "objects", array.astype(object), TypeError
    yield "masked", np.ma.masked_array(array), TypeError
    if array.dtype.kind == "f" and name not in call.real:
        yield "float64", array.astype(np.float64), TypeError
    if array.dtype.itemsize > 1:
        yield "other byte order", array.astype(array.dtype.newbyteorder()), TypeError
        yield "misaligned", misaligned(array), ValueError
    yield "one axis more", array[None], ValueError
    yield "one axis less", np.asarray(array[0]), ValueError
    if name not in call.strided:
        yield "gaps between elements", spread(array), ValueError
        if array.ndim > 1:
            yield "column-major", np.asfortranarray(array), ValueError
        yield "reversed", array[::-1].copy()[::-1], ValueError
    if name in call.written:
        frozen = array.copy()
        frozen.flags.writeable = False
        yield "read-only", frozen, ValueError


def _arrays(call: Call) -> dict[str, np.ndarray]:
    return {name: value for name, value in call.arguments().items() if isinstance(value, np.ndarray)}


def mistakes(call: Call) -> list[Any]:
    """Parameters (name, value, error) for `pytest.mark.parametrize`: each array of the call in each wrong form."""
    return [
        pytest.param(name, value, error, id=f"{name}: {kind}")
        for name, array in _arrays(call).items()
        for kind, value, error in _mistakes(call, name, array)
    ]


def wrong_sizes(call: Call) -> list[Any]:
    """Parameters (name, value): each array with no entry, and with one more, along each axis that others fix."""
    return [
        pytest.param(
            name,
            np.delete(array, np.s_[entries:], axis) if entries == 0 else longer,
            id=f"{name}: {entries} along {axis}",
        )
        for name, array in _arrays(call).items()
        for axis in range(array.ndim)
        for longer in [np.concatenate([array, array.take([0], axis)], axis)]
        for entries in (0, array.shape[axis] + 1)
        if entries == 0 or (name, axis) not in call.free
    ]


def shared_memory(call: Call) -> list[Any]:
    """Parameters (names): each pair of arrays of which one is written."""
    names = sorted(_arrays(call))
    return [
        pytest.param((one, other), id=f"{one} and {other}")
        for one in sorted(call.written)
        for other in names
        if one != other and (other not in call.written or one < other)
    ]


def of_every(calls: dict[str, Call], list_cases: Callable[[Call], list[Any]]) -> list[Any]:
    """The parameters of all calls in one list, each with its call in front."""
    return [
        pytest.param(call, *case.values, id=f"{name} {case.id}")
        for name, call in calls.items()
        for case in list_cases(call)
    ]
