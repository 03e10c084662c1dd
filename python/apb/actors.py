"""`LaneActors`: the native forward pass for the policies of K lanes, each with any number of adapters, inside the
learning loop."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apb import _native
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.normalization import Normalizer


class LaneActors:
    """Actions in [-1, 1] of K lanes. Lanes that share psi and no observation statistics are one native call, others one
    call each.

    Args:
        backbones: One per lane; the same object where lanes share it.
        shape: Sizes of the adapters.
        pool: Native threads; None uses the caller's.
    """

    def __init__(
        self, backbones: Sequence[Backbone], shape: AdapterShape, pool: "_native.ThreadPool | None" = None
    ) -> None:
        self._shape = shape
        self._pool = pool
        self._natives: dict[int, _native.Backbone] = {}
        self._populations: dict[tuple[int, int], _native.Population] = {}
        self._normalizers: Sequence[Normalizer] | None = None
        self.load_backbones(backbones)

    def load_backbones(self, backbones: Sequence[Backbone]) -> None:
        """Take the weights of the lanes' backbones; equal objects share one packed copy."""
        self._owner = [next(i for i, other in enumerate(backbones) if other is backbone) for backbone in backbones]
        for lane in set(self._owner):
            weights, biases = list(backbones[lane].weights), list(backbones[lane].biases)
            if lane in self._natives:
                self._natives[lane].load(weights, biases)
            else:
                self._natives[lane] = _native.Backbone(weights, biases, backbones[lane].input_activation)

    def load_normalizers(self, normalizers: Sequence[Normalizer]) -> None:
        """Take the observation statistics of each lane."""
        self._normalizers = normalizers

    def forward(
        self, adapters: NDArray[np.float32], observations: NDArray[np.float32], first_lane: int = 0
    ) -> NDArray[np.float32]:
        """Actions (L, S, act) of L lanes from `first_lane` on.

        Args:
            adapters: (L, M, n), flat; each member acts on S / M consecutive rows of its lane.
            observations: (L, S, obs).
            first_lane: Index of the lane that row 0 belongs to.
        """
        lanes, slots, size = observations.shape
        members = adapters.shape[1]
        rows = slots // members
        actions = np.empty((lanes, slots, self._shape.action_size), dtype=np.float32)
        owners = {self._owner[first_lane + i] for i in range(lanes)}
        together = self._normalizers is None and len(owners) == 1
        for start in range(0, lanes, lanes if together else 1):
            block = slice(start, start + (lanes if together else 1))
            lane = first_lane + start
            count = (block.stop - start) * members
            population = self._population(self._owner[lane], count)
            population.load(np.ascontiguousarray(adapters[block].reshape(count, -1)))
            statistics = {} if self._normalizers is None else self._normalizers[lane].native_arguments()
            population.forward(
                observations[block].reshape(count, rows, size),
                actions[block].reshape(count, rows, -1),
                **statistics,
                pool=self._pool,
            )
        return actions

    def _population(self, owner: int, count: int) -> _native.Population:
        if (owner, count) not in self._populations:
            self._populations[owner, count] = _native.Population(
                self._natives[owner], count, self._shape.observation_size, self._shape.action_size
            )
        return self._populations[owner, count]
