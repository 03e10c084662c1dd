"""`ActionNoise`: Gaussian noise on the actions of the current policy, TD3's own exploration (Fujimoto et al. 2018, section 5.3)."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng
from apb.strategies.base import StrategyContext

if TYPE_CHECKING:
    from apb.environments import Transition
    from apb.settings import AdaptSettings


class ActionNoise:
    """`a = clip(pi(s) + N(0, action_noise^2), -1, 1)` with the policy as it is after the latest update."""

    name = "action_noise"

    def __init__(self, context: StrategyContext) -> None:
        self._learner = context.learner
        self._scale = context.settings.action_noise
        self._keys = [rng.key(seed, rng.Stream.ACTION_NOISE) for seed in context.seeds]
        self._noise = np.empty((context.slots, context.shape.action_size), dtype=np.float32)

    @staticmethod
    def slots(settings: "AdaptSettings") -> int:
        return 1

    def adapters(self) -> NDArray[np.float32]:
        return self._learner.adapters()[:, None]

    def perturb(self, actions: NDArray[np.float32], step: int) -> None:
        for lane, key in enumerate(self._keys):
            _native.philox_normal(key, rng.counter(step), self._noise.reshape(-1))
            actions[lane] += self._scale * self._noise
        np.clip(actions, -1, 1, out=actions)

    def observe(self, transition: "Transition", warming_up: bool) -> None:
        pass

    def restarted(self, rows: NDArray[np.bool_]) -> None:
        pass

    def reset(self) -> None:
        pass

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        return {}, {}

    def load_state(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        pass
