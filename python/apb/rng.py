"""Counter-based randomness: every draw is a function of (seed, stream, counter), so the only RNG state is integers.

The generator is Philox4x64-10 (Salmon et al. 2011, as in `numpy.random.Philox`). The key is `(seed, stream)`; the
counter names the draw. No global generator is ever read or seeded.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**63 - 1
"""Largest seed that is taken anywhere."""


class Stream(IntEnum):
    """What a stream of random numbers is for. Values are part of the file format: never renumber them."""

    BACKBONE = 1
    ADAPTER = 2
    CRITIC = 3
    WARMUP_ACTION = 4
    ACTION_NOISE = 5
    TARGET_NOISE = 6
    REPLAY = 7
    POPULATION = 8
    TRAIN_EPISODE = 9
    EVAL_EPISODE = 10
    FINAL_EPISODE = 11
    BOOTSTRAP = 12
    PROBE = 13
    EVALUATE = 14
    TASK_START = 15
    TASK_DRAW = 16
    META_LANE = 17
    RESAMPLED_TASKS = 18
    PREDICTOR = 19
    PERTURBATION = 20
    INTRINSIC = 21
    BEHAVIOR_TRANSFER = 22
    DEMONSTRATION = 31
    DEMONSTRATION_NOISE = 32
    CLONING = 33


def key(seed: int, stream: Stream) -> NDArray[np.uint64]:
    """The Philox key of a stream: shape (2,), dtype uint64."""
    return np.array([seed, int(stream)], dtype=np.uint64)


def counter(*position: int) -> NDArray[np.uint64]:
    """A Philox counter for up to three integers; word 0 is left to the generator, which counts blocks in it."""
    words = np.zeros(4, dtype=np.uint64)
    words[1 : 1 + len(position)] = position
    return words


def generator(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """A NumPy generator for the draw named by (seed, stream, position); for rare draws, such as initial weights."""
    return np.random.Generator(np.random.Philox(key=key(seed, stream), counter=counter(*position)))


def derive_seed(seed: int, stream: Stream, *position: int) -> int:
    """A seed in [0, 2^31) for code that wants one integer, such as `env.reset(seed=...)`."""
    return int(np.random.Philox(key=key(seed, stream), counter=counter(*position)).random_raw() >> np.uint64(33))
