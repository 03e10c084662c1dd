"""`AntGoal`: walk to a point; and `SparseAntGoal`, which rewards only what is near it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from apb.tasks.family import Physics, Rows
from apb.tasks.parameter import Parameter, Parameters
from apb.tasks.robots import Ant, squared


@dataclass(frozen=True)
class AntGoal(Ant):
    """Reward -|x - x*| - |y - y*| - 0.1 |a|^2 - 0.0005 |clip(f, -1, 1)|^2, f the contact forces; no end in a fall.

    113 observations: qpos (15), qvel (14), and the clipped contact forces (84). Standing at the start costs
    200 (|x*| + |y*|) in an episode; walking there in 100 steps about halves it.
    """

    include_contact_forces: bool = True

    name: ClassVar[str] = "ant-goal"
    formula: ClassVar[str] = "-|x - goal_x| - |y - goal_y| - 0.1 sum(a^2) - 0.0005 sum(clip(cfrc_ext, -1, 1)^2)"
    first_position: ClassVar[int] = 0

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        return {"goal": Parameter("x and y in m", (1.0, 0.0), -20.0, 20.0, (2,))}

    def observe(self, physics: Physics, parameters: Parameters) -> Rows:
        """See `Family`: qpos (15), qvel (14), and the clipped contact forces (84) if they are included."""
        return super().observe(physics, parameters)

    def distance(self, physics: Physics, parameters: Parameters) -> Rows:
        """Of the torso from the goal, in m, L1 as in PEARL: (R,)."""
        offset = np.abs(physics.qpos[:, :2] - parameters["goal"])
        return offset[:, 0] + offset[:, 1]

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        return {
            "goal": -self.distance(physics, parameters),
            "control": -0.1 * squared(control),
            "contact": -0.0005 * squared(np.clip(physics.outputs["cfrc_ext"], -1, 1)),
        }


@dataclass(frozen=True)
class SparseAntGoal(AntGoal):
    """The goal's term is max(0, 1 - d / 0.8), d the distance (L2): nothing tells the way to a goal farther off."""

    name: ClassVar[str] = "sparse-ant-goal"
    formula: ClassVar[str] = "max(0, 1 - |(x, y) - goal| / 0.8) - 0.1 sum(a^2) - 0.0005 sum(clip(cfrc_ext, -1, 1)^2)"
    radius: ClassVar[float] = 0.8

    def distance(self, physics: Physics, parameters: Parameters) -> Rows:
        """Of the torso from the goal, in m, L2: (R,)."""
        return np.sqrt(squared(physics.qpos[:, :2] - parameters["goal"]))

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        terms = super().reward_terms(physics, velocity, control, parameters)
        return terms | {"goal": np.maximum(0.0, 1 + terms["goal"] / self.radius)}
