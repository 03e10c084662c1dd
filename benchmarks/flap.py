"""`flap`: predicting the layers of a task from 200 transitions, against the same in torch; one thread."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from apb.adapter_shape import AdapterShape, learned_layers
from apb.flap.layer_predictor import LayerPredictor, input_size
from apb.flap.rollouts import ROLLOUT
from apb.meta_training.settings import MetaSettings
from apb.normalization import Normalizer

from benchmarks.harness import Row, compare, interleave, scaled

TOPIC = "flap"
SIZES = {"cheetah-vel": (20, 6), "ant-dir": (27, 8)}
"""Numbers in an observation and in an action of the families that it is measured with."""
LIMIT = 5.0


def run(quick: bool) -> list[Row]:
    """The predictor of the default sizes, for a backbone of 256 features."""
    torch.set_num_threads(1)
    found = []
    for family, (observations, actions) in SIZES.items():
        predictor = _predictor(AdapterShape(observations, observations, 256, actions))
        generator = np.random.default_rng(0)
        shapes = ((ROLLOUT, observations), (ROLLOUT, actions), (ROLLOUT,), (ROLLOUT, observations))
        met = [generator.standard_normal(shape).astype(np.float32) for shape in shapes]
        in_torch = _torch(predictor)
        assert np.allclose(in_torch(met), predictor.predict(*met), atol=1e-3)
        calls = {"apb": lambda p=predictor, m=met: p.predict(*m), "torch": lambda t=in_torch, m=met: t(m)}
        seconds = interleave(calls, repetitions=7 if quick else 31, calls=20)
        case = f"{family}, {ROLLOUT} transitions to {len(predictor.mean):,} parameters"
        ours, peer = (scaled(seconds[name], 1e3) for name in ("apb", "torch"))
        sides = ("apb, 1 thread", ours), ("torch, 1 thread", peer)
        found.append(compare(TOPIC, case, *sides, "ms", higher_is_better=False, limit=LIMIT))
    return found


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
