"""`predicted_adapters`: adapters of tasks, predicted from one rollout in each."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.actors import LaneActors
from apb.backbone import Backbone
from apb.environments import EnvSource, Simulations
from apb.tasks import Task

ROLLOUT = 200
"""Transitions that layers are predicted from: one episode of the package's tasks."""


def predicted_adapters(
    tasks: Sequence[Task],
    backbone: Backbone,
    *,
    seed: int,
    transitions: int = ROLLOUT,
    num_threads: int | None = None,
    before_step: Callable[[], object] = lambda: None,
) -> NDArray[np.float32]:
    """Flat adapters (K, n) of K tasks: the mean of the train tasks' adapters acts, without noise, for so many steps.

    Args:
        tasks: Of the family that the backbone was meta-trained on.
        backbone: With adapters and a predictor.
        seed: Of the episodes.
        transitions: Steps in each task.
        num_threads: Default: as everywhere.
        before_step: Called before each step; may raise to leave.

    Raises:
        ConfigError: the backbone has no predictor.
    """
    predictor = backbone.required_predictor
    assert backbone.adapters is not None  # noqa: S101
    source = EnvSource.resolve(list(tasks))
    adapters = np.tile(backbone.adapters.mean(), (len(tasks), 1))
    acting = adapters[:, None].copy()
    actors = LaneActors([backbone] * len(tasks), backbone.adapters.shape)
    steps = []
    with Simulations(source, len(tasks), 1, [seed] * len(tasks), rng.Stream.TRAIN_EPISODE, num_threads) as simulations:
        simulations.reset()
        for _ in range(transitions):
            before_step()
            steps.append(simulations.step(actors.forward(acting, simulations.observations)))
    fields = [
        np.concatenate([getattr(step, name) for step in steps], axis=1)
        for name in ("observation", "action", "reward", "next_observation", "valid")
    ]
    for lane, adapter in enumerate(adapters):
        *met, valid = (field[lane] for field in fields)
        if valid.any():
            adapter[predictor.places] = predictor.predict(*(field[valid] for field in met))
    return adapters
