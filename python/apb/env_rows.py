"""Rows of separately stepped envs: the one place that calls `reset`, `step` and `close` of single Gymnasium envs."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from apb.env_spaces import AnyEnv, AnyVectorEnv, flat_size, require_observation_space
from apb.errors import ApbWarning, InvalidEnvError, SimulationError, raised
from apb.snapshots import EnvState, can_save, load_env, save_env


@dataclasses.dataclass(slots=True)
class RowStep:
    """What one step of R rows returned, before anything is reset.

    `observations` is float64 (R, size): where the step led to, the final observation where the episode ended; `rewards`
    is float64 (R,); the rest are boolean (R,). `valid` is False where the env ignored the action and only reset itself:
    the reward is 0 there, and nothing ends; and where the simulation `failed`: its episode is cut off then.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    failed: NDArray[np.bool_]

    @classmethod
    def empty(cls, rows: int, size: int) -> "RowStep":
        """Uninitialised arrays, all rows valid."""
        return cls(
            np.empty((rows, size)),
            np.empty(rows),
            np.empty(rows, bool),
            np.empty(rows, bool),
            np.ones(rows, bool),
            np.zeros(rows, bool),
        )


class RowError(Exception):
    """Row `row` (None: unknown) did not behave; who steps the rows adds where and when: `in_env`."""

    def __init__(self, row: int | None, what: str) -> None:
        super().__init__(what)
        self.row = row
        self.what = what

    def in_env(self, where: str) -> SimulationError:
        """The error for the user, to be raised from the `__cause__` of this one."""
        return SimulationError(f"{where}: {self.what}. Check the env with gymnasium.utils.env_checker.check_env")


def returned_numbers(
    row: int | None, method: str, field: str, values: Any, shape: tuple[int, ...]
) -> NDArray[np.number[Any] | np.bool_]:
    """`values` that an env returned, as an array of real numbers or booleans of this shape.

    Raises:
        RowError: they are anything else: text, complex numbers, nothing, a ragged list, another shape.
    """
    try:
        array = np.asarray(values)
        kind = array.dtype.kind
    except Exception:  # a ragged list, a tensor that wants a gradient, a number beyond all floats
        array, kind = np.empty(0), "O"
    if kind not in "biuf":
        expected = f"numbers of shape {shape}" if shape else "one number"
        raise RowError(row, f"{method} returned {field} = {shown(values)}; expected {expected}")
    if array.shape != shape:
        raise RowError(row, f"{method} returned {field} of shape {array.shape}; expected {shape}")
    return array


def returned_flags(
    row: int | None, method: str, field: str, values: Any, shape: tuple[int, ...]
) -> NDArray[np.number[Any] | np.bool_]:
    """As `returned_numbers`, for what must be True or False (or 1 or 0): NaN is neither."""
    array = returned_numbers(row, method, field, values, shape)
    if not ((array == 0) | (array == 1)).all():
        raise RowError(row, f"{method} returned {field} = {shown(values)}; expected True or False")
    return array


def shown(value: Any) -> str:
    """`value` as messages show it: in short, whatever it is."""
    try:
        return f"{value!r:.100}"
    except Exception:  # an integer of too many digits, for one
        return f"a {type(value).__name__}"


