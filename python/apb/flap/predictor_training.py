"""`PredictorTraining`: the network that predicts layers, while it is trained beside a meta-training (FLAP)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native, rng
from apb.companions import Companion
from apb.flap.layer_predictor import LayerPredictor, input_size, transitions
from apb.layer_stack import NativeLayerStack
from apb.learner import Learner
from apb.memory import available_memory, require_room
from apb.meta_training.settings import MetaSettings
from apb.networks import draw_layers
from apb.normalization import RunningNormalizer
from apb.regression_networks import RegressionNetworks
from apb.replay import Batch
from apb.state_arrays import named, part

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
        lanes, device = len(td3.networks.seeds), td3.device
        size = input_size(td3.networks.shape, self._with_next)
        sizes = [size, *[settings.predictor_width] * settings.predictor_depth, self._places.size]
        self._rows = min(ceil(settings.predictor_batch_size / lanes), settings.batch_size)  # of each lane
        buffers = NativeLayerStack.required_bytes(sizes, 1, lanes * self._rows)
        require_room(
            RegressionNetworks.required_bytes(sizes, 1) + buffers,
            available_memory(),
            f"predictor_width = {settings.predictor_width}",
            "of memory for the network that predicts layers",
            "a smaller predictor_width, predictor_depth or predictor_batch_size",
        )
        self._inputs = RunningNormalizer(1, size)
        self._network = RegressionNetworks(
            draw_layers(sizes, [rng.generator(settings.seed, rng.Stream.PREDICTOR)]),
            lanes * self._rows,
            settings.learning_rate,
            device=device,
            pool=pool,
        )
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
        found = self._network.forward(self._tensor(self._inputs.snapshot()(flat)))
        error = found - self._tensor(wanted[None])
        torch.mean(error.square(), dim=(1, 2), out=self._loss)
        self._network.step(error.mul_(2 / wanted.size))

    def losses(self) -> Mapping[str, NDArray[np.float32]]:
        """See `Companion`: the error, in units in which predicting the mean of the tasks has 1."""
        return {"predictor_loss": self._loss.cpu().numpy().copy()} if self._network.steps else {}

    def predictor(self) -> LayerPredictor:
        """The network as it is now, for transitions of other tasks."""
        targets = self._targets()
        chain = [(weight[0].cpu().numpy().copy(), bias[0].cpu().numpy().copy()) for weight, bias in self._network.chain]
        weights, biases = zip(*chain, strict=True)
        return LayerPredictor(
            self._learner.td3.networks.shape,
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

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Companion`."""
        inputs = named("inputs", self._inputs.state)
        network = named("network", self._network.state())
        return inputs | network | {"loss": self._loss.cpu().numpy().copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `Companion`."""
        self._inputs.load_state(part("inputs", state))
        self._network.load_state(part("network", state))
        self._loss.copy_(torch.from_numpy(state["loss"].copy()))
