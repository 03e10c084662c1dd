"""`coverage_of`: how far the states are spread that a pre-trained policy visits, beside those of random actions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from apb import rng
from apb.environments import Simulations
from apb.evaluation import EvalResult, Watcher
from apb.intrinsic.knn import log_distances
from apb.loop import LearningLoop
from apb.torch_threads import one_torch_thread

EPISODES = 10
"""Most episodes that are looked at. Ours: those of an evaluation in TD3's code."""
MOST_STATES = 2_000
"""Most states that are compared, evenly spread over the steps: 10 episodes of 200 in the tasks of the package."""
NEIGHBORS = 12
"""Nearest neighbours that count, as in URLB's code."""

Act = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Visited:
    """What was met in an episode: states (n, obs), and of tasks of `apb.tasks` where the robot was, (n, d)."""

    states: NDArray[np.float32]
    path: NDArray[np.float64] | None


@dataclass(frozen=True)
class Coverage:
    """What one way to act came to in one lane.

    Attributes:
        entropy: Mean over the states of log(1 + mean distance to the 12 nearest others), of as many states as of the
            other ways; in units of the deviations that the states of random actions have.
        distance: How far from its start the robot came, in m, the mean of the episodes; None where no task of
            `apb.tasks` tells it.
        result: Returns, of the env's own reward.
        episodes: What was visited.
    """

    entropy: float
    distance: float | None
    result: EvalResult
    episodes: Sequence[Visited]

    def to_json(self) -> dict[str, Any]:
        """The numbers; no distance where it is None."""
        distance = {} if self.distance is None else {"distance": self.distance}
        return {"entropy": self.entropy, **distance, "mean_reward": self.result.mean}


class Visits(Watcher):
    """Remembers the episodes of an evaluation; `check` raises where a stop is wanted."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        self._rounds: list[list[tuple[NDArray[np.float32], NDArray[np.float64] | None, NDArray[np.bool_]]]] = []

    def before_step(self, simulations: Simulations, episodes: NDArray[np.int64]) -> None:
        """See `Watcher`: remember what is seen now, and which simulations have an episode under way that counts."""
        self._check()
        if simulations.at_episode_start:
            self._rounds.append([])
        if (len(self._rounds) - 1) * simulations.slots < EPISODES:
            self._rounds[-1].append((simulations.observations, simulations.positions, episodes >= 0))

    def episodes(self, lane: int) -> list[Visited]:
        """Those of one lane."""
        found = []
        for steps in filter(None, self._rounds):
            for slot in range(steps[0][2].shape[1]):
                length = sum(bool(running[lane, slot]) for _, _, running in steps)
                states = np.array([states[lane, slot] for states, _, _ in steps[:length]])
                places = [place[lane, slot] for _, place, _ in steps[:length] if place is not None]
                if length:
                    found.append(Visited(states, np.array(places) if places else None))
        return found[:EPISODES]


def coverage_of(loop: LearningLoop, check: Callable[[], object]) -> list[dict[str, Coverage]]:
    """For each lane what three ways to act cover from the same starts: "policy", without noise; "noisy", with
    `action_noise`; and "random", uniformly random actions.

    Args:
        loop: At its end, with evaluation envs.
        check: Raises where a stop is wanted.
    """
    adapters = loop.learner.adapters()[:, None]

    def policy(observations: NDArray[np.float32]) -> NDArray[np.float32]:
        return loop.actors.forward(adapters, observations)

    def noisy(observations: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        return (policy(observations) + loop.settings.action_noise * noise).clip(-1, 1)

    seeds, size = [lane.seed for lane in loop.lanes], loop.shape.action_size
    normal, uniform = np.random.Generator.standard_normal, lambda generator, shape: generator.uniform(-1, 1, shape)
    acting: dict[str, Act] = {
        "policy": policy,
        "noisy": _with_draws(normal, seeds, size, 2, noisy),
        "random": _with_draws(uniform, seeds, size, 3, lambda observations, drawn: drawn),
    }
    visits, results = {}, {}
    for way, act in acting.items():
        visits[way] = Visits(check)
        results[way] = loop.envs.evaluate(act, rng.Stream.FINAL_EPISODE, visits[way])
    return [
        compared({way: (visits[way].episodes(lane), results[way][lane]) for way in acting})
        for lane in range(len(loop.lanes))
    ]


def _with_draws(
    draw: Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]],
    seeds: Sequence[int],
    action_size: int,
    number: int,
    act: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]],
) -> Act:
    """Act by observations and numbers (K, S, act) that are drawn for each step, each lane's from its own stream."""
    steps = count()

    def acting(observations: NDArray[np.float32]) -> NDArray[np.float32]:
        step, shape = next(steps), (observations.shape[1], action_size)
        drawn = [draw(rng.generator(seed, rng.Stream.INTRINSIC, number, step), shape) for seed in seeds]
        return act(observations, np.stack(drawn).astype(np.float32))

    return acting


def compared(visited: Mapping[str, tuple[Sequence[Visited], EvalResult]]) -> dict[str, Coverage]:
    """The coverage of each way to act, one of which is "random"."""
    states = {way: np.concatenate([each.states for each in episodes]) for way, (episodes, _) in visited.items()}
    number = min(MOST_STATES, *map(len, states.values()))
    deviation = states["random"].std(axis=0, dtype=np.float64)
    # What random actions never change has no deviation, and stays in its own units.
    scale = np.where(deviation > 0, deviation, 1.0)
    return {
        way: Coverage(particle_entropy(evenly(states[way], number) / scale), _distance(episodes), result, episodes)
        for way, (episodes, result) in visited.items()
    }


def evenly(rows: NDArray[Any], number: int) -> NDArray[Any]:
    """So many of the rows, evenly spread over them."""
    return rows[np.arange(number) * len(rows) // number]


def particle_entropy(states: NDArray[np.float64]) -> float:
    """Mean of log(1 + mean distance to the nearest others) of states (N, obs); 0 of a single one."""
    if len(states) < 2:
        return 0.0
    with one_torch_thread():
        return float(log_distances(torch.from_numpy(states), min(NEIGHBORS, len(states) - 1)).mean())


def _distance(episodes: Sequence[Visited]) -> float | None:
    farthest = [np.linalg.norm(each.path - each.path[0], axis=1).max() for each in episodes if each.path is not None]
    return float(np.mean(farthest)) if farthest else None
