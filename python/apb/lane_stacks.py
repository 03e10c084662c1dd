"""`LaneStacks`: what computes policies and twin critics of K lanes, and the bytes of memory that it takes."""

import torch

from apb import _native
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.layer_stack import LayerStack, NativeLayerStack, layer_stack
from apb.networks import critic_sizes


class LaneStacks:
    """The stacks of K lanes, which own their buffers: those for batches, and those for the last other number of rows.

    Args:
        backbone: psi, of which the sizes count.
        shape: Sizes of the adapters.
        lanes: K.
        batch_size: Rows of each lane in a batch.
        device, native, pool: As for `TD3`.

    Attributes:
        policies, critics, first_critics: For batches: K networks, two for each lane, and the first of each two.
    """

    def __init__(
        self,
        backbone: Backbone,
        shape: AdapterShape,
        lanes: int,
        batch_size: int,
        device: torch.device,
        native: bool,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        self._sizes = _sizes(backbone, shape)
        self._input_activation = backbone.input_activation
        self._lanes = lanes
        self._device, self._native, self._pool = device, native, pool
        self._batch_size = batch_size
        self._others: tuple[int, LayerStack, LayerStack] | None = None
        self.policies, self.critics = self._policies(batch_size), self._critics(2, batch_size)
        self.first_critics = self._critics(1, batch_size)

    def of(self, rows: int) -> tuple[LayerStack, LayerStack]:
        """Policies and twin critics for this many rows of each lane."""
        if rows == self._batch_size:
            return self.policies, self.critics
        if self._others is None or self._others[0] != rows:
            self._others = rows, self._policies(rows), self._critics(2, rows)
        return self._others[1:]

    def _policies(self, rows: int) -> LayerStack:
        sizes = self._sizes[0]
        return self._stack(sizes, (self._input_activation, *[True] * (len(sizes) - 3), False), 1, rows)

    def _critics(self, twins: int, rows: int) -> LayerStack:
        sizes = self._sizes[1]
        return self._stack(sizes, (*[True] * (len(sizes) - 2), False), twins, rows)

    def _stack(self, sizes: tuple[int, ...], relus: tuple[bool, ...], twins: int, rows: int) -> LayerStack:
        networks = twins * self._lanes
        return layer_stack(sizes, relus, networks, rows, device=self._device, native=self._native, pool=self._pool)

    @staticmethod
    def required_bytes(backbone: Backbone, shape: AdapterShape, lanes: int, batch_size: int) -> int:
        """Bytes of the stacks for batches on a CPU."""
        policies, critics = _sizes(backbone, shape)
        return sum(
            NativeLayerStack.required_bytes(sizes, networks, batch_size)
            for sizes, networks in ((policies, lanes), (critics, 2 * lanes), (critics, lanes))
        )


def _sizes(backbone: Backbone, shape: AdapterShape) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths of a policy and of a critic."""
    hidden = [len(weight) for weight in backbone.weights]
    policy = shape.observation_size, shape.input_size, *hidden, shape.action_size
    return policy, critic_sizes(shape.observation_size + shape.action_size)
