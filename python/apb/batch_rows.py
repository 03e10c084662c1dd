"""Rows that are simulated in one batch: tasks of one family, one task per row."""

from collections.abc import Sequence

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from apb.env_rows import RowError, RowStep
from apb.env_spaces import AnyEnv, AnyVectorEnv
from apb.errors import ConfigError, MismatchError
from apb.simulation import BatchedEnv
from apb.snapshots import EnvState
from apb.tasks import Task


class BatchRows:
    """One row per task of `tasks`, all of one family with the same switches.

    A simulation that blows up ends its episode without a transition, unless it does so in an episode's first step,
    when another would not fare better: that is a `RowError`.
    """

    can_save = True
    num_states = 1  # of all rows together
    restartable = True
    lost = False

    def __init__(self, tasks: Sequence[Task], num_threads: int | None = None) -> None:
        self._env = BatchedEnv.of_tasks(tasks, autoreset_mode=AutoresetMode.DISABLED, num_threads=num_threads)
        self._fresh = np.ones(len(tasks), dtype=np.bool_)

    @property
    def envs(self) -> tuple[AnyEnv | AnyVectorEnv, ...]:
        """See `Rows`."""
        return (self._env,)

    def reset(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """See `Rows`."""
        self._fresh[:] = True
        return self._env.reset(seed=list(seeds))[0]

    def restart(self, seeds: dict[int, int], observations: NDArray[np.float64]) -> None:
        """See `Rows`."""
        rows = list(seeds)
        mask = np.zeros(self._env.num_envs, dtype=np.bool_)
        mask[rows] = True
        self._fresh |= mask
        each = [seeds.get(row) for row in range(self._env.num_envs)]
        observations[rows] = self._env.reset(seed=each, options={"reset_mask": mask})[0][rows]

    def step(self, actions: NDArray[np.floating]) -> RowStep:
        """See `Rows`."""
        observations, rewards, terminated, truncated, info = self._env.step(actions)
        valid = np.ones(self._env.num_envs, dtype=np.bool_)
        if "simulation_error" in info:
            failed = info["_simulation_error"]
            for row in np.flatnonzero(failed & self._fresh):
                raise RowError(int(row), f"the simulation fails from the start: {info['simulation_error'][row]}")
            valid = ~failed
        self._fresh[:] = False
        return RowStep(observations, rewards, terminated, truncated, valid)

    def save(self) -> list[EnvState]:
        """See `Rows`."""
        return [EnvState(self._env.state(), {})]

    def load(self, states: Sequence[EnvState]) -> None:
        """See `Rows`."""
        try:
            self._env.load_state(states[0].arrays)
        except ConfigError as error:
            raise MismatchError(str(error)) from error
        self._fresh[:] = False

    def close(self) -> None:
        """See `Rows`."""
        self._env.close()
