"""`RandomNetworkDistillation`: rewards states on which a network does not yet agree with a random one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native, rng
from apb.errors import counted
from apb.intrinsic.objective import Objective
from apb.layer_stack import NativeLayerStack
from apb.memory import available_memory, require_room
from apb.networks import draw_layers
from apb.normalization import RunningNormalizer
from apb.pretraining.settings import PretrainSettings
from apb.regression_networks import RegressionNetworks
from apb.state_arrays import named, part


class RandomNetworkDistillation(Objective):
    """RND (Burda et al. 2018): each lane has a random network f, which stays, and a predictor g, which learns f of the
    states of each batch by one step of Adam on `mean (g(s) - f(s))^2`. The reward is that error of the state, before
    the step, in units of the deviation that the errors of the lane have had so far.
    """

    name = "rnd"
    title = "random network distillation"
    options = ("rnd_width", "rnd_depth", "rnd_features")

    def __init__(
        self,
        seeds: Sequence[int],
        observation_size: int,
        settings: PretrainSettings,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        super().__init__(seeds, observation_size, settings, pool)
        sizes = [observation_size, *[settings.rnd_width] * settings.rnd_depth, settings.rnd_features]
        rows = NativeLayerStack.required_bytes(sizes, len(seeds), settings.batch_size)
        require_room(
            2 * (rows + RegressionNetworks.required_bytes(sizes, len(seeds))),
            available_memory(),
            f"rnd_width = {settings.rnd_width}",
            f"of memory for the random networks and predictors of {counted(len(seeds), 'lane')}",
            "a smaller rnd_width, rnd_depth, rnd_features or batch_size, or fewer seeds",
        )
        self._target, self._predictor = (
            RegressionNetworks(
                draw_networks(sizes, seeds, draw), settings.batch_size, settings.learning_rate, pool=pool
            )
            for draw in range(2)
        )
        self._errors = RunningNormalizer(len(seeds), 1)
        self._loss = np.zeros(len(seeds), dtype=np.float32)

    @torch.no_grad()
    def rewards(self, states: Tensor) -> NDArray[np.float32]:
        """See `Objective`."""
        error = self._predictor.forward(states) - self._target.forward(states)
        errors = error.square().mean(dim=2).numpy()
        self._loss = errors.mean(axis=1)
        self._predictor.step(error.mul_(2 / error[0].numel()))
        self._errors.update(errors[:, :, None])
        return (errors * self._errors.inverse_std).astype(np.float32)

    def losses(self) -> Mapping[str, NDArray[np.float32]]:
        """See `Objective`: the mean error."""
        return {"rnd_loss": self._loss}

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Objective`: all but the random networks, which follow from the seeds."""
        predictor = named("predictor", self._predictor.state())
        errors = named("errors", self._errors.state)
        return predictor | errors | {"loss": self._loss.copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `Objective`."""
        self._predictor.load_state(part("predictor", state))
        self._errors.load_state(part("errors", state))
        self._loss = state["loss"].copy()


def draw_networks(sizes: Sequence[int], seeds: Sequence[int], draw: int) -> dict[str, NDArray[np.float32]]:
    """Layers "<i>.weight" (K, out, in) and "<i>.bias" (K, out): weights uniform with the variance 2 / fan_in of He et
    al. (2015), so that what the network says of two states differs about as much as they do; biases uniform in +-1 /
    sqrt(fan_in). Ours: the original draws orthogonal matrices, which are not the same bits on each machine."""
    return draw_layers(sizes, [rng.generator(seed, rng.Stream.INTRINSIC, draw) for seed in seeds], gain=np.sqrt(6))
