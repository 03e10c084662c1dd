"""`networks.py`: stacks of layers are networks with their gradients, and initial weights are TD3's."""

import numpy as np
import pytest
import torch
from apb.backbone import Backbone
from apb.layer_stack import NativeLayerStack
from apb.networks import (
    CRITIC_HIDDEN_SIZES,
    FlatLayers,
    critic_chain,
    critic_inputs,
    draw_critics,
    policy_chain,
)
from apb.reference import reference_forward
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import random_adapter
from torch import nn

CPU = torch.device("cpu")
# Sums of up to 256 float32 products of size O(1): their rounding is below 256 * 2^-24 = 1.5e-5.
ROUNDING = {"rtol": 2e-5, "atol": 2e-5}


@settings(max_examples=40)
@given(
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from("AB"),
    st.lists(st.integers(1, 20), min_size=2, max_size=3),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_the_chain_of_a_policy_is_the_policys_equation_in_every_lane(lanes, rows, obs, act, reading, hidden, own, seed):
    """With one backbone for all lanes, and with one for each."""
    backbones = [
        Backbone.random(seed + lane * own, reading=reading, hidden_sizes=hidden, input_size=hidden[0], init="he")
        for lane in range(lanes)
    ]
    adapters = [random_adapter(backbone, obs, act, seed + lane) for lane, backbone in enumerate(backbones)]
    observation = np.random.default_rng(seed).standard_normal((lanes, rows, obs)).astype(np.float32)
    arrays = {name: np.stack([adapter.layers[name] for adapter in adapters]) for name in adapters[0].layers}
    for name in backbones[0].tensors():
        arrays[name] = np.stack([backbone.tensors()[name] for backbone in (backbones if own else backbones[:1])])
    first = backbones[0]
    sizes = (obs, *first.layer_sizes, act)
    stack = NativeLayerStack(sizes, (first.input_activation, *[True] * len(first.weights), False), lanes, rows)
    found = stack.forward(policy_chain(FlatLayers(arrays, CPU)), torch.from_numpy(observation)).tanh()
    for lane, (backbone, adapter) in enumerate(zip(backbones, adapters, strict=True)):
        expected, bound = reference_forward(backbone, adapter, observation[lane])
        assert (np.abs(found[lane].numpy() - expected) <= bound).all()


@pytest.mark.parametrize("twins", [1, 2])
def test_the_chain_of_the_critics_is_a_perceptron_per_lane_and_twin(twins):
    lanes, rows, obs, act = 3, 7, 5, 2
    layers = FlatLayers(draw_critics(obs + act, range(lanes), 0), CPU)
    generator = torch.Generator().manual_seed(0)
    observation, action = (torch.randn(lanes, rows, size, generator=generator) for size in (obs, act))
    stack = NativeLayerStack((obs + act, *CRITIC_HIDDEN_SIZES, 1), (True, True, False), lanes * twins, rows)
    found = stack.forward(critic_chain(layers, slice(twins)), critic_inputs(observation, action, twins))
    for lane in range(lanes):
        x = torch.cat([observation[lane], action[lane]], 1).double()
        for twin in range(twins):
            sizes = ((obs + act, 256), (256, 256), (256, 1))
            net = nn.Sequential(*(module for size in sizes for module in (nn.Linear(*size), nn.ReLU())))[:-1].double()
            for i in range(3):
                net[2 * i].weight.data = layers[f"{i}.weight"][lane, twin].double()
                net[2 * i].bias.data = layers[f"{i}.bias"][lane, twin].double()
            torch.testing.assert_close(found[lane * twins + twin].double(), net(x), **ROUNDING)


def test_chains_are_views_that_follow_their_layers():
    layers = FlatLayers(draw_critics(4, [1, 2], 0), CPU)
    for twins in (slice(None), slice(1)):
        before = [tuple(part.clone() for part in pair) for pair in critic_chain(layers, twins)]
        chain = critic_chain(layers, twins)
        layers.flat.add_(1)
        for pair, old in zip(chain, before, strict=True):
            for part, value in zip(pair, old, strict=True):
                torch.testing.assert_close(part, value + 1)


def test_flat_layers_are_views_of_one_vector_in_row_major_order():
    arrays = {"a": np.broadcast_to(np.arange(3, dtype=np.float32), (2, 3)), "b": np.ones((2, 1), dtype=np.float32)}
    layers = FlatLayers(arrays, CPU)
    assert layers.flat.tolist() == [0, 1, 2, 0, 1, 2, 1, 1]
    layers["a"][1, 2] = 9
    assert layers.flat[5] == 9
    layers.load({"a": np.zeros((2, 3), dtype=np.float32), "b": arrays["b"]})
    assert layers.flat.tolist() == [0] * 6 + [1, 1]
    zeros = layers.zeros_like()
    assert zeros.flat.tolist() == [0] * 8
    assert [tuple(value.shape) for value in zeros.values()] == [(2, 3), (2, 1)]


def test_critics_start_uniform_within_one_over_root_fan_in_as_in_td3():
    layers = draw_critics(10, [1, 2], 0)
    for i, fan_in in enumerate((10, *CRITIC_HIDDEN_SIZES)):
        bound = 1 / np.sqrt(fan_in)
        for kind in ("weight", "bias"):
            values = layers[f"{i}.{kind}"]
            assert values.dtype == np.float32
            assert values.shape[:2] == (2, 2)
            assert np.abs(values).max() <= np.float32(bound)
        weights = layers[f"{i}.weight"].ravel()
        # The standard deviation of uniform(+-b) is b / sqrt(3); 6 standard errors of a sample of this size.
        assert weights.std() == pytest.approx(bound / np.sqrt(3), rel=6 / np.sqrt(2 * weights.size))
        assert abs(weights.mean()) < 6 * bound / np.sqrt(3 * weights.size)


def test_the_critics_of_a_lane_depend_on_its_seed_and_on_the_number_of_the_draw_only():
    together, alone, again = draw_critics(6, [3, 9], 0), draw_critics(6, [9], 0), draw_critics(6, [9], 1)
    for name, values in together.items():
        assert (values[1] == alone[name][0]).all()
        assert (values[0] != values[1]).any()
        assert (alone[name] != again[name]).any()
        assert (values[:, 0] != values[:, 1]).any(), "twins start apart"
