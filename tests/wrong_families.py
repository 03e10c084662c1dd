"""Families that are wrong, or doubtful, in one thing each, with where `check_family` is to find it and what to say."""

import itertools
from dataclasses import dataclass

import numpy as np
from apb.tasks import Parameter
from apb.tasks.families.cheetah_vel import CheetahVel

TARGET = Parameter("target speed in m/s", 2.0, 0.0, 20.0)
CALLS = itertools.count()
BUFFER = np.zeros((1_000, 3))


def family(base=CheetahVel, **overridden):
    """A family like cheetah-vel, but for what is overridden."""
    return dataclass(frozen=True)(type("Overridden", (base,), {"name": "overridden", **overridden}))


class Full(CheetahVel):
    """A right family that has something of everything."""

    name, outputs = "full", ("cfrc_ext",)

    def model_fields(self, given):
        return {"body_mass": self.model.body_mass * (1 + given["velocity"][:, None])}


def raising(self, *arguments):
    raise LookupError("nothing here")


def overriding(method, change):
    """The method with its result changed."""

    def changed(self, *arguments):
        return change(getattr(CheetahVel, method)(self, *arguments), *arguments)

    return {method: changed}


def parameters(**given):
    return {"parameters": property(lambda self: {"velocity": TARGET, **given})}


def random_spec(self):
    spec = super(CheetahVel, self).spec()
    spec.option.gravity = [0, 0, -9 - next(CALLS) % 7]
    return spec


def free_spec(self):
    spec = super(CheetahVel, self).spec()
    for actuator in spec.actuators:
        actuator.ctrlrange, actuator.ctrllimited = [0, 0], False
    return spec


def still_spec(self):
    spec = super(CheetahVel, self).spec()
    for actuator in [*spec.actuators]:
        spec.delete(actuator)
    return spec


def moving_root(self, physics):
    physics.qpos[:, 0] += 1
    return np.zeros((len(physics.qpos), 1))


def spoiling(self, physics, velocity, control, given):
    given["velocity"][:] = 0
    return {"forward": velocity[:, 0].copy()}


def heavier(self, given):
    self.model.body_mass[1] += 1
    return {}


