"""`returns_on`: the returns of a meta-trained backbone on tasks before anything is learned on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.actors import LaneActors
from apb.backbone import Backbone
from apb.environments import EnvSource, Simulations
from apb.errors import ConfigError
from apb.evaluation import EvalResult, parallel_episodes, run_episodes
from apb.tasks import Task


@dataclass(frozen=True)
class ZeroShot:
    """Returns on several tasks before anything is learned on them.

    Attributes:
        tasks: What the tasks are called.
        results: Of each task.
        adapters: Which adapters acted: "own" (of the train tasks themselves) or "nearest" (the nearest train task's).
    """

    tasks: tuple[str, ...]
    results: tuple[EvalResult, ...]
    adapters: str

    @property
    def mean(self) -> float:
        """The mean return over tasks and episodes."""
        return float(np.mean([result.mean for result in self.results]))


def returns_on(
    tasks: Sequence[Task],
    backbone: Backbone,
    *,
    n_eval_episodes: int,
    seed: int,
    num_threads: int | None = None,
    before_step: Callable[[], object] = lambda: None,
) -> ZeroShot:
    """Evaluate on each task the policy of the nearest of the backbone's train tasks.

    Args:
        tasks: Of the family that it was meta-trained on.
        backbone: With adapters.
        n_eval_episodes: Of each task.
        seed: Episode e of a task starts from a seed derived from (seed, e), as in `apb.evaluate`.
        num_threads: Default: as everywhere.
        before_step: Called before each step; may raise to leave.

    Raises:
        ConfigError: the backbone has no adapters. MismatchError: they do not fit the tasks.
    """
    if backbone.adapters is None:
        raise ConfigError("the backbone has no adapters; expected one that was meta-trained")
    chosen = [backbone.adapters.nearest(task) for task in tasks]
    parameters: NDArray[np.float32] = backbone.adapters.parameters[chosen][:, None]
    source = EnvSource.resolve(list(tasks))
    actors = LaneActors([backbone] * len(tasks), backbone.adapters.shape)
    slots = parallel_episodes(source, n_eval_episodes)
    seeds = [seed] * len(tasks)

    def act(observations: NDArray[np.float32]) -> NDArray[np.float32]:
        before_step()
        return actors.forward(parameters, observations)

    with Simulations(source, len(tasks), slots, seeds, rng.Stream.EVALUATE, num_threads) as simulations:
        returns, lengths = run_episodes(simulations, n_eval_episodes, act)
    results = tuple(EvalResult(*pair) for pair in zip(returns, lengths, strict=True))
    return ZeroShot(tuple(map(str, tasks)), results, "nearest")
