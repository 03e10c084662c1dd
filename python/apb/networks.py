"""Policies and twin critics of many lanes as functions of named tensors: the forward half of `td3.py`, in torch.

Layers are named tensors with the lane axis K in front: "pre.weight" (K, d_in, obs), "layers.0.weight" (K or 1, out,
    in), ...;
1 stands for a backbone that all lanes share. Weights are (out, in) as in `torch.nn.Linear`.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import rng

Layers = dict[str, Tensor]

CRITIC_HIDDEN_SIZES = (256, 256)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x W^T + b` per lane: x (K, B, in), weight (K or 1, out, in), bias (K or 1, out) -> (K, B, out)."""
    if weight.shape[0] == 1:
        # One matrix for all lanes: all K*B rows go through a single product.
        return torch.nn.functional.linear(x, weight[0], bias[0])
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


def policy_actions(layers: Layers, observation: Tensor, input_activation: bool) -> Tensor:
    """`tanh(T psi(P s + p) + t)`: observation (K, B, obs) -> actions (K, B, act) in [-1, 1]."""
    x = linear(observation, layers["pre.weight"], layers["pre.bias"])
    if input_activation:
        x = x.relu()
    depth = sum(name.startswith("layers.") for name in layers) // 2
    for i in range(depth):
        x = linear(x, layers[f"layers.{i}.weight"], layers[f"layers.{i}.bias"]).relu()
    return linear(x, layers["post.weight"], layers["post.bias"]).tanh()


def critic_values(layers: Layers, observation: Tensor, action: Tensor) -> Tensor:
    """`Q_kj(s, a)` for j in the twin axis J of `layers`: (K, B, obs), (K, B, act) -> (K, J, B)."""
    lanes, twins = layers["0.weight"].shape[:2]
    x = torch.cat([observation, action], dim=2)
    x = x.unsqueeze(1).expand(lanes, twins, *x.shape[1:]).flatten(0, 1)
    for i in range(len(CRITIC_HIDDEN_SIZES)):
        x = linear(x, layers[f"{i}.weight"].flatten(0, 1), layers[f"{i}.bias"].flatten(0, 1)).relu()
    i = len(CRITIC_HIDDEN_SIZES)
    x = linear(x, layers[f"{i}.weight"].flatten(0, 1), layers[f"{i}.bias"].flatten(0, 1))
    return x.view(lanes, twins, -1)


def draw_critics(input_size: int, seeds: Sequence[int], draw: int) -> dict[str, NDArray[np.float32]]:
    """Initial twin critics: "<i>.weight" (K, 2, out, in) and "<i>.bias" (K, 2, out), uniform +-1/sqrt(fan_in) as in
    TD3's code."""
    sizes = (input_size, *CRITIC_HIDDEN_SIZES, 1)
    layers = {}
    generators = [rng.generator(seed, rng.Stream.CRITIC, draw) for seed in seeds]
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        bound = 1 / np.sqrt(fan_in)
        for name, shape in ((f"{i}.weight", (2, fan_out, fan_in)), (f"{i}.bias", (2, fan_out))):
            layers[name] = np.stack([g.uniform(-bound, bound, shape) for g in generators]).astype(np.float32)
    return layers
