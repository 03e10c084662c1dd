"""`Demonstrations`: what somebody observed and did, episode by episode; from arrays, files, Minari, or a policy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box
from numpy.typing import ArrayLike, NDArray

from apb import rng
from apb.cloning import demonstration_files
from apb.cloning.array_checks import finite_rows, flattened, lengths_of, returns_of, within_bounds
from apb.env_source import EnvLike, EnvSource
from apb.env_spaces import ActionBounds, require_action_space, require_observation_space
from apb.errors import ConfigError, InvalidEnvError, MismatchError, require_integer, require_number, require_range

MAX_NOISE = 10


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """N transitions of E episodes, one episode after the other.

    Attributes:
        observations: float32 (N, obs), what was observed, flattened row-major; read-only. Given as (N, *shape) of any
            numbers.
        actions: float32 (N, act), what was done there, in the env's units; read-only. Given as (N, *shape).
        episode_lengths: int64 (E,), each at least 1, N together.
        observation_space: Of the env. Default: unbounded vectors.
        action_space: Of the env. Default: vectors in [-1, 1].
        returns: float64 (E,), the demonstrator's undiscounted returns; None if unknown.
        env: Where they come from, if that is known and can be made again: what `apb.clone` evaluates in.

    Raises:
        ConfigError: there is no transition; lengths do not sum up; NaN, infinity, or an action out of its bounds, with
            the index; masked entries. MismatchError: shapes do not fit. InvalidEnvError: a space is not supported.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    episode_lengths: NDArray[np.int64]
    observation_space: Space[Any] | None = None
    action_space: Space[Any] | None = None
    returns: NDArray[np.float64] | None = None
    env: EnvSource | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        observations = finite_rows("observations", self.observations)
        actions = finite_rows("actions", self.actions)
        if len(observations) != len(actions):
            raise MismatchError(
                f"there are {len(observations):,} observations and {len(actions):,} actions; expected one action for "
                "each observation: leave out the last observation of each episode, on which nobody acted"
            )
        lengths = lengths_of(self.episode_lengths, len(observations))
        unbounded = Box(-np.inf, np.inf, observations.shape[1:], np.float32)
        observation_space = require_observation_space(self.observation_space or unbounded)
        action_space = require_action_space(self.action_space or Box(-1, 1, actions.shape[1:], np.float32))
        observations = flattened("observations", observations, observation_space)
        actions = within_bounds(flattened("actions", actions, action_space), action_space)
        returns = None if self.returns is None else returns_of(self.returns, len(lengths))
        arrays: list[NDArray[Any]] = [observations, actions, lengths, *([] if returns is None else [returns])]
        for array in arrays:
            array.flags.writeable = False
        values = observations, actions, lengths, observation_space, action_space, returns
        names = "observations", "actions", "episode_lengths", "observation_space", "action_space", "returns"
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        sizes = f"{self.observations.shape[1]} -> {self.actions.shape[1]}"
        return f"Demonstrations({sizes}, {len(self):,} transitions, {self.num_episodes:,} episodes)"

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.episode_lengths)

    @property
    def spaces(self) -> tuple[Box, Box]:
        """What was observed and acted in."""
        assert isinstance(self.observation_space, Box)  # noqa: S101 - set in __post_init__
        assert isinstance(self.action_space, Box)  # noqa: S101
        return self.observation_space, self.action_space

    @property
    def unit_actions(self) -> NDArray[np.float32]:
        """The actions in [-1, 1], as a policy's tanh gives them: (N, act)."""
        bounds = ActionBounds(self.spaces[1])
        unit: NDArray[np.float32] = np.clip((self.actions - bounds.offset) / bounds.scale, -1, 1)
        return unit

    def in_env(self, env: EnvLike | EnvSource) -> "Demonstrations":
        """The same in the spaces of `env`, as demonstrations of it.

        Raises:
            MismatchError, ConfigError: the sizes, or the bounds of actions, do not fit.
        """
        source = EnvSource.resolve(env)
        spaces = source.observation_space, source.action_space
        return Demonstrations(self.observations, self.actions, self.episode_lengths, *spaces, self.returns, source)

    def episodes(self, numbers: ArrayLike) -> "Demonstrations":
        """Those of these numbers alone, in this order; raises `ConfigError` for a number that no episode has."""
        chosen = np.atleast_1d(np.asarray(numbers))
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not np.isin(chosen, range(self.num_episodes)).all():
            raise ConfigError(f"numbers = {numbers!r:.100}; expected integers in [0, {self.num_episodes - 1}]")
        starts = np.cumsum(self.episode_lengths) - self.episode_lengths
        rows = np.concatenate(
            [np.empty(0, np.int64), *(np.arange(self.episode_lengths[e]) + starts[e] for e in chosen)]
        )
        return self._of(rows, self.episode_lengths[chosen], None if self.returns is None else self.returns[chosen])

    def steps(self, first: int, last: int) -> "Demonstrations":
        """Transitions `first` to `last` - 1 of a single episode, as an episode without a return."""
        return self._of(np.arange(first, last), np.array([last - first]), None)

    def _of(self, rows: NDArray[Any], lengths: NDArray[Any], returns: NDArray[Any] | None) -> "Demonstrations":
        observation_space, action_space = self.spaces
        observations = self.observations[rows].reshape(-1, *observation_space.shape)
        actions = self.actions[rows].reshape(-1, *action_space.shape)
        return Demonstrations(observations, actions, lengths, observation_space, action_space, returns, self.env)

    def save(self, path: str | Path) -> Path:
        """Write a compressed .npz file, with the arrays that `load` reads; a file that is there is never overwritten.

        Raises:
            ConfigError: the name has another ending. RunFolderError: the file exists, or cannot be written.
        """
        observation_space, action_space = self.spaces
        arrays: dict[str, NDArray[Any]] = {
            "observations": self.observations.reshape(-1, *observation_space.shape),
            "actions": self.actions.reshape(-1, *action_space.shape),
            "episode_lengths": self.episode_lengths,
            "action_low": action_space.low,
            "action_high": action_space.high,
        }
        if self.returns is not None:
            arrays["returns"] = self.returns
        return demonstration_files.write_npz(path, arrays)

    @classmethod
    def load(cls, path: str | Path, env: EnvLike | EnvSource | None = None) -> "Demonstrations":
        """Read a .npz file; objects that would have to be unpickled are refused.

        Args:
            path: It has `observations` (N, *obs) and `actions` (N, *act), and where episodes end: `episode_lengths`
                (E,), or booleans (N,) that are true in an episode's last step, `dones`, or `terminals` and `timeouts`
                as in D4RL. Of these `timeouts` may be missing. What follows the last end is an episode too. It may
                have `action_low` and `action_high`, the bounds of actions (default: -1 and 1), and `returns` (E,) or
                `rewards` (N,), of which returns are summed. Other arrays are not looked at.
            env: Where they come from, whose spaces then count.

        Raises:
            FileFormatError: it is no such file. RunFolderError: it cannot be read. ConfigError: its arrays need more
                memory than is free. Else as the class.
        """
        source = None if env is None else EnvSource.resolve(env)
        arrays = demonstration_files.read_npz(path)
        lengths = demonstration_files.episode_lengths(arrays, path)
        observations, actions = arrays["observations"], arrays["actions"]
        if source is not None:
            spaces: tuple[Box | None, Box | None] = source.observation_space, source.action_space
        else:
            spaces = None, demonstration_files.action_space(arrays, path)
        with _of_file(path):
            shown = cls(observations, actions, lengths, *spaces, arrays.get("returns"), source)
            if "rewards" not in arrays or shown.returns is not None:
                return shown
            # Summed by lengths that are checked by now.
            returns = demonstration_files.summed(arrays["rewards"], shown.episode_lengths, path)
            return replace(shown, returns=returns)

    @classmethod
    def from_minari(cls, dataset_id: str) -> "Demonstrations":
        """Of a Minari dataset, downloaded where it is not on this machine: `mujoco/halfcheetah/expert-v0`, for example.

        It needs the extra `minari`. The env is the dataset's own, if its id is registered.

        Raises:
            ConfigError: Minari is not installed, or cannot load the dataset. InvalidEnvError: its spaces are not
                supported. Else as the class.
        """
        found = demonstration_files.read_minari(dataset_id)
        return cls(*found)

    @classmethod
    def collect(
        cls,
        policy: Any,
        env: EnvLike | EnvSource,
        n_episodes: int = 20,
        *,
        seed: int = 0,
        noise: float = 0.0,
        deterministic: bool = True,
    ) -> "Demonstrations":
        """Roll out a policy.

        With noise the states are those that imitation errors lead to, and each action is what the policy does there
        without it, as in DART (Laskey et al. 2017, whose noise is fitted to the learner's errors; here it is given).

        Args:
            policy: An `apb.Policy`, any object with SB3's `predict`, or a function from observations (E, *obs) to
                actions (E, *act) of the env.
            env: As for `apb.evaluate`.
            n_episodes: Episodes E, in [1, 100000]. Default 20. Ours.
            seed: Of their starts, which are none of `apb.evaluate`'s, and of the noise; in [0, 2^63).
            noise: Standard deviation of the Gaussian noise on what acts, in units of the normalised action, in
                [0, 10]. Default 0.
            deterministic: Passed to `predict`.

        Raises:
            As `apb.evaluate`.
        """
        # Here, since what evaluates need not be loaded to look at arrays.
        from apb.evaluation import parallel_episodes, predictor_of, run_episodes, task_for
        from apb.simulations import Simulations

        n_episodes = require_integer("n_episodes", n_episodes, 1, 100_000)
        seed = require_integer("seed", seed, 0, rng.MAX_SEED)
        noise = require_number("noise", noise)
        require_range("noise", noise, 0, MAX_NOISE)
        source = task_for(policy, env, "apb.Demonstrations.collect")
        recorder = _Recorder(predictor_of(policy, source, deterministic), seed, noise)
        slots = parallel_episodes(source, n_episodes)
        with Simulations(source, 1, slots, [seed], rng.Stream.DEMONSTRATION) as simulations:
            returns, _ = run_episodes(simulations, n_episodes, recorder.act, recorder)
            bounds = simulations.bounds
        observations, actions, lengths = recorder.episodes(n_episodes)
        kept = lengths > 0  # an episode whose simulation failed in its first step shows nothing
        shaped = observations.reshape(-1, *source.observation_space.shape), bounds.to_env(actions)
        spaces = source.observation_space, source.action_space
        return cls(*shaped, lengths[kept], *spaces, returns[0][kept], source)


