"""`Simulations`: K x S running copies of an env, stepped together, that reset themselves and lose no transition.

K lanes are independent learning problems, each with a seed; the S slots of a lane are its parallel simulations. Inside,
the K * S simulations are rows; row = lane * S + slot.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.env_rows import RowError, RowStep
from apb.env_source import EnvSource
from apb.env_spaces import ActionBounds, flat_size
from apb.errors import ConfigError, FileFormatError, MismatchError
from apb.simulation import BatchedEnv
from apb.snapshots import EnvState
from apb.state_arrays import require_counts, require_like
from apb.transitions import Episode, Transition

MAX_FAILURES = 100
"""Times in a row that a simulation may fail in the first step of an episode, before another try is taken to be of no
use. Ours."""

_SAFE_SQUARE = 1e76  # just below the square of the largest float32


class Simulations:
    """K x S simulations of one env.

    Episode e of lane k, slot s starts from `reset(seed=rng.derive_seed(seeds[k], stream, e * S + s))`, so what an
    env's random generator did before never matters; a `VectorEnv` that resets itself gets such seeds in `reset` only.
    The next episode starts in the step that ends one. Observations are float32, whatever the env's dtype; NaN or
    infinity in them or in a reward is a `SimulationError`.

    Args:
        source: The env; see `EnvSource.rows`.
        lanes: K >= 1.
        slots: S >= 1.
        seeds: One integer in [0, 2^64) per lane.
        stream: Which stream of episode seeds to use.
        num_threads: For what is simulated in a batch; nothing depends on it. Default: as everywhere.

    Attributes:
        bounds: The map from [-1, 1] to the env's actions; `bounds.size` is the size of an action.
        observation_size: The size of a flattened observation.
        total_steps: Transitions so far, over all simulations.

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
        num_threads: int | None = None,
    ) -> None:
        if lanes < 1 or slots < 1:
            raise ConfigError(f"lanes = {lanes}, slots = {slots}; expected at least one of each")
        if len(seeds) != lanes or not all(0 <= seed < 2**64 for seed in seeds):
            raise ConfigError(f"seeds = {list(seeds)}; expected {lanes} integers in [0, 2^64), one per lane")
        self.source = source
        self.lanes = lanes
        self.slots = slots
        self.seeds = tuple(int(seed) for seed in seeds)
        self.stream = stream
        self.bounds = ActionBounds(source.action_space)
        self.observation_size = flat_size(source.observation_space)
        self.total_steps = 0
        self._rows = source.rows(lanes, slots, num_threads)
        self._observations = np.zeros((lanes * slots, self.observation_size), np.float32)
        self._episode_index = np.zeros(lanes * slots, np.int64)
        self._episode_steps = np.zeros(lanes * slots, np.int64)
        self._episode_return = np.zeros(lanes * slots, np.float64)
        self._failures = np.zeros(lanes * slots, np.int64)
        self._lowest = np.zeros(lanes, np.float64)
        self._just_reset = False

    @property
    def observations(self) -> NDArray[np.float32]:
        """What to act on now: float32 (K, S, obs), C-contiguous; never changed later, and not to be written to."""
        return self._observations.reshape(self.lanes, self.slots, -1)

    @property
    def positions(self) -> NDArray[np.float64] | None:
        """Where the robots are, `Family.position`, (K, S, d), of tasks of `apb.tasks`; None of other envs."""
        envs = [env.unwrapped for env in self._rows.envs]
        if len(envs) > 1 or not isinstance(envs[0], BatchedEnv):
            return None
        return envs[0].positions.reshape(self.lanes, self.slots, -1)

    def reset(self, first_episode: int = 0) -> NDArray[np.float32]:
        """Start all simulations, each with the episode of index `first_episode`; returns `observations`."""
        self._episode_index[:] = first_episode
        self._reset_all()
        return self.observations

    def step(self, actions: NDArray[np.float32]) -> Transition:
        """Step all simulations with `actions`, float32 (K, S, act) in [-1, 1]; scaled, and clipped to the env's bounds.

        Raises:
            SimulationError: The env raised, or returned something malformed or non-finite.
        """
        actions = np.asarray(actions, np.float32).reshape(self.lanes, self.slots, self.bounds.size)
        try:
            result = self._rows.step(self.bounds.to_env(actions.reshape(-1, self.bounds.size)))
            following = _finite_float32(result.observations, "the observation of step()", actions)
            reward = _finite_float32(result.rewards, "the reward", actions)
            self.total_steps += int(np.count_nonzero(result.valid))
            self._episode_steps += result.valid
            self._episode_return += result.rewards
            np.minimum(self._lowest, result.rewards.reshape(self.lanes, -1).min(axis=1), out=self._lowest)
            previous, self._observations = self._observations, following
            self._just_reset = False
            episodes: list[Episode] = []
            ended = result.terminated | result.truncated
            if np.count_nonzero(ended):
                episodes = [self._episode(int(row), result) for row in np.flatnonzero(ended)]
                self._count_failures(result)
                self._start_next(ended)
        except RowError as failure:
            self._fail(failure)
        shape = (self.lanes, self.slots)
        return Transition(
            previous.reshape(*shape, -1),
            actions,
            reward.reshape(shape),
            following.reshape(*shape, -1),
            result.terminated.reshape(shape),
            result.truncated.reshape(shape),
            result.valid.reshape(shape),
            episodes,
        )

    @property
    def can_snapshot(self) -> bool:
        """Whether `snapshot` works in the middle of episodes, because the state of the env is known in full."""
        return self._rows.can_save

    @property
    def at_episode_start(self) -> bool:
        """Whether all simulations have just been reset, so that `snapshot` works for any env."""
        return self._just_reset or (self._rows.restartable and not self._episode_steps.any())

    @property
    def lost(self) -> bool:
        """Whether the envs, a `VectorEnv`, were interrupted in the middle of a call, or failed in it."""
        return self._rows.lost

    def restart_unfinished(self) -> NDArray[np.bool_]:
        """Cut off the episodes that are under way and start the next ones; afterwards `at_episode_start` holds.

        It is for envs whose state cannot be saved: with one simulation, call it when an episode has just ended, and
        nothing is cut off. Returns the simulations whose episode was cut off (truncated), bool (K, S). Such episodes
        are not reported as `Episode`. A `VectorEnv` is reset as a whole. Envs that are `lost` are left alone, and all
        their episodes are cut off: the next ones start where the `snapshot` is restored.
        """
        unfinished = self._episode_steps > 0
        if self.lost:
            unfinished[:] = True
            self._episode_index += 1
            self._forget_episodes()
            self._just_reset = True
        elif not self.at_episode_start:
            if self._rows.restartable:
                try:
                    self._start_next(unfinished)
                except RowError as failure:
                    self._fail(failure)
            else:
                self._episode_index += 1
                self._reset_all()
        return unfinished.reshape(self.lanes, self.slots)

    def snapshot(self) -> dict[str, Any]:
        """The state of all simulations, from which `restore` continues with the same bits.

        Returns:
            `{"arrays": {name: ndarray}, "values": {...}}`, the values fit for JSON. Arrays, over R = K * S rows:
            `observations` float32 (R, obs), `episode_index`, `episode_steps` and `failures` int64 (R,),
            `episode_return` float64 (R,), `lowest` float64 (K,), and what env r keeps as `envs.<r>.<name>`. Values:
            `lanes`, `slots`, `total_steps`, and `envs`, a list of one dict per env (empty for a `VectorEnv`).

        Raises:
            ConfigError: Neither `can_snapshot` nor `at_episode_start`.
        """
        if not (self.can_snapshot or self.at_episode_start):
            raise ConfigError(
                f"the state of env {self.source.name} cannot be saved in the middle of an episode; call "
                "restart_unfinished() first"
            )
        states = self._rows.save()
        arrays = {name: array.copy() for name, array in self._own_arrays().items()}
        for row, state in enumerate(states):
            arrays |= {f"envs.{row}.{name}": array for name, array in state.arrays.items()}
        values = {name: getattr(self, name) for name in ("lanes", "slots", "total_steps")}
        return {"arrays": arrays, "values": values | {"envs": [state.values for state in states]}}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`, also one of another process, made with an equal env, seeds and counts.

        Raises:
            MismatchError: The snapshot is one of another env or of other counts.
            FileFormatError: The snapshot is malformed.
        """
        arrays, values = (
            snapshot.get(name) if isinstance(snapshot, Mapping) else None for name in ("arrays", "values")
        )
        if not isinstance(arrays, Mapping) or not isinstance(values, Mapping):
            raise FileFormatError("saved simulations have no arrays or no values; use an older checkpoint")
        own_values = {name: getattr(self, name) for name in ("lanes", "slots", "total_steps")}
        require_like({name: values.get(name) for name in own_values}, own_values, "the state of simulations")
        for name in ("lanes", "slots"):
            if values[name] != own_values[name]:
                raise MismatchError(
                    f"saved simulations: {name} = {values.get(name)!r}; expected {getattr(self, name)}, as when saved"
                )
        for name, own in self._own_arrays().items():
            found = arrays.get(name)
            if not isinstance(found, np.ndarray) or (found.shape, found.dtype) != (own.shape, own.dtype):
                described = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else repr(found)
                raise MismatchError(
                    f"saved simulations: {name} is {described}; expected {own.dtype} {own.shape} for env "
                    f"{self.source.name}. The checkpoint belongs to another env"
                )
        found = {name: arrays[name] for name in self._own_arrays()}
        require_like(found, self._own_arrays(), "the state of simulations")
        require_counts(found, "the state of simulations")
        states = _env_states(arrays, values.get("envs"), self._rows.num_states)
        self._episode_index = arrays["episode_index"].copy()
        self._reset_all()
        self._rows.load(states)
        self._just_reset = not arrays["episode_steps"].any()
        if states:  # else, in a `VectorEnv`, they are those of the reset
            self._observations = arrays["observations"].copy()
        for name in ("episode_steps", "episode_return", "failures", "lowest"):
            setattr(self, f"_{name}", arrays[name].copy())
        self.total_steps = values["total_steps"]

    def shares_env_with(self, other: "Simulations") -> bool:
        """Whether one env object is stepped by both."""
        own, others = ({id(env.unwrapped) for env in simulations._rows.envs} for simulations in (self, other))
        return bool(own & others)

    def close(self) -> None:
        """Close the envs that were made here; an env object given by the user stays open."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _own_arrays(self) -> dict[str, NDArray[Any]]:
        names = ("observations", "episode_index", "episode_steps", "episode_return", "failures", "lowest")
        return {name: getattr(self, f"_{name}") for name in names}

    def _episode(self, row: int, result: RowStep) -> Episode:
        lane, slot = divmod(row, self.slots)
        return_, steps = float(self._episode_return[row]), int(self._episode_steps[row])
        failed = bool(result.failed[row])
        if failed:
            return_ += float(self._lowest[lane]) * (int(self._rows.horizons[row]) - steps)
        return Episode(lane, slot, return_, steps, bool(result.terminated[row]), failed)

    def _count_failures(self, result: RowStep) -> None:
        """Count failures in first steps, since a row has last made a step."""
        self._failures[self._episode_steps > 0] = 0
        self._failures += result.failed & (self._episode_steps == 0)
        for row in np.flatnonzero(self._failures >= MAX_FAILURES):
            raise RowError(int(row), f"the simulation has failed {MAX_FAILURES} times in a row in a first step")

    def _seed(self, row: int) -> int:
        # The episodes of a lane are counted over its simulations: the first ones start alike, however many there are.
        lane, slot = divmod(row, self.slots)
        return rng.derive_seed(self.seeds[lane], self.stream, int(self._episode_index[row]) * self.slots + slot)

    def _reset_all(self) -> None:
        """Start the episodes that `_episode_index` names in all rows."""
        self._forget_episodes()
        try:
            observations = self._rows.reset([self._seed(row) for row in range(self._episode_index.size)])
            self._observations = _finite_float32(observations, "the observation of reset()")
        except RowError as failure:
            self._fail(failure)
        self._just_reset = True

    def _forget_episodes(self) -> None:
        self._episode_steps[:] = 0
        self._episode_return[:] = 0.0

    def _start_next(self, marked: NDArray[np.bool_]) -> None:
        """Start the next episode in the marked rows; the other rows go on."""
        self._episode_index += marked
        self._episode_steps[marked] = 0
        self._episode_return[marked] = 0.0
        observations = self._observations.astype(np.float64)
        self._rows.restart({int(row): self._seed(int(row)) for row in np.flatnonzero(marked)}, observations)
        self._observations = _finite_float32(observations, "the observation of reset()")

    def _fail(self, failure: RowError) -> NoReturn:
        """Raise the `SimulationError` that says in which env, episode and step `failure` happened."""
        where = f"env {self.source.name}"
        if failure.row is not None:
            lane, slot = divmod(failure.row, self.slots)
            if self._episode_index.size > 1:
                where += f", lane {lane}, slot {slot}"
            where += self.source.told_of(lane, self.lanes)
            steps = int(self._episode_steps[failure.row])
            where += f", episode {int(self._episode_index[failure.row])} after {steps} steps of it"
        raise failure.in_env(f"{where}, after {self.total_steps} steps in total") from failure.__cause__


def _finite_float32(
    values: NDArray[np.float64], field: str, actions: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Convert `values` (R, ...); raise `RowError` if one is not a finite float32. `actions` only help the message."""
    # One dot product settles the usual case: no element can exceed the root of the sum of all squares.
    if np.vdot(values, values) < _SAFE_SQUARE:
        return values.astype(np.float32)
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(converted))
    if wrong.size:
        row, *index = (int(i) for i in wrong[0])
        where = f" at index {index[0]}" if index else ""
        cause = ""
        if actions is not None and not np.isfinite(actions).all():
            cause = "; the action that it was given was not finite either, so the policy has diverged"
        raise RowError(row, f"{field} is {values[row, *index]}{where}; expected a finite float32{cause}")
    return converted


def _env_states(arrays: Mapping[str, NDArray[Any]], values: object, rows: int) -> list[EnvState]:
    if not isinstance(values, list) or len(values) != rows or not all(isinstance(value, dict) for value in values):
        raise FileFormatError(f"saved simulations: envs is not a list of {rows} objects; use an older checkpoint")
    states = [EnvState({}, value) for value in values]
    for name, array in arrays.items():
        kind, _, rest = name.partition(".")
        row, _, inner = rest.partition(".")
        if kind == "envs" and row.isdecimal() and int(row) < rows:
            if not isinstance(array, np.ndarray):
                raise FileFormatError(f"saved simulations: {name} is no array; use an older checkpoint")
            states[int(row)].arrays[inner] = array
    return states
