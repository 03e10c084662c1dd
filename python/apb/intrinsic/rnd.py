"""`RandomNetworkDistillation`: rewards states on which a network does not yet agree with a random one."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native, rng
from apb.errors import counted
from apb.intrinsic.objective import Objective
from apb.layer_stack import Chain, NativeLayerStack
from apb.memory import available_memory, require_room
from apb.networks import FlatLayers
from apb.normalization import RunningNormalizer
from apb.optimizer import Adam
from apb.pretraining.settings import PretrainSettings


class RandomNetworkDistillation(Objective):
    """RND (Burda et al. 2018): each lane has a random network f, which stays, and a predictor g, which learns f of the
    states of each batch by one step of Adam on `mean (g(s) - f(s))^2`. The reward is that error of the state, before
    the step, in units of the deviation that the errors of the lane have had so far.
    """

    name = "rnd"
    title = "random network distillation"

    def __init__(
        self,
        seeds: Sequence[int],
        observation_size: int,
        settings: PretrainSettings,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        super().__init__(seeds, observation_size, settings, pool)
        hidden = [settings.rnd_width] * settings.rnd_depth
        sizes = [observation_size, *hidden, settings.rnd_features]
        shape = sizes, (*[True] * len(hidden), False), len(seeds), settings.batch_size
        parameters = len(seeds) * sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
        require_room(
            2 * NativeLayerStack.required_bytes(sizes, len(seeds), settings.batch_size) + 5 * 4 * parameters,
            available_memory(),
            f"rnd_width = {settings.rnd_width}",
            f"of memory for the random networks and predictors of {counted(len(seeds), 'lane')}",
            "a smaller rnd_width, rnd_depth, rnd_features or batch_size, or fewer seeds",
        )
        cpu = torch.device("cpu")
        self._target, self._predictor = (FlatLayers(draw_networks(sizes, seeds, draw), cpu) for draw in range(2))
        self._gradient = self._predictor.zeros_like()
        self._target_stack, self._stack = NativeLayerStack(*shape, pool), NativeLayerStack(*shape, pool)
        self._adam = Adam(self._predictor, settings.learning_rate, pool=pool)
        self._errors = RunningNormalizer(len(seeds), 1)
        self._loss = np.zeros(len(seeds), dtype=np.float32)

    @torch.no_grad()
    def rewards(self, states: Tensor) -> NDArray[np.float32]:
        """See `Objective`."""
        wanted = self._target_stack.forward(_chain(self._target), states)
        error = self._stack.forward(_chain(self._predictor), states) - wanted
        errors = error.square().mean(dim=2).numpy()
        self._loss = errors.mean(axis=1)
        self._stack.backward(_chain(self._predictor), error.mul_(2 / error[0].numel()), _chain(self._gradient))
        self._adam.step(self._gradient)
        self._errors.update(errors[:, :, None])
        return (errors * self._errors.inverse_std).astype(np.float32)

    def losses(self) -> Mapping[str, NDArray[np.float32]]:
        """See `Objective`: the mean error."""
        return {"rnd_loss": self._loss}

    def _saved(self) -> dict[str, FlatLayers]:
        return {"predictor": self._predictor, "exp_avg": self._adam.exp_avg, "exp_avg_sq": self._adam.exp_avg_sq}

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Objective`: all but the random networks, which follow from the seeds."""
        arrays = {
            f"{group}.{name}": value.numpy().copy()
            for group, layers in self._saved().items()
            for name, value in layers.items()
        }
        errors = {f"errors.{name}": array for name, array in self._errors.state.items()}
        return arrays | errors | {"steps": np.array([self._adam.steps]), "loss": self._loss.copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `Objective`."""
        for group, layers in self._saved().items():
            layers.load({name: state[f"{group}.{name}"] for name in layers})
        self._errors.load_state({name: state[f"errors.{name}"] for name in self._errors.state})
        self._adam.steps = int(state["steps"][0])
        self._loss = state["loss"].copy()


def draw_networks(sizes: Sequence[int], seeds: Sequence[int], draw: int) -> dict[str, NDArray[np.float32]]:
    """Layers "<i>.weight" (K, out, in) and "<i>.bias" (K, out): weights uniform with the variance 2 / fan_in of He et
    al. (2015), so that what the network says of two states differs about as much as they do; biases uniform in +-1 /
    sqrt(fan_in). Ours: the original draws orthogonal matrices, which are not the same bits on each machine."""
    generators = [rng.generator(seed, rng.Stream.INTRINSIC, draw) for seed in seeds]
    layers = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        for name, shape, bound in (
            (f"{i}.weight", (fan_out, fan_in), np.sqrt(6 / fan_in)),
            (f"{i}.bias", (fan_out,), 1 / np.sqrt(fan_in)),
        ):
            layers[name] = np.stack([g.uniform(-bound, bound, shape) for g in generators]).astype(np.float32)
    return layers


def _chain(layers: FlatLayers) -> Chain:
    return [(layers[f"{i}.weight"], layers[f"{i}.bias"]) for i in range(len(layers) // 2)]
