"""`Parameter`: one number or array that tells the tasks of a family apart, with the values that it may take."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, UnknownNameError, nearest

Parameters = Mapping[str, NDArray[np.float64]]
"""Values of all parameters of a family for R rows: each array is (R, *shape)."""


@dataclass(frozen=True)
class Parameter:
    """The values that one parameter may take.

    Attributes:
        description: What it is, with its unit.
        default: The value of a task that does not name it; broadcast to `shape`.
        low, high: Bounds, included.
        shape: Of one task's value; () is a number.
        allowed: The only values that elements may have, if they are few: a sign, for one.
        permutation: Whether the elements must be 0, 1, ..., n - 1 in some order.
        angle: Whether elements are angles in rad, of which two are the same a full turn apart.
    """

    description: str
    default: float | tuple[float, ...]
    low: float
    high: float
    shape: tuple[int, ...] = ()
    allowed: tuple[float, ...] = ()
    permutation: bool = False
    angle: bool = False

    def coordinates(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (R, m) for values of R rows, (R, *shape), as far from each other as the values are: of an angle its
        cosine and sine, of a permutation a 1 in each place that an element goes to."""
        flat = rows.reshape(len(rows), -1)
        if self.angle:
            return np.concatenate([np.cos(flat), np.sin(flat)], axis=1)
        if self.permutation:
            places: NDArray[np.float64] = (flat[:, :, np.newaxis] == np.arange(flat.shape[1])).astype(np.float64)
            return places.reshape(len(rows), -1)
        return flat

    def rows(self, name: str, value: Any, count: int) -> NDArray[np.float64]:
        """`value` for `count` rows, (count, *shape): one value for all of them, or one each.

        Raises:
            ConfigError: not numbers, another shape, out of range, or not finite.
        """
        try:
            given = np.asarray(value)
        except ValueError as error:  # a ragged list
            raise ConfigError(f"{name} = {value!r:.100}; expected {self.expected}") from error
        if given.dtype.kind not in "iuf":
            raise ConfigError(f"{name} = {value!r:.100}; expected {self.expected}")
        array = given.astype(np.float64)
        if array.shape == self.shape:
            array = np.broadcast_to(array, (count, *self.shape))
        elif array.shape != (count, *self.shape):
            raise ConfigError(
                f"{name} has shape {array.shape}; expected {self.shape} for all of {count} rows, or "
                f"{(count, *self.shape)}: {self.expected}"
            )
        wrong = np.argwhere(~self._fits(array))
        if wrong.size:
            where = tuple(int(index) for index in wrong[0])
            raise ConfigError(f"{name}{self._at(where, count)} = {float(array[where])!r}; expected {self.expected}")
        if self.permutation:
            for row, values in enumerate(array):
                if not np.array_equal(np.sort(values), np.arange(values.size)):
                    raise ConfigError(f"{name}{self._at((row,), count)} repeats an element; expected {self.expected}")
        return np.array(array)

    @property
    def expected(self) -> str:
        """The values that are taken, in words."""
        if self.permutation:
            return f"0 to {self.shape[0] - 1} in any order ({self.description})"
        if self.allowed:
            values = " or ".join(f"{value:g}" for value in self.allowed)
        else:
            values = f"a number in [{self.low:g}, {self.high:g}]"
        array = f" in each element of an array {self.shape}" if self.shape else ""
        return f"{values}{array} ({self.description})"

    def _fits(self, array: NDArray[np.float64]) -> NDArray[np.bool_]:
        if self.allowed:
            return np.isin(array, self.allowed)
        inside: NDArray[np.bool_] = (array >= self.low) & (array <= self.high)
        return inside & (array == np.floor(array)) if self.permutation else inside

    def _at(self, index: tuple[int, ...], count: int) -> str:
        row, *element = index
        words = [f"[{', '.join(map(str, element))}]"] if element else []
        return "".join(words + ([f" of row {row}"] if count > 1 else []))


def rows_of(parameters: Mapping[str, Parameter], values: Mapping[str, Any], count: int, family: str) -> Parameters:
    """Values of all `parameters` for `count` rows: those given, and the defaults.

    Raises:
        UnknownNameError: the family has no parameter of a given name. ConfigError: see `Parameter.rows`.
    """
    for name in values:
        if name not in parameters:
            raise UnknownNameError(f"the family {family!r} has no parameter {name!r:.100}; {nearest(name, parameters)}")
    found = {
        name: parameter.rows(
            name, values[name] if name in values else np.broadcast_to(parameter.default, parameter.shape), count
        )
        for name, parameter in parameters.items()
    }
    for array in found.values():
        array.flags.writeable = False  # models were made of them
    return found
