"""`ActionNoise`: Gaussian noise on the actions of the current policy, TD3's own exploration (Fujimoto et al. 2018,
section 5.3)."""

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng
from apb.strategies.base import Strategy, StrategyContext


class ActionNoise(Strategy):
    """`a = clip(pi(s) + N(0, action_noise^2), -1, 1)` with the policy as it is after the latest update."""

    name = "action_noise"

    def __init__(self, context: StrategyContext) -> None:
        self._learner = context.learner
        self._scale = context.settings.action_noise
        self._keys = [rng.key(seed, rng.Stream.ACTION_NOISE) for seed in context.seeds]
        self._noise = np.empty((context.slots, context.shape.action_size), dtype=np.float32)

    def adapters(self) -> NDArray[np.float32]:
        """See `Strategy`: the actor of each lane."""
        return self._learner.adapters()[:, None]

    def perturb(self, actions: NDArray[np.float32], step: int) -> None:
        """See `Strategy`: add the noise and clip."""
        for lane, key in enumerate(self._keys):
            _native.philox_normal(key, rng.counter(step), self._noise.reshape(-1))
            actions[lane] += self._scale * self._noise
        np.clip(actions, -1, 1, out=actions)
