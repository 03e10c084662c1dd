"""`BatchedEnv`: many tasks of one family as one `gymnasium.vector.VectorEnv`, simulated by MuJoCo's thread pool."""

import threading
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from apb import _native, row_states
from apb.errors import ApbError, ApbWarning, ConfigError, SimulationError, require_integer
from apb.row_info import objects, of_rows, with_masks
from apb.row_physics import RowPhysics, physics_of_rows
from apb.row_resets import reset_mask, seeds_of_rows
from apb.tasks.bounds import numbers
from apb.tasks.family import split_arguments
from apb.tasks.film import Camera, require_render_mode
from apb.tasks.forms import require_forms
from apb.tasks.parameter import Parameters
from apb.tasks.registry import MAX_HORIZON, family_named
from apb.tasks.task import Task, described, task_in
from apb.threads import available_cpus, require_threads

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Info = dict[str, Any]

MAX_ROWS = 1_000_000


class BatchedEnv(VectorEnv[Array, NDArray[np.floating[Any]], NDArray[Any]]):
    """R simulations of one family, each a task of its own, stepped in one call that releases the interpreter's lock.

    Every row gives the same bits as the env of `gymnasium.make` with its task, its seed and its actions, whatever the
    number of rows and threads. Episode e of a row that was seeded with s starts from numbers that (s, e) determine, but
    for the last bits under another instruction set; `reset(seed=s)` seeds row r with s + r, as Gymnasium's vectors do.

    A simulation that blows up ends its own episode only: truncated, with the reward 0 and the last observation that was
    good, a text in `info["simulation_error"]` (with its mask `info["_simulation_error"]`), and a warning.

    Args:
        family: Name of the family.
        num_envs: R, in [1, 1,000,000].
        max_episode_steps: Steps after which an episode is truncated.
        autoreset_mode: What follows the end of an episode: `AutoresetMode` or its value. In `NEXT_STEP`, Gymnasium's
            default, the next action of the row is ignored; in `SAME_STEP` the last observation is in
            `info["final_obs"]`; in `DISABLED` the caller resets the row with `options={"reset_mask": mask}`.
        num_threads: Threads, the caller's included; by default as for everything else of the package.
        render_mode: None or "rgb_array".
        width, height: Of a picture, in pixels.
        arguments: Values of the family's parameters, for all rows or each (R, ...), and switches.

    Attributes:
        family: The family with its switches.

    Raises:
        UnknownNameError, ConfigError: an argument is none of the family's, or out of range. InvalidEnvError: MuJoCo
            is too old; or, at the first reset too, a method of a family of your own returns what is of no use.
    """

    def __init__(
        self,
        family: str,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        num_threads: int | None = None,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        **arguments: Any,
    ) -> None:
        self.num_envs = require_integer("num_envs", num_envs, 1, MAX_ROWS)
        self.family, values = split_arguments(family_named(family), arguments)
        self._parameters: Parameters = MappingProxyType(dict(self.family.rows(values, self.num_envs)))
        horizon = self.family.horizon if max_episode_steps is None else max_episode_steps
        self.horizon = require_integer("max_episode_steps", horizon, 1, MAX_HORIZON)
        self._mode = _autoreset_mode(autoreset_mode)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": round(1 / self.family.dt),
            "autoreset_mode": self._mode,
        }
        self.render_mode = require_render_mode(render_mode)
        self.single_observation_space = Box(-np.inf, np.inf, (self.family.observation_size,), np.float64)
        self.single_action_space = Box(-1.0, 1.0, (self.family.action_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        threads = available_cpus() if num_threads is None else require_threads("num_threads", num_threads)
        self._rows = RowPhysics(self.family, self._parameters, self.num_envs, threads)
        self._batch, self._physics, self._starts = self._rows.batch, self._rows.now, self._rows.starts
        self._steps = np.zeros(self.num_envs, dtype=np.int64)
        self._ended = np.ones(self.num_envs, dtype=np.bool_)
        self._observations = np.zeros((self.num_envs, self.family.observation_size))
        self._positions = self.family.position(self._physics)
        self._looked_at = False
        self._changing: int | None = None  # the thread in which the arrays do not fit together now
        self._all = np.ones(self.num_envs, dtype=np.bool_)
        self._tasks = row_states.digest(self.family, self._parameters)
        self._camera = Camera(self.family.model, width, height)

    @classmethod
    def of_tasks(cls, tasks: Sequence[Task], **options: Any) -> "BatchedEnv":
        """One row per task; all of one family with the same switches. `options` are those of the class.

        Raises:
            ConfigError: they are not, or there are none.
        """
        if not tasks:
            raise ConfigError("tasks is empty; expected at least one")
        family = tasks[0].made_family
        for task in tasks:
            if task.made_family != family:
                raise ConfigError(
                    f"{tasks[0]} and {task} are tasks of two families, or have other switches; expected one"
                )
        rows = [family.rows(task.values, 1) for task in tasks]
        values: dict[str, Any] = {name: np.concatenate([row[name] for row in rows]) for name in family.parameters}
        return cls(family.name, len(tasks), **family.switches, **values, **options)

    # --- episodes --------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Array, Info]:
        """Start episodes, in all rows or those of `options={"reset_mask": mask}`, bool (R,).

        Args:
            seed: One for all rows, of which row r gets seed + r; or one each, None for a row's next episode.
            options: See above.

        Raises:
            ConfigError: a seed is none, or as many seeds or flags as rows were expected.
        """
        mask = reset_mask(options, self.num_envs)
        rows = np.flatnonzero(mask)
        seeds = seeds_of_rows(seed, self.num_envs)
        self._require_usable(anew=len(rows) == self.num_envs)
        if self._changing is not None:
            self._rows.loaded()  # of a call that was cut off nothing is left
        self._changing = threading.get_ident()
        seeded = [int(row) for row in rows if seeds[row] is not None]
        self._rows.seed(seeded, [seeds[row] for row in seeded])  # type: ignore[misc]
        self._start(mask)
        self._changing = None
        return self._observations.copy(), {}

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Array, Array, Flags, Flags, Info]:
        """Step all rows with actions (R, act) in [-1, 1]; `info` has the terms of the rewards.

        Raises:
            SimulationError: an action is not finite or of another shape; a row has no episode under way; or the env was
                closed, or made before a fork.
        """
        if self.closed or self._changing is not None or self._rows.inherited:
            self._require_usable()
        given = self._checked(actions)
        resetting = self._ended
        some_reset = np.count_nonzero(resetting) > 0
        if some_reset:
            # Rows that no reset has ever started wait in every mode.
            waiting = self._starts.episodes == 0 if self._mode is AutoresetMode.NEXT_STEP else resetting
            if np.count_nonzero(waiting):
                rows = np.flatnonzero(waiting)[:5].tolist()
                raise SimulationError(f"rows {rows} have no episode under way; reset them first")
        control = self.family.control(given, self._parameters)
        self._changing = threading.get_ident()
        self._rows.control[...] = control
        self._steps += 1
        truncated = self._steps >= self.horizon
        failures = self._rows.step(~resetting if some_reset else None)
        if some_reset:
            self._rows.begin(resetting)
            self._steps[resetting] = 0
            truncated[resetting] = False
        outcome = self.family.outcome(self._positions, self._physics, control, self._parameters)
        self._positions = outcome.position
        observations, rewards, terminated = outcome.observation, outcome.reward, outcome.terminated
        terms = {f"reward_{name}": term.copy() for name, term in outcome.terms.items()}
        info: Info = {}
        unrewarded = resetting
        if failures:
            rows = list(failures)
            observations[rows] = self._observations[rows]
            terminated[rows], truncated[rows] = False, True
            unrewarded = resetting.copy()
            unrewarded[rows] = True
            info |= self._failed(failures)
        if some_reset:
            terminated[resetting] = False
        if failures or some_reset:
            for values in (rewards, *terms.values()):
                values[unrewarded] = 0.0
        self._observations = observations
        self._ended = terminated | truncated
        if some_reset:
            info |= with_masks(terms, ~resetting)
        elif self._mode is AutoresetMode.SAME_STEP and self._ended.any():
            ended, going_on = self._ended, ~self._ended
            info["final_obs"], info["_final_obs"] = objects(observations, ended), ended.copy()
            info["final_info"] = with_masks(of_rows(terms, ended), ended.copy())
            info["_final_info"] = ended.copy()
            info |= with_masks(of_rows(terms, going_on), going_on)
            self._start(ended)
        else:
            info |= with_masks(terms, self._all.copy())
        self._changing = None
        for row in failures:
            text = info["simulation_error"][row]
            warnings.warn(f"{text}; the episode ends, the other rows go on", ApbWarning, stacklevel=2)
        return self._observations.copy(), rewards, terminated, truncated, info

    def _start(self, mask: Flags) -> None:
        """Begin the next episodes of the marked rows."""
        rows = np.flatnonzero(mask)
        if not rows.size:
            return
        self._rows.begin(mask)
        self._steps[rows] = 0
        if not self._looked_at:
            require_forms(self.family, self._physics, self._parameters)
            self._looked_at = True
        begun = physics_of_rows(self._physics, rows)
        self._observations[rows] = self.family.observe(begun, {name: v[rows] for name, v in self._parameters.items()})
        self._positions[rows] = self.family.position(begun)
        self._ended[rows] = False

    def _failed(self, failures: Mapping[int, str]) -> Info:
        texts = np.full(self.num_envs, None, dtype=object)
        for row, message in failures.items():
            texts[row] = f"{self.describe(row)}, step {int(self._steps[row])} of the episode: {message}"
        return {"simulation_error": texts, "_simulation_error": np.array([text is not None for text in texts])}

    @property
    def parameters(self) -> Parameters:
        """The family's parameters, each (R, ...); models were made of them, so they cannot be written to."""
        return self._parameters

    @property
    def positions(self) -> Array:
        """`Family.position` of the rows as they are now, (R, d): a copy."""
        return self._positions.copy()

    def task(self, row: int) -> Task:
        """The task of a row."""
        return task_in(self.family, self._parameters, require_integer("row", row, 0, self.num_envs - 1))

    def describe(self, row: int) -> str:
        """A row and its task, for messages."""
        values = {name: values[row].tolist() for name, values in self._parameters.items()}
        return f"row {row} of {self.family.name} ({described(values)})"

    # --- state -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, NDArray[Any]]:
        """All that an exact continuation needs, in the middle of episodes too: copies, by name."""
        self._require_whole(anew=False)
        return {name: array.copy() for name, array in self._state().items()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a `state` of an env with the same family, tasks and number of rows.

        Raises:
            MismatchError: it is of another one. FileFormatError: it has numbers that no simulation has. Nothing is
                changed then.
        """
        self._require_whole(anew=True)
        before, self._changing = self._changing, threading.get_ident()
        expected = f"{self.num_envs} rows of {self.family.name}"
        try:
            row_states.load(self._state(), state, horizon=self.horizon, moving=self._rows.moving, expected=expected)
        except ApbError:  # nothing was changed
            self._changing = before
            raise
        self._rows.loaded()
        self._changing = None

    def _state(self) -> dict[str, NDArray[Any]]:
        return {
            "tasks": self._tasks,
            "physics": self._batch.state,
            "observations": self._observations,
            "positions": self._positions,
            "seeds": self._starts.seeds,
            "episodes": self._starts.episodes,
            "steps": self._steps,
            "ended": self._ended,
        }

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a BatchedEnv is neither copied nor pickled, as its threads are not: make another one with the same tasks, "
            "and give it the `state()` of this one with `load_state`"
        )

    # --- pictures --------------------------------------------------------------------------------------------------

    def picture(self, row: int) -> NDArray[np.uint8]:
        """What one row looks like now, uint8 (height, width, 3)."""
        self._rows.require_own()
        return self._camera.picture(self._rows.simulation(require_integer("row", row, 0, self.num_envs - 1)))

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A picture of each row; None without a render mode. `apb.tasks.film.grid` puts them side by side."""
        return None if self.render_mode is None else tuple(self.picture(row) for row in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer; the threads end with the object."""
        if not self._rows.inherited:
            self._camera.close()

    # --- checks ----------------------------------------------------------------------------------------------------

    def _require_usable(self, anew: bool = False) -> None:
        if self.closed:
            raise SimulationError(f"this env of {self.family.name} was closed; make a new one")
        self._rows.require_own()
        self._require_whole(anew)

    def _require_whole(self, anew: bool) -> None:
        """Raise `SimulationError` where another thread is in the env, or a call was cut off, unless all begins anew."""
        if self._changing is None:
            return
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        if self._changing in others:
            raise SimulationError(f"another thread is in this env of {self.family.name}; call it from one at a time")
        if not anew:
            raise SimulationError(
                f"a call of this env of {self.family.name} did not come to its end: it was interrupted, or a method of "
                "the family raised an error; reset all rows, or load a state"
            )

    def _checked(self, actions: Any) -> Array:
        given = numbers(actions)
        if given.shape != self.action_space.shape:
            raise SimulationError(f"actions have shape {given.shape}; expected {self.action_space.shape}")
        # Of most actions this is all that has to be seen.
        if _native.all_within(given, -1.0, 1.0):
            return given
        if not np.isfinite(given).all():
            row, element = (int(index) for index in np.argwhere(~np.isfinite(given))[0])
            raise SimulationError(
                f"{self.describe(row)}: action {element} is {given[row, element]}; expected a finite number"
            )
        return given.clip(-1.0, 1.0)


def _autoreset_mode(value: AutoresetMode | str) -> AutoresetMode:
    for mode in AutoresetMode:
        if value is mode or str(value).lower() in (mode.value.lower(), mode.name.lower()):
            return mode
    raise ConfigError(f"autoreset_mode = {value!r:.100}; expected {', '.join(mode.name for mode in AutoresetMode)}")
