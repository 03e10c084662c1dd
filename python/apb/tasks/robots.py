"""The robots that families of tasks are about: models, observations, starts and falls, as in the PEARL line of code.

What differs from each original, and why, is in docs/tasks.md. All actions are in [-1, 1].
"""

from abc import ABC
from dataclasses import dataclass
from math import pi
from typing import ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from apb.tasks.family import Family, Physics, Rows
from apb.tasks.parameter import Parameter, Parameters


def squared(values: Rows) -> Rows:
    """The sum of squares of each row, (R,)."""
    sums: Rows = np.add.reduce(np.square(values).reshape(len(values), -1), axis=1)
    return sums


HEADING = Parameter("direction in rad, 0 along x, counter-clockwise", 0.0, -2 * pi, 2 * pi, angle=True)
"""The parameter of tasks to move in a direction."""


def along(velocity: Rows, angle: Rows) -> Rows:
    """The part of velocities (R, 2) in the directions `angle`, (R,)."""
    return velocity[:, 0] * np.cos(angle) + velocity[:, 1] * np.sin(angle)


@dataclass(frozen=True)
class Cheetah(Family, ABC):
    """HalfCheetah: 20 observations, or 17 without the torso's position; never falls.

    Switches:
        include_torso_position: Whether the torso's world position (x, y, z), in m, ends the observation, as in PEARL.
            x grows without bound with the speed, so an unseen speed is then an unseen observation too.
    """

    include_torso_position: bool = True

    xml: ClassVar[str] = "half_cheetah.xml"
    frame_skip: ClassVar[int] = 5
    position_noise: ClassVar[float] = 0.1
    velocity_noise: ClassVar[float] = 0.1
    gaussian_velocity: ClassVar[bool] = True

    def observe(self, physics: Physics, parameters: Parameters) -> Rows:
        """See `Family`: qpos without x (8), qvel (9), and the torso's position (3)."""
        qpos, qvel = physics.qpos, physics.qvel
        observation = np.zeros((len(qpos), 20 if self.include_torso_position else 17))
        observation[:, :8] = qpos[:, 1:]
        observation[:, 8:17] = qvel
        if self.include_torso_position:
            observation[:, 17] = qpos[:, 0]
            observation[:, 19] = qpos[:, 1] + _CHEETAH_HEIGHT
        return observation


_CHEETAH_HEIGHT = 0.7  # of the torso where its sliders are at 0, in half_cheetah.xml


@dataclass(frozen=True)
class Ant(Family, ABC):
    """Ant: four legs of two joints each; falls where a family says so.

    RK4 with a timestep of 0.01 s, as in Gymnasium's file.

    Switches:
        include_contact_forces: Whether the contact forces of all bodies, clipped to [-1, 1], end the observation (84):
            PEARL's code has them to walk to a goal, ProMP's to walk in a direction too.
    """

    include_contact_forces: bool = False

    xml: ClassVar[str] = "ant.xml"
    outputs: ClassVar[tuple[str, ...]] = ("cfrc_ext",)
    first_position: ClassVar[int] = 2
    """Where in qpos the observation begins: without x and y, as the ground is the same everywhere."""
    frame_skip: ClassVar[int] = 5
    position_noise: ClassVar[float] = 0.1
    velocity_noise: ClassVar[float] = 0.1
    gaussian_velocity: ClassVar[bool] = True

    def observe(self, physics: Physics, parameters: Parameters) -> Rows:
        """See `Family`: qpos without x and y (13), qvel (14), and if they are included clipped contact forces (84)."""
        parts = [physics.qpos[:, self.first_position :], physics.qvel]
        if self.include_contact_forces:
            parts.append(physics.outputs["cfrc_ext"].clip(-1, 1).reshape(len(physics.qpos), -1))
        return np.concatenate(parts, axis=1)

    def position(self, physics: Physics) -> Rows:
        """See `Family`: x and y of the torso."""
        return physics.qpos[:, :2].copy()

    def fallen(self, physics: Physics) -> NDArray[np.bool_]:
        """Whether the torso's height is outside [0.2, 1.0] m, bool (R,)."""
        height = physics.qpos[:, 2]
        return (height < 0.2) | (height > 1.0)


