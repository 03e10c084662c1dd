"""`ParamNoise`: exploration in parameter space by an evolving population of perturbations of the actor that TD3 trains.

One generation of a lane (docs/algorithm.md has the equations and says what is taken from where):

1. *Ask*: P directions `d_i = +- sqrt(v) z_i`, antithetic, with a diagonal variance v.
2. *Evaluate*: member i acts as `mu + c d_i` for `segment_length` steps, the members side by side where the env can be
   made several times. Here mu is the actor as it is now: TD3 goes on improving it, and the members with it, with every
   transition. The scale c keeps the members' actions on recent observations `param_noise` away from the actor's (the
   measure of Plappert et al. 2018). As its critics learn from noisy actions, these too carry `action_noise`.
3. *Tell*: a member's fitness is its advantage over the actor per (discounted) step, by the lane's critics (see
   `_judge`). The better half, weighted by rank as in CEM-RL (Pourchot and Sigaud 2019), updates v and pulls the actor
   by `evolution_rate` times its weighted displacement.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng
from apb.errors import FileFormatError
from apb.state_arrays import require_counts
from apb.strategies.action_distance import PROBE_ROWS, ActionDistance
from apb.strategies.action_noise import ActionNoise
from apb.strategies.base import Strategy, StrategyContext

if TYPE_CHECKING:
    from apb.environments import Transition
    from apb.settings import LearningSettings

VARIANCE_RATE = 0.01
"""Weight of one generation's variance estimate. Five parents say next to nothing about one of thousands of directions:
with 0.2, fitness that is all noise leaves a third of the dimensions after 100 generations. Ours."""

DAMPING = 0.05
"""Variance added at each update, relative to the initial 1, so that no direction dies out (as in CEM-RL). Ours."""


class ParamNoise(Strategy):
    """The populations of K lanes; each goes through its generations at its own pace."""

    name = "param_noise"
    options = ("param_noise", "population_size", "segment_length", "evolution_rate")

    def __init__(self, context: StrategyContext) -> None:
        settings, lanes, size = context.settings, len(context.seeds), context.shape.num_parameters
        members = settings.population_size
        self._context = context
        self._action_noise = ActionNoise(context)
        self._distance = ActionDistance(context)
        self._keys = np.stack([rng.key(seed, rng.Stream.POPULATION) for seed in context.seeds])
        # What a lane learns: a population varies nothing else, and draws as it does alone.
        self._places = context.learner.learned_places
        self._arrays: dict[str, NDArray[Any]] = {
            **self._distance.arrays,
            "directions": np.zeros((lanes, members, size), dtype=np.float32),
            "scale": np.ones(lanes, dtype=np.float32),
            "variance": np.ones((lanes, size), dtype=np.float32),
            # What members have shown in this generation: the sum of their advantages, the sum of the discounts of the
            # rewards in them, and over how many steps.
            "advantage": np.zeros((lanes, members), dtype=np.float64),
            "discounts": np.zeros((lanes, members), dtype=np.float64),
            "judged": np.zeros((lanes, members), dtype=np.int64),
            # Of the segment under way in each simulation: the member that acts, where it began, how many steps it has
            # taken and its discounted reward so far.
            "acting": np.zeros((lanes, context.slots), dtype=np.int64),
            "start": np.zeros((lanes, context.slots, context.shape.observation_size), dtype=np.float32),
            "steps": np.zeros((lanes, context.slots), dtype=np.int64),
            "reward": np.zeros((lanes, context.slots), dtype=np.float64),
            "generation": np.zeros(lanes, dtype=np.int64),
            "asked": np.zeros(lanes, dtype=np.bool_),
            "scaled_at": np.zeros(lanes, dtype=np.int64),
        }

    @staticmethod
    def slots(settings: "LearningSettings") -> int:
        """See `Strategy`: one per member."""
        return settings.population_size

    def adapters(self) -> NDArray[np.float32]:
        """See `Strategy`: the actor plus the scaled direction of the member that acts."""
        state = self._arrays
        for lane in np.flatnonzero(~state["asked"]):
            self._ask(int(lane))
            self._scale(int(lane))
        for lane in np.flatnonzero(self._distance.steps - state["scaled_at"] >= PROBE_ROWS):
            self._scale(int(lane))
        directions = np.take_along_axis(state["directions"], state["acting"][:, :, None], axis=1)
        members: NDArray[np.float32] = (
            self._context.learner.adapters()[:, None] + state["scale"][:, None, None] * directions
        )
        return members

    def perturb(self, actions: NDArray[np.float32], observations: NDArray[np.float32], step: int) -> None:
        """See `Strategy`: the noise of `ActionNoise`."""
        self._action_noise.perturb(actions, observations, step)

    def observe(self, transition: "Transition") -> None:
        """See `Strategy`."""
        state = self._arrays
        self._distance.observe(transition)
        acted = transition.valid & state["asked"][:, None]
        began = acted & (state["steps"] == 0)
        state["start"][began] = transition.observation[began]
        discount = self._context.settings.gamma ** state["steps"]
        state["reward"][acted] += (discount * transition.reward)[acted]
        state["steps"][acted] += 1
        over = state["steps"] >= self._context.settings.segment_length
        for episode in transition.episodes:
            over[episode.lane, episode.slot] = state["steps"][episode.lane, episode.slot] > 0
        if over.any():
            self._judge(over, transition)
        enough = state["judged"] >= self._context.settings.segment_length
        for done in np.flatnonzero(state["asked"] & enough.all(axis=1)):
            if self._context.learner.policies_may_move:
                self._tell(int(done))
            state["generation"][done] += 1
            state["asked"][done] = False

    def restarted(self, rows: NDArray[np.bool_]) -> None:
        """See `Strategy`."""
        self._arrays["steps"][rows] = 0
        self._arrays["reward"][rows] = 0

    def reset(self) -> None:
        """See `Strategy`."""
        self._arrays["asked"][:] = False
        self._arrays["variance"][:] = 1
        self._arrays["scale"][:] = 1

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See `Strategy`."""
        return {name: array.copy() for name, array in self._arrays.items()}, {}

    def load_state(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """See `Strategy`."""
        require_counts(arrays, "the strategy's state")
        if (arrays["acting"] >= self._arrays["judged"].shape[1]).any():
            raise FileFormatError(
                f"the strategy's state in the checkpoint has acting = {arrays['acting']!r:.100}; expected members of "
                f"{self._arrays['judged'].shape[1]}; use another checkpoint"
            )
        for name, array in self._arrays.items():
            array[...] = arrays[name]

    def _ask(self, lane: int) -> None:
        state, places = self._arrays, self._places[lane]
        deviation = np.sqrt(state["variance"][lane, places])[None]
        directions = np.empty((1, state["directions"].shape[1], places.size), dtype=np.float32)
        _native.evolution_ask(
            np.zeros_like(deviation),
            deviation,
            self._keys[lane : lane + 1],
            int(state["generation"][lane]),
            directions,
            pool=self._context.pool,
        )
        state["directions"][lane][:, places] = directions[0]
        for name in ("advantage", "discounts", "judged", "steps", "reward"):
            state[name][lane] = 0
        for slot in range(self._context.slots):
            state["acting"][lane, slot] = slot % state["judged"].shape[1]
        state["asked"][lane] = True

    def _judge(self, over: NDArray[np.bool_], transition: "Transition") -> None:
        """End segments (K, S): credit what a member has won beyond the value of where it began.

        A = sum_k gamma^k r_k + gamma^n V(s_n) - V(s_0), V(s) = mean_j Q_j(s, mu(s)): the n-step advantage over the
        actor. It needs no whole episode, and where the episode went well before says nothing about the member.
        """
        state, gamma = self._arrays, self._context.settings.gamma
        both = np.concatenate([state["start"], transition.next_observation], axis=1, dtype=np.float32)
        before, after = np.split(self._context.learner.values(both).astype(np.float64), 2, axis=1)
        after = np.where(transition.terminated, 0, after)
        advantage = state["reward"] + gamma ** state["steps"] * after - before
        for lane, slot in np.argwhere(over):
            member, steps = state["acting"][lane, slot], state["steps"][lane, slot]
            state["advantage"][lane, member] += advantage[lane, slot]
            state["discounts"][lane, member] += np.sum(gamma ** np.arange(steps))
            state["judged"][lane, member] += steps
            state["steps"][lane, slot] = 0
            state["reward"][lane, slot] = 0
            # Next acts the member with the fewest steps, counting as whole the segments under way elsewhere.
            load = state["judged"][lane].copy()
            elsewhere = np.flatnonzero(np.arange(self._context.slots) != slot)
            np.add.at(load, state["acting"][lane, elsewhere], self._context.settings.segment_length)
            state["acting"][lane, slot] = load.argmin()

    def _scale(self, lane: int) -> None:
        """Set the scale so that the members' actions are `param_noise` away from the actor's, root mean square."""
        state = self._arrays
        state["scale"][lane] = self._distance.scale_for(
            self._context.settings.param_noise, lane, state["directions"][lane], state["scale"][lane]
        )
        state["scaled_at"][lane] = self._distance.steps

    def _tell(self, lane: int) -> None:
        state, places = self._arrays, self._places[lane]
        weights = rank_weights(state["advantage"][lane] / state["discounts"][lane])[None]
        variance = state["variance"][lane, places][None]
        displacement = np.zeros_like(variance)
        damping = np.full(1, DAMPING, dtype=np.float32)
        _native.evolution_recombine(
            np.take(state["directions"][lane : lane + 1], places, axis=2),
            weights,
            displacement,
            variance,
            damping,
            1.0,
            VARIANCE_RATE,
            pool=self._context.pool,
        )
        # Only the shape of the variance matters: `_scale` sets its size.
        state["variance"][lane, places] = (variance / variance.mean())[0]
        adapters = self._context.learner.adapters()
        moved = np.float32(self._context.settings.evolution_rate) * state["scale"][lane] * displacement[0]
        adapters[lane, places] += moved
        self._context.learner.set_adapters(adapters)


def rank_weights(fitness: NDArray[np.float64]) -> NDArray[np.float32]:
    """CEM-RL's weights of P members: `log((1 + P/2) / rank)` for the better half, rank 1 the best, zero for the rest;
    sum 1."""
    parents = max(1, fitness.size // 2)
    weights = np.zeros(fitness.size, dtype=np.float64)
    order = np.argsort(-fitness, kind="stable")
    weights[order[:parents]] = np.log((1 + parents) / np.arange(1, parents + 1))
    normalized: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return normalized
