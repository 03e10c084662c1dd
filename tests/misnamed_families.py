"""Families whose methods have other arguments, or that misspell a name, with what `check_family` is to say of them."""

import numpy as np
from apb.tasks import Parameter
from wrong_families import TARGET

MISNAMED = {
    "parameters that are no property": (
        {"parameters": lambda self: {"velocity": TARGET}},
        "parameters",
        "is a method; expected a property. Decorate it with @property",
    ),
    "an argument that is missing": (
        {"observe": lambda self, physics: physics.qpos.copy()},
        "observe",
        "takes (self, physics); expected (self, physics, parameters). Add parameters.",
    ),
    "an argument that is missing beside a misspelt one": (
        {"reward_terms": lambda self, physics, velocty, parameters: {}},
        "reward_terms",
        "expected (self, physics, velocity, control, parameters). Add control.",
    ),
    "an argument too many": (
        {"terminated": lambda self, physics, parameters: np.zeros(len(physics.qpos), bool)},
        "terminated",
        "takes (self, physics, parameters); expected (self, physics). Leave out parameters.",
    ),
    "arguments of another method": (
        {"start": lambda self, generator: None},
        "start",
        "expected (self, uniform, normal). Add uniform, normal. Leave out generator.",
    ),
    "no self": (
        {"model_fields": lambda parameters: {}},
        "model_fields",
        "takes (parameters); expected (self, parameters). Add self.",
    ),
    "arguments by name": (
        {"control": lambda self, *, action, parameters: action},
        "control",
        "expected (self, action, parameters). Let all of them be given by their places.",
    ),
    "arguments in another order": (
        {"reward_terms": lambda self, physics, control, velocity, parameters: {"x": velocity[:, 0].copy()}},
        "reward_terms",
        "expected the order (self, physics, velocity, control, parameters)",
    ),
    "a spec with an argument": ({"spec": lambda self, physics: None}, "spec", "expected (self). Leave out physics."),
    "a method that is a property": (
        {"observe": property(lambda self: 1)},
        "observe",
        "is a property; expected a method (self, physics, parameters)",
    ),
    "a method that is a number": ({"terminated": False}, "terminated", "is False; expected a method (self, physics)"),
    "a parameter that is misspelt": (
        {"reward_terms": lambda self, *given: {"x": given[3]["velocty"]}},
        "reward_terms",
        "raised KeyError: 'velocty'; expected no error. See line",
    ),
    "a parameter that there is not": (
        {"reward_terms": lambda self, *given: {"x": given[3]["mass"]}},
        "reward_terms",
        "Its parameters are velocity.",
    ),
    "a parameter as an attribute of the family": (
        {"observe": lambda self, physics, given: physics.qpos * self.velocity},
        "observe",
        "Its values, one of each row, are parameters['velocity'].",
    ),
    "a parameter as an attribute": (
        {"observe": lambda self, physics, given: physics.qpos * given.velocity},
        "observe",
        "It is a dict: write ['velocity'].",
    ),
    "a switch that is misspelt": (
        {"observe": lambda self, physics, given: physics.qpos * self.include_torso},
        "observe",
        "Did you mean 'include_torso_position'?",
    ),
    "physics that are misspelt": (
        {"observe": lambda self, physics, given: physics.qpso.copy()},
        "observe",
        "Did you mean 'qpos'?",
    ),
    "physics that no output names": (
        {"observe": lambda self, physics, given: physics.xpos.copy()},
        "observe",
        "Name 'xpos' in `outputs`, and read physics.outputs['xpos'].",
    ),
    "an output that is not named": (
        {"position": lambda self, physics: physics.outputs["xpos"][:, 1]},
        "position",
        "Name 'xpos' in `outputs`.",
    ),
    "an argument of a parameter that is misspelt": (
        {"parameters": property(lambda self: {"velocity": Parameter("m", defualt=1, low=0, high=2)})},
        "parameters",
        "unexpected keyword argument 'defualt'; expected no error. See line",
    ),
    "a parameter whose name is a number": (
        {"parameters": property(lambda self: {"velocity": TARGET, 3: TARGET})},
        "parameters[3]",
        "cannot be an argument",
    ),
}
