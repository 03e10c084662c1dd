"""`Family`: a distribution of tasks on one simulated robot, and all that makes its rewards, observations and ends.

Everything is vectorised over R rows, each a simulation with parameters of its own; the same code serves one env and a
batch of thousands. A family is a subclass in a file of its own in `families/`; `robots` has what families of one robot
share.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, UnknownNameError, nearest
from apb.mujoco_quiet import quiet
from apb.tasks.forms import size_of
from apb.tasks.parameter import Parameter, Parameters, rows_of

Rows = NDArray[np.float64]
"""Numbers of R rows: float64 (R, ...)."""

MODELS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
"""Gymnasium's own MuJoCo models."""

AFTER_CONTACT = ("cacc", "cfrc_ext", "cfrc_int")
"""Fields that MuJoCo computes only where a sensor asks for them."""


@dataclass(frozen=True, slots=True)
class Physics:
    """What R simulations show: live views, which cannot be written to and are not to be kept.

    Attributes:
        qpos: Generalised positions, (R, nq).
        qvel: Generalised velocities, (R, nv).
        outputs: The fields of MjData that `Family.outputs` names, each (R, ...), as the last substep leaves them. With
            Euler's integrator they are of its beginning, so older than qpos by one timestep of the model; with
            Runge-Kutta of its last stage, but for `AFTER_CONTACT`, which are of its beginning too.
    """

    qpos: Rows
    qvel: Rows
    outputs: Mapping[str, Rows]


class Outcome(NamedTuple):
    """What a step of R rows gives: the new `Family.position`, observations (R, obs), rewards (R,) and their terms, and
    whether a task ended."""

    position: Rows
    observation: Rows
    reward: Rows
    terms: Mapping[str, Rows]
    terminated: NDArray[np.bool_]


