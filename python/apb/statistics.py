"""`interquartile_mean`, `bootstrap_interval`, `seed_band`: what few seeds say about a method (Agarwal et al. 2021)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apb import rng
from apb.errors import ConfigError, require_range

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def interquartile_mean(scores: ArrayLike) -> NDArray[np.float64]:
    """Mean of the middle half along the first axis: scores (K, ...) -> (...).

    `floor(K / 4)` scores are left out at each end, as in `scipy.stats.trim_mean(scores, 0.25)` and rliable; of fewer
    than four it is the mean.

    Raises:
        ConfigError: there is no score.
    """
    ordered = np.sort(_checked(scores), axis=0)
    cut = len(ordered) // 4
    middle: NDArray[np.float64] = ordered[cut : len(ordered) - cut].mean(axis=0)
    return middle


def bootstrap_interval(
    scores: ArrayLike,
    statistic: Statistic = interquartile_mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap interval of `statistic` over the first axis: scores (K, ...) -> low (...), high (...).

    Args:
        scores: One row per seed; rows are resampled as a whole.
        statistic: Maps (K, ...) to (...). Default: `interquartile_mean`.
        confidence: In (0, 1). Default 0.95.
        resamples: At least 1. Default 2,000, as in rliable's examples.
        seed: The interval is a function of the scores and this seed: no global generator is used.

    Raises:
        ConfigError: an argument is out of range, or there is no score.
    """
    checked = _checked(scores)
    require_range("confidence", confidence, 0, 1, low_open=True)
    require_range("resamples", resamples, 1, 10_000_000)
    draws = rng.generator(seed, rng.Stream.BOOTSTRAP).integers(len(checked), size=(resamples, len(checked)))
    values = np.stack([statistic(checked[rows]) for rows in draws])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


MIN_SEEDS = 5
"""Seeds from which on an interval is given. The nominal 95 % of the bootstrap cover the expected score in about 89 % of
cases with five normal scores, in 75 % where one run in four does far better (by ten deviations) than the others, and
with three scores in 75 % and 55 %: measured by `pytest tests/test_statistics.py -k nominal`."""


def seed_band(scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Low (...), high (...) and the name of what is shown around the middle of scores (K, ...): the 95 % bootstrap
    interval of the interquartile mean, or of fewer than `MIN_SEEDS` the range of all."""
    checked = _checked(scores)
    if len(checked) < MIN_SEEDS:
        return checked.min(axis=0), checked.max(axis=0), "range"
    return *bootstrap_interval(checked), "95 % bootstrap interval"


def _checked(scores: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 0 or len(array) == 0:
        raise ConfigError(f"scores has shape {array.shape}; expected at least one score along the first axis")
    return array
