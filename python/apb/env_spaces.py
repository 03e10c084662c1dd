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


class ActionBounds:
    """The affine map from [-1, 1] to an action space: `action = clip(offset + scale * a, low, high)`.

    `scale = (high - low) / 2` and `offset = (high + low) / 2`, in the dtype of the space; `shape` is the env's own
    shape of one action and `size` its number of elements.
    """

    def __init__(self, space: spaces.Box) -> None:
        self.low: NDArray[Any] = space.low.reshape(-1)
        self.high: NDArray[Any] = space.high.reshape(-1)
        # Halved before they are added: bounds near the largest float must not overflow.
        self.scale = self.high / 2 - self.low / 2
        self.offset = self.high / 2 + self.low / 2
        self.shape = space.shape
        self.size = flat_size(space)

    def to_env(self, actions: NDArray[np.float32]) -> NDArray[Any]:
        """Map actions in [-1, 1], shape (R, size), to a new array (R, *shape) inside the bounds, bounds included."""
        scaled = actions * self.scale
        scaled += self.offset
        np.maximum(scaled, self.low, out=scaled)
        np.minimum(scaled, self.high, out=scaled)
        return scaled.astype(self.low.dtype, copy=False).reshape(-1, *self.shape)


def flat_size(space: spaces.Box) -> int:
    """Number of elements of one observation or action."""
    return math.prod(space.shape)


def require_observation_space(space: gymnasium.Space[Any]) -> spaces.Box:
    """Return `space` if it is a `Box` of floats; raise `InvalidEnvError` otherwise."""
    box = _require_float_box("observation_space", space, _OBSERVATION_ADVICE)
    if np.isnan(box.low).any() or np.isnan(box.high).any():
        raise InvalidEnvError(f"observation_space = {box} has NaN bounds; expected numbers or infinities")
    return box


def require_action_space(space: gymnasium.Space[Any]) -> spaces.Box:
    """Return `space` if it is a `Box` of floats with finite bounds, `low < high`; raise `InvalidEnvError` otherwise."""
    box = _require_float_box("action_space", space, "only continuous actions are supported")
    low, high = box.low.reshape(-1), box.high.reshape(-1)
    for index in range(low.size):
        bounds = f"low = {low[index]!s}, high = {high[index]!s} at index {index}"
        if not (np.isfinite(low[index]) and np.isfinite(high[index])):
            raise InvalidEnvError(
                f"action_space has {bounds}; expected finite bounds on both sides. Give the env a bounded Box, for "
                f"example with gymnasium.wrappers.TransformAction(env, func, action_space)"
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
    return space
