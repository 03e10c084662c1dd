"""Short meta-trainings and adaptations by FLAP, and predictors with drawn numbers."""

from dataclasses import replace
from itertools import pairwise

import apb
import numpy as np
from apb.adapter_set import AdapterSet
from apb.adapter_shape import AdapterShape, learned_layers
from apb.backbone import Backbone
from apb.flap.layer_predictor import LayerPredictor, input_size
from apb.normalization import Normalizer
from apb.tasks import get
from meta_runs import SPLIT, meta_run

FEW = {"predictor_width": 16, "predictor_depth": 2}
TASK = f"{SPLIT}/ood:3"
ALONE = {"total_timesteps": 20, "num_threads": 1, "eval_freq": 0}
"""Options of an adaptation by FLAP that takes a fraction of a second."""


def flap_meta(**options):
    """A meta-training of some moments."""
    return meta_run(method="flap", **{**FEW, **options})


def flap(psi, task=TASK, **options):
    """An adaptation by it."""
    return apb.adapt(task, psi, **{"method": "flap", **ALONE, **options})


def drawn_predictor(shape, layers="post", next_observation=True, hidden=(7, 6), seed=0):
    """A predictor of drawn numbers."""
    generator = np.random.default_rng(seed)
    count = len(shape.places_in(shape, learned_layers(layers)))
    sizes = (input_size(shape, next_observation), *hidden, count)

    def draw(*size):
        return generator.standard_normal(size).astype(np.float32)

    weights = tuple(draw(out, fan_in) / np.float32(np.sqrt(fan_in)) for fan_in, out in pairwise(sizes))
    biases = tuple(draw(out) for out in sizes[1:])
    inputs = Normalizer(draw(sizes[0]), np.abs(draw(sizes[0])) + np.float32(0.1), 10.0)
    return LayerPredictor(shape, layers, next_observation, weights, biases, inputs, draw(count), np.abs(draw(count)))


def drawn_backbone(split=SPLIT, seed=0, **of_predictor):
    """A backbone with adapters of three of the train tasks and a predictor, all of drawn numbers."""
    psi = Backbone.random(seed, input_size=8, hidden_sizes=(9, 8))
    tasks = get(split).train[:3]
    family = tasks[0].made_family
    shape = AdapterShape.of(psi, family.observation_size, family.action_size)
    parameters = np.random.default_rng(seed).standard_normal((3, shape.num_parameters)).astype(np.float32)
    kept = AdapterSet.of(shape, parameters, tasks)
    return replace(psi, adapters=kept, predictor=drawn_predictor(shape, seed=seed, **of_predictor))


def predicted_from(replay, psi, lane=0):
    """What the predictor says of the transitions in a lane's replay, from the columns of its table."""
    rows = replay.table[lane, : replay.size[lane]]
    obs, act = psi.predictor.shape.observation_size, psi.predictor.shape.action_size
    observation, following, action, reward = np.split(rows[:, :-1], np.cumsum([obs, obs, act]), axis=1)
    return psi.predictor.predict(observation, action, reward[:, 0], following)
