"""`IntrinsicRewards`: puts what an objective says in the place of the rewards of each batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from apb import _native
from apb.companions import Companion
from apb.errors import ConfigError, InvalidEnvError
from apb.intrinsic import objective_named
from apb.intrinsic.elements import elements_of
from apb.learner import Learner
from apb.normalization import RunningNormalizer
from apb.pretraining.settings import PretrainSettings
from apb.replay import Batch, Replay
from apb.state_arrays import named, part

CLIP = 5.0
"""Bound of observations in units of their deviations, for objectives. 5 in Burda et al. (2018)."""


class IntrinsicRewards(Companion):
    """An objective at work in K lanes: the rewards of each sampled batch are computed anew, as in URLB, from the next
    observations, those `elements` of them that count. Each lane scales them by the mean and deviation of all that it
    was given so far.

    It computes on the CPU, where batches are drawn.

    Args:
        learner: The lanes' learner.
        settings: Of the run.
        pool: Native threads.
    """

    name = "intrinsic_rewards"

    def __init__(self, learner: Learner, settings: PretrainSettings, pool: "_native.ThreadPool | None" = None) -> None:
        self._seeds = learner.td3.networks.seeds
        self._size = learner.td3.networks.shape.observation_size
        self._elements = elements_of(settings.elements, self._size)
        size = len(self._elements)
        self._objective = objective_named(settings.objective)(self._seeds, size, settings, pool)
        self._observations = RunningNormalizer(len(self._seeds), size, clip=CLIP)
        self._mean = np.zeros(len(self._seeds), dtype=np.float32)
        self._batches = 0

    def warmed_up(self, replay: Replay) -> None:
        """See `Companion`: take the statistics of the random steps.

        Raises:
            InvalidEnvError: no observation of a lane has changed in them.
        """
        size = self._size
        for lane, count in enumerate(replay.size.tolist()):
            met = np.concatenate(replay.rows(lane)[:2])[:, self._elements]
            if count and (met == met[0]).all():
                shown = ", ".join(f"{value + 0.0:.6g}" for value in met[0, :5]) + (", ..." if met.shape[1] > 5 else "")
                raise InvalidEnvError(
                    f"the observations of lane {lane} (seed {self._seeds[lane]}) are [{shown}] in each of {count:,} "
                    "random steps; expected ones that change, since nothing else tells a pre-training what is new: "
                    "put into the observation what the actions move, or raise learning_starts if the env is slow"
                )
        slots = int(replay.size.max())
        following = replay.table[:, :slots, size : 2 * size][..., self._elements]
        self._observations.update(following, np.arange(slots) < replay.size[:, None])

    def prepare(self, batch: Batch) -> None:
        """See `Companion`: overwrite the rewards."""
        following = batch.next_observation.numpy()[..., self._elements]
        self._observations.update(following)
        scaled = (following - self._observations.mean[:, None]) * self._observations.inverse_std[:, None]
        states = torch.from_numpy(scaled.clip(-CLIP, CLIP).astype(np.float32))
        rewards: object = self._objective.rewards(states)
        if not isinstance(rewards, np.ndarray) or rewards.shape != states.shape[:2]:
            found = f"shape {rewards.shape}" if isinstance(rewards, np.ndarray) else f"a {type(rewards).__name__}"
            raise ConfigError(
                f"rewards of the objective {self._objective.name!r} returned {found}; expected an array of shape "
                f"{tuple(states.shape[:2])}, a number for each state of each lane"
            )
        self._mean = rewards.mean(axis=1)
        self._batches += 1
        batch.reward.numpy()[...] = rewards

    def losses(self) -> Mapping[str, NDArray[np.float32]]:
        """See `Companion`: the mean reward of the last batch, and what the objective has."""
        return {"intrinsic_reward": self._mean.copy(), **self._objective.losses()} if self._batches else {}

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Companion`."""
        observations = named("observations", self._observations.state)
        objective = named("objective", self._objective.state())
        return {"mean": self._mean.copy(), "batches": np.array([self._batches]), **observations, **objective}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `Companion`."""
        self._mean, self._batches = state["mean"].copy(), int(state["batches"][0])
        self._observations.load_state(part("observations", state))
        self._objective.load_state(part("objective", state))