class Rows(Protocol):
    """R simulations, numbered 0 to R - 1, that observe and act in the same spaces.

    Attributes:
        can_save: Whether `save` is complete at any moment, not only at the start of an episode.
        num_states: How many states `save` returns: one per row, or none where they cannot be told.
        restartable: Whether `restart` works at any moment and for any rows, not only for those whose episode has ended.
        horizons: Of each row, steps after which an episode is truncated, if its simulation may fail; else 0. int64
            (R,).
    """

    can_save: bool
    num_states: int
    restartable: bool
    horizons: NDArray[np.int64]

    @property
    def lost(self) -> bool:
        """Whether the envs were interrupted in the middle of a call, or failed in it, and may be of no more use."""

    @property
    def envs(self) -> tuple[AnyEnv | AnyVectorEnv, ...]:
        """The env objects that are stepped."""

    def reset(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Start all rows; returns the observations, float64 (R, size)."""

    def step(self, actions: NDArray[np.floating]) -> RowStep:
        """Step all rows with the env's own actions (R, *shape)."""

    def restart(self, seeds: dict[int, int], observations: NDArray[np.float64]) -> None:
        """Start new episodes in the rows that are the keys of `seeds`; writes their observations into (R, size)."""

    def save(self) -> list[EnvState]:
        """The states of the rows, in order."""

    def load(self, states: Sequence[EnvState]) -> None:
        """Apply what `save` returned, right after `reset` with the seeds of the same episodes."""

    def close(self) -> None:
        """Close what this object made itself."""


class EnvRows:
    """Rows of separate `gymnasium.Env` objects. They are closed by `close` if `owned`."""

    restartable = True
    lost = False  # each env can be reset, whatever happened in it

    def __init__(self, envs: Sequence[AnyEnv], *, owned: bool) -> None:
        self.envs = tuple(envs)
        self.can_save = all(can_save(env) for env in self.envs)
        self.num_states = len(self.envs)
        self.horizons = np.zeros(len(self.envs), np.int64)
        self._owned = owned
        space = require_observation_space(self.envs[0].observation_space)
        self._shape = space.shape
        self._size = flat_size(space)

    @classmethod
    def made(cls, make: Callable[[], AnyEnv], count: int, name: str) -> "EnvRows":
        """So many envs that `make` makes, owned; raises `InvalidEnvError` if it returns one twice."""
        envs: list[AnyEnv] = []
        with ExitStack() as opened:
            for _ in range(count):
                env = make()
                if any(env.unwrapped is other.unwrapped for other in envs):
                    raise InvalidEnvError(
                        f"the factory of env {name} returned the same env twice; expected a new one at each call"
                    )
                envs.append(env)
                opened.callback(close_env, env)
            rows = cls(envs, owned=True)
            opened.pop_all()
        return rows

    def reset(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """See `Rows`."""
        observations = np.empty((len(self.envs), self._size))
        self.restart(dict(enumerate(seeds)), observations)
        return observations

    def restart(self, seeds: dict[int, int], observations: NDArray[np.float64]) -> None:
        """See `Rows`."""
        for row, seed in seeds.items():
            try:
                observation, _ = self.envs[row].reset(seed=seed)
            except (Exception, SystemExit) as error:
                raise RowError(row, f"reset() raised {raised(error)}") from error
            observations[row] = returned_numbers(row, "reset()", "an observation", observation, self._shape).ravel()

    def step(self, actions: NDArray[np.floating]) -> RowStep:
        """See `Rows`."""
        result = RowStep.empty(len(self.envs), self._size)
        for row, env in enumerate(self.envs):
            try:
                observation, reward, terminated, truncated, _ = env.step(actions[row, ...])
            except (Exception, SystemExit) as error:
                raise RowError(row, f"step() raised {raised(error)}") from error
            result.observations[row] = returned_numbers(
                row, "step()", "an observation", observation, self._shape
            ).ravel()
            # What nearly all envs return needs no array around it, which would cost more than a small env's step.
            if type(reward) not in (float, np.float64):
                reward = returned_numbers(row, "step()", "reward", reward, ())
            result.rewards[row] = reward
            for field, target, flag in (
                ("terminated", result.terminated, terminated),
                ("truncated", result.truncated, truncated),
            ):
                target[row] = flag if isinstance(flag, bool) else returned_flags(row, "step()", field, flag, ())
        return result

    def save(self) -> list[EnvState]:
        """See `Rows`."""
        return [save_env(env) for env in self.envs]

    def load(self, states: Sequence[EnvState]) -> None:
        """See `Rows`."""
        for env, state in zip(self.envs, states, strict=True):
            load_env(env, state)

    def close(self) -> None:
        """See `Rows`."""
        if self._owned:
            for env in self.envs:
                close_env(env)


def close_env(env: AnyEnv) -> None:
    """Close an env; one that raises on that is told in a warning, since what was learned in it must not be lost."""
    try:
        env.close()
    except (Exception, SystemExit) as error:
        warnings.warn(
            f"close() of env {type(env.unwrapped).__name__} raised {raised(error)}; expected an env that can be closed"
            ". The results are not touched, but what it holds may stay open",
            ApbWarning,
            stacklevel=2,
        )
