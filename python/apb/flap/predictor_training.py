"""`PredictorTraining`: the network that predicts layers, while it is trained beside a meta-training (FLAP)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native, rng
from apb.companions import Companion
from apb.flap.layer_predictor import LayerPredictor, input_size, transitions
from apb.layer_stack import Chain, layer_stack
from apb.learner import Learner
from apb.meta_training.settings import MetaSettings
from apb.networks import FlatLayers
from apb.normalization import RunningNormalizer
from apb.optimizer import Adam
from apb.replay import Batch

SMALLEST_DEVIATION = 1e-6
"""Added to the deviation of a weight over the tasks, which is 0 as long as all tasks have the same. Ours."""


@dataclass(frozen=True)
class _Targets:
    """Where the layers of K lanes are, and what makes them targets of order 1: (layers - mean) / deviation."""

    layers: NDArray[np.float32]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


class PredictorTraining(Companion):
    """One network for all lanes, trained by regression: from single transitions of a lane to the layers that the lane
    has now, each weight scaled by its mean and deviation over the lanes. It takes a step each time the layers move.

    Args:
        learner: Whose K lanes are the train tasks, all of one size.
        settings: Of the run: `predictor_width`, `predictor_depth`, `predictor_batch_size`, `predictor_input`,
            `predictor_target`, `learning_rate` and the seed.
        pool: Native threads.
    """

    name = "layer_predictor"

    def __init__(self, learner: Learner, settings: MetaSettings, pool: "_native.ThreadPool | None" = None) -> None:
        td3 = learner.td3
        self._learner = learner
        self._settings = settings
        self._with_next = settings.predictor_input == "next_observation"
        self._places = learner.learned_places[0]
        lanes, device = len(td3.seeds), td3.device
        size = input_size(td3.shape, self._with_next)
        hidden = [settings.predictor_width] * settings.predictor_depth
        sizes = [size, *hidden, self._places.size]
        self._rows = min(ceil(settings.predictor_batch_size / lanes), settings.batch_size)  # of each lane
        self._inputs = RunningNormalizer(1, size)
        self._layers = FlatLayers(_draw(sizes, settings.seed), device)
        self._gradient = self._layers.zeros_like()
        native = device.type == "cpu"
        self._stack = layer_stack(
            sizes, (*[True] * len(hidden), False), 1, lanes * self._rows, device=device, native=native, pool=pool
        )
        self._adam = Adam(self._layers, settings.learning_rate, native=native, pool=pool)
        self._loss = torch.zeros(1, dtype=torch.float32, device=device)

    @torch.no_grad()
    def learn(self, batch: Batch, moved: bool) -> None:
        """See `Companion`: a step of Adam on the mean squared error of the scaled layers."""
        if not moved:
            return
        fields = (batch.observation, batch.action, batch.reward, batch.next_observation)
        met = (field[:, : self._rows].cpu().numpy() for field in fields)
        rows = transitions(*met, with_next=self._with_next)
        flat = rows.reshape(1, -1, rows.shape[-1])
        self._inputs.update(flat)
        targets = self._targets()
        wanted = np.repeat((targets.layers - targets.mean) / targets.deviation, rows.shape[1], axis=0)
        found = self._stack.forward(self._chain(self._layers), self._tensor(self._inputs.snapshot()(flat)))
        error = found - self._tensor(wanted[None])
        torch.mean(error.square(), dim=(1, 2), out=self._loss)
        slope = error.mul_(2 / wanted.size)
        self._stack.backward(self._chain(self._layers), slope, self._chain(self._gradient))
        self._adam.step(self._gradient)

    def losses(self) -> Mapping[str, NDArray[np.float32]]:
        """See `Companion`: the error, in units in which predicting the mean of the tasks has 1."""
        return {"predictor_loss": self._loss.cpu().numpy().copy()} if self._adam.steps else {}

    def predictor(self) -> LayerPredictor:
        """The network as it is now, for transitions of other tasks."""
        targets = self._targets()
        chain = [
            (weight[0].cpu().numpy().copy(), bias[0].cpu().numpy().copy()) for weight, bias in self._chain(self._layers)
        ]
        weights, biases = zip(*chain, strict=True)
        return LayerPredictor(
            self._learner.td3.shape,
            self._settings.learned_layers,
            self._with_next,
            weights,
            biases,
            self._inputs.snapshot(),
            targets.mean,
            targets.deviation,
        )

    def _targets(self) -> _Targets:
        layers = self._learner.adapters()[:, self._places]
        mean = layers.mean(axis=0, dtype=np.float64)
        deviation = layers.std(axis=0, dtype=np.float64)
        if self._settings.predictor_target == "joint":
            deviation = np.full_like(deviation, np.sqrt(np.mean(deviation**2)))
        deviation += SMALLEST_DEVIATION
        return _Targets(layers, mean.astype(np.float32), deviation.astype(np.float32))

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self._learner.td3.device)

    def _chain(self, layers: FlatLayers) -> Chain:
        return [(layers[f"{i}.weight"], layers[f"{i}.bias"]) for i in range(len(layers) // 2)]

    def _saved(self) -> dict[str, FlatLayers]:
        return {"layers": self._layers, "exp_avg": self._adam.exp_avg, "exp_avg_sq": self._adam.exp_avg_sq}

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Companion`."""
        arrays: dict[str, NDArray[Any]] = {f"inputs.{name}": array for name, array in self._inputs.state.items()}
        for group, layers in self._saved().items():
            arrays |= {f"{group}.{name}": value.cpu().numpy().copy() for name, value in layers.items()}
        return arrays | {"steps": np.array([self._adam.steps]), "loss": self._loss.cpu().numpy().copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `Companion`."""
        self._inputs.load_state({name: state[f"inputs.{name}"] for name in self._inputs.state})
        for group, layers in self._saved().items():
            layers.load({name: state[f"{group}.{name}"] for name in layers})
        self._adam.steps = int(state["steps"][0])
        self._loss.copy_(torch.from_numpy(state["loss"].copy()))


def _draw(sizes: list[int], seed: int) -> dict[str, NDArray[np.float32]]:
    """Initial layers "<i>.weight" (1, out, in) and "<i>.bias" (1, out), uniform +-1/sqrt(fan_in) as `torch.nn.Linear`
    draws them."""
    generator = rng.generator(seed, rng.Stream.PREDICTOR)
    layers = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        bound = 1 / np.sqrt(fan_in)
        for name, shape in ((f"{i}.weight", (1, fan_out, fan_in)), (f"{i}.bias", (1, fan_out))):
            layers[name] = generator.uniform(-bound, bound, shape).astype(np.float32)
    return layers
