"""`ActionNoise`: Gaussian noise on the actions of the current policy, TD3's own exploration (Fujimoto et al. 2018,
section 5.3)."""

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.lane_noise import LaneNoise
from apb.strategies.base import Strategy, StrategyContext


class ActionNoise(Strategy):
    """`a = clip(pi(s) + N(0, action_noise^2), -1, 1)` with the policy as it is after the latest update."""

    name = "action_noise"

    def __init__(self, context: StrategyContext) -> None:
        self._learner = context.learner
        self._scale = context.settings.action_noise
        sizes = [shape.action_size for shape in context.learner.own_shapes]
        self._noise = LaneNoise(context.seeds, rng.Stream.ACTION_NOISE, context.slots, sizes)

    def adapters(self) -> NDArray[np.float32]:
        """See `Strategy`: the actor of each lane."""
        return self._learner.adapters()[:, None]

    def perturb(self, actions: NDArray[np.float32], observations: NDArray[np.float32], step: int) -> None:
        """See `Strategy`: add the noise and clip."""
        actions += self._scale * self._noise.normal(step)
        np.clip(actions, -1, 1, out=actions)
