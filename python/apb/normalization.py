"""Observation normalisation: running statistics per lane while learning, and the frozen map that a policy carries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, MismatchError, SimulationError, require_range

DEFAULT_CLIP = 10.0
DEFAULT_EPSILON = 1e-8


@dataclass(frozen=True, eq=False)
class Normalizer:
    """The frozen map `clip((s - mean) * inverse_std, -clip, clip)`, elementwise in float32.

    Attributes:
        mean: Shape (obs,), float32, finite; read-only.
        inverse_std: Shape (obs,), float32, finite and > 0; read-only.
        clip: Bound of the result, in (0, inf). Default 10, as `clip_obs` of SB3's `VecNormalize`.
    """

    mean: NDArray[np.float32]
    inverse_std: NDArray[np.float32]
    clip: float = DEFAULT_CLIP

    def __post_init__(self) -> None:
        require_range("clip", self.clip, 0, float(np.finfo(np.float32).max), low_open=True)
        for name in ("mean", "inverse_std"):
            array = np.array(getattr(self, name), dtype=np.float32, order="C")
            if array.ndim != 1 or not np.isfinite(array).all():
                raise ConfigError(f"{name} has shape {array.shape}; expected (obs,), all finite")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.mean.shape != self.inverse_std.shape or not (self.inverse_std > 0).all():
            raise ConfigError(f"inverse_std has shape {self.inverse_std.shape}; expected {self.mean.shape}, all > 0")

    @property
    def observation_size(self) -> int:
        """Number of elements of a (flattened) observation."""
        return int(self.mean.shape[0])

    def cut(self, size: int) -> "Normalizer":
        """The map of the first `size` elements alone."""
        return replace(self, mean=self.mean[:size], inverse_std=self.inverse_std[:size])

    def native_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `_native.Population.forward` that apply this map."""
        return {"mean": self.mean, "inverse_std": self.inverse_std, "clip": self.clip}

    def __call__(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Normalised observations (..., obs): the readable reference of what the native forward does."""
        scaled = (observations.astype(np.float32) - self.mean) * self.inverse_std
        clipped: NDArray[np.float32] = np.clip(scaled, np.float32(-self.clip), np.float32(self.clip))
        return clipped


class RunningNormalizer:
    """Running mean and variance of each lane's observations, by the parallel update of Chan, Golub and LeVeque (1979).

    With (n_a, m_a, S_a) the count, mean and sum of squared deviations so far, and b a new batch:
    `n = n_a + n_b`, `d = m_b - m_a`, `m = m_a + d n_b / n`, `S = S_a + S_b + d^2 n_a n_b / n`. All in float64.
    The variance is `S / n`; before the first observation, mean 0 and variance 1.

    Args:
        lanes: Number of lanes K, >= 1. Each keeps its own statistics.
        observation_size: Elements of a (flattened) observation, >= 1.
        clip: Bound of normalised values, > 0. Default 10, as in SB3's `VecNormalize`.
        epsilon: Added to the variance before the root, > 0. Default 1e-8, as in SB3's `VecNormalize`.
    """

    def __init__(
        self, lanes: int, observation_size: int, clip: float = DEFAULT_CLIP, epsilon: float = DEFAULT_EPSILON
    ) -> None:
        require_range("lanes", lanes, 1, 2**31 - 1)
        require_range("observation_size", observation_size, 1, 2**31 - 1)
        require_range("clip", clip, 0, float(np.finfo(np.float32).max), low_open=True)
        require_range("epsilon", epsilon, 0, 1, low_open=True)
        self.clip = float(clip)
        self.epsilon = float(epsilon)
        self.count: NDArray[np.int64] = np.zeros(lanes, dtype=np.int64)
        self.mean: NDArray[np.float64] = np.zeros((lanes, observation_size))
        self.squares: NDArray[np.float64] = np.zeros((lanes, observation_size))

    @property
    def variance(self) -> NDArray[np.float64]:
        """Shape (K, obs): the variance of what was seen (divided by n, not n - 1), 1 in lanes that saw nothing."""
        count = self.count[:, None]
        return np.where(count > 0, self.squares / np.maximum(count, 1), 1.0)

    @property
    def inverse_std(self) -> NDArray[np.float64]:
        """Shape (K, obs): 1 / sqrt(variance + epsilon)."""
        inverse: NDArray[np.float64] = 1 / np.sqrt(self.variance + self.epsilon)
        return inverse

    def update(self, observations: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> None:
        """Take in observations of shape (K, S, obs), any float dtype; rows where `valid` (K, S) is False do not count.

        Raises:
            MismatchError: a shape differs. SimulationError: a counted observation is NaN or infinite; nothing was taken
                in.
        """
        lanes, size = self.mean.shape
        if observations.ndim != 3 or (observations.shape[0], observations.shape[2]) != (lanes, size):
            raise MismatchError(f"observations has shape {observations.shape}; expected ({lanes}, S, {size})")
        slots = observations.shape[1]
        counted = np.ones((lanes, slots), dtype=np.bool_) if valid is None else np.asarray(valid, dtype=np.bool_)
        if counted.shape != (lanes, slots):
            raise MismatchError(f"valid has shape {counted.shape}; expected ({lanes}, {slots})")
        mask = counted[:, :, None]
        batch = np.where(mask, observations, 0.0).astype(np.float64, copy=False)
        if not np.isfinite(batch).all():
            lane, slot, index = (int(i) for i in np.argwhere(~np.isfinite(batch))[0])
            raise SimulationError(
                f"observations[{lane}, {slot}, {index}] = {batch[lane, slot, index]}; expected finite numbers"
            )
        batch_count = counted.sum(axis=1)
        rows = np.maximum(batch_count, 1)[:, None]
        batch_mean = batch.sum(axis=1) / rows
        batch_squares = (np.where(mask, batch - batch_mean[:, None], 0.0) ** 2).sum(axis=1)
        total = self.count + batch_count
        weight = (batch_count / np.maximum(total, 1))[:, None]
        delta = batch_mean - self.mean
        self.mean += delta * weight
        self.squares += batch_squares + delta**2 * self.count[:, None] * weight
        self.count = total

    def snapshot(self, lane: int = 0) -> Normalizer:
        """The frozen map of one lane as it is now, for a `Policy`."""
        return Normalizer(self.mean[lane].astype(np.float32), self.inverse_std[lane].astype(np.float32), self.clip)

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of what changes: count (K,), mean (K, obs), squares (K, obs); `load_state` restores it bit for bit."""
        return {"count": self.count.copy(), "mean": self.mean.copy(), "squares": self.squares.copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state` of the same shapes.

        Raises:
            MismatchError: an array is missing, or its dtype or shape differs. ConfigError: it holds impossible
                statistics.
        """
        arrays = {}
        for name, own in self.state.items():
            array = state.get(name)
            if array is None or array.dtype != own.dtype or array.shape != own.shape:
                found = "nothing" if array is None else f"{array.dtype} {array.shape}"
                raise MismatchError(f"state[{name!r}] is {found}; expected {own.dtype} {own.shape}")
            arrays[name] = array.copy()
        finite = np.isfinite(arrays["mean"]).all() and np.isfinite(arrays["squares"]).all()
        if not finite or (arrays["squares"] < 0).any() or (arrays["count"] < 0).any():
            raise ConfigError(
                "state holds a negative or non-finite statistic; expected finite means, and counts and squares >= 0"
            )
        self.count, self.mean, self.squares = arrays["count"], arrays["mean"], arrays["squares"]
