"""`Starts`: the random numbers with which episodes begin, a function of (seed, episode) for each row."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng


class Starts:
    """Seeds and numbers of episodes of R rows. Rows that were never seeded have fresh seeds of the operating system's.

    Attributes:
        seeds: uint64 (R,).
        episodes: Episodes begun since a row was seeded, int64 (R,).
    """

    def __init__(self, rows: int) -> None:
        entropy = np.random.SeedSequence().generate_state(rows, np.uint64)
        self.seeds: NDArray[np.uint64] = entropy >> np.uint64(1)
        self.episodes: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)

    def seed(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """The next episodes of these rows are the first ones of these seeds."""
        self.seeds[list(rows)] = seeds
        self.episodes[list(rows)] = 0

    def draw(self, rows: Sequence[int], uniform: int, normal: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Begin an episode in each of these rows: numbers uniform on [0, 1), (n, uniform), and normal, (n, normal)."""
        which = list(rows)
        flat = np.empty((len(which), uniform))
        gaussian = np.empty((len(which), normal), dtype=np.float32)
        # The keys and counters that `rng` makes, of all rows at once.
        keys = np.empty((len(which), 2), dtype=np.uint64)
        keys[:, 0], keys[:, 1] = self.seeds[which], rng.Stream.TASK_START
        counters = np.zeros((2, len(which), 4), dtype=np.uint64)
        counters[:, :, 1] = self.episodes[which]
        counters[1, :, 2] = 1
        for key, first, second, numbers, others in zip(keys, *counters, flat, gaussian, strict=True):
            _native.philox_uniform(key, first, numbers)
            _native.philox_normal(key, second, others)
        self.episodes[which] += 1
        return flat, gaussian.astype(np.float64)
