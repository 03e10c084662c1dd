"""`HopperMass` and `WalkerMass`: move forwards with a body that is heavier or lighter as a whole."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from apb.tasks.family import Family, Rows
from apb.tasks.parameter import Parameter, Parameters
from apb.tasks.robots import Hopper, Walker


@dataclass(frozen=True)
class SharedMass(Family, ABC):
    """All masses have the factor 1.5^exponent, as in TAVT.

    Switches:
        consistent_inertia: Whether inertias have the same factor; in TAVT they stay as they are.
    """

    consistent_inertia: bool = False

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        return {"exponent": Parameter("masses have the factor 1.5^exponent", 0.0, -10.0, 10.0)}

    def model_fields(self, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        factor = np.power(1.5, parameters["exponent"])[:, None]
        masses = {"body_mass": self.model.body_mass * factor}
        return masses | (
            {"body_inertia": self.model.body_inertia * factor[:, :, None]} if self.consistent_inertia else {}
        )


@dataclass(frozen=True)
class HopperMass(SharedMass, Hopper):
    """Reward v_x + 1 - 0.001 |a|^2; ends in a fall."""

    name: ClassVar[str] = "hopper-mass"
    formula: ClassVar[str] = "v_x + 1 - 0.001 sum(a^2), where masses have the factor 1.5^exponent"


@dataclass(frozen=True)
class WalkerMass(SharedMass, Walker):
    """Reward v_x + 1 - 0.001 |a|^2; ends in a fall."""

    name: ClassVar[str] = "walker-mass"
    formula: ClassVar[str] = "v_x + 1 - 0.001 sum(a^2), where masses have the factor 1.5^exponent"
