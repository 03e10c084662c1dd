"""Which observation and action spaces the package works with, and how actions in [-1, 1] map onto an env's bounds.

Observations and actions are rank-1 vectors inside the package. A `Box` of higher rank is flattened row-major on its way
in, and actions are given their shape back on their way out.
"""

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from apb.errors import InvalidEnvError

AnyEnv = gymnasium.Env[Any, Any]
AnyVectorEnv = VectorEnv[Any, Any, Any]

FLOAT_DTYPES = ("float16", "float32", "float64")  # what a saved policy can name
MAX_DIMENSIONS = 8
MAX_SIZE = 1_000_000  # elements of a space: bounds what a hostile config can allocate


class ActionBounds:
    """The map from [-1, 1] to an action space, in float32: `action = clip(offset + scale * a, low, high)`.

    Attributes:
        scale, offset: See `action_scale_and_offset`, shape (size,).
        low, high: The bounds, shape (size,), in the dtype of the space.
        shape: The env's own shape of one action.
        size: Its number of elements.
    """

    def __init__(self, space: spaces.Box) -> None:
        self.scale, self.offset = action_scale_and_offset(space)
        self.low: NDArray[Any] = space.low.reshape(-1)
        self.high: NDArray[Any] = space.high.reshape(-1)
        self.shape = space.shape
        self.size = flat_size(space)

    def to_env(self, actions: NDArray[np.float32]) -> NDArray[Any]:
        """Map actions in [-1, 1], shape (R, size), to a new array (R, *shape) inside the bounds, bounds included."""
        return self.inside(actions * self.scale + self.offset).reshape(-1, *self.shape)

    def inside(self, scaled: NDArray[np.float32]) -> NDArray[Any]:
        """Give scaled actions (R, size) the dtype of the space, whose bounds may lie between two float32 numbers."""
        cast = scaled.astype(self.low.dtype)
        np.maximum(cast, self.low, out=cast)
        np.minimum(cast, self.high, out=cast)
        return cast


def action_scale_and_offset(space: spaces.Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The map of outputs a in [-1, 1] to env actions, `offset + scale * a`: two float32 arrays of the flattened space.

    offset = (high + low) / 2 and scale = (high - low) / 2, lowered where float32 rounding would otherwise carry an
    action past a float32 bound. Rounding is monotone, so what holds at a = -1 and a = 1 holds between them.
    """
    low, high = (bound.astype(np.float32).ravel() for bound in (space.low, space.high))
    wide_low, wide_high = low.astype(np.float64), high.astype(np.float64)
    offset = np.clip(((wide_low + wide_high) / 2).astype(np.float32), low, high)
    room = np.minimum(wide_high - offset, offset - wide_low)
    scale = room.astype(np.float32)
    outside = (scale > room) | (offset + scale > high) | (offset - scale < low)
    return np.where(outside, np.nextafter(scale, np.float32(0)), scale), offset


def flat_size(space: spaces.Box) -> int:
    """Number of elements of one observation or action."""
    return math.prod(space.shape)


def spaces_of(env: AnyEnv | AnyVectorEnv) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
    """What one env observes and acts in, or one row of a `VectorEnv`; raises `InvalidEnvError` if it does not tell."""
    row = "single_" if isinstance(env, VectorEnv) else ""
    try:
        return getattr(env, f"{row}observation_space"), getattr(env, f"{row}action_space")
    except AttributeError as error:
        raise InvalidEnvError(
            f"it does not tell what it observes and acts in ({error}); expected that its class, or its __init__, sets "
            f"{row}observation_space and {row}action_space, each a Box of floats"
        ) from error


def require_observation_space(space: gymnasium.Space[Any]) -> spaces.Box:
    """Return `space` if it is a `Box` of floats that a policy can be saved with; raise `InvalidEnvError` otherwise."""
    box = _require_float_box("observation_space", space, _OBSERVATION_ADVICE)
    if np.isnan(box.low).any() or np.isnan(box.high).any():
        raise InvalidEnvError(f"observation_space = {box} has NaN bounds; expected numbers or infinities")
    return box


def require_action_space(space: gymnasium.Space[Any]) -> spaces.Box:
    """Return `space` if it is a `Box` of floats with bounds that are finite in float32 and `low < high`; raise
    `InvalidEnvError` otherwise."""
    box = _require_float_box("action_space", space, "only continuous actions are supported")
    low, high = box.low.reshape(-1), box.high.reshape(-1)
    with np.errstate(over="ignore"):
        narrow = np.stack([low, high]).astype(np.float32)
    for index in range(low.size):
        bounds = f"low = {low[index]!s}, high = {high[index]!s} at index {index}"
        if not np.isfinite(narrow[:, index]).all():
            raise InvalidEnvError(
                f"action_space has {bounds}; expected finite bounds on both sides, within float32 (3.4e38). Give the "
                "env a bounded Box, for example with gymnasium.wrappers.TransformAction(env, func, action_space)"
            )
        if not low[index] < high[index]:
            raise InvalidEnvError(f"action_space has {bounds}; expected low < high. Drop actions that cannot vary")
    return box


_OBSERVATION_ADVICE = (
    "wrap the env so that it observes one vector, for example with gymnasium.wrappers.FlattenObservation; images need "
    "an encoder in front, which this package does not have"
)


def _require_float_box(argument: str, space: gymnasium.Space[Any], advice: str) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        raise InvalidEnvError(f"{argument} = {space} is not supported; expected one Box of floats; {advice}")
    if str(space.dtype) not in FLOAT_DTYPES:
        raise InvalidEnvError(f"{argument} = {space} has dtype {space.dtype}; expected a Box of floats; {advice}")
    if flat_size(space) == 0:
        raise InvalidEnvError(f"{argument} = {space} has no elements; expected at least one; {advice}")
    if len(space.shape) > MAX_DIMENSIONS or flat_size(space) > MAX_SIZE:
        raise InvalidEnvError(
            f"{argument} = {space} has {len(space.shape)} dimensions and {flat_size(space):,} elements; expected at "
            f"most {MAX_DIMENSIONS} and {MAX_SIZE:,}, which a saved policy can have; {advice}"
        )
    return space
