"""`TaskEnv`: one task of a family as a plain `gymnasium.Env`, stepped by MuJoCo's own `mj_step`."""

import copy
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from apb import rng
from apb.errors import SimulationError, require_integer
from apb.mujoco_quiet import quiet
from apb.row_resets import reset_options
from apb.tasks.bounds import UNSTABLE, bounded, numbers
from apb.tasks.family import Family, physics_of, split_arguments
from apb.tasks.film import Camera, require_render_mode
from apb.tasks.forms import require_forms
from apb.tasks.parameter import Parameters
from apb.tasks.registry import family_named
from apb.tasks.starts import Starts
from apb.tasks.task import Task, described, task_in

Observation = NDArray[np.float64]


class TaskEnv(gymnasium.Env[Observation, NDArray[np.floating[Any]]]):
    """One task. Observations are float64, actions in [-1, 1]; `info` has the terms of the reward.

    Args:
        family: Name of the family.
        render_mode: None or "rgb_array".
        width, height: Of a picture, in pixels.
        arguments: Values of the family's parameters and switches.

    Raises:
        UnknownNameError, ConfigError: an argument is none of the family's, or out of range. InvalidEnvError, here or at
            the first reset: a method of a family of your own returns what is of no use.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(
        self, family: str, *, render_mode: str | None = None, width: int = 480, height: int = 480, **arguments: Any
    ) -> None:
        self.family, self.values = split_arguments(family_named(family), arguments)
        self._parameters = self.family.rows(self.values, 1)
        with quiet:
            self.model = _model_of(self.family, self._parameters)
            self.data = mujoco.MjData(self.model)
        self._physics = physics_of(self.data, self.family.outputs)
        self.observation_space = Box(-np.inf, np.inf, (self.family.observation_size,), np.float64)
        self.action_space = Box(-1.0, 1.0, (self.family.action_size,), np.float32)
        self.metadata = self.metadata | {"render_fps": round(1 / self.family.dt)}
        self.render_mode = require_render_mode(render_mode)
        self._size = width, height
        self._camera = Camera(self.model, width, height)
        self._starts = Starts(1)
        self._looked_at = False

    @property
    def task(self) -> Task:
        """The task, with the values of all parameters and switches."""
        return task_in(self.family, self._parameters, 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode: the first of `seed`, or the next one of the seed before.

        Raises:
            ConfigError: a seed is none, or an option means nothing here.
        """
        reset_options(options)
        if seed is not None:
            seed = require_integer("seed", seed, 0, rng.MAX_SEED)
            self._starts.seed([0], [seed])
        super().reset(seed=seed)
        qpos, qvel = self.family.start(*self._starts.draw([0], self.model.nq + self.model.nv, self.model.nv))
        with quiet:
            mujoco.mj_resetData(self.model, self.data)
            self.data.qpos[:] = qpos[0]
            self.data.qvel[:] = qvel[0]
            mujoco.mj_forward(self.model, self.data)
        if not self._looked_at:
            require_forms(self.family, self._physics, self._parameters)
            self._looked_at = True
        return self.family.observe(self._physics, self._parameters)[0], {}

    def step(self, action: NDArray[np.floating[Any]]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One step of `frame_skip` substeps.

        Raises:
            SimulationError: the action is not finite or of another shape, no episode is under way, or the simulation
                blew up.
        """
        actions = numbers(action)
        if actions.shape != self.action_space.shape or not np.isfinite(actions).all():
            raise SimulationError(
                f"{self}: action = {action!r:.200}; expected finite numbers of shape {self.action_space.shape}"
            )
        if not self._starts.episodes[0]:
            raise SimulationError(f"{self}: no episode is under way; reset it first")
        control = self.family.control(np.clip(actions[None], -1, 1), self._parameters)
        before = self.family.position(self._physics)
        self.data.ctrl[:] = control[0]
        with quiet:
            mujoco.mj_step(self.model, self.data, self.family.frame_skip)
        warned = any(self.data.warning[index].number for index in UNSTABLE)
        if warned or not (bounded(self.data.qpos[None]) and bounded(self.data.qvel[None])):
            raise SimulationError(f"{self}: the simulation became unstable at {self.data.time:.3f} s; reset it")
        outcome = self.family.outcome(before, self._physics, control, self._parameters)
        terms = {f"reward_{name}": float(values[0]) for name, values in outcome.terms.items()}
        return outcome.observation[0], float(outcome.reward[0]), bool(outcome.terminated[0]), False, terms

    def render(self) -> NDArray[np.uint8] | None:
        """A picture of now, uint8 (height, width, 3); None without a render mode."""
        if self.render_mode is None:
            return None
        now = copy.copy(self.data)  # where bodies are in `data` is where they were one substep ago
        mujoco.mj_forward(self.model, now)
        return self._camera.picture(now)

    def close(self) -> None:
        """Free the renderer."""
        self._camera.close()

    def __copy__(self) -> "TaskEnv":
        # One that shared its simulation would move this one's.
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: all but what looks into `data`, which has its model with it."""
        return {name: value for name, value in vars(self).items() if name not in ("model", "_physics", "_camera")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.model = self.data.model
        self._physics = physics_of(self.data, self.family.outputs)
        self._camera = Camera(self.model, *self._size)

    def __str__(self) -> str:
        return f"{self.family.name} with {described(self.values)}"


def _model_of(family: Family, parameters: Parameters) -> mujoco.MjModel:
    fields = family.model_fields(parameters)
    if not fields:
        return family.model
    model = copy.copy(family.model)
    for name, values in fields.items():
        getattr(model, name)[:] = values[0]
    # What MuJoCo derives from masses and inertias stays that of the old ones else.
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model
