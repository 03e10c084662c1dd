"""`check_family`: tells the author of a family of tasks what is wrong with it."""

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

import mujoco
import numpy as np

from apb.batches import require_batches
from apb.errors import ApbWarning, ConfigError, InvalidEnvError, counted, require_integer
from apb.mujoco_quiet import quiet
from apb.tasks.comparing import Comparison, drawn, reserved_names
from apb.tasks.family import MODELS, Family, Physics, Rows, physics_of
from apb.tasks.hints import hint_on
from apb.tasks.parameter import Parameter
from apb.tasks.probing import Findings, Parts, Probe, mapped, near
from apb.tasks.registry import family_named, require_name
from apb.tasks.signatures import METHODS, check_names, check_signatures, instead_of

MAX_ROWS = 1_000
MAX_STEPS = 10_000


def check_family(family: type[Family] | str, *, rows: int = 4, steps: int = 50, seed: int = 0) -> None:
    """Try all that a family says, and raise one error with everything that is wrong.

    Simulations with random actions give the states on which each method is called: for many rows and tasks, again, and
    for single rows. Then the batched env is compared with the env of one task, bit for bit. All is tried once more with
    each switch turned that is True or False. What may be meant, such as a parameter that changes nothing, is a warning.

    Args:
        family: A subclass of `apb.tasks.Family`, registered or not, or the name of a registered one.
        rows: Simulations, in [2, 1,000].
        steps: Of each simulation, in [1, 10,000].
        seed: Of starts, actions and tasks.

    Raises:
        InvalidEnvError: the family is wrong: where, what was found, what is expected, how to mend it. Or MuJoCo is too
            old to simulate in batches.
        UnknownNameError: no family is registered under the name. ConfigError: another argument is out of range.
    """
    cls = family_named(family) if isinstance(family, str) else family
    if not (isinstance(cls, type) and issubclass(cls, Family)):
        raise ConfigError(f"check_family({family!r:.100}); expected a subclass of apb.tasks.Family, or a family's name")
    rows, steps = require_integer("rows", rows, 2, MAX_ROWS), require_integer("steps", steps, 1, MAX_STEPS)
    generator = np.random.default_rng(require_integer("seed", seed, 0, 2**63 - 1))
    require_batches()
    findings = Findings()
    _check_name(cls, findings)
    check_signatures(cls, findings)
    if _check_class(cls, findings) and not findings.unusable & NEEDED:
        flags = {each.name: each.default for each in fields(cls) if isinstance(each.default, bool)}
        trial = _Trial(cls, findings, rows, steps, generator)
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # what comes of it is looked at
            warnings.simplefilter("ignore", ApbWarning)
            for switches in ({}, *({flag: not default} for flag, default in flags.items())):
                findings.variant = "".join(f", with {flag} = {value}" for flag, value in switches.items())
                findings.guarded(cls.__name__, partial(trial.check, switches))
    else:
        findings.unchecked.append("all that needs a simulation")
    name = f"the family {getattr(cls, 'name', None)!r} ({cls.__qualname__})"
    found = counted(*((len(findings.faults), "fault") if findings.faults else (len(findings.doubts), "doubtful thing")))
    report = "\n  ".join([f"{name} has {found}", *findings.lines()])
    if findings.faults:
        raise InvalidEnvError(report)
    if findings.doubts:
        warnings.warn(report, ApbWarning, stacklevel=2)


# --- the class --------------------------------------------------------------------------------------------------------


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_width(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


ATTRIBUTES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_is_text, 'text such as "cheetah-vel"'),
    "formula": (_is_text, "the reward of a step, in one line of text"),
    "xml": (_is_text, "the name of a file of Gymnasium's MuJoCo models"),
    "frame_skip": (_is_count, "an integer, at least 1"),
    "horizon": (_is_count, "an integer, at least 1"),
    "position_noise": (_is_width, "a finite number, at least 0"),
    "velocity_noise": (_is_width, "a finite number, at least 0"),
    "gaussian_velocity": (lambda value: isinstance(value, bool), "True or False"),
    "outputs": (lambda value: isinstance(value, tuple), 'a tuple of names, ("cfrc_ext",)'),
}
"""Class attributes of a family, and what each is to be."""

NEEDED = {"parameters", "spec", "rows", "outcome"}
"""Without these nothing can be tried."""

READ_BY = {"xml": "spec", "position_noise": "start", "velocity_noise": "start", "gaussian_velocity": "start"}
"""Class attributes that only this method reads: a family with its own method needs none."""