@dataclass(frozen=True)
class Hopper(Family, ABC):
    """Hopper: 11 observations; falls.

    Switches:
        timestep_of_pearl: Whether the physics has substeps of 0.004 s, as the models that PEARL's line of code ships,
            so that an episode of 200 steps takes 3.2 s; else 0.002 s, as in Gymnasium, and 1.6 s.
    """

    timestep_of_pearl: bool = True

    xml: ClassVar[str] = "hopper.xml"
    frame_skip: ClassVar[int] = 4
    position_noise: ClassVar[float] = 0.005
    velocity_noise: ClassVar[float] = 0.005

    def spec(self) -> mujoco.MjSpec:
        """See `Family`."""
        spec = super().spec()
        spec.option.timestep = 0.004 if self.timestep_of_pearl else 0.002
        return spec

    def observe(self, physics: Physics, parameters: Parameters) -> Rows:
        """See `Family`: qpos without x, and qvel clipped to [-10, 10]."""
        return np.concatenate([physics.qpos[:, 1:], physics.qvel.clip(-10, 10)], axis=1)

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`: forward speed, a bonus of 1 for each step, and the cost of control."""
        return {
            "forward": velocity[:, 0],
            "alive": np.ones(len(velocity)),
            "control": -0.001 * squared(control),
        }

    def terminated(self, physics: Physics) -> NDArray[np.bool_]:
        """See `Family`: too low, too far bent, or out of all proportion."""
        qpos = physics.qpos
        wild: NDArray[np.bool_] = (np.abs(np.concatenate([qpos[:, 2:], physics.qvel], axis=1)) >= 100).any(axis=1)
        return (qpos[:, 1] <= 0.7) | (np.abs(qpos[:, 2]) >= 0.2) | wild


@dataclass(frozen=True)
class Walker(Hopper, ABC):
    """Walker2d: 17 observations; falls.

    Switches:
        classic_feet: Whether the right foot has the friction 0.9, as in the models of PEARL's line of code; else both
            have 1.9, as in Gymnasium's v5.
    """

    classic_feet: bool = False

    xml: ClassVar[str] = "walker2d_v5.xml"

    def spec(self) -> mujoco.MjSpec:
        """See `Family`."""
        spec = super().spec()
        if self.classic_feet:
            spec.geom("foot_geom").friction[0] = 0.9
        return spec

    def terminated(self, physics: Physics) -> NDArray[np.bool_]:
        """See `Family`: the torso's height outside (0.8, 2.0) m, or its angle outside (-1, 1) rad."""
        height, angle = physics.qpos[:, 1], physics.qpos[:, 2]
        return (height <= 0.8) | (height >= 2.0) | (np.abs(angle) >= 1.0)


@dataclass(frozen=True)
class Humanoid(Family, ABC):
    """Humanoid: 376 observations, contact forces included; falls."""

    xml: ClassVar[str] = "humanoid.xml"
    frame_skip: ClassVar[int] = 5
    position_noise: ClassVar[float] = 0.01
    velocity_noise: ClassVar[float] = 0.01
    outputs: ClassVar[tuple[str, ...]] = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext", "subtree_com")

    def observe(self, physics: Physics, parameters: Parameters) -> Rows:
        """See `Family`: qpos without x and y (22), qvel (23), and inertias, velocities and forces of the bodies."""
        rows, outputs = len(physics.qpos), physics.outputs
        names = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
        return np.concatenate(
            [physics.qpos[:, 2:], physics.qvel, *(outputs[name].reshape(rows, -1) for name in names)], axis=1
        )

    def position(self, physics: Physics) -> Rows:
        """See `Family`: x and y of the centre of mass of all bodies."""
        return physics.outputs["subtree_com"][:, 0, :2].copy()

    def terminated(self, physics: Physics) -> NDArray[np.bool_]:
        """See `Family`: the root's height outside [1.0, 2.0] m."""
        height = physics.qpos[:, 2]
        return (height < 1.0) | (height > 2.0)
