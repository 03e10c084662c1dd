"""Stacks of networks with what they compute: natively, in float64 with the bound of rounding errors, and by torch."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from apb import _native
from hypothesis import strategies as st
from native_cases import F32, F64, affine, gamma


@dataclass
class Case:
    """A stack's shape, its layers, inputs and the slope of its outputs."""

    sizes: list[int]
    relus: list[bool]
    layers: list[tuple[F32, F32]]
    x: F32
    slope: F32

    @property
    def networks(self) -> int:
        return len(self.x)

    def only(self, network: int) -> "Case":
        """One of the networks."""
        part = slice(network, network + 1)
        layers = [(w if len(w) == 1 else w[part], b if len(b) == 1 else b[part]) for w, b in self.layers]
        return Case(self.sizes, self.relus, layers, self.x[part], self.slope[part])

    def rows(self, order: Any) -> "Case":
        """Some of the rows."""
        x, slope = np.ascontiguousarray(self.x[:, order]), np.ascontiguousarray(self.slope[:, order])
        return Case(self.sizes, self.relus, self.layers, x, slope)

    def having_layers(self, layers: list[tuple[F32, F32]]) -> "Case":
        """Other layers."""
        return Case(self.sizes, self.relus, layers, self.x, self.slope)

    def stack(self, core: Any = _native) -> Any:
        return core.LayerStack(self.sizes, self.relus, self.networks, self.x.shape[1])

    def places(self) -> list[tuple[F32, F32]]:
        """Where gradients can be written."""
        n = self.networks
        return [(np.full((n, o, i), 7, np.float32), np.full((n, o), 7, np.float32)) for i, o in pairwise(self.sizes)]

    def results(self, pool: Any = None, core: Any = _native) -> list[F32]:
        """Outputs, input gradient, then weight and bias gradients of all layers, as the stack computes them."""
        stack, gradients = self.stack(core), self.places()
        out, below = np.full_like(self.slope, 7), np.full_like(self.x, 7)
        stack.forward(self.layers, self.x, out, pool)
        stack.backward(self.layers, self.slope, gradients, pool)
        stack.input_gradient(self.layers, self.slope, below, pool)
        return [out, below, *(part for pair in gradients for part in pair)]

    def expected(self) -> list[tuple[F64, F64]]:
        """The same in float64, each with the bound of its float32 evaluation, all of shape (N, ...).

        Where a float32 evaluation could find the other side of a ReLU, the bound is infinite.
        """
        each = [self.only(network)._expected_alone() for network in range(self.networks)]
        return [(np.stack([v for v, _ in parts]), np.stack([b for _, b in parts])) for parts in zip(*each, strict=True)]

    def _expected_alone(self) -> list[tuple[F64, F64]]:
        values = [(self.x[0].astype(np.float64), np.zeros(self.x[0].shape))]
        certain = True
        for (W, b), relu in zip(self.layers, self.relus, strict=True):
            y, error = affine(W[0], b[0], *values[-1])
            certain &= not relu or bool(np.all((np.abs(y) > error) | (error == 0)))
            values.append((np.maximum(y, 0) if relu else y, error))
        slope, error = self.slope[0].astype(np.float64), np.zeros(self.slope[0].shape)
        gradients: list[tuple[F64, F64]] = []
        for (W, _), relu, (y, _), (x, x_error) in reversed(
            list(zip(self.layers, self.relus, values[1:], values[:-1], strict=True))
        ):
            if relu:
                slope, error = np.where(y <= 0, 0, slope), np.where(y <= 0, 0, error)
            most, rounding = np.abs(slope) + error, gamma(len(x) + 1)
            bias = slope.sum(axis=0), error.sum(axis=0) + rounding * most.sum(axis=0)
            spread = error.T @ (np.abs(x) + x_error) + np.abs(slope).T @ x_error
            weight = slope.T @ x, spread + rounding * (most.T @ (np.abs(x) + x_error))
            gradients = [weight, bias, *gradients]
            slope, error = affine(W[0].T, np.zeros(W.shape[2], np.float32), slope, error)
        return [(v, b if certain else np.full_like(b, np.inf)) for v, b in (values[-1], (slope, error), *gradients)]


def random_case(rng: np.random.Generator, sizes: list[int], relus: list[bool], networks: int, rows: int) -> Case:
    """Numbers of size O(1); about every third layer is shared."""

    def normal(*shape: int) -> F32:
        return rng.standard_normal(shape, dtype=np.float32)

    layers = []
    for i, o in pairwise(sizes):
        count = 1 if rng.random() < 0.3 else networks
        layers.append((normal(count, o, i) / np.float32(np.sqrt(i)), normal(count, o)))
    return Case(sizes, relus, layers, normal(networks, rows, sizes[0]), normal(networks, rows, sizes[-1]))


def rounded(case: Case) -> Case:
    """The case with small integers for all numbers: zeros before a ReLU are frequent then."""

    def integers(array: F32, most: int) -> F32:
        return np.clip(np.rint(array), -most, most)

    layers = [(integers(w * np.float32(np.sqrt(w.shape[2])), 1), integers(b, 2)) for w, b in case.layers]
    return Case(case.sizes, case.relus, layers, integers(case.x, 2), integers(case.slope, 2))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Random cases of all shapes; a width of 1 and rows that fill no strip are frequent."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = st.integers(1, 40) | st.sampled_from([64, 100])
    sizes = draw(st.lists(size, min_size=2, max_size=5))
    relus = draw(st.lists(st.booleans(), min_size=len(sizes) - 1, max_size=len(sizes) - 1))
    return random_case(rng, sizes, relus, draw(st.integers(1, 4)), draw(st.integers(1, 70)))


def by_autograd(case: Case) -> list[F32]:
    """The results of a case of one network, by torch."""
    layers = [(torch.tensor(w[0], requires_grad=True), torch.tensor(b[0], requires_grad=True)) for w, b in case.layers]
    y = x = torch.tensor(case.x[0], requires_grad=True)
    for (weight, bias), relu in zip(layers, case.relus, strict=True):
        y = torch.nn.functional.linear(y, weight, bias)
        y = y.relu() if relu else y
    y.backward(torch.from_numpy(case.slope[0]))
    tensors = [y.detach(), x.grad, *(p.grad for pair in layers for p in pair)]
    return [tensor.numpy()[None] for tensor in tensors if tensor is not None]
