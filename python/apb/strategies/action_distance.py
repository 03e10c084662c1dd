"""`ActionDistance`: how far perturbed adapters act from the actor, the measure of Plappert et al. (2018), on what the
lanes observed last."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb.strategies.base import StrategyContext

if TYPE_CHECKING:
    from apb.environments import Transition

PROBE_ROWS = 32
"""Recent observations per lane on which the distance of actions is measured. Ours."""

MAX_SCALE = 1.0
"""Largest scale of perturbations. Where tanh is saturated, no scale may reach the distance that is wanted. Ours: the
layers' own weights are of that size."""


class ActionDistance:
    """The last observations of K lanes, one of each step of all simulations and of all simulations alike.

    Args:
        context: That of the strategy.

    Attributes:
        arrays: "probe" (K, PROBE_ROWS, obs), a ring of observations, and "probed" (1,), how many there were: a part of
            the strategy's state.
    """

    def __init__(self, context: StrategyContext) -> None:
        self._context = context
        self.arrays: dict[str, NDArray[Any]] = {
            "probe": np.zeros((len(context.seeds), PROBE_ROWS, context.shape.observation_size), dtype=np.float32),
            "probed": np.zeros(1, dtype=np.int64),
        }

    @property
    def steps(self) -> int:
        """Steps of all simulations that were observed."""
        return int(self.arrays["probed"][0])

    def observe(self, transition: "Transition") -> None:
        """Take in what was acted on in one of the simulations, in turns."""
        probe = self.arrays["probe"]
        probe[:, self.steps % probe.shape[1]] = transition.observation[:, self.steps % self._context.slots]
        self.arrays["probed"] += 1

    def of(self, lane: int, perturbations: NDArray[np.float32]) -> float:
        """The distance sqrt(mean (pi_i(s) - pi(s))^2) over M perturbed actors, observations and action dimensions.

        Before the first observation it is that at zero.

        Args:
            lane: Whose actor.
            perturbations: (M, n), what is added to its adapter.
        """
        probe = self.arrays["probe"][lane : lane + 1]
        probe = probe[:, : max(1, min(self.steps, probe.shape[1]))]
        actor, actors = self._context.learner.adapters()[lane, None], self._context.actors
        count, size = len(perturbations), self._context.learner.own_shapes[lane].action_size
        reference = actors.forward(actor[None], probe, lane)[0]
        actions = actors.forward((actor + perturbations)[None], np.tile(probe, (1, count, 1)), lane)[0]
        apart = np.ascontiguousarray((actions.reshape(count, *reference.shape) - reference)[..., :size])
        return float(np.sqrt(np.mean(apart**2)))

    def scale_for(self, distance: float, lane: int, directions: NDArray[np.float32], scale: float) -> np.float32:
        """The scale, at most `MAX_SCALE`, with which directions (M, n) act so far from the actor; `scale` is the guess
        to begin with."""
        found = np.float32(scale)
        # tanh bends the relation between scale and distance: three corrections settle it within a few per cent.
        for _ in range(3):
            correction = np.clip(distance / max(self.of(lane, found * directions), 1e-8), 0.01, 100)
            found = min(found * np.float32(correction), np.float32(MAX_SCALE))
        return found
