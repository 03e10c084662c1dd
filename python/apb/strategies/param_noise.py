"""`ParamNoise`: exploration in parameter space by an evolving population of perturbations of the actor that TD3 trains.

One generation of a lane (docs/algorithm.md has the equations and says what is taken from where):

1. *Ask*: P directions `d_i = +- sqrt(v) z_i`, antithetic, with a diagonal variance v.
2. *Evaluate*: member i acts as `mu + c d_i`, one member per simulation, until each has finished an episode of its own.
   Here mu is the actor as it is now: TD3 goes on improving it, and the members with it, with every transition. The
   scale c keeps the members' actions on recent observations `param_noise` away from the actor's (the measure of
   Plappert et al. 2018).
3. *Tell*: the better half, weighted by rank as in CEM-RL (Pourchot and Sigaud 2019), updates v and pulls the actor by
   `evolution_rate` times its weighted displacement.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng
from apb.strategies.base import Strategy, StrategyContext

if TYPE_CHECKING:
    from apb.environments import Transition
    from apb.settings import AdaptSettings

VARIANCE_RATE = 0.2
"""Weight of one generation's variance estimate: a few members say little about one direction. Ours."""

DAMPING = 0.05
"""Variance added at each update, relative to the initial 1, so that no direction dies out (as in CEM-RL). Ours."""

PROBE_ROWS = 32
"""Recent observations per lane on which the distance of actions is measured, and steps between measurements. Ours."""


