"""`Adam` and `polyak_step` over flat layers: natively on a CPU, each number computed alone; by torch elsewhere."""

from math import sqrt

from apb import _native
from apb.networks import FlatLayers

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Decay of the two moments and what is added to the root of the second (Kingma & Ba 2015; torch's defaults)."""


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) on `layers`.

    Its state is `exp_avg` and `exp_avg_sq`, layers of the same names, and `steps`, taken since the last `reset`.

    Args:
        layers: The parameters, updated in place.
        learning_rate: alpha, > 0.
        pool: Native threads to use on a CPU; None uses the caller's thread.
    """

    def __init__(self, layers: FlatLayers, learning_rate: float, pool: "_native.ThreadPool | None" = None) -> None:
        self.exp_avg, self.exp_avg_sq = layers.zeros_like(), layers.zeros_like()
        self.steps = 0
        self._layers = layers
        self._learning_rate = learning_rate
        self._pool = pool

    def step(self, gradient: FlatLayers) -> None:
        """Move the layers by one step against the gradient, which has the same names and shapes."""
        self.steps += 1
        theta, g, first, second = self._layers.flat, gradient.flat, self.exp_avg.flat, self.exp_avg_sq.flat
        if theta.device.type == "cpu":
            arrays = theta.numpy(), g.numpy(), first.numpy(), second.numpy()
            _native.adam_step(*arrays, self.steps, self._learning_rate, BETA1, BETA2, EPSILON, self._pool)
            return
        first.lerp_(g, 1 - BETA1)
        second.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
        scale = (second.sqrt() / sqrt(1 - BETA2**self.steps)).add_(EPSILON)
        theta.addcdiv_(first, scale, value=-self._learning_rate / (1 - BETA1**self.steps))

    def reset(self) -> None:
        """Forget all steps."""
        self.steps = 0
        self.exp_avg.flat.zero_()
        self.exp_avg_sq.flat.zero_()


def polyak_step(target: FlatLayers, source: FlatLayers, tau: float, pool: "_native.ThreadPool | None" = None) -> None:
    """`target += tau (source - target)`: the targets of TD3 follow what is learned (Fujimoto et al. 2018, eq. 6)."""
    if target.flat.device.type == "cpu":
        _native.polyak_step(target.flat.numpy(), source.flat.numpy(), tau, pool)
    else:
        target.flat.lerp_(source.flat, tau)
