"""`Trial`: leads a strategy through a small learning problem of made-up transitions, in which all happens that can."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.actors import LaneActors
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.learner import Learner
from apb.settings import AdaptSettings
from apb.strategies.base import Strategy, StrategyContext
from apb.td3_settings import TD3Settings
from apb.transitions import Episode, Transition

OBSERVED, ACTED = 5, 2
"""Numbers in an observation and in an action."""

STEPS, WARM_UP, RESTARTED_AT, RESET_AT = 120, 8, 40, 90
"""How long it is, its random steps, and when episodes are cut short and the learner is reset."""

EPISODE = 7
"""Steps of an episode; others of a lane are at other steps of theirs."""

BOUND_EVERY = 3
"""Steps between those in which the actions that are perturbed lie on the bounds."""


class Trial:
    """A strategy in the learning problem; all that happens to a lane is a function of (seed, step).

    Args:
        strategy_type: Makes the strategy of its context.
        seeds: One per lane.
        slots: Simulations per lane.

    Attributes:
        context: What the strategy was given.
        steps: Taken so far.
        outcomes: Adapters (K, M, n) and perturbed actions (K, S, act) of each step in which the strategy acted.
    """

    def __init__(self, strategy_type: Callable[[StrategyContext], Strategy], seeds: Sequence[int], slots: int) -> None:
        self.context = context_for(seeds, slots)
        self.strategy = strategy_type(self.context)
        self.steps = 0
        self.outcomes: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def go_to(self, step: int) -> "Trial":
        """Take steps until so many are taken; returns itself."""
        while self.steps < step:
            self._step()
        return self

    def _step(self) -> None:
        strategy, learner, slots = self.strategy, self.context.learner, np.arange(self.context.slots)
        position = np.stack([self.steps + seed + 3 * slots for seed in self.context.seeds])
        number, phase = np.divmod(position, EPISODE)
        if self.steps == RESTARTED_AT:
            strategy.restarted(phase % 2 == 0)
        if self.steps == RESET_AT:
            learner.reset()
            strategy.reset()
        observation, following = self._drawn(0, OBSERVED), self._drawn(1, OBSERVED)
        actions = np.clip(self._drawn(2, ACTED), -1, 1)
        if self.steps >= WARM_UP:
            adapters = strategy.adapters()
            acting = self.context.actors.forward(adapters, observation)
            actions = acting if self.steps % BOUND_EVERY else np.sign(actions)
            strategy.perturb(actions, observation, self.steps)
            self.outcomes[self.steps] = adapters.copy(), actions.copy()
        reward, ended = self._drawn(3, 1)[..., 0], phase == EPISODE - 1
        terminated = ended & (number % 2 == 0)
        # After an end, the first simulation resets in a step of its own, as a next-step `VectorEnv` does.
        valid = (phase > 0) | (slots > 0)
        episodes = [
            Episode(int(lane), int(slot), EPISODE * float(reward[lane, slot]), EPISODE, bool(terminated[lane, slot]))
            for lane, slot in np.argwhere(ended)
        ]
        truncated = ended & ~terminated
        strategy.observe(Transition(observation, actions, reward, following, terminated, truncated, valid, episodes))
        # As if TD3 had updated the policies.
        drift = self._drawn(4, self.context.shape.num_parameters)[:, 0]
        learner.set_adapters(learner.adapters() + np.float32(0.01) * drift)
        self.steps += 1

    def _drawn(self, what: int, size: int) -> NDArray[np.float32]:
        """Standard normal numbers (K, S, size) of this step."""
        shape = self.context.slots, size
        lanes = [rng.generator(seed, rng.Stream.PROBE, self.steps, what) for seed in self.context.seeds]
        return np.stack([lane.standard_normal(shape) for lane in lanes]).astype(np.float32)


def settings() -> AdaptSettings:
    """The options of the learning problem: small, so that everything happens within few steps, and often, so that what
    comes and goes is under way where a state is saved."""
    return AdaptSettings(
        population_size=4,
        segment_length=6,
        batch_size=16,
        flight_prob=0.5,
        flight_exponent=0,
        flight_max_length=EPISODE,
    )


def context_for(seeds: Sequence[int], slots: int) -> StrategyContext:
    """What a strategy is given in it."""
    options = settings()
    backbone = Backbone.random(0, input_size=6, hidden_sizes=(16, 16))
    shape = AdapterShape.of(backbone, OBSERVED, ACTED)
    learner = Learner(backbone, shape, seeds, TD3Settings.of(options))
    return StrategyContext(
        settings=options,
        seeds=tuple(seeds),
        slots=slots,
        shape=shape,
        learner=learner,
        actors=LaneActors(learner.backbones(), shape),
        pool=None,
        prior=_prior,
    )


def _prior(observations: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a policy that is known beforehand does in it, (..., obs) -> (..., act)."""
    actions: NDArray[np.float32] = np.tanh(observations[..., :ACTED])
    return actions
