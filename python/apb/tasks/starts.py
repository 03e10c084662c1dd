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
        self._keys = np.stack([rng.key(0, rng.Stream.TASK_START)] * rows)
        self.seeds: NDArray[np.uint64] = self._keys[:, 0]
        self.seeds[:] = entropy >> np.uint64(1)
        self.episodes: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)

    def seed(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """The next episodes of these rows are the first ones of these seeds."""
        self.seeds[list(rows)] = seeds
        self.episodes[list(rows)] = 0

    def draw(self, rows: Sequence[int], uniform: int, normal: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Begin an episode in each of these rows: numbers uniform on [0, 1), (n, uniform), and normal, (n, normal)."""
        flat = np.empty((len(rows), uniform))
        gaussian = np.empty((len(rows), normal), dtype=np.float32)
        for index, row in enumerate(rows):
            episode = int(self.episodes[row])
            _native.philox_uniform(self._keys[row], rng.counter(episode, 0), flat[index])
            _native.philox_normal(self._keys[row], rng.counter(episode, 1), gaussian[index])
            self.episodes[row] += 1
        return flat, gaussian.astype(np.float64)
