"""`HumanoidDir`: walk in a given direction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from apb.tasks.family import Physics, Rows
from apb.tasks.parameter import Parameter, Parameters
from apb.tasks.robots import HEADING, Humanoid, along, squared


@dataclass(frozen=True)
class HumanoidDir(Humanoid):
    """Reward 1.25 <v, (cos g, sin g)> - 0.1 |u|^2 - min(5e-7 |f|^2, 10) + 5; ends in a fall.

    v is the velocity of the centre of mass, u the actuators' input in [-0.4, 0.4], f the contact forces. 1,000 in an
    episode is being upright through all of it, so look at the term `forward`. (PEARL divides 0.25 of the distance by a
    substep of 0.003 s, of which a step has five: hence 1.25.)
    """

    name: ClassVar[str] = "humanoid-dir"
    formula: ClassVar[str] = (
        "1.25 v . (cos angle, sin angle) - 0.1 sum(u^2) - min(5e-7 sum(cfrc_ext^2), 10) + 5, u = 0.4 a"
    )

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        return {"angle": HEADING}

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        angle = parameters["angle"]
        return {
            "forward": 1.25 * along(velocity, angle),
            "control": -0.1 * squared(control),
            "contact": -np.minimum(5e-7 * squared(physics.outputs["cfrc_ext"]), 10),
            "alive": np.full(len(angle), 5.0),
        }
