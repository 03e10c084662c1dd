"""`METHODS`: what `method` may be in `adapt` and `meta_train`: names of options that belong together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apb.errors import ConfigError, require_name
from apb.flap.rollouts import ROLLOUT


@dataclass(frozen=True)
class Method:
    """Options that a method is.

    Attributes:
        fixed: What makes it what it is.
        defaults: What it begins with where nothing else is given.
        equal: Options that have the value of another.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    equal: Mapping[str, str] = field(default_factory=dict)


METHODS: dict[str, dict[str, Method]] = {
    "adapt": {
        "apb": Method(),
        "flap": Method(
            {"adapter_init": "predicted", "gradient_steps": 0, "strategy": "action_noise", "trainable_backbone": False},
            {"total_timesteps": ROLLOUT},
            {"learning_starts": "total_timesteps"},
        ),
    },
    "meta_train": {
        "apb": Method(),
        "flap": Method({"layer_predictor": True, "adapter_init": "shared", "learned_layers": "post"}),
    },
}
"""The job, and the name of a method in it -> its options. "apb" is the options as they are given."""


def with_method(job: str, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The `options` that a user gave, with those of a method.

    Raises:
        UnknownNameError: there is no such method. ConfigError: an option contradicts it.
    """
    of = METHODS[job][require_name("method", method, METHODS[job])]
    chosen = {**of.defaults, **options}
    fixed = {**of.fixed, **{name: chosen[other] for name, other in of.equal.items()}}
    for name, value in fixed.items():
        if options.get(name, value) != value:
            raise ConfigError(
                f"{name} = {options[name]!r} contradicts method = {method!r}, which is {name} = {value!r}; leave one "
                "of them out"
            )
    return chosen | fixed
