"""`CheetahDir`: run as fast as possible, forwards or backwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from apb.tasks.family import Physics, Rows
from apb.tasks.parameter import Parameter, Parameters
from apb.tasks.robots import Cheetah, squared


@dataclass(frozen=True)
class CheetahDir(Cheetah):
    """Reward d v_x - 0.05 |a|^2. Solved at about 1,500 to 1,900 in an episode: 8 to 10 m/s."""

    name: ClassVar[str] = "cheetah-dir"
    formula: ClassVar[str] = "direction v_x - 0.05 sum(a^2)"

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """See `Family`."""
        return {"direction": Parameter("1 forwards, -1 backwards", 1.0, -1.0, 1.0, allowed=(-1.0, 1.0))}

    def reward_terms(self, physics: Physics, velocity: Rows, control: Rows, parameters: Parameters) -> dict[str, Rows]:
        """See `Family`."""
        return {"forward": parameters["direction"] * velocity[:, 0], "control": -0.05 * squared(control)}
