"""`CheetahNegatedJoints` and `CheetahPermutedJoints`: run forwards with actuators that are wired differently."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from apb.tasks.family import Physics, Rows
from apb.tasks.parameter import Parameter, Parameters
from apb.tasks.robots import Cheetah, squared


@dataclass(frozen=True)
class _Rewired(Cheetah, ABC):
    """Reward v_x - 0.1 |a|^2."""

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        return {"forward": velocity[:, 0], "control": -0.1 * squared(control)}


@dataclass(frozen=True)
class CheetahNegatedJoints(_Rewired):
    """The sign of some actions is flipped. Reward v_x - 0.1 |a|^2, as in MIER."""

    name: ClassVar[str] = "cheetah-negated-joints"
    formula: ClassVar[str] = "v_x - 0.1 sum(a^2), where actuator i is given signs[i] a[i]"

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        return {"signs": Parameter("-1 flips an action", 1.0, -1.0, 1.0, (6,), allowed=(-1.0, 1.0))}

    def control(self, action: Rows, parameters: Parameters) -> Rows:
        """See `Family`."""
        return super().control(action * parameters["signs"], parameters)


@dataclass(frozen=True)
class CheetahPermutedJoints(_Rewired):
    """Actions drive other joints. Reward v_x - 0.1 |a|^2, as in MIER."""

    name: ClassVar[str] = "cheetah-permuted-joints"
    formula: ClassVar[str] = "v_x - 0.1 sum(a^2), where actuator i is given a[order[i]]"

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        identity = tuple(float(joint) for joint in range(6))
        return {"order": Parameter("which action drives each joint", identity, 0.0, 5.0, (6,), permutation=True)}

    def control(self, action: Rows, parameters: Parameters) -> Rows:
        """See `Family`."""
        rows = np.arange(len(action))[:, np.newaxis]
        return super().control(action[rows, parameters["order"].astype(np.intp)], parameters)
