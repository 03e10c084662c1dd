"""`flap`: predicting the layers of a task from 200 transitions, against the same in torch, and in adaptations."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import apb
import numpy as np
import torch
from apb.adapter_set import AdapterSet
from apb.adapter_shape import AdapterShape, learned_layers
from apb.flap.layer_predictor import LayerPredictor, input_size
from apb.flap.rollouts import ROLLOUT
from apb.meta_training.settings import MetaSettings
from apb.normalization import Normalizer
from apb.tasks import get

from benchmarks.harness import Row, compare, interleave, scaled

TOPIC = "flap"
TASKS = ("cheetah-vel/mier-hard/test:0", "ant-dir/mier-ood/test:0")
LIMIT = 5.0


def run(quick: bool) -> list[Row]:
    """The predictor of the default sizes, for a backbone of 256 features, on one thread."""
    torch.set_num_threads(1)
    found = []
    for name in TASKS:
        backbone = _backbone(name)
        predictor, shape = backbone.required_predictor, backbone.required_predictor.shape
        generator = np.random.default_rng(0)
        vectors = (shape.observation_size,), (shape.action_size,), (), (shape.observation_size,)
        met = [generator.standard_normal((ROLLOUT, *size)).astype(np.float32) for size in vectors]
        in_torch = _torch(predictor)
        assert np.allclose(in_torch(met), predictor.predict(*met), atol=1e-3)
        calls = {"apb": lambda p=predictor, m=met: p.predict(*m), "torch": lambda t=in_torch, m=met: t(m)}
        seconds = interleave(calls, repetitions=7 if quick else 31, calls=20)
        case = f"{name.split('/')[0]}, {ROLLOUT} transitions to {len(predictor.mean):,} parameters"
        ours, peer = (scaled(seconds[name], 1e3) for name in ("apb", "torch"))
        sides = ("apb, 1 thread", ours), ("torch, 1 thread", peer)
        found.append(compare(TOPIC, case, *sides, "ms", higher_is_better=False, limit=LIMIT))
        first = scaled([_first(name, backbone, seed) for seed in range(5 if quick else 21)], 1e3)
        sides = ("apb, 1 thread", first), None
        found.append(compare(TOPIC, f"{case}, in adapt", *sides, "ms", higher_is_better=False, limit=LIMIT))
    return found


def _first(task: str, backbone: apb.Backbone, seed: int) -> float:
    """Seconds from the end of an adaptation's rollout until the predicted layers act; nothing of them is warm."""
    result = apb.adapt(task, backbone, method="flap", seed=seed, num_threads=1, eval_freq=0)
    return result.beside["predicted_start"]["seconds"]


def _backbone(task: str) -> apb.Backbone:
    """Drawn numbers, in the sizes that meta_train has by default."""
    family = get(task).made_family
    backbone = apb.Backbone.random(0)
    shape = AdapterShape.of(backbone, family.observation_size, family.action_size)
    parameters = np.random.default_rng(0).standard_normal((1, shape.num_parameters)).astype(np.float32)
    adapters = AdapterSet.of(shape, parameters, [get(task)])
    return replace(backbone, adapters=adapters, predictor=_predictor(shape))


def _predictor(shape: AdapterShape) -> LayerPredictor:
    settings, generator = MetaSettings(), np.random.default_rng(0)
    with_next = settings.predictor_input == "next_observation"
    count = len(shape.places_in(shape, learned_layers("post")))
    sizes = [input_size(shape, with_next), *[settings.predictor_width] * settings.predictor_depth, count]

    def draw(*size: int) -> np.ndarray:
        return generator.standard_normal(size).astype(np.float32)

    weights = tuple(draw(out, fan_in) / np.float32(np.sqrt(fan_in)) for fan_in, out in pairwise(sizes))
    biases = tuple(draw(out) for out in sizes[1:])
    inputs = Normalizer(draw(sizes[0]), np.ones(sizes[0], np.float32))
    return LayerPredictor(shape, "post", with_next, weights, biases, inputs, draw(count), np.abs(draw(count)))


def _torch(predictor: LayerPredictor) -> Callable[[list[np.ndarray]], np.ndarray]:
    """The same as a module would be written: all layers of all transitions, and then their mean."""
    modules: list[torch.nn.Module] = []
    for weight, bias in zip(predictor.weights, predictor.biases, strict=True):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())
        modules += [layer, torch.nn.ReLU()]
    network = torch.nn.Sequential(*modules[:-1])
    mean, scale = (torch.from_numpy(array.copy()) for array in (predictor.inputs.mean, predictor.inputs.inverse_std))
    center, deviation = (torch.from_numpy(array.copy()) for array in (predictor.mean, predictor.deviation))

    def predict(met: list[np.ndarray]) -> np.ndarray:
        observation, action, reward, following = map(torch.from_numpy, met)
        with torch.inference_mode():
            rows = torch.cat([observation, action, reward[:, None], following], dim=1)
            rows = ((rows - mean) * scale).clamp(-predictor.inputs.clip, predictor.inputs.clip)
            return (center + deviation * network(rows).mean(dim=0)).numpy()

    return predict
