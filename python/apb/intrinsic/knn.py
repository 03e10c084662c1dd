"""`ParticleEntropy`: rewards states that are far from the others, so that the policy spreads over them (APT, RE3)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native
from apb.errors import ConfigError
from apb.intrinsic.objective import Objective
from apb.memory import available_memory, require_room
from apb.pretraining.settings import PretrainSettings


class ParticleEntropy(Objective):
    """`log(1 + mean distance to the k nearest others of the batch)`, as in APT (Liu & Abbeel 2021) and RE3 (Seo et al.
    2021): the mean of it is, but for constants, an estimate of the entropy of the states. Nothing is learned.

    The distances are between the states themselves: an encoder is for images.
    """

    name = "knn"
    title = "particle entropy"
    options = ("knn_neighbors",)

    def __init__(
        self,
        seeds: Sequence[int],
        observation_size: int,
        settings: PretrainSettings,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        super().__init__(seeds, observation_size, settings, pool)
        require_room(
            3 * 8 * settings.batch_size**2,  # the squares, the sums that they begin with, and a copy
            available_memory(),
            f"batch_size = {settings.batch_size}",
            "of memory for the distances between the states of a batch",
            "a smaller batch_size",
        )

    @classmethod
    def require(cls, settings: PretrainSettings) -> None:
        """See `Objective`."""
        if settings.knn_neighbors >= settings.batch_size:
            raise ConfigError(
                f"knn_neighbors = {settings.knn_neighbors} with batch_size = {settings.batch_size}; expected fewer "
                "than batch_size, since the neighbours of a state are the others of its batch: give a larger "
                "batch_size or a smaller knn_neighbors"
            )

    def rewards(self, states: Tensor) -> NDArray[np.float32]:
        """See `Objective`."""
        # Lane by lane: a batched product may be computed in another way for other numbers of lanes.
        return np.stack([log_distances(lane, self.settings.knn_neighbors) for lane in states])


def log_distances(states: Tensor, neighbors: int) -> NDArray[np.float32]:
    """log(1 + mean Euclidean distance) of each state (N, obs) to the nearest `neighbors` of the others, (N,)."""
    # float64, since the squares cancel where two states are near each other.
    a = states.to(torch.float64)
    lengths = a.square().sum(dim=1)
    squares = torch.addmm(lengths[None] + lengths[:, None], a, a.t(), alpha=-2)
    squares.fill_diagonal_(torch.inf)
    nearest = squares.topk(neighbors, dim=1, largest=False, sorted=True).values
    distance = nearest.clamp_(min=0).sqrt_().mean(dim=1)
    return distance.log1p_().to(torch.float32).numpy()