@contextmanager
def _of_file(path: str | Path) -> Iterator[None]:
    """Let what is wrong with arrays be told with the file that they are from."""
    try:
        yield
    except (ConfigError, InvalidEnvError, MismatchError) as error:
        error.args = (f"{path}: {error}",)
        raise


class _Recorder:
    """Acts with noise, and keeps what was observed and would have been done without."""

    def __init__(self, predict: Callable[[NDArray[Any]], NDArray[np.float32]], seed: int, noise: float) -> None:
        self._predict, self._seed, self._noise = predict, seed, noise
        self._steps = 0
        self._actions = np.empty(0, np.float32)
        self._kept: list[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]] = []

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Observations (1, S, obs) -> actions (1, S, act) in [-1, 1]."""
        self._actions = np.clip(self._predict(observations[0]), -1, 1)
        if not self._noise:
            return self._actions[None]
        draws = rng.generator(self._seed, rng.Stream.DEMONSTRATION_NOISE, self._steps)
        noise = draws.standard_normal(self._actions.shape, dtype=np.float32)
        return np.clip(self._actions + np.float32(self._noise) * noise, -1, 1)[None]

    def before_step(self, simulations: Any, episodes: NDArray[np.int64]) -> None:
        """See `apb.evaluation.Watcher`: nothing."""

    def after_step(self, transition: Any, episodes: NDArray[np.int64]) -> None:
        """See `apb.evaluation.Watcher`: keep the rows of a step that belong to an episode."""
        self._steps += 1
        kept = (episodes[0] >= 0) & transition.valid[0]
        self._kept.append((episodes[0][kept], transition.observation[0][kept], self._actions[kept]))

    def episodes(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Observations (N, obs), actions (N, act) in [-1, 1] and lengths (E,), episode by episode."""
        numbers, observations, actions = (np.concatenate(each) for each in zip(*self._kept, strict=True))
        order = np.argsort(numbers, kind="stable")
        return observations[order], actions[order], np.bincount(numbers, minlength=count).astype(np.int64)
