"""`SharedBackbone`: psi while all lanes of a meta-training learn it together, with its target and its optimiser."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from apb import _native
from apb.backbone import Backbone
from apb.networks import FlatLayers
from apb.optimizer import Adam, polyak_step

SMALLEST_SCALE = 1e-6
"""What a lane's scale is taken for if it is less, so that none is divided by zero. Ours."""

Gather = Callable[[Mapping[str, Tensor], Tensor], tuple[Mapping[str, Tensor], Tensor]]
"""Takes the parts (k, ...) and scales (k,) of the lanes here and returns those of all K lanes, in the order of the
lanes; those that it takes are overwritten at the next step. `torch.distributed` calls this an all-gather."""


class SharedBackbone:
    """psi, which follows the mean of the lanes' gradients: of `(1/K) sum_k L_k / mean |Q_k1|`.

    Lanes with larger returns have larger losses, by which they would decide alone; divided by the mean of |Q| those
    count alike whose rewards differ in scale. The parts are added lane by lane, so that the sum does not depend on the
    number of threads, nor on where the lanes are.

    Args:
        backbone: The initial weights.
        lanes: How many there are here, k.
        learning_rate: Of Adam.
        tau: Of the target psi'.
        max_grad_norm: The gradient is scaled down to this Euclidean norm where it is longer; 0: never.
        device, native, pool: As for `TD3`.
        gather: What brings the lanes of all shards together; each shard then has a `SharedBackbone` of its own, and
            all of them take the same step. Default: all lanes are here.

    Attributes:
        layers, target: psi and psi', each with a lane axis of length 1.
        parts: Where the gradient of each lane here is to be written, (k, ...).
    """

    def __init__(
        self,
        backbone: Backbone,
        lanes: int,
        *,
        learning_rate: float,
        tau: float,
        max_grad_norm: float,
        device: torch.device,
        native: bool,
        pool: "_native.ThreadPool | None" = None,
        gather: Gather | None = None,
    ) -> None:
        initial = backbone.tensors()
        shared = {name: value[None] for name, value in initial.items()}
        self.layers, self.target = FlatLayers(shared, device), FlatLayers(shared, device)
        parts = {name: np.zeros((lanes, *value.shape), dtype=np.float32) for name, value in initial.items()}
        self.parts = FlatLayers(parts, device)
        self._gradient = self.layers.zeros_like()
        self.adam = Adam(self.layers, learning_rate, native=native, pool=pool)
        self._tau, self._max_grad_norm = tau, max_grad_norm
        self._native, self._pool = native, pool
        self._gather = gather
        self._initial = backbone

    def step(self, scales: Tensor) -> None:
        """One step against the mean over all lanes of `parts`, each divided by its scale (k,); the target follows."""
        parts: Mapping[str, Tensor] = self.parts
        if self._gather is not None:
            parts, scales = self._gather(parts, scales)
        weights = (1 / (len(scales) * scales.double().clamp(min=SMALLEST_SCALE))).float()
        gradient = self._gradient.flat.zero_()
        for name, total in self._gradient.items():
            for part, weight in zip(parts[name], weights, strict=True):
                total[0].addcmul_(part, weight)
        if self._max_grad_norm:
            norm = torch.linalg.vector_norm(gradient, dtype=torch.float64)  # in float32 the squares may overflow
            gradient.mul_((self._max_grad_norm / (norm + 1e-6)).clamp_(max=1))
        self.adam.step(self._gradient)
        polyak_step(self.target, self.layers, self._tau, native=self._native, pool=self._pool)

    @property
    def backbone(self) -> Backbone:
        """psi as it is now, a copy."""
        values = {name: value[0].cpu().numpy() for name, value in self.layers.items()}
        return self._initial.with_tensors(values, self._initial.metadata)

    def saved_layers(self) -> dict[str, FlatLayers]:
        """All layers that change, by the name that their state is saved under."""
        return {
            "backbone": self.layers,
            "target_backbone": self.target,
            "backbone_adam.exp_avg": self.adam.exp_avg,
            "backbone_adam.exp_avg_sq": self.adam.exp_avg_sq,
        }
