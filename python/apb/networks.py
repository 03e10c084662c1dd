"""Policies and twin critics of many lanes: `FlatLayers` holds their tensors, chains are what a `LayerStack` computes.

Layers are named tensors with the lane axis K in front: "pre.weight" (K, d_in, obs), "layers.0.weight" (K or 1, out,
in), ...; 1 stands for a backbone that all lanes share. Weights are (out, in) as in `torch.nn.Linear`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import rng
from apb.adapter_shape import AdapterShape
from apb.layer_stack import Chain

CRITIC_HIDDEN_SIZES = (256, 256)


class FlatLayers(dict[str, Tensor]):
    """Named tensors that are views of one vector, `flat`: what is done to `flat` elementwise is done to all of them.

    Args:
        arrays: Initial values by name, copied.
        device: Where the tensors live.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]], device: torch.device) -> None:
        self._shapes = {name: array.shape for name, array in arrays.items()}
        self.flat = torch.empty(sum(array.size for array in arrays.values()), dtype=torch.float32, device=device)
        super().__init__(self.views(self.flat))
        self.load(arrays)

    def zeros_like(self) -> "FlatLayers":
        """Layers of the same names and shapes, all zero."""
        return FlatLayers(self._zeros(), self.flat.device)

    def zero(self) -> None:
        """Overwrite all values with zero."""
        self.load(self._zeros())

    def _zeros(self) -> dict[str, NDArray[np.float32]]:
        return {name: np.zeros(shape, dtype=np.float32) for name, shape in self._shapes.items()}

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The named parts of a vector that is laid out as `flat` is."""
        parts = flat.split([int(np.prod(shape)) for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Overwrite the values of these names; others stay."""
        for name, array in arrays.items():
            if self.flat.device.type == "cpu":
                # By NumPy: a large copy in torch starts OpenMP's threads, and a process forked after that hangs in its
                # own first one.
                self[name].numpy()[...] = array
            else:
                self[name].copy_(torch.from_numpy(np.array(array, dtype=np.float32, order="C")))


def policy_chain(layers: Mapping[str, Tensor]) -> Chain:
    """Pre-layer, backbone, post-layer."""
    depth = sum(name.startswith("layers.") for name in layers) // 2
    names = ["pre", *(f"layers.{i}" for i in range(depth)), "post"]
    return [(layers[f"{name}.weight"], layers[f"{name}.bias"]) for name in names]


def critic_sizes(input_size: int) -> tuple[int, ...]:
    """Widths of a critic: of its input, an observation and an action, and of the output of each of its layers."""
    return (input_size, *CRITIC_HIDDEN_SIZES, 1)


def critic_chain(layers: Mapping[str, Tensor], twins: slice = slice(None)) -> Chain:
    """The layers of the lanes' critics, or of the first ones only with `slice(1)`: K times J networks, lane by lane."""
    depth = len(CRITIC_HIDDEN_SIZES) + 1
    parts = [(layers[f"{i}.weight"][:, twins], layers[f"{i}.bias"][:, twins]) for i in range(depth)]
    return [(weight.flatten(0, 1), bias.flatten(0, 1)) for weight, bias in parts]


def critic_inputs(observation: Tensor, action: Tensor, twins: int) -> Tensor:
    """`[s, a]` for each critic of each lane: (K, B, obs), (K, B, act) -> (K twins, B, obs + act)."""
    x = torch.cat([observation, action], dim=2)
    return x.unsqueeze(1).expand(-1, twins, -1, -1).flatten(0, 1)


def layer_chain(layers: Mapping[str, Tensor]) -> Chain:
    """Layers "0", "1", ... of a network that is nothing else."""
    return [(layers[f"{i}.weight"], layers[f"{i}.bias"]) for i in range(len(layers) // 2)]


def draw_layers(
    sizes: Sequence[int], generators: Sequence[np.random.Generator], copies: tuple[int, ...] = (), gain: float = 1.0
) -> dict[str, NDArray[np.float32]]:
    """Initial layers of K networks, or of so many copies of each: "<i>.weight" (K, *copies, out, in), uniform in
    +-gain / sqrt(fan_in), and "<i>.bias" (K, *copies, out), in +-1 / sqrt(fan_in): with a gain of 1 as
    `torch.nn.Linear` draws them."""
    layers = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        bound = 1 / np.sqrt(fan_in)
        for part, shape, most in (
            ("weight", (*copies, fan_out, fan_in), gain * bound),
            ("bias", (*copies, fan_out), bound),
        ):
            layers[f"{i}.{part}"] = np.stack([g.uniform(-most, most, shape) for g in generators]).astype(np.float32)
    return layers


def draw_critics(input_size: int, seeds: Sequence[int], draw: int) -> dict[str, NDArray[np.float32]]:
    """Initial twin critics: "<i>.weight" (K, 2, out, in) and "<i>.bias" (K, 2, out), as in TD3's code."""
    generators = [rng.generator(seed, rng.Stream.CRITIC, draw) for seed in seeds]
    return draw_layers(critic_sizes(input_size), generators, copies=(2,))


def draw_padded_critics(
    own: Sequence[AdapterShape], common: AdapterShape, seeds: Sequence[int], draw: int
) -> dict[str, NDArray[np.float32]]:
    """`draw_critics` of lanes whose observations and actions have sizes of their own, with zeros for what the common
    sizes have beyond them: (K, 2, out, in) with the common `in`."""
    start, size = common.observation_size, common.observation_size + common.action_size
    lanes = []
    for shape, seed in zip(own, seeds, strict=True):
        lane = draw_critics(shape.observation_size + shape.action_size, [seed], draw)
        padded = np.zeros((1, 2, CRITIC_HIDDEN_SIZES[0], size), dtype=np.float32)
        padded[..., np.r_[: shape.observation_size, start : start + shape.action_size]] = lane["0.weight"]
        lanes.append(lane | {"0.weight": padded})
    return {name: np.concatenate([lane[name] for lane in lanes]) for name in lanes[0]}
