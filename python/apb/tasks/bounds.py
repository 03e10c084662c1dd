"""What may go into a simulation and come out of one: `numbers` of actions, `bounded` states, `UNSTABLE` warnings."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from apb import _native
from apb.errors import SimulationError

UNSTABLE = tuple(
    int(warning)
    for warning in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
    )
)
"""Warnings after which MuJoCo has silently put a simulation back to its initial state."""


def bounded(states: NDArray[np.float64]) -> bool:
    """Whether all of (R, n) are numbers that MuJoCo goes on from; a NaN is none."""
    return _native.all_within(states, -mujoco.mjMAXVAL, mujoco.mjMAXVAL)


def numbers(actions: Any) -> NDArray[np.float64]:
    """Actions as float64, in an array of their own; raises `SimulationError` for what are no real numbers."""
    try:
        given = np.asarray(actions)
        if given.dtype.kind not in "fiubO" or (given is not actions and isinstance(actions, np.ma.MaskedArray)):
            raise TypeError(f"{given.dtype} are no real numbers, or some of them are masked")
        return given.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SimulationError(f"actions = {actions!r:.200}; expected an array of finite numbers") from error
