"""`BehaviorTransfer`: exploration by a policy that is known beforehand (Campos et al. 2021, arXiv 2102.13515).

*Flights*: outside of a flight, each step begins one with `flight_prob`: control goes to the prior for n steps, where n
is drawn with p(n) proportional to n^-`flight_exponent`, at most `flight_max_length`, and ends with the episode, as the
options of temporally extended epsilon-greedy exploration (Dabney et al. 2020).

*Extra action*: at all other steps the actor's noisy action and the prior's are compared by the lower of the target
critics, and the better one is taken; the target of the critics is made likewise (see `TD3`). The paper gives a discrete
Q-function one more action, "do what the prior does"; with continuous actions the choice itself is that action, as in
IBRL (Hu et al. 2023). The soft choice draws by the softmax of the values, as in PEX (Zhang et al. 2023).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.errors import FileFormatError
from apb.lane_noise import LaneNoise
from apb.prior import STRATEGY
from apb.settings import AdaptSettings
from apb.strategies.action_noise import ActionNoise
from apb.strategies.base import Strategy, StrategyContext
from apb.td3 import INVERSE_TEMPERATURE

if TYPE_CHECKING:
    from apb.environments import Transition


class BehaviorTransfer(Strategy):
    """Flights of the prior and choices between it and the actor, in K lanes of S simulations."""

    name = STRATEGY
    options = ("flight_prob", "flight_exponent", "flight_max_length", "extra_action")

    def __init__(self, context: StrategyContext) -> None:
        settings, lanes = context.settings, len(context.seeds)
        # See `apb.prior.require_use`.
        assert context.prior is not None and isinstance(settings, AdaptSettings)  # noqa: S101, PT018
        self._prior, self._settings = context.prior, settings
        self._learner = context.learner
        self._action_noise = ActionNoise(context)
        # Three numbers per simulation and step: whether a flight begins, how long it is, and the soft choice.
        self._draws = LaneNoise(context.seeds, rng.Stream.BEHAVIOR_TRANSFER, context.slots, [3] * lanes)
        self._lengths = np.cumsum(flight_lengths(settings.flight_exponent, settings.flight_max_length))
        self._left = np.zeros((lanes, context.slots), dtype=np.int64)

    def adapters(self) -> NDArray[np.float32]:
        """See `Strategy`: the actor of each lane."""
        return self._learner.adapters()[:, None]

    def perturb(self, actions: NDArray[np.float32], observations: NDArray[np.float32], step: int) -> None:
        """See `Strategy`: noise, choices, flights."""
        self._action_noise.perturb(actions, observations, step)
        begins, length, choice = np.moveaxis((self._draws.uniform(step).astype(np.float64) + 1) / 2, 2, 0)
        begun = (self._left == 0) & (begins < self._settings.flight_prob)
        self._left[begun] = 1 + np.searchsorted(self._lengths, length[begun], side="right").clip(
            max=len(self._lengths) - 1
        )
        flying = self._left > 0
        self._left[flying] -= 1
        if self._settings.extra_action == "off":
            if flying.any():
                actions[flying] = self._prior(observations[flying])
            return
        known = self._prior(observations)
        own, others = (self._learner.target_values(observations, each) for each in (actions, known))
        difference = (others - own).astype(np.float64)
        if self._settings.extra_action == "hard":
            preferred = difference > 0
        else:
            preferred = choice < 1 / (1 + np.exp(np.clip(-INVERSE_TEMPERATURE * difference, -500, 500)))
        np.copyto(actions, known, where=(flying | preferred)[:, :, None])

    def observe(self, transition: "Transition") -> None:
        """See `Strategy`: a flight ends with its episode."""
        for episode in transition.episodes:
            self._left[episode.lane, episode.slot] = 0

    def restarted(self, rows: NDArray[np.bool_]) -> None:
        """See `Strategy`."""
        self._left[rows] = 0

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See `Strategy`."""
        return {"left": self._left.copy()}, {}

    def load_state(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """See `Strategy`."""
        left = arrays["left"]
        if (left < 0).any() or (left > len(self._lengths)).any():
            raise FileFormatError(
                f"the strategy's state in the checkpoint has left = {left!r:.100}; expected steps of a flight, 0 to "
                f"{len(self._lengths)}; use another checkpoint"
            )
        self._left[...] = left


def flight_lengths(exponent: float, longest: int) -> NDArray[np.float64]:
    """The probabilities of flights of 1, 2, ..., `longest` steps, proportional to n^-`exponent`: a zeta distribution
    that is cut off."""
    weights = np.arange(1, longest + 1, dtype=np.float64) ** -exponent
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities
