"""`BatchRows`: rows that are simulated in one batch, tasks of one family, one task per row."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from apb.env_rows import RowError, RowStep
from apb.env_spaces import AnyEnv, AnyVectorEnv
from apb.errors import raised
from apb.simulation import BatchedEnv
from apb.snapshots import EnvState
from apb.tasks import Task


class BatchRows:
    """One row per task of `tasks`, all of one family with the same switches. A simulation that blows up ends its
    episode without a transition."""

    can_save = True
    num_states = 1  # of all rows together
    restartable = True
    lost = False

    def __init__(self, tasks: Sequence[Task], num_threads: int | None = None) -> None:
        self._env = BatchedEnv.of_tasks(tasks, autoreset_mode=AutoresetMode.DISABLED, num_threads=num_threads)
        self.horizons = np.full(self._env.num_envs, self._env.horizon, np.int64)

    @property
    def envs(self) -> tuple[AnyEnv | AnyVectorEnv, ...]:
        """See `Rows`."""
        return (self._env,)

    def reset(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """See `Rows`."""
        with _told():
            return self._env.reset(seed=list(seeds))[0]

    def restart(self, seeds: dict[int, int], observations: NDArray[np.float64]) -> None:
        """See `Rows`."""
        rows = list(seeds)
        mask = np.zeros(self._env.num_envs, dtype=np.bool_)
        mask[rows] = True
        each = [seeds.get(row) for row in range(self._env.num_envs)]
        with _told():
            observations[rows] = self._env.reset(seed=each, options={"reset_mask": mask})[0][rows]

    def step(self, actions: NDArray[np.floating]) -> RowStep:
        """See `Rows`."""
        with _told():
            observations, rewards, terminated, truncated, info = self._env.step(actions)
        failed = info.get("_simulation_error", np.zeros(self._env.num_envs, dtype=np.bool_))
        return RowStep(observations, rewards, terminated, truncated, ~failed, failed)

    def save(self) -> list[EnvState]:
        """See `Rows`."""
        return [EnvState(self._env.state(), {})]

    def load(self, states: Sequence[EnvState]) -> None:
        """See `Rows`."""
        self._env.load_state(states[0].arrays)

    def close(self) -> None:
        """See `Rows`."""
        self._env.close()


@contextmanager
def _told() -> Iterator[None]:
    """Tell what a family of the user's raises as what it is: an env that misbehaves."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise RowError(None, raised(error)) from error
