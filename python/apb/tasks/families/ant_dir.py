"""`AntDir`: walk in a given direction; and `AntNegatedJoints`: walk forwards with flipped actuators."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from apb.tasks.family import Physics, Rows
from apb.tasks.parameter import Parameter, Parameters
from apb.tasks.robots import HEADING, Ant, along, squared


@dataclass(frozen=True)
class AntDir(Ant):
    """Reward <v, (cos g, sin g)> - 0.5 |a|^2 - 0.0005 |clip(f, -1, 1)|^2 + 1, f the contact forces; ends in a fall.

    200 in an episode is standing, about 1,000 is solved.
    """

    name: ClassVar[str] = "ant-dir"
    formula: ClassVar[str] = "v . (cos angle, sin angle) - 0.5 sum(a^2) - 0.0005 sum(clip(cfrc_ext, -1, 1)^2) + 1"

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        return {"angle": HEADING}

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        angle = parameters["angle"]
        return {
            "forward": along(velocity, angle),
            "control": -0.5 * squared(control),
            "contact": -0.0005 * squared(np.clip(physics.outputs["cfrc_ext"], -1, 1)),
            "alive": np.ones(len(angle)),
        }

    def terminated(self, physics: Physics) -> NDArray[np.bool_]:
        """See `Family`."""
        return self.fallen(physics)


@dataclass(frozen=True)
class AntNegatedJoints(AntDir):
    """The sign of some actions is flipped. The reward is that of `AntDir` along x."""

    name: ClassVar[str] = "ant-negated-joints"
    formula: ClassVar[str] = (
        "v_x - 0.5 sum(a^2) - 0.0005 sum(clip(cfrc_ext, -1, 1)^2) + 1, where actuator i is given signs[i] a[i]"
    )

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        return {"signs": Parameter("-1 flips an action", 1.0, -1.0, 1.0, (8,), allowed=(-1.0, 1.0))}

    def control(self, action: Rows, parameters: Parameters) -> Rows:
        """See `Family`."""
        return super().control(action * parameters["signs"], parameters)

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        return super().reward_terms(physics, velocity, control, {"angle": np.zeros(len(velocity))})
