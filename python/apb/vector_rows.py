"""Rows that are the sub-envs of one `gymnasium.vector.VectorEnv`, in any of Gymnasium's three auto-reset modes."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from apb.env_rows import RowError, RowStep, returned_flags, returned_numbers, shown
from apb.env_spaces import AnyVectorEnv, flat_size, require_observation_space
from apb.errors import ApbWarning, InvalidEnvError, raised
from apb.simulation import BatchedEnv
from apb.snapshots import EnvState


class VectorRows:
    """The sub-envs of a `VectorEnv` object that the user gave and closes.

    What an ended episode does to the *next* call depends on `env.metadata["autoreset_mode"]`:
    - `SAME_STEP`: the env has already reset itself; the true final observation is in `info["final_obs"]`.
    - `NEXT_STEP`: the env ignores the row's next action and resets instead; that step is no transition.
    - `DISABLED`: the row is reset here, with a seed, through `options={"reset_mask": ...}`.

    Raises:
        InvalidEnvError: The env does not tell its auto-reset mode.
    """

    can_save = False
    num_states = 0
    restartable = False

    def __init__(self, env: AnyVectorEnv) -> None:
        self._env = env
        self.envs = (env,)
        self._mode = autoreset_mode(env)
        space = require_observation_space(env.single_observation_space)
        self._shape = space.shape
        self._size = flat_size(space)
        horizon = env.unwrapped.horizon if isinstance(env.unwrapped, BatchedEnv) else 0
        self.horizons = np.full(env.num_envs, horizon, np.int64)
        self._after_reset = np.empty((0, 0))
        self._resets_next = np.zeros(env.num_envs, bool)
        self._warned = False
        self.lost = False

    def reset(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """See `Rows`."""
        self._resets_next[:] = False
        return self._call_reset(seeds, None)

    def restart(self, seeds: dict[int, int], observations: NDArray[np.float64]) -> None:
        """See `Rows`; only the mode `DISABLED` can use the seeds."""
        rows = list(seeds)
        if self._mode is AutoresetMode.SAME_STEP:
            observations[rows] = self._after_reset[rows]
        elif self._mode is AutoresetMode.DISABLED:
            mask = np.zeros(self._env.num_envs, bool)
            mask[rows] = True
            all_seeds = [seeds.get(row) for row in range(self._env.num_envs)]
            observations[rows] = self._call_reset(all_seeds, {"reset_mask": mask})[rows]

    def step(self, actions: NDArray[np.floating]) -> RowStep:
        """See `Rows`."""
        self.lost = True
        try:
            observations, rewards, terminated, truncated, info = self._env.step(actions)
        except (Exception, SystemExit) as error:
            raise RowError(None, f"step() raised {raised(error)}") from error
        self.lost = False
        rows = self._env.num_envs
        result = RowStep.empty(rows, self._size)
        result.observations[:] = self._flat("step()", observations)
        result.rewards[:] = returned_numbers(None, "step()", "rewards", rewards, (rows,))
        result.terminated[:] = returned_flags(None, "step()", "terminations", terminated, (rows,))
        result.truncated[:] = returned_flags(None, "step()", "truncations", truncated, (rows,))
        if isinstance(info, dict) and "_simulation_error" in info:  # of this package's own batches
            result.failed[:] = info["_simulation_error"]
            result.valid[:] = ~result.failed
        if self._mode is AutoresetMode.NEXT_STEP:
            result.valid[self._resets_next] = False
            for values in (result.rewards, result.terminated, result.truncated):
                values[self._resets_next] = 0
            self._resets_next = result.terminated | result.truncated
        elif self._mode is AutoresetMode.SAME_STEP:
            self._after_reset = result.observations.copy()
            for row in np.flatnonzero(result.terminated | result.truncated):
                result.observations[row] = self._final_observation(int(row), info)
                self._warn_if_overwritten(int(row), result.observations[row])
        return result

    def save(self) -> list[EnvState]:
        """See `Rows`: sub-envs may run in other processes, so nothing is known of them."""
        return []

    def load(self, states: Sequence[EnvState]) -> None:
        """See `Rows`."""

    def close(self) -> None:
        """See `Rows`: the env belongs to the user."""

    def _call_reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None) -> NDArray[np.float64]:
        self.lost = True
        try:
            # The base class declares one seed; every implementation takes one per sub-env, as its text says.
            observations, _ = self._env.reset(seed=list(seeds), options=options)  # type: ignore[arg-type]
        except (Exception, SystemExit) as error:
            raise RowError(None, f"reset() raised {raised(error)}") from error
        self.lost = False
        return self._flat("reset()", observations)

    def _final_observation(self, row: int, info: Any) -> NDArray[np.float64]:
        try:
            value = info["final_obs"][row]
        except (TypeError, LookupError) as error:
            raise RowError(
                row,
                f"step() ended the episode in auto-reset mode SAME_STEP with info = {shown(info)}; expected the final "
                f"observation, of shape {self._shape}, in info['final_obs'][{row}]",
            ) from error
        final = returned_numbers(row, "step()", f"info['final_obs'][{row}]", value, self._shape)
        return final.astype(np.float64).ravel()

    def _warn_if_overwritten(self, row: int, final: NDArray[np.float64]) -> None:
        if self._warned or not np.array_equal(final, self._after_reset[row]):
            return
        self._warned = True
        warnings.warn(
            f"info['final_obs'][{row}] equals the observation after the reset: if sub-env {row} writes its observations"
            " into one array, its reset has overwritten the final one, and what is learned from the ends of episodes "
            "is wrong; let it return copies, or use AutoresetMode.NEXT_STEP",
            ApbWarning,
            stacklevel=2,
        )

    def _flat(self, method: str, observations: Any) -> NDArray[np.float64]:
        rows = self._env.num_envs
        array = returned_numbers(None, method, "observations", observations, (rows, *self._shape))
        return array.astype(np.float64).reshape(rows, self._size)


def autoreset_mode(env: AnyVectorEnv) -> AutoresetMode:
    """The mode in `env.metadata["autoreset_mode"]`, as the enum or as its value."""
    found = (env.metadata or {}).get("autoreset_mode")
    try:
        return AutoresetMode(found)
    except ValueError as error:
        raise InvalidEnvError(
            f"env.metadata['autoreset_mode'] = {found!r}; expected a gymnasium.vector.AutoresetMode: NEXT_STEP, "
            "SAME_STEP or DISABLED. Set it to what the VectorEnv does: transitions at an episode's end depend on it"
        ) from error
