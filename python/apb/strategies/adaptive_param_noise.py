"""`AdaptiveParamNoise`: one perturbation of the actor per episode, of a size that keeps its actions at a given distance
(Plappert et al. 2018, as in OpenAI's baselines).

A simulation acts through an episode as `mu + sigma z`, with z drawn anew for each (docs/algorithm.md has the
equations). Here mu is the actor as it is now: TD3 goes on improving it, and the perturbed one with it. Every
`ADAPTED_EVERY` steps another perturbation is drawn, acted on by nobody, and sigma becomes a little smaller if its
actions on recent observations are more than `param_noise` away from the actor's, else a little larger. Episodes under
way keep the size that they began with. As its critics learn from noisy actions, these too carry `action_noise`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng
from apb.state_arrays import require_counts
from apb.strategies.action_distance import MAX_SCALE, ActionDistance
from apb.strategies.action_noise import ActionNoise
from apb.strategies.base import Strategy, StrategyContext

if TYPE_CHECKING:
    from apb.environments import Transition

ADAPTED_EVERY = 50
"""Steps of all simulations between two looks at the distance. Baselines: 50 updates, which is the same with one
simulation and one update per step."""

FACTOR = 1.01
"""What sigma is divided or multiplied by. As in baselines."""

FIRST_COPIES = 10
"""Perturbations on which the first sigma is found. Ours: it is set so that they act `param_noise` away, and one
perturbation is 15 to 30 % nearer or farther than another. Baselines begin with sigma = 0.2: on HalfCheetah-v5, around a
random backbone of reading B, that acts 0.84 away, where nothing can be much farther than 1. Acting 0.2 away takes a
sigma of 0.025, and from 0.2 down to there 1 % every 50 steps takes 10,000 steps."""

FIRST_GUESS = 0.1
"""Where the search for the first sigma begins: baselines' other default. Ours."""

ACTING, MEASURED = 0, 1
"""What a perturbation is for: a part of the position of its draw."""


class AdaptiveParamNoise(Strategy):
    """The perturbed actors of K lanes, one in each of S simulations, and one sigma per lane."""

    name = "adaptive_param_noise"
    options = ("param_noise",)

    def __init__(self, context: StrategyContext) -> None:
        lanes, slots, size = len(context.seeds), context.slots, context.shape.num_parameters
        self._context = context
        self._action_noise = ActionNoise(context)
        self._distance = ActionDistance(context)
        self._keys = [rng.key(seed, rng.Stream.PERTURBATION) for seed in context.seeds]
        self._arrays: dict[str, NDArray[Any]] = {
            **self._distance.arrays,
            # 0: not found yet, which takes an observation and an actor that is asked to act.
            "sigma": np.zeros(lanes, dtype=np.float64),
            # Of the episode under way in each simulation: its number, and the size of its perturbation.
            "episode": np.zeros((lanes, slots), dtype=np.int64),
            "size": np.zeros((lanes, slots), dtype=np.float64),
        }
        # Functions of the episodes' numbers, and those that they are of.
        self._directions = np.zeros((lanes, slots, size), dtype=np.float32)
        self._drawn = np.full((lanes, slots), -1, dtype=np.int64)

    def adapters(self) -> NDArray[np.float32]:
        """See `Strategy`: the actor plus the perturbation of the episode under way."""
        state = self._arrays
        if self._distance.steps:
            for lane in np.flatnonzero(state["sigma"] == 0):
                state["sigma"][lane] = self._first_sigma(int(lane))
                state["size"][lane] = state["sigma"][lane]
        for lane, slot in np.argwhere(self._drawn != state["episode"]):
            self._directions[lane, slot] = self._draw(lane, ACTING, slot, state["episode"][lane, slot])
        self._drawn[...] = state["episode"]
        size = state["size"].astype(np.float32)[:, :, None]
        perturbed: NDArray[np.float32] = self._context.learner.adapters()[:, None] + size * self._directions
        return perturbed

    def perturb(self, actions: NDArray[np.float32], observations: NDArray[np.float32], step: int) -> None:
        """See `Strategy`: the noise of `ActionNoise`."""
        self._action_noise.perturb(actions, observations, step)

    def observe(self, transition: "Transition") -> None:
        """See `Strategy`."""
        self._distance.observe(transition)
        if self._distance.steps % ADAPTED_EVERY == 0:
            for lane in np.flatnonzero(self._arrays["sigma"]):
                self._adapt(int(lane))
        over = np.zeros(self._drawn.shape, dtype=np.bool_)
        for episode in transition.episodes:
            over[episode.lane, episode.slot] = True
        self.restarted(over)

    def restarted(self, rows: NDArray[np.bool_]) -> None:
        """See `Strategy`: an episode begins, and with it another perturbation."""
        state = self._arrays
        state["episode"][rows] += 1
        state["size"][rows] = np.broadcast_to(state["sigma"][:, None], rows.shape)[rows]

    def reset(self) -> None:
        """See `Strategy`: sigma belonged to the old actor."""
        self._arrays["sigma"][:] = 0
        self.restarted(np.ones_like(self._drawn, dtype=np.bool_))

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See `Strategy`."""
        return {name: array.copy() for name, array in self._arrays.items()}, {}

    def load_state(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """See `Strategy`."""
        require_counts(arrays, "the strategy's state")
        for name, array in self._arrays.items():
            array[...] = arrays[name]

    def _first_sigma(self, lane: int) -> np.float32:
        directions = np.stack([self._measured(lane, copy) for copy in range(FIRST_COPIES)])
        return self._distance.scale_for(self._context.settings.param_noise, lane, directions, FIRST_GUESS)

    def _adapt(self, lane: int) -> None:
        sigma = self._arrays["sigma"]
        distance = self._distance.of(lane, np.float32(sigma[lane]) * self._measured(lane, 0)[None])
        if distance > self._context.settings.param_noise:
            sigma[lane] /= FACTOR
        else:
            sigma[lane] = min(sigma[lane] * FACTOR, MAX_SCALE)

    def _measured(self, lane: int, copy: int) -> NDArray[np.float32]:
        """The direction (n,) of a copy that nobody acts with, another one at each step."""
        return self._draw(lane, MEASURED, copy, self._distance.steps)

    def _draw(self, lane: int, *position: int) -> NDArray[np.float32]:
        """Standard normal in what the lane learns, and 0 elsewhere, (n,): a lane draws as it does alone."""
        places = self._context.learner.learned_places[lane]
        own = np.empty(places.size, dtype=np.float32)
        _native.philox_normal(self._keys[lane], rng.counter(*position), own)
        direction = np.zeros(self._context.shape.num_parameters, dtype=np.float32)
        direction[places] = own
        return direction
