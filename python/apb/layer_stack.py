"""`LayerStack`: N networks of one shape side by side, and their gradients: natively on a CPU, by torch elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from apb import _native

Chain = list[tuple[Tensor, Tensor]]
"""Weights (N or 1, out, in) and biases (N or 1, out), from the first layer to the last."""
Gradients = Sequence[tuple[Tensor, Tensor] | None]
"""For each layer of a chain, where to write the gradients of weight and bias; None if it is not learned."""


class LayerStack(ABC):
    """N networks of the same shape: `W x + b` or `ReLU(W x + b)`, layer by layer, and its gradient.

    The gradient is written out, not recorded by autograd, and all intermediate values live in buffers that are
    allocated once: with autograd's bookkeeping and fresh memory an update in torch took 6.7 ms on one thread, without
    them 5.6 (docs/benchmarks.md). A tensor that a method returns is overwritten by the next call of it.

    Both kinds are made with:

    - sizes: Width of the input and of each layer's output.
    - relus: For each layer, whether a ReLU follows.
    - networks: N.
    - rows: Rows that every network is given, R.
    """

    @abstractmethod
    def forward(self, chain: Chain, x: Tensor) -> Tensor:
        """Outputs (N, R, out) for inputs (N, R, in)."""

    @abstractmethod
    def backward(self, chain: Chain, slope: Tensor, gradients: Gradients) -> None:
        """Write the gradient of a loss with respect to the parameters of `chain`, right after `forward` with it.

        Args:
            slope: Gradient with respect to the outputs (N, R, out); may be overwritten.
            gradients: Where to write it.
        """

    @abstractmethod
    def input_gradient(self, chain: Chain, slope: Tensor) -> Tensor:
        """The gradient with respect to the inputs (N, R, in), right after `forward`, from that of the outputs, which
        may be overwritten."""


class NativeLayerStack(LayerStack):
    """On a CPU: the same bits for any number of threads, and for a network beside others as alone.

    `pool` are the native threads to use; None uses the caller's thread.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        relus: Sequence[bool],
        networks: int,
        rows: int,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        self._stack = _native.LayerStack(list(sizes), list(relus), networks, rows)
        self._pool = pool
        self._out = torch.empty(networks, rows, sizes[-1], dtype=torch.float32, device="cpu")
        self._below = torch.empty(networks, rows, sizes[0], dtype=torch.float32, device="cpu")

    @staticmethod
    def required_bytes(sizes: Sequence[int], networks: int, rows: int) -> int:
        """Bytes of the buffers, without what they are padded with to whole packets: values, slopes and, of the inputs
        of each layer, a copy in panels (cpp/include/apb/layer_stack.hpp); and what is returned."""
        return 4 * networks * rows * (3 * sum(sizes) + sizes[0])

    def forward(self, chain: Chain, x: Tensor) -> Tensor:
        """Outputs (N, R, out) for inputs (N, R, in)."""
        self._stack.forward(_arrays(chain), x.contiguous().numpy(), self._out.numpy(), self._pool)
        return self._out

    def backward(self, chain: Chain, slope: Tensor, gradients: Gradients) -> None:
        """Write the gradient with respect to the parameters; see `LayerStack.backward`."""
        self._stack.backward(_arrays(chain), slope.contiguous().numpy(), _arrays(gradients), self._pool)

    def input_gradient(self, chain: Chain, slope: Tensor) -> Tensor:
        """The gradient with respect to the inputs (N, R, in)."""
        self._stack.input_gradient(_arrays(chain), slope.contiguous().numpy(), self._below.numpy(), self._pool)
        return self._below


def layer_stack(
    sizes: Sequence[int],
    relus: Sequence[bool],
    networks: int,
    rows: int,
    *,
    device: torch.device,
    native: bool,
    pool: "_native.ThreadPool | None" = None,
) -> LayerStack:
    """A `LayerStack` of the kind that is for the device: see there."""
    if native:
        return NativeLayerStack(sizes, relus, networks, rows, pool)
    return TorchLayerStack(sizes, relus, networks, rows, device)


def _arrays(pairs: Gradients) -> list[Any]:
    """The NumPy views of pairs of tensors."""
    return [pair and (pair[0].numpy(), pair[1].numpy()) for pair in pairs]


class TorchLayerStack(LayerStack):
    """On any `device` of torch, one batched program."""

    def __init__(
        self, sizes: Sequence[int], relus: Sequence[bool], networks: int, rows: int, device: torch.device
    ) -> None:
        self._relus = tuple(relus)
        self._values = [torch.empty(networks, rows, size, dtype=torch.float32, device=device) for size in sizes[1:]]
        self._slopes = [torch.empty(networks, rows, size, dtype=torch.float32, device=device) for size in sizes[:-1]]
        self._inputs: list[Tensor] = []

    def forward(self, chain: Chain, x: Tensor) -> Tensor:
        """Outputs (N, R, out) for inputs (N, R, in)."""
        self._inputs = [x, *self._values[:-1]]
        for (weight, bias), relu, x, out in zip(chain, self._relus, self._inputs, self._values, strict=True):
            if len(weight) == 1:
                # One matrix for all networks: their N R rows go through a single product.
                torch.addmm(bias[0], x.flatten(0, 1), weight[0].t(), out=out.flatten(0, 1))
            else:
                torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2), out=out)
            if relu:
                out.relu_()
        return self._values[-1]

    def backward(self, chain: Chain, slope: Tensor, gradients: Gradients) -> None:
        """Write the gradient with respect to the parameters; see `LayerStack.backward`."""
        self._back(chain, slope, gradients, down_to=1)

    def input_gradient(self, chain: Chain, slope: Tensor) -> Tensor:
        """The gradient with respect to the inputs (N, R, in)."""
        return self._back(chain, slope, [None] * len(chain), down_to=0)

    def _back(self, chain: Chain, slope: Tensor, gradients: Gradients, down_to: int) -> Tensor:
        for i in reversed(range(len(chain))):
            if self._relus[i]:
                # In place; 0 where the ReLU's output is 0.
                torch.ops.aten.threshold_backward.grad_input(slope, self._values[i], 0, grad_input=slope)
            learned = gradients[i]
            if learned is not None:
                torch.bmm(slope.transpose(1, 2), self._inputs[i], out=learned[0])
                torch.sum(slope, dim=1, out=learned[1])
            if i >= down_to:
                weight, below = chain[i][0], self._slopes[i]
                if len(weight) == 1:
                    torch.mm(slope.flatten(0, 1), weight[0], out=below.flatten(0, 1))
                else:
                    torch.bmm(slope, weight, out=below)
                slope = below
        return slope
