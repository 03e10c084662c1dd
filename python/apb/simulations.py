"""`Simulations`: K x S running copies of an env, stepped together, that reset themselves and lose no transition.

K lanes are independent learning problems, each with a seed; the S slots of a lane are its parallel simulations.
"""

import dataclasses
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from apb import rng
from apb.env_rows import EnvRows, RowFailure, Rows
from apb.env_source import AnyEnv, EnvSource
from apb.env_spaces import ActionBounds, flat_size
from apb.errors import ConfigError, InvalidEnvError, SimulationError


@dataclasses.dataclass(frozen=True, slots=True)
class Episode:
    """An episode that has ended: where it ran, the sum of its rewards and its number of timesteps."""

    lane: int
    slot: int
    return_: float
    length: int
    terminated: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Transition:
    """One step of all K x S simulations.

    Attributes:
        observation: float32 (K, S, obs), what was acted on.
        action: float32 (K, S, act), as given, in [-1, 1].
        reward: float32 (K, S).
        next_observation: float32 (K, S, obs), where the action led to: the final observation where an episode ended.
        terminated: bool (K, S), the task ended: no bootstrapping.
        truncated: bool (K, S), the episode was cut off: bootstraps.
        valid: bool (K, S), False for the step in which a next-step `VectorEnv` only resets: it is no transition.
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


class Simulations:
    """K x S simulations of one env.

    Episode e of lane k, slot s starts from `reset(seed=rng.derive_seed(seeds[k], stream, s, e))`, so what an env's random
    generator did before never matters. Rows reset themselves in the step that ends their episode. Observations are
    float32, whatever the env's dtype; NaN or infinity in them or in a reward is a `SimulationError`.

    Args:
        source: The env. One that was given as an `Env` object is used itself if K * S = 1, and made anew from its spec
            otherwise; a `VectorEnv` object must have `num_envs = slots`, in one lane.
        lanes: K >= 1.
        slots: S >= 1.
        seeds: One integer in [0, 2^64) per lane.
        stream: Which stream of episode seeds to use.

    Raises:
        ConfigError: Counts or seeds do not fit.
        InvalidEnvError: Further envs are needed and cannot be made.
    """

    def __init__(
        self,
        source: EnvSource,
        lanes: int,
        slots: int,
        seeds: Sequence[int],
        stream: rng.Stream = rng.Stream.TRAIN_EPISODE,
    ) -> None:
        if lanes < 1 or slots < 1:
            raise ConfigError(f"lanes = {lanes}, slots = {slots}; expected at least one of each")
        if len(seeds) != lanes:
            raise ConfigError(f"seeds has {len(seeds)} elements; expected one per lane: {lanes}")
        self.source = source
        self.lanes = lanes
        self.slots = slots
        self.seeds = tuple(int(seed) for seed in seeds)
        self.stream = stream
        self.bounds = ActionBounds(source.action_space)
        self.observation_size = flat_size(source.observation_space)
        self.total_steps = 0
        rows = lanes * slots
        self._rows = _make_rows(source, lanes, slots)
        self._observations = np.zeros((rows, self.observation_size), np.float32)
        self._episode_index = np.zeros(rows, np.int64)
        self._episode_steps = np.zeros(rows, np.int64)
        self._episode_return = np.zeros(rows, np.float64)

    @property
    def observations(self) -> NDArray[np.float32]:
        """What to act on now: float32 (K, S, obs), C-contiguous. Never written to again, so it may be kept; read-only."""
        return self._observations.reshape(self.lanes, self.slots, -1)

    def reset(self, first_episode: int = 0) -> NDArray[np.float32]:
        """Start all simulations, each with the episode of index `first_episode`; returns `observations`."""
        self._episode_index[:] = first_episode
        self._begin_episodes(slice(None))
        seeds = [self._episode_seed(row) for row in range(self._episode_index.size)]
        try:
            observations = self._rows.reset(seeds)
        except RowFailure as failure:
            self._fail(failure)
        self._observations = self._checked(observations, "the observation of reset()")
        return self.observations

    def step(self, actions: NDArray[np.float32]) -> Transition:
        """Step all simulations with `actions`, float32 (K, S, act) in [-1, 1]; rescaled and clipped to the env's bounds.

        Raises:
            SimulationError: The env raised, or returned something malformed or non-finite.
        """
        actions = np.asarray(actions, np.float32).reshape(self.lanes, self.slots, self.bounds.size)
        try:
            result = self._rows.step(self.bounds.to_env(actions.reshape(-1, self.bounds.size)))
            following = self._checked(result.observations, "the observation of step()", actions)
            reward = self._checked(result.rewards, "the reward", actions)
            valid = result.valid
            self.total_steps += valid.size
            self._episode_steps += valid
            self._episode_return += result.rewards * valid
            previous, self._observations = self._observations, following
            episodes: list[Episode] = []
            ended = (result.terminated | result.truncated) & valid
            if ended.any():
                episodes = self._end_episodes(np.flatnonzero(ended), result.terminated)
                self._restart(ended, result.observations)
        except RowFailure as failure:
            self._fail(failure)
        shape = (self.lanes, self.slots)
        return Transition(
            previous.reshape(*shape, -1),
            actions,
            reward.reshape(shape),
            following.reshape(*shape, -1),
            result.terminated.reshape(shape),
            result.truncated.reshape(shape),
            valid.reshape(shape),
            episodes,
        )

    def close(self) -> None:
        """Close the envs that were made here; an env object given by the user stays open."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _episode_seed(self, row: int) -> int:
        lane, slot = divmod(row, self.slots)
        return rng.derive_seed(self.seeds[lane], self.stream, slot, int(self._episode_index[row]))

    def _begin_episodes(self, rows: NDArray[np.bool_] | slice) -> None:
        self._episode_steps[rows] = 0
        self._episode_return[rows] = 0.0

    def _end_episodes(self, rows: NDArray[np.intp], terminated: NDArray[np.bool_]) -> list[Episode]:
        return [
            Episode(
                *divmod(int(row), self.slots),
                return_=float(self._episode_return[row]),
                length=int(self._episode_steps[row]),
                terminated=bool(terminated[row]),
            )
            for row in rows
        ]

    def _restart(self, ended: NDArray[np.bool_], observations: NDArray[np.float64]) -> None:
        """Start the next episode in the rows marked in `ended`; the other rows keep `observations`."""
        self._episode_index += ended
        self._begin_episodes(ended)
        current = observations.copy()
        self._rows.restart({int(row): self._episode_seed(int(row)) for row in np.flatnonzero(ended)}, current)
        self._observations = self._checked(current, "the observation of reset()")

    def _checked(
        self, values: NDArray[np.float64], field: str, actions: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """`values` (R, ...) as float32; raises if one is not finite there."""
        with np.errstate(over="ignore"):
            converted = values.astype(np.float32)
        if not np.isfinite(converted).all():
            row, *index = (int(i) for i in np.argwhere(~np.isfinite(converted))[0])
            where = f" at index {index[0]}" if index else ""
            cause = ""
            if actions is not None and not np.isfinite(actions).all():
                cause = "; the action that it was given was not finite either, so the policy has diverged"
            self._fail(RowFailure(row, f"{field} is {values[row, *index]}{where}; expected finite float32 numbers{cause}"))
        return converted

    def _fail(self, failure: RowFailure) -> NoReturn:
        """Raise the `SimulationError` that says which env, which episode and which step `failure` was about."""
        where = f"env {self.source.name}"
        if failure.row is not None:
            lane, slot = divmod(failure.row, self.slots)
            if self._episode_index.size > 1:
                where += f", lane {lane}, slot {slot}"
            steps = int(self._episode_steps[failure.row])
            where += f", episode {int(self._episode_index[failure.row])}, after {steps} steps of it"
        raise SimulationError(
            f"{where}, after {self.total_steps} steps in total: {failure.what}. Check the env with "
            "gymnasium.utils.env_checker.check_env"
        ) from failure.__cause__


def _make_rows(source: EnvSource, lanes: int, slots: int) -> Rows:
    given = source.instance
    if isinstance(given, VectorEnv):
        raise ConfigError("VectorEnv is not supported")
    if given is not None and lanes * slots == 1:
        return EnvRows([given], owned=False)
    envs: list[AnyEnv] = []
    for _ in range(lanes * slots):
        env = source.make()
        if any(env.unwrapped is other.unwrapped for other in envs):
            raise InvalidEnvError(
                f"the factory of env {source.name} returned the same env twice; expected a new one at each call"
            )
        envs.append(env)
    return EnvRows(envs, owned=True)
