"""What arrays have to be to be demonstrations: `finite_rows`, `lengths_of`, `returns_of`, `flattened`, `within_bounds`.

Each returns the array as it is kept, or raises `ConfigError` with the name of the argument, the index and the value;
`MismatchError` for shapes that do not fit a space.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from apb.env_spaces import flat_size
from apb.errors import ConfigError, MismatchError

BOUND_TOLERANCE = 1e-6
"""Of the range of an action: so far beyond its bounds a demonstrated one may lie, which rounding explains."""


def finite_rows(name: str, values: Any) -> NDArray[np.float32]:
    """`values` as finite float32 (N, ...)."""
    array = _numbers(name, values, "shape (N, ...)")
    if array.ndim == 1 and array.size:
        raise ConfigError(
            f"{name} has shape {array.shape}; expected (N, ...), a row for each step: if each step has one number, "
            f"give {name}.reshape(-1, 1), of shape ({array.size}, 1)"
        )
    if array.ndim < 2 or array.size == 0:
        raise ConfigError(
            f"{name} has shape {array.shape}; expected (N, ...) with N >= 1: a row for each step, and more than nothing"
            " in it"
        )
    with np.errstate(over="ignore"):
        converted = np.array(array, dtype=np.float32, order="C")
    wrong = np.argwhere(~np.isfinite(converted))
    if len(wrong):
        index = tuple(int(i) for i in wrong[0])
        raise ConfigError(
            f"{name}[{', '.join(map(str, index))}] = {array[index]}; expected finite float32 numbers: leave that "
            "episode out, or look for what went wrong in it"
        )
    return converted


def lengths_of(values: Any, rows: int) -> NDArray[np.int64]:
    """`values` as the steps of each episode (E,), `rows` together."""
    array = _array("episode_lengths", values)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.size == 0:
        raise ConfigError(
            f"episode_lengths is {array.dtype} of shape {array.shape}; expected integers, shape (E,) with E >= 1"
        )
    wrong = (array < 1) | (array > rows)  # also what a sum would carry past the largest integer
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ConfigError(
            f"episode_lengths[{index}] = {array[index]}; expected at least 1 step in each episode, and at most the "
            f"{rows:,} of all observations"
        )
    if int(array.sum()) != rows:
        raise ConfigError(
            f"episode_lengths sum to {int(array.sum()):,}; expected {rows:,}, the number of observations: give the "
            "steps of each episode, without a final observation"
        )
    return array.astype(np.int64)


def returns_of(values: Any, episodes: int) -> NDArray[np.float64]:
    """`values` as finite numbers (E,), one for each episode."""
    array = _numbers("returns", values, f"shape ({episodes},), one for each episode").astype(np.float64)
    if array.shape != (episodes,):
        raise ConfigError(f"returns has shape {array.shape}; expected ({episodes},), one for each episode, or none")
    if not np.isfinite(array).all():
        index = int(np.argmin(np.isfinite(array)))
        raise ConfigError(
            f"returns[{index}] = {array[index]}; expected finite numbers: leave that episode out, or give no returns"
        )
    return array


def flattened(name: str, array: NDArray[np.float32], space: Box) -> NDArray[np.float32]:
    """(N, *shape) or (N, size) as (N, size)."""
    if array.shape[1:] not in (space.shape, (flat_size(space),)):
        raise MismatchError(
            f"{name} has shape {array.shape}; expected (N, {', '.join(map(str, space.shape))}), since {name[:-1]}_space"
            f" is {space}: give the space, or the env, that they belong to"
        )
    return array.reshape(len(array), -1)


def within_bounds(actions: NDArray[np.float32], space: Box) -> NDArray[np.float32]:
    """Actions (N, act) inside the bounds, which they may pass by `BOUND_TOLERANCE`."""
    low, high = (bound.astype(np.float32).ravel() for bound in (space.low, space.high))
    room = np.float32(BOUND_TOLERANCE) * (high - low)
    wrong = np.argwhere((actions < low - room) | (actions > high + room))
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise ConfigError(
            f"actions[{row}, {column}] = {actions[row, column]}; expected a number in [{low[column]}, {high[column]}], "
            "the bounds of action_space: give the space that the actions belong to, or clip them if the env did so"
        )
    return np.clip(actions, low, high)


def _array(name: str, values: Any) -> NDArray[Any]:
    """`values` as an array; raises `ConfigError` for what NumPy cannot read, and for masked entries."""
    try:
        array = np.ma.asarray(values)
    except Exception as error:  # a ragged list, for one
        raise ConfigError(
            f"{name} is a {type(values).__name__} that NumPy cannot read ({error}); expected rows of equal length"
        ) from error
    if np.ma.is_masked(array):
        raise ConfigError(
            f"{name} masks {int(np.ma.getmaskarray(array).sum()):,} of {array.size:,} entries; expected none that is "
            "masked: leave the episodes with such entries out"
        )
    return np.asarray(array)


def _numbers(name: str, values: Any, expected: str) -> NDArray[Any]:
    """`values` as an array of real numbers of whatever type; raises `ConfigError` for anything else."""
    array = _array(name, values)
    if array.dtype.kind not in "fiub":
        raise ConfigError(f"{name} has dtype {array.dtype}; expected real numbers, {expected}")
    return array
