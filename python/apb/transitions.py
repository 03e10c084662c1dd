"""`Transition` and `Episode`: what one step of K x S simulations says."""

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, slots=True)
class Episode:
    """An episode that has ended: where it ran, the sum of its rewards, its number of timesteps, and how it ended.

    If the simulation `failed`, the steps that were left to it count with the lowest reward that its lane has seen,
    where that is below zero: a task in which every step costs something must not reward a simulation that blows up.
    """

    lane: int
    slot: int
    return_: float
    length: int
    terminated: bool
    failed: bool = False


@dataclasses.dataclass(slots=True)
class Transition:
    """One step of all K x S simulations.

    Attributes:
        observation: float32 (K, S, obs), what was acted on.
        action: float32 (K, S, act), as given, in [-1, 1].
        reward: float32 (K, S).
        next_observation: float32 (K, S, obs), where the action led to: the final observation where an episode ended.
        terminated: bool (K, S), the task ended: no bootstrapping.
        truncated: bool (K, S), the episode was cut off: bootstraps.
        valid: bool (K, S), False for what is no transition: the step in which a next-step `VectorEnv` only resets, and
            one in which a batched simulation blew up, which has led nowhere.
        episodes: The episodes that ended in this step.
    """

    observation: NDArray[np.float32]
    action: NDArray[np.float32]
    reward: NDArray[np.float32]
    next_observation: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    episodes: list[Episode]
