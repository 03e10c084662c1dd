"""`Starts`: the random numbers with which episodes begin, a function of (seed, episode) for each row."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng


class Starts:
    """Seeds and numbers of episodes of R rows. Rows that were never seeded have fresh seeds of the operating system's.

    Attributes:
        seeds: What the rows were seeded with, uint64 (R,).
        episodes: Episodes begun since a row was seeded, int64 (R,).
    """

    def __init__(self, rows: int) -> None:
        entropy = np.random.SeedSequence().generate_state(rows, np.uint64)
        self._keys = np.stack([rng.key(0, rng.Stream.TASK_START)] * rows)
        self.seeds[:] = entropy >> np.uint64(1)
        self.episodes: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)

    @property
    def seeds(self) -> NDArray[np.uint64]:
        """A view, which may be written to."""
        return self._keys[:, 0]

    def seed(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """The next episodes of these rows are the first ones of these seeds."""
        self.seeds[list(rows)] = seeds
        self.episodes[list(rows)] = 0

    def draw(self, rows: Sequence[int], uniform: int, normal: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Begin an episode in each of these rows: numbers uniform on [0, 1), (n, uniform), and normal, (n, normal)."""
        numbers = self.ahead(rows, uniform, normal)
        self.episodes[list(rows)] += 1
        return numbers

    def ahead(self, rows: Sequence[int], uniform: int, normal: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What `draw` will give."""
        flat = np.empty((len(rows), uniform))
        gaussian = np.empty((len(rows), normal), dtype=np.float32)
        # What `rng.counter` gives for the episode, and 0 or 1.
        counters = np.zeros((2, len(rows), 4), dtype=np.uint64)
        counters[:, :, 1] = self.episodes[list(rows)]
        counters[1, :, 2] = 1
        for key, first, second, numbers, others in zip(self._keys[list(rows)], *counters, flat, gaussian, strict=True):
            _native.philox_uniform(key, first, numbers)
            _native.philox_normal(key, second, others)
        return flat, gaussian.astype(np.float64)