WRONG = {
    # the class
    "a name with capitals": ({"name": "CheetahVel"}, "name", "'CheetahVel'"),
    "a name that is taken": ({"name": "cheetah-vel"}, "name", "exists already"),
    "a name that is no text": ({"name": 3}, "name", "is 3"),
    "no formula": ({"formula": ""}, "formula", "is ''"),
    "a model that there is not": ({"xml": "half_chetah.xml"}, "xml", "Did you mean 'half_cheetah.xml'"),
    "no substeps": ({"frame_skip": 0}, "frame_skip", "is 0"),
    "a horizon that is not positive": ({"horizon": 0}, "horizon", "is 0; expected an integer, at least 1"),
    "a noise that is no number": ({"position_noise": float("nan")}, "position_noise", "is nan"),
    "a noise below zero": ({"velocity_noise": -0.1}, "velocity_noise", "is -0.1"),
    "a flag that is none": ({"gaussian_velocity": "yes"}, "gaussian_velocity", "is 'yes'"),
    "outputs that are text": ({"outputs": "cfrc_ext"}, "outputs", "is 'cfrc_ext'; expected a tuple"),
    "an attribute that is a switch": (
        {"__annotations__": {"horizon": int}, "horizon": 100},
        "horizon",
        "is a switch; expected an attribute",
    ),
    # the model
    "a model that does not load": ({"spec": raising}, "model", "LookupError: nothing here"),
    "a model without actuators": ({"spec": still_spec}, "model", "has no actuators"),
    "actuators without a range": ({"spec": free_spec}, "control", "expected ranges that are not empty"),
    "a model of each instance's own": ({"spec": random_spec}, "the batched env", "differs from the env of its task"),
    "an unknown output": (
        {"outputs": ("cfrc_exd",)},
        "outputs",
        "'cfrc_exd' is no array of MjData; expected one. Did you mean 'cfrc_ext'",
    ),
    "an output that is no array": ({"outputs": ("time",)}, "outputs", "'time' is no array"),
    # the parameters
    "parameters that raise": ({"parameters": property(raising)}, "parameters", "nothing here"),
    "a parameter that is a number": (parameters(limit=3.0), "parameters", "expected a dict of apb.tasks.Parameter"),
    "bounds that are swapped": (parameters(limit=Parameter("m", 1, 2, 0)), "parameters['limit']", "low <= high"),
    "a default out of range": (parameters(limit=Parameter("m", 3, 0, 2)), "parameters['limit']", "default = 3.0"),
    "a default of another shape": (
        parameters(limit=Parameter("m", (1, 2), 0, 2, (3,))),
        "parameters['limit']",
        "expected the shape (3,)",
    ),
    "a parameter of a switch's name": (
        parameters(include_torso_position=TARGET),
        "parameters['include_torso_position']",
        "a switch",
    ),
    "a parameter of an argument's name": (parameters(width=TARGET), "parameters['width']", "an argument of envs"),
    "parameters that differ each time": (
        {"parameters": property(lambda self: {"velocity": Parameter("m", 1, 0, 2 + next(CALLS))})},
        "parameters",
        "differ when asked for again",
    ),
    # what methods return
    "observations in single precision": (
        overriding("observe", lambda found, *_: found.astype(np.float32)),
        "observe",
        "returned float32",
    ),
    "observations of one row less": (overriding("observe", lambda found, *_: found[1:]), "observe", "returned float64"),
    "one observation squeezed": (overriding("observe", lambda found, *_: found.squeeze()), "observe", "for 1 row"),
    "a list of observations": (overriding("observe", lambda found, *_: found.tolist()), "observe", "returned [["),
    "an infinite observation": (
        overriding("observe", lambda found, *_: found + np.inf),
        "observe",
        "element (0, 0)",
    ),
    "a flat position": (overriding("position", lambda found, *_: found[:, 0]), "position", "float64 (44, n)"),
    "ends that are numbers": (overriding("terminated", lambda found, *_: found * 1.0), "terminated", "array of bool"),
    "a control less": (overriding("control", lambda found, *_: found[:, 1:]), "control", "float64 (44, 6)"),
    "a start without velocities": (overriding("start", lambda found, *_: found[0]), "start", "expected two arrays"),
    "a start of another size": (
        overriding("start", lambda found, *_: (found[0], found[1][:, 1:])),
        "start['velocities']",
        "returned float64 (4, 8)",
    ),
    "no reward": ({"reward_terms": lambda self, *_: {}}, "reward_terms", "returned {}"),
    "nothing returned": ({"reward_terms": lambda self, *_: None}, "reward_terms", "returned None"),
    "a reward that is no dict": (
        {"reward_terms": lambda self, physics, velocity, *_: velocity[:, 0]},
        "reward_terms",
        "returned float64 (44,)",
    ),
    "a reward for all rows together": (
        overriding("reward_terms", lambda found, *_: {**found, "sum": found["control"].sum()}),
        "reward_terms['sum']",
        "expected an array of float64 (44,)",
    ),
    "a reward that is infinite at a bound": (
        overriding("reward_terms", lambda found, *given: found | {"log": np.nan_to_num(given[3]["velocity"]) ** -1}),
        "reward_terms['log']",
        "is inf; expected finite numbers, for the bounds",
    ),
    "a field of the model that there is not": (
        {"model_fields": lambda self, given: {"body_mas": given["velocity"]}},
        "model_fields['body_mas']",
        "Did you mean 'body_mass'",
    ),
    "a field of the model of another shape": (
        {"model_fields": lambda self, given: {"body_mass": given["velocity"]}},
        "model_fields['body_mass']",
        "expected an array of float64 (44, 8)",
    ),
    # how they do it
    "rows that are compared": (
        overriding("observe", lambda found, *_: found - found.mean(axis=0)),
        "observe",
        "row 0 alone differs from itself among 44 rows, by",
    ),
    "rows that are counted": (
        overriding("observe", lambda found, *_: found + np.arange(len(found))[:, None]),
        "observe",
        "row 5 alone differs from itself among 44 rows, by 5 at most",
    ),
    "terms of some rows only": (
        overriding(
            "reward_terms",
            lambda found, *_: {**found, **({"x": 1 * found["control"]} if len(found["control"]) > 1 else {})},
        ),
        "reward_terms['x']",
        "where it is missing",
    ),
    "a random end": (
        overriding("terminated", lambda found, *_: np.arange(len(found)) == 10 + next(CALLS) % 8),
        "terminated",
        "gave something else when called again",
    ),
    "the same array again": (
        {"observe": lambda self, physics, given: BUFFER[: len(physics.qpos)]},
        "observe",
        "returned the same array again",
    ),
    "a view of the physics": (
        {"position": lambda self, physics: physics.qpos[:, :1]},
        "position",
        "view of physics.qpos",
    ),
    "a view of a parameter": (
        overriding("reward_terms", lambda found, *given: found | {"bonus": given[3]["velocity"]}),
        "reward_terms['bonus']",
        "is a view of parameters['velocity']",
    ),
    "a physics that is written to": ({"position": moving_root}, "position", "wrote to physics.qpos"),
    "a parameter that is written to": ({"reward_terms": spoiling}, "reward_terms", "wrote to parameters['velocity']"),
    "a model that is changed": ({"model_fields": heavier}, "model_fields", "changed self.model"),
    "an end at the start": (
        overriding("terminated", lambda found, physics: physics.qpos[:, 0] < 1),
        "terminated",
        "is True at a start",
    ),
}


DOUBTFUL = {
    "a method that is misspelt": (
        {"terminate": lambda self, physics: physics.qpos[:, 0] > 1},
        "terminate",
        "is nothing that a family is asked for; expected a name of `Family`. Rename it, if 'terminated' is meant.",
    ),
    "an attribute that is misspelt": ({"horizn": 100}, "horizn", "is nothing that a family is asked for"),
    "no parameters": (
        {"parameters": {}, "reward_terms": lambda self, physics, *_: {"zero": np.zeros(len(physics.qpos))}},
        "parameters",
        "there are none",
    ),
    "a parameter without effect": (parameters(limit=TARGET), "parameters['limit']", "changes neither"),
    "a field of the model that moves nothing": (
        {
            **parameters(red=Parameter("of geoms", 0.5, 0, 1)),
            "model_fields": lambda self, given: {"geom_rgba": self.model.geom_rgba * given["red"][:, None, None]},
        },
        "parameters['red']",
        "changes neither",
    ),
    "an output that stays zero": ({"outputs": ("energy",)}, "outputs", "'energy' is 0 in all simulations"),
    "starts that are all the same": ({"position_noise": 0.0, "velocity_noise": 0}, "start", "is always the same"),
    "tasks that blow up": (
        {
            "model_fields": lambda self, given: {
                "dof_damping": self.model.dof_damping - 1e5 * given["velocity"][:, None]
            }
        },
        "model",
        "blew up: row 0 of ",
    ),
    "a switch that is none": (
        {
            "__annotations__": {"include_torso_position": bool, "limit": float},
            "include_torso_position": True,
            "limit": 1.0,
        },
        "limit",
        "is annotated, and no switch",
    ),
}
