"""`RegressionNetworks`: K MLPs with ReLUs between their layers, learned by steps of Adam on the slope of a loss."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native
from apb.layer_stack import Chain, layer_stack
from apb.networks import FlatLayers, layer_chain
from apb.optimizer import Adam

CPU = torch.device("cpu")


class RegressionNetworks:
    """K networks side by side, with buffers for R rows of each: natively on a CPU, by torch elsewhere.

    Args:
        layers: Initial "<i>.weight" (K, out, in) and "<i>.bias" (K, out), as `apb.networks.draw_layers` draws them.
        rows: R.
        learning_rate: Of Adam, > 0.
        device: Where they compute.
        pool: Native threads, of which no bit depends; None uses the caller's thread.
    """

    def __init__(
        self,
        layers: Mapping[str, NDArray[np.float32]],
        rows: int,
        learning_rate: float,
        *,
        device: torch.device = CPU,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        self._layers = FlatLayers(layers, device)
        self._gradient = self._layers.zeros_like()
        first, *others = weights = [array for name, array in layers.items() if name.endswith("weight")]
        sizes = [first.shape[2], *(weight.shape[1] for weight in weights)]
        native = device.type == "cpu"
        relus = (*[True] * len(others), False)
        self._stack = layer_stack(sizes, relus, len(first), rows, device=device, native=native, pool=pool)
        self._adam = Adam(self._layers, learning_rate, native=native, pool=pool)

    @staticmethod
    def required_bytes(sizes: Sequence[int], networks: int) -> int:
        """Bytes of K networks of these widths, without the buffers of rows: layers, gradients, two moments."""
        return 4 * 4 * networks * sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))

    @property
    def steps(self) -> int:
        """Steps that were taken; to read it waits for the device."""
        return self._adam.steps

    @property
    def chain(self) -> Chain:
        """Weights and biases from the first layer to the last: views."""
        return layer_chain(self._layers)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (K, R, out) for inputs (K, R, in); the next call overwrites them."""
        return self._stack.forward(self.chain, x)

    def step(self, slope: Tensor) -> None:
        """A step against the gradient, right after `forward`.

        Args:
            slope: Gradient of the loss with respect to the outputs (K, R, out); may be overwritten.
        """
        self._stack.backward(self.chain, slope, layer_chain(self._gradient))
        self._adam.step(self._gradient)

    def _saved(self) -> dict[str, FlatLayers]:
        return {"layers": self._layers, "exp_avg": self._adam.exp_avg, "exp_avg_sq": self._adam.exp_avg_sq}

    def state(self) -> dict[str, NDArray[Any]]:
        """All arrays that an exact continuation needs, as copies."""
        arrays: dict[str, NDArray[Any]] = {
            f"{group}.{name}": value.cpu().numpy().copy()
            for group, layers in self._saved().items()
            for name, value in layers.items()
        }
        return arrays | {"steps": np.array([self._adam.steps])}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from `state()`."""
        for group, layers in self._saved().items():
            layers.load({name: state[f"{group}.{name}"] for name in layers})
        self._adam.steps = int(state["steps"][0])