def _check_name(cls: type[Family], findings: Findings) -> None:
    if not isinstance(getattr(cls, "name", None), str):
        return
    try:
        require_name(cls)
    except ConfigError as error:
        found, _, expected = str(error).partition("; expected ")
        findings.fault("name", found, expected, "`apb.tasks.register` refuses it.")


def _check_class(cls: type[Family], findings: Findings) -> bool:
    """Whether the class can be tried."""
    wrong = findings.wrong
    for name, (is_good, expected) in ATTRIBUTES.items():
        method = READ_BY.get(name, "")
        if getattr(cls, method, None) is not getattr(Family, method, None):
            continue
        if not hasattr(cls, name):
            advice = f"Add `{name}: ClassVar[...] = ...` to the class.{instead_of(cls, name)}"
            findings.fault(name, "is missing", expected, advice)
        elif not is_good(getattr(cls, name)):
            findings.fault(name, f"is {getattr(cls, name)!r:.80}", expected, "Correct it in the class.")
    if cls.spec is Family.spec and _is_text(getattr(cls, "xml", None)):
        models = {each.name for each in MODELS.iterdir()}
        if cls.xml not in models:
            findings.fault("xml", f"is {cls.xml!r}", ATTRIBUTES["xml"][1], near(cls.xml, models))
    switches = {each.name: each for each in fields(cls)}
    for name, annotation in inspect.get_annotations(cls).items():
        if name in switches and name in ATTRIBUTES:
            findings.fault(name, "is a switch", "an attribute of the class", "Annotate it with ClassVar[...].")
        elif name in switches and switches[name].default is MISSING:
            findings.fault(name, "is a switch without a default", "the value of most tasks", "Give it a default.")
        elif name not in {*switches, *ATTRIBUTES} and "ClassVar" not in str(annotation):
            advice = "Decorate the class with @dataclass(frozen=True); annotate what is no switch with ClassVar[...]."
            findings.doubt(name, "is annotated, and no switch", "a switch", advice)
    for method in sorted(cls.__abstractmethods__):
        advice = f"See `apb.tasks.Family.{method}`.{instead_of(cls, method)}"
        findings.fault(method, "is missing", "a method or property of this name", advice)
    check_names(cls, [*ATTRIBUTES, "parameters", *METHODS], findings)
    return findings.wrong == wrong


# --- its instances ----------------------------------------------------------------------------------------------------


