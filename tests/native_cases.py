"""Random policies, and the policy's equation in float64 with the bound of what float32 arithmetic may differ by."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from apb import _native
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
UNIT = 2.0**-24  # unit roundoff of float32


def side_by_side(work: Callable[[], None], threads: int = 4) -> None:
    """Call `work` from several Python threads at once; what one of them raises is raised here."""
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(work) for _ in range(threads)]:
            job.result()


def gamma(roundings: int) -> float:
    """Higham's γ_k = k u / (1 - k u): the relative error that k roundings can add up to."""
    return roundings * UNIT / (1 - roundings * UNIT)


def affine(W: F32, b: F32, x: F64, error: F64) -> tuple[F64, F64]:
    """W x + b of rows x, and the largest error of a float32 evaluation whose inputs are off by up to `error`."""
    weight, bias = W.astype(np.float64), b.astype(np.float64)
    absolute = np.abs(weight)
    spread = error @ absolute.T
    rounding = gamma(W.shape[1] + 1) * (np.abs(bias) + (np.abs(x) + error) @ absolute.T)
    return x @ weight.T + bias, spread + rounding


@dataclass
class Case:
    """A backbone, adapters (M, n) and what they are made of."""

    weights: list[F32]
    biases: list[F32]
    input_activation: bool
    adapters: F32
    obs: int
    act: int

    def population(self, core: Any = _native) -> Any:
        backbone = core.Backbone(self.weights, self.biases, self.input_activation)
        population = core.Population(backbone, len(self.adapters), self.obs, self.act)
        population.load(self.adapters)
        return population

    def parts(self, member: int) -> tuple[F32, F32, F32, F32]:
        d_in, features = self.weights[0].shape[1], self.weights[-1].shape[0]
        sizes = np.cumsum([d_in * self.obs, d_in, self.act * features])
        P, p, T, t = np.split(self.adapters[member], sizes)
        return P.reshape(d_in, self.obs), p, T.reshape(self.act, features), t

    def expected(self, member: int, x: F32) -> tuple[F64, F64]:
        """The policy's equation in float64 for rows x, and the bound of its float32 evaluation."""
        P, p, T, t = self.parts(member)
        h, error = affine(P, p, x.astype(np.float64), np.zeros(x.shape))
        if self.input_activation:
            h = np.maximum(h, 0)  # Lipschitz 1: the bound stays
        for W, b in zip(self.weights, self.biases, strict=True):
            h, error = affine(W, b, h, error)
            h = np.maximum(h, 0)
        z, error = affine(T, t, h, error)
        return np.tanh(z), error + 8 * UNIT  # tanh is Lipschitz 1; its evaluation adds a few units in the last place


def random_case(rng: np.random.Generator, obs: int, act: int, layers: list[int], relu: bool, members: int) -> Case:
    def normal(*shape: int) -> F32:
        return rng.normal(size=shape).astype(np.float32)

    weights = [normal(o, i) / np.float32(np.sqrt(i)) for i, o in itertools.pairwise(layers)]
    biases = [normal(o) * np.float32(0.1) for o in layers[1:]]
    count = layers[0] * (obs + 1) + act * (layers[-1] + 1)
    return Case(weights, biases, relu, normal(members, count) * np.float32(0.3), obs, act)
