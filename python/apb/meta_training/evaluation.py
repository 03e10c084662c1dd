"""`returns_on`: the returns of a meta-trained backbone on tasks before anything is learned on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.actors import LaneActors
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.env_spaces import flat_size
from apb.environments import EnvSource, Simulations
from apb.errors import ConfigError
from apb.evaluation import EvalResult, parallel_episodes, run_episodes
from apb.flap.rollouts import predicted_adapters
from apb.tasks import Task


@dataclass(frozen=True)
class ZeroShot:
    """Returns on several tasks before anything is learned on them.

    Attributes:
        tasks: What the tasks are called.
        results: Of each task.
        adapters: Which adapters acted: "own" (of the train tasks themselves), "nearest" (the nearest train task's) or
            "predicted" (from one rollout, by FLAP).
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
    """Evaluate on each task the policy that is predicted for it, if the backbone has a predictor, else that of the
    nearest of its train tasks.

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
    if backbone.predictor is None:
        parameters = backbone.adapters.parameters[[backbone.adapters.nearest(task) for task in tasks]]
    else:
        parameters = predicted_adapters(tasks, backbone, seed=seed, num_threads=num_threads, before_step=before_step)
    options = {"n_eval_episodes": n_eval_episodes, "seed": seed}
    results = returns_with(parameters, tasks, backbone, **options, num_threads=num_threads, before_step=before_step)
    return ZeroShot(tuple(map(str, tasks)), results, "nearest" if backbone.predictor is None else "predicted")


def returns_with(
    parameters: NDArray[np.float32],
    tasks: Sequence[Task],
    backbone: Backbone,
    *,
    n_eval_episodes: int,
    seed: int,
    num_threads: int | None = None,
    before_step: Callable[[], object] = lambda: None,
) -> tuple[EvalResult, ...]:
    """Evaluate adapters (K, n) around a backbone, each on its task; arguments as in `returns_on`."""
    source = EnvSource.resolve(list(tasks))
    shape = AdapterShape.of(backbone, *(flat_size(s) for s in (source.observation_space, source.action_space)))
    actors = LaneActors([backbone] * len(tasks), shape)
    slots = parallel_episodes(source, n_eval_episodes)
    seeds = [seed] * len(tasks)

    def act(observations: NDArray[np.float32]) -> NDArray[np.float32]:
        before_step()
        return actors.forward(parameters[:, None], observations)

    with Simulations(source, len(tasks), slots, seeds, rng.Stream.EVALUATE, num_threads) as simulations:
        returns, lengths = run_episodes(simulations, n_eval_episodes, act)
    return tuple(EvalResult(*pair) for pair in zip(returns, lengths, strict=True))