class ParamNoise(Strategy):
    """The populations of K lanes; each goes through its generations at its own pace."""

    name = "param_noise"

    def __init__(self, context: StrategyContext) -> None:
        settings, lanes, size = context.settings, len(context.seeds), context.shape.num_parameters
        members = settings.population_size
        self._context = context
        self._keys = np.stack([rng.key(seed, rng.Stream.POPULATION) for seed in context.seeds])
        self._arrays: dict[str, NDArray[Any]] = {
            "directions": np.zeros((lanes, members, size), dtype=np.float32),
            "scale": np.ones(lanes, dtype=np.float32),
            "variance": np.ones((lanes, size), dtype=np.float32),
            "probe": np.zeros((lanes, PROBE_ROWS, context.shape.observation_size), dtype=np.float32),
            "returns": np.zeros((lanes, members), dtype=np.float64),
            "episodes": np.zeros((lanes, members), dtype=np.int64),
            # Of each simulation: the member that acts in it, whether it has done so since the episode began, and
            # whether an episode is about to begin.
            "acting": np.zeros((lanes, context.slots), dtype=np.int64),
            "own": np.zeros((lanes, context.slots), dtype=np.bool_),
            "fresh": np.ones((lanes, context.slots), dtype=np.bool_),
            "generation": np.zeros(lanes, dtype=np.int64),
            "asked": np.zeros(lanes, dtype=np.bool_),
            "probed": np.zeros(1, dtype=np.int64),
            "scaled_at": np.zeros(lanes, dtype=np.int64),
        }

    @staticmethod
    def slots(settings: "AdaptSettings") -> int:
        """See `Strategy`: one per member."""
        return settings.population_size

    def adapters(self) -> NDArray[np.float32]:
        """See `Strategy`: the actor plus the scaled direction of the member that acts."""
        state = self._arrays
        for lane in np.flatnonzero(~state["asked"]):
            self._ask(int(lane))
            self._scale(int(lane))
        for lane in np.flatnonzero(state["probed"] - state["scaled_at"] >= PROBE_ROWS):
            self._scale(int(lane))
        directions = np.take_along_axis(state["directions"], state["acting"][:, :, None], axis=1)
        members: NDArray[np.float32] = (
            self._context.learner.adapters()[:, None] + state["scale"][:, None, None] * directions
        )
        return members

    def observe(self, transition: "Transition", warming_up: bool) -> None:
        """See `Strategy`."""
        state = self._arrays
        probed = int(state["probed"][0])
        state["probe"][:, probed % PROBE_ROWS] = transition.observation[:, probed % self._context.slots]
        state["probed"] += 1
        state["fresh"][transition.valid] = False
        for episode in transition.episodes:
            lane, slot = episode.lane, episode.slot
            state["fresh"][lane, slot] = True
            if state["own"][lane, slot]:
                member = state["acting"][lane, slot]
                state["returns"][lane, member] += episode.return_
                state["episodes"][lane, member] += 1
            if state["asked"][lane]:
                self._assign(lane, slot)
        for done in np.flatnonzero(state["asked"] & state["episodes"].all(axis=1)):
            self._tell(int(done))

    def restarted(self, rows: NDArray[np.bool_]) -> None:
        """See `Strategy`."""
        self._arrays["fresh"][rows] = True
        self._arrays["own"][rows] = self._arrays["asked"].repeat(rows.shape[1]).reshape(rows.shape)[rows]

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
        for name, array in self._arrays.items():
            array[...] = arrays[name]

    def _ask(self, lane: int) -> None:
        state, at = self._arrays, slice(lane, lane + 1)
        _native.evolution_ask(
            np.zeros_like(state["variance"][at]),
            np.sqrt(state["variance"][at]),
            self._keys[at],
            int(state["generation"][lane]),
            state["directions"][at],
            pool=self._context.pool,
        )
        state["returns"][lane] = 0
        state["episodes"][lane] = 0
        state["own"][lane] = False
        for slot in range(self._context.slots):
            self._assign(lane, slot)
        state["own"][lane] = state["fresh"][lane]
        state["asked"][lane] = True

    def _assign(self, lane: int, slot: int) -> None:
        """Let the member with the fewest episodes, finished or under way elsewhere, act in the slot."""
        state = self._arrays
        load = state["episodes"][lane].copy()
        elsewhere = np.flatnonzero(np.arange(self._context.slots) != slot)
        np.add.at(load, state["acting"][lane, elsewhere], state["own"][lane, elsewhere])
        state["acting"][lane, slot] = load.argmin()
        state["own"][lane, slot] = True

    def _scale(self, lane: int) -> None:
        """Set the scale so that the members' actions are `param_noise` away from the actor's, root mean square."""
        state, at = self._arrays, slice(lane, lane + 1)
        # Before the first observation the zeros that the probe starts with must do.
        rows = max(1, min(int(state["probed"][0]), PROBE_ROWS))
        probe, directions = state["probe"][at, :rows], state["directions"][at]
        count = directions.shape[1]
        actor = self._context.learner.adapters()[at, None]
        reference = self._context.actors.forward(actor, probe, lane)[0]
        # tanh bends the relation between scale and distance: three corrections settle it within a few per cent.
        for _ in range(3):
            members = actor + state["scale"][lane] * directions
            actions = self._context.actors.forward(members, np.tile(probe, (1, count, 1)), lane)[0]
            distance = float(np.sqrt(np.mean((actions.reshape(count, rows, -1) - reference) ** 2)))
            correction = np.clip(self._context.settings.param_noise / max(distance, 1e-8), 0.01, 100)
            state["scale"][lane] *= np.float32(correction)
        state["scaled_at"][lane] = state["probed"][0]

    def _tell(self, lane: int) -> None:
        state, at = self._arrays, slice(lane, lane + 1)
        weights = rank_weights(state["returns"][lane] / state["episodes"][lane])[None]
        displacement = np.zeros_like(state["variance"][at])
        damping = np.full(1, DAMPING, dtype=np.float32)
        _native.evolution_recombine(
            state["directions"][at],
            weights,
            displacement,
            state["variance"][at],
            damping,
            1.0,
            VARIANCE_RATE,
            pool=self._context.pool,
        )
        # Only the shape of the variance matters: `_scale` sets its size.
        state["variance"][at] /= state["variance"][at].mean()
        adapters = self._context.learner.adapters()
        adapters[at] += np.float32(self._context.settings.evolution_rate) * state["scale"][lane] * displacement
        self._context.learner.set_adapters(adapters)
        state["generation"][lane] += 1
        state["asked"][lane] = False


def rank_weights(fitness: NDArray[np.float64]) -> NDArray[np.float32]:
    """CEM-RL's weights of P members: `log((1 + P/2) / rank)` for the better half, rank 1 the best, zero for the rest;
    sum 1."""
    parents = max(1, fitness.size // 2)
    weights = np.zeros(fitness.size, dtype=np.float64)
    order = np.argsort(-fitness, kind="stable")
    weights[order[:parents]] = np.log((1 + parents) / np.arange(1, parents + 1))
    normalized: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return normalized
