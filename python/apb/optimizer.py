"""`Adam` and Polyak steps over flat layers: natively on a CPU, each number computed alone; by torch elsewhere."""

import torch
from torch import Tensor

from apb import _native
from apb.networks import FlatLayers

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Decay of the two moments and what is added to the root of the second (Kingma & Ba 2015; torch's defaults)."""


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) on `layers`.

    Its state is `exp_avg` and `exp_avg_sq`, layers of the same names, and `steps`, taken since the last `reset`. All of
    it lives on the device of the layers, so that a step can be recorded (see `CudaGraphs`).

    Args:
        layers: The parameters, updated in place.
        learning_rate: alpha, > 0.
        native: Compute by `_native.adam_step`, which needs layers on a CPU; else by torch, on any device.
        pool: Native threads to use; None uses the caller's thread.
    """

    def __init__(
        self,
        layers: FlatLayers,
        learning_rate: float,
        *,
        native: bool = True,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        self.exp_avg, self.exp_avg_sq = layers.zeros_like(), layers.zeros_like()
        self._steps = torch.zeros((), dtype=torch.float64, device=layers.flat.device)
        self._layers = layers
        self._learning_rate = learning_rate
        self._native = native
        self._pool = pool

    @property
    def steps(self) -> int:
        """Steps since the last `reset`; to read it waits for the device."""
        return int(self._steps)

    @steps.setter
    def steps(self, steps: int) -> None:
        self._steps.fill_(steps)

    def step(self, gradient: FlatLayers) -> None:
        """Move the layers by one step against the gradient, which has the same names and shapes."""
        self._steps += 1
        theta, g, first, second = self._layers.flat, gradient.flat, self.exp_avg.flat, self.exp_avg_sq.flat
        if self._native:
            arrays = theta.numpy(), g.numpy(), first.numpy(), second.numpy()
            _native.adam_step(*arrays, self.steps, self._learning_rate, BETA1, BETA2, EPSILON, self._pool)
        else:
            torch_adam_step(theta, g, first, second, self._steps, self._learning_rate)

    def reset(self) -> None:
        """Forget all steps."""
        self.steps = 0
        self.exp_avg.zero()
        self.exp_avg_sq.zero()


def torch_adam_step(
    theta: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, step: Tensor, learning_rate: float
) -> None:
    """What `_native.adam_step` does, on vectors (n,) of any device, where the number of the step is too: () float64."""
    exp_avg.lerp_(gradient, 1 - BETA1)
    exp_avg_sq.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    scale = (exp_avg_sq.sqrt() / (1 - BETA2**step).sqrt()).add_(EPSILON)
    theta.sub_((exp_avg / scale).mul_(learning_rate / (1 - BETA1**step)))


def polyak_step(
    target: FlatLayers,
    source: FlatLayers,
    tau: float,
    *,
    native: bool = True,
    pool: "_native.ThreadPool | None" = None,
) -> None:
    """`target += tau (source - target)`, tau in [0, 1]: targets follow what learns (Fujimoto et al. 2018, eq. 6).

    `native` and `pool` are as for `Adam`.
    """
    if native:
        _native.polyak_step(target.flat.numpy(), source.flat.numpy(), tau, pool)
    else:
        target.flat.lerp_(source.flat, tau)
