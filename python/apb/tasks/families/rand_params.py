"""`HopperRandParams` and `WalkerRandParams`: move forwards with another body: masses, inertias, damping, friction."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from apb.tasks.family import Family, Rows
from apb.tasks.parameter import Parameter, Parameters
from apb.tasks.robots import Hopper, Walker

FIELDS = ("body_mass", "body_inertia", "dof_damping", "geom_friction")


@dataclass(frozen=True)
class RandomDynamics(Family, ABC):
    """Each element of four fields of the model has a factor of its own, as in rand_param_envs.

    Switches:
        consistent_inertia: Whether a body's inertia has the factor of its mass; else factors of its own, as in PEARL's
            line, to which no density may correspond.
    """

    consistent_inertia: bool = False

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`: factors. Simulations of some robots blow up in their first steps with factors of 1000."""
        return {
            name: Parameter(f"factors of the model's {name}", 1.0, 0.01, 100.0, getattr(self.model, name).shape)
            for name in FIELDS
        }

    def model_fields(self, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        factors = dict(parameters)
        if self.consistent_inertia:
            factors["body_inertia"] = factors["body_mass"][:, :, None]
        return {name: getattr(self.model, name) * factors[name] for name in FIELDS}


@dataclass(frozen=True)
class HopperRandParams(RandomDynamics, Hopper):
    """Reward v_x + 1 - 0.001 |a|^2; ends in a fall."""

    name: ClassVar[str] = "hopper-rand-params"
    formula: ClassVar[str] = f"v_x + 1 - 0.001 sum(a^2), where {', '.join(FIELDS)} have factors"


@dataclass(frozen=True)
class WalkerRandParams(RandomDynamics, Walker):
    """Reward v_x + 1 - 0.001 |a|^2; ends in a fall. 200 in an episode is standing, about 700 is good."""

    name: ClassVar[str] = "walker-rand-params"
    formula: ClassVar[str] = f"v_x + 1 - 0.001 sum(a^2), where {', '.join(FIELDS)} have factors"
