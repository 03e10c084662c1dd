"""`CheetahVel`: run at a given speed; and `SparseCheetahVel`, which rewards only speeds that are near it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from apb.tasks.family import Physics, Rows
from apb.tasks.parameter import Parameter, Parameters
from apb.tasks.robots import Cheetah, squared


@dataclass(frozen=True)
class CheetahVel(Cheetah):
    """Reward -|v_x - v*| - 0.05 |a|^2. Standing still costs 200 v* in an episode; above -50 it is solved."""

    name: ClassVar[str] = "cheetah-vel"
    formula: ClassVar[str] = "-|v_x - velocity| - 0.05 sum(a^2)"

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        return {"velocity": Parameter("target speed in m/s", 2.0, 0.0, 20.0)}

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        return {"tracking": -np.abs(velocity[:, 0] - parameters["velocity"]), "control": -0.05 * squared(control)}


@dataclass(frozen=True)
class SparseCheetahVel(CheetahVel):
    """Reward max(0, 1 - |v_x - v*| / 0.5) - 0.05 |a|^2: nothing tells the way to a speed that is not yet near."""

    name: ClassVar[str] = "sparse-cheetah-vel"
    formula: ClassVar[str] = "max(0, 1 - |v_x - velocity| / 0.5) - 0.05 sum(a^2)"
    radius: ClassVar[float] = 0.5

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        terms = super().reward_terms(physics, velocity, control, parameters)
        return terms | {"tracking": np.maximum(0.0, 1 + terms["tracking"] / self.radius)}
