"""`LaneNoise`: random numbers in the shape of the lanes' actions, each lane's from its own stream."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng


class LaneNoise:
    """Random numbers (K, R, A) for R actions of each of K lanes, a function of (seed, stream, position) alone.

    A lane draws as many as its actions have numbers, and has zeros behind them: what it draws does not depend on the
    lanes beside it, which may have longer actions. What a method returns is overwritten by the next call.

    Args:
        seeds: One per lane, K in all.
        stream: What the numbers are for.
        rows: R.
        sizes: Numbers in an action of each lane; A is the largest.
    """

    def __init__(self, seeds: Sequence[int], stream: rng.Stream, rows: int, sizes: Sequence[int]) -> None:
        self._keys = [rng.key(seed, stream) for seed in seeds]
        self._own = [np.empty((rows, size), dtype=np.float32) for size in sizes]
        self._all = np.zeros((len(self._own), rows, max(sizes)), dtype=np.float32)

    def normal(self, *position: int) -> NDArray[np.float32]:
        """Standard normal numbers."""
        return self._draw(_native.philox_normal, position)

    def uniform(self, *position: int) -> NDArray[np.float32]:
        """Numbers uniform on [-1, 1)."""
        return self._draw(_symmetric_uniform, position)

    def _draw(self, fill: Callable[..., object], position: tuple[int, ...]) -> NDArray[np.float32]:
        counter = rng.counter(*position)
        for key, own, padded in zip(self._keys, self._own, self._all, strict=True):
            fill(key, counter, own.reshape(-1))
            padded[:, : own.shape[1]] = own
        return self._all


def _symmetric_uniform(key: NDArray[np.uint64], counter: NDArray[np.uint64], out: NDArray[np.float32]) -> None:
    _native.philox_uniform(key, counter, out)
    np.subtract(2 * out, 1, out=out)