@dataclass(frozen=True)
class Family(ABC):
    """A family of tasks. Its fields are switches between variants of the family, with the defaults of `pearl`.

    Class attributes:
        name: As in "cheetah-vel".
        formula: The reward of a step, in one line.
        xml: File of Gymnasium's MuJoCo models.
        frame_skip: Substeps of one step.
        horizon: Steps after which an episode is truncated; 200 in all of the PEARL line.
        position_noise, velocity_noise: Starts differ by uniform noise of this half-width in qpos, and in qvel, where it
            is the deviation of Gaussian noise if `gaussian_velocity`.
        outputs: Fields of MjData that observations and rewards need beside qpos and qvel.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    xml: ClassVar[str]
    frame_skip: ClassVar[int]
    horizon: ClassVar[int] = 200
    position_noise: ClassVar[float]
    velocity_noise: ClassVar[float]
    gaussian_velocity: ClassVar[bool] = False
    outputs: ClassVar[tuple[str, ...]] = ()

    # --- what a family says ----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, Parameter]:
        """What tells its tasks apart."""

    @abstractmethod
    def observe(self, physics: Physics, parameters: Parameters) -> Rows:
        """Observations (R, obs), in an array of their own."""

    @abstractmethod
    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """The terms of the reward of a step, each (R,): the reward is their sum.

        Args:
            physics: After the step.
            velocity: Mean rate of `position` over the step, (R, d).
            control: What the actuators were given, (R, nu).
            parameters: Of the rows' tasks.
        """

    def position(self, physics: Physics) -> Rows:
        """What the velocity of a reward is the rate of, (R, d), in an array of its own. Default: x of the root."""
        return physics.qpos[:, :1].copy()

    def terminated(self, physics: Physics) -> NDArray[np.bool_]:
        """Rows whose task has ended, bool (R,). Default: none, ever."""
        return np.zeros(len(physics.qpos), dtype=np.bool_)

    def control(self, action: Rows, parameters: Parameters) -> Rows:
        """What the actuators are given for actions (R, act) in [-1, 1]. Default: scaled to the actuators' ranges."""
        if self._control_range is None:
            return action
        middle, half_width = self._control_range
        control = action * half_width
        control += middle
        return control

    def model_fields(self, parameters: Parameters) -> dict[str, Rows]:
        """Fields of MjModel itself (not of its options) that differ between tasks, each (R, *shape). Default: none."""
        return {}

    def spec(self) -> mujoco.MjSpec:
        """The model before it is compiled, for a family that changes it."""
        return mujoco.MjSpec.from_file(str(MODELS / self.xml))

    # --- what follows from it --------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The compiled model, with the family's own values; shared, so not to be changed."""
        with quiet:
            spec = self.spec()
            if set(self.outputs) & set(AFTER_CONTACT):
                # Without a sensor that needs them MuJoCo leaves contact forces at zero, and says nothing.
                spec.bodies[1].add_site(name="contact_forces")
                spec.add_sensor(
                    name="contact_forces",
                    type=mujoco.mjtSensor.mjSENS_FORCE,
                    objtype=mujoco.mjtObj.mjOBJ_SITE,
                    objname="contact_forces",
                )
            # MuJoCo means to drop this attribute of the compiler, and warns of it.
            mass, spec.compiler.settotalmass = spec.compiler.settotalmass, -1
            model = spec.compile()
            if mass > 0:
                mujoco.mj_setTotalmass(model, mass)
                mujoco.mj_setConst(model, mujoco.MjData(model))
                # The scale of the solver's tolerance, which these functions leave as it was.
                model.stat.meanmass = model.body_mass[1:].mean()
                model.stat.meaninertia = model.dof_M0.mean()
        return model

    @cached_property
    def dt(self) -> float:
        """Seconds of one step."""
        return float(self.model.opt.timestep) * self.frame_skip

    @cached_property
    def observation_size(self) -> int:
        """Elements of an observation."""
        data = mujoco.MjData(self.model)
        with quiet:
            mujoco.mj_forward(self.model, data)
        return size_of(self, self.observe(physics_of(data, self.outputs), self.rows({}, 1)))

    @property
    def action_size(self) -> int:
        """Elements of an action."""
        return int(self.model.nu)

    @cached_property
    def _control_range(self) -> tuple[Rows, Rows] | None:
        """Middles and half-widths of the actuators' ranges; None where all are [-1, 1], as those of most robots."""
        low, high = self.model.actuator_ctrlrange.T
        return None if (low == -1).all() and (high == 1).all() else ((low + high) / 2, (high - low) / 2)

    @property
    def switches(self) -> dict[str, Any]:
        """The values of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the model, which is compiled anew where it is needed, and by name: some classes are made by functions.
        from apb.tasks.registry import FAMILIES

        known = FAMILIES.get(self.name) is type(self)
        return _made_again, (self.name if known else type(self), self.switches)

    def rows(self, values: Mapping[str, Any], count: int) -> Parameters:
        """Parameters for `count` rows from values for all of them, or for each; see `Parameter.rows`."""
        return rows_of(self.parameters, values, count, self.name)

    def start(self, uniform: Rows, normal: Rows) -> tuple[Rows, Rows]:
        """Positions (R, nq) and velocities (R, nv) at the start of episodes.

        Args:
            uniform: Uniform on [0, 1), (R, nq + nv).
            normal: Standard normal, (R, nv).
        """
        spread = 2 * uniform - 1
        positions = self.model.qpos0 + self.position_noise * spread[:, : self.model.nq]
        velocities = normal if self.gaussian_velocity else spread[:, self.model.nq :]
        return positions, self.velocity_noise * velocities

    def outcome(self, before: Rows, physics: Physics, control: Rows, parameters: Parameters) -> Outcome:
        """All that a step gives; `before` is the `position` before it."""
        position = self.position(physics)
        velocity = position - before
        velocity /= self.dt
        terms = self.reward_terms(physics, velocity, control, parameters)
        reward: Rows = reduce(np.add, terms.values(), np.zeros(len(before)))
        return Outcome(position, self.observe(physics, parameters), reward, terms, self.terminated(physics))


def read_only(values: Rows) -> Rows:
    """A view that cannot be written to, so that no family moves a robot by looking at it."""
    view = values[...]
    view.flags.writeable = False
    return view


def physics_of(data: mujoco.MjData, outputs: tuple[str, ...]) -> Physics:
    """One simulation as one row."""
    return Physics(
        read_only(data.qpos[None]),
        read_only(data.qvel[None]),
        {name: read_only(getattr(data, name)[None]) for name in outputs},
    )


def _made_again(family: str | type[Family], switches: Mapping[str, Any]) -> Family:
    from apb.tasks.registry import family_named  # here, since it imports the families

    return (family_named(family) if isinstance(family, str) else family)(**switches)


def split_arguments(family: Callable[..., Family], arguments: Mapping[str, Any]) -> tuple[Family, dict[str, Any]]:
    """The family with its switches from `arguments`, and the rest of them, which are values of its parameters.

    Raises:
        UnknownNameError: an argument is neither. ConfigError: a switch has a value of another kind.
    """
    made = with_switches(family, arguments)
    return made, values_in(made, arguments)


def with_switches(family: Callable[..., Family], arguments: Mapping[str, Any]) -> Family:
    """The family with those of the `arguments` that are its switches; see `split_arguments`."""
    own = {field.name: field for field in fields(family)}  # type: ignore[arg-type]
    for name in own.keys() & arguments.keys():
        if type(arguments[name]) is not type(own[name].default):
            raise ConfigError(
                f"{name} = {arguments[name]!r:.100}; expected a {type(own[name].default).__name__}, as its default "
                f"{own[name].default!r}"
            )
    return family(**{name: value for name, value in arguments.items() if name in own})


def values_in(family: Family, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the `arguments` that are no switches; see `split_arguments`."""
    switches = family.switches
    for name in arguments:
        if name not in switches and name not in family.parameters:
            raise UnknownNameError(
                f"the family {family.name!r} has neither a parameter nor a switch {name!r:.100}; "
                f"{nearest(name, [*family.parameters, *switches])}"
            )
    return {name: value for name, value in arguments.items() if name not in switches}