class _Trial:
    """Tries a family, with some of its switches turned."""

    def __init__(
        self, cls: type[Family], findings: Findings, rows: int, steps: int, generator: np.random.Generator
    ) -> None:
        self._cls, self._findings, self._rows, self._steps, self._generator = cls, findings, rows, steps, generator

    def check(self, switches: dict[str, Any]) -> None:
        """Check all that nothing found before stands in the way of."""
        self._family = self._cls(**switches)
        self._probe = Probe(self._family, self._findings)
        guarded, wrong = self._findings.guarded, self._findings.wrong
        hint = partial(hint_on, family=self._family)
        guarded("parameters", self._check_parameters, hint)
        guarded("model", self._check_model, hint)
        if self._findings.wrong > wrong:
            self._findings.unchecked.append("all that needs a simulation")
            return
        physics, actions = self._check_methods()
        if self._findings.wrong > wrong:
            self._findings.unchecked.append("whether the batched env is the env of one task; parameters without effect")
            return
        comparison = Comparison(self._cls, switches, self._findings, self._rows, self._steps, self._generator)
        guarded("the batched env", comparison.check_envs)
        if not switches:
            guarded("parameters", partial(comparison.check_effects, self._family, physics, actions))

    def _check_parameters(self) -> None:
        fault = self._findings.fault
        parameters = self._family.parameters
        if not isinstance(parameters, Mapping) or not all(isinstance(each, Parameter) for each in parameters.values()):
            fault("parameters", f"are {parameters!r:.80}", "a dict of apb.tasks.Parameter", "See `Family.parameters`.")
            return
        if parameters != self._family.parameters:
            fault("parameters", "differ when asked for again", "the same ones", "Draw nothing at random.")
        if not parameters:
            self._findings.doubt("parameters", "there are none", "what tells tasks apart", "All tasks are the same.")
        for name, parameter in parameters.items():
            where = f"parameters[{name!r}]"
            if not (isinstance(name, str) and name.isidentifier()):
                fault(where, "cannot be an argument", "a name such as 'velocity'", "Rename it.")
            elif name in reserved_names() or name in self._family.switches:
                fault(where, "is also an argument of envs, or a switch", "a name of its own", "Rename it.")
            if not parameter.low <= parameter.high:
                fault(where, f"has the bounds [{parameter.low}, {parameter.high}]", "low <= high", "Correct them.")
                continue
            try:
                parameter.rows("default", np.broadcast_to(parameter.default, parameter.shape), 1)
            except ConfigError as error:
                found, _, expected = str(error).partition("; expected ")
                fault(where, found, expected, "A task that does not name the parameter would be refused.")
            except ValueError:
                fault(where, f"has the default {parameter.default}", f"the shape {parameter.shape}", "Correct either.")

    def _check_model(self) -> None:
        from mujoco.batch import DATA_FIELDS  # here, since an older MuJoCo has no batches

        model = self._family.model
        low, high = model.actuator_ctrlrange.T
        if not model.nu:
            self._findings.fault("model", "has no actuators", "at least one", "Add them in `spec`.")
        if type(self._family).control is Family.control and not (low < high).all():
            advice = "Give each actuator a ctrlrange in `spec`, or write a `control` of your own."
            self._findings.fault("control", f"scales actions to {low} ... {high}", "ranges that are not empty", advice)
        data = mujoco.MjData(model)
        known = [name for name in DATA_FIELDS if isinstance(getattr(data, name, None), np.ndarray)]
        for name in self._family.outputs:
            if name not in known:
                self._findings.fault("outputs", f"{name!r} is no array of MjData", "one", near(str(name), known))

    def _check_methods(self) -> tuple[Physics, Rows]:
        """Check what each method returns; returns the states and actions of the simulations that it was tried on."""
        family, model, rows = self._family, self._family.model, self._rows
        count = rows * (self._steps + 1)
        starts = self._check_start()
        parameters = drawn(family, count, self._generator)
        for row, bound in enumerate(("low", "high")):
            for name, parameter in family.parameters.items():
                value = getattr(parameter, bound)
                if not (parameter.permutation or parameter.allowed) and math.isfinite(value):
                    parameters[name][row] = value
        actions = self._generator.uniform(-1, 1, (count, model.nu))
        controls = self._probe("control", actions, parameters)
        control = Family.control(family, actions, parameters) if controls is None else controls[""]
        physics = self._simulated(starts, control)
        for name, values in physics.outputs.items():
            if not values.any():
                advice = "MuJoCo computes some of them only where a sensor or an option asks for them: see `spec`."
                self._findings.doubt("outputs", f"{name!r} is 0 in all simulations", "other numbers", advice)
        self._probe("observe", physics, parameters)
        ended = self._probe("terminated", physics)
        if ended is not None and ended[""][:rows].any():
            advice = "Look at `start`, and at the limits."
            self._findings.fault("terminated", "is True at a start", "an episode that can begin", advice)
        positions = self._probe("position", physics)
        if positions is None:
            self._findings.unchecked.append("reward_terms")
        else:
            position, velocity = positions[""], np.zeros_like(positions[""])
            velocity[rows:] = (position[rows:] - position[:-rows]) / family.dt
            self._probe("reward_terms", physics, velocity, control, parameters)
        if parameters:
            self._probe("model_fields", parameters)
        return physics, actions

    def _check_start(self) -> Parts:
        model = self._family.model
        uniform = self._generator.random((self._rows, model.nq + model.nv))
        starts = self._probe("start", uniform, self._generator.standard_normal((self._rows, model.nv)))
        if starts is None:
            return {"positions": np.tile(model.qpos0, (self._rows, 1)), "velocities": np.zeros((self._rows, model.nv))}
        if not any(np.ptp(values, axis=0).any() for values in starts.values()):
            self._findings.doubt("start", "is always the same", "starts that differ", "See `position_noise`.")
        return starts

    def _simulated(self, starts: Parts, control: Rows) -> Physics:
        """All simulations at their starts and after each step: as many rows as `control` has."""
        family, states = self._family, []
        simulations = [mujoco.MjData(family.model) for _ in range(self._rows)]
        for index, given in enumerate(control):
            data = simulations[index % self._rows]
            if index < self._rows:
                data.qpos[:], data.qvel[:] = starts["positions"][index], starts["velocities"][index]
                mujoco.mj_forward(family.model, data)
            else:
                data.ctrl[:] = given
                with quiet:
                    mujoco.mj_step(family.model, data, family.frame_skip)
            states.append(mapped(physics_of(data, family.outputs), np.copy))
        return Physics(
            np.concatenate([state.qpos for state in states]),
            np.concatenate([state.qvel for state in states]),
            {name: np.concatenate([state.outputs[name] for state in states]) for name in family.outputs},
        )
