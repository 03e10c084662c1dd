"""`Objective`: what takes the place of rewards in a pre-training: how much there was to find in a transition."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from apb import _native
from apb.pretraining.settings import PretrainSettings


class Objective(ABC):
    """Rewards of K lanes, computed anew for each batch, of each lane from what is the lane's own.

    Args:
        seeds: One per lane, K in all.
        observation_size: Elements of an observation.
        settings: Of the run; `batch_size` is B.
        pool: Native threads, of which nothing depends.

    Attributes:
        name: What `objective` calls it.
        title: What it is called in print.
        options: The fields of `PretrainSettings` that are for this objective, perhaps among others: with one that does
            not name them they are refused.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        seeds: Sequence[int],
        observation_size: int,
        settings: PretrainSettings,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        self.settings = settings

    @classmethod
    def require(cls, settings: PretrainSettings) -> None:
        """Check its options, before anything is made; raises `ConfigError`."""

    @abstractmethod
    def rewards(self, states: Tensor) -> NDArray[np.float32]:
        """Rewards (K, B) of transitions that led to `states` (K, B, obs), on the CPU; and learn from them.

        Args:
            states: The next observations, less their mean, in units of their deviation, clipped.
        """

    def losses(self) -> Mapping[str, NDArray[np.float32]]:
        """The last losses of every lane, each (K,)."""
        return {}

    def state(self) -> dict[str, NDArray[Any]]:
        """All arrays that an exact continuation needs."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from `state()`."""
