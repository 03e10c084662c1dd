"""`networks.py`: the policy is its equation, critics are multilayer perceptrons, initial weights are TD3's."""

import numpy as np
import pytest
import torch
from apb.backbone import Backbone
from apb.networks import CRITIC_HIDDEN_SIZES, critic_values, draw_critics, linear, policy_actions
from apb.reference import reference_forward
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import random_adapter
from torch import nn


def tensors_of(backbone, adapters):
    layers = {name: torch.from_numpy(np.array(value[None])) for name, value in backbone.tensors().items()}
    for name in adapters[0].layers:
        layers[name] = torch.from_numpy(np.stack([adapter.layers[name] for adapter in adapters]))
    return layers


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from("AB"),
    st.lists(st.integers(1, 20), min_size=2, max_size=3),
    st.integers(0, 2**31),
)
def test_policy_actions_are_the_policys_equation_in_every_lane(lanes, rows, obs, act, reading, hidden, seed):
    backbone = Backbone.random(seed, reading=reading, hidden_sizes=hidden, input_size=hidden[0], init="he")
    adapters = [random_adapter(backbone, obs, act, seed + lane) for lane in range(lanes)]
    observation = np.random.default_rng(seed).standard_normal((lanes, rows, obs)).astype(np.float32)
    found = policy_actions(tensors_of(backbone, adapters), torch.from_numpy(observation), backbone.input_activation)
    assert found.shape == (lanes, rows, act)
    for lane, adapter in enumerate(adapters):
        expected, bound = reference_forward(backbone, adapter, observation[lane])
        assert (np.abs(found[lane].numpy() - expected) <= bound).all()


def test_a_backbone_of_each_lane_gives_what_one_shared_backbone_of_those_weights_gives():
    backbones = [Backbone.random(seed, reading="A", hidden_sizes=(16, 16)) for seed in range(3)]
    adapters = [random_adapter(backbone, 4, 2, seed) for seed, backbone in enumerate(backbones)]
    layers = tensors_of(backbones[0], adapters)
    for name in backbones[0].tensors():
        layers[name] = torch.from_numpy(np.stack([backbone.tensors()[name] for backbone in backbones]))
    observation = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32))
    together = policy_actions(layers, observation, True)
    for lane, (backbone, adapter) in enumerate(zip(backbones, adapters, strict=True)):
        expected, bound = reference_forward(backbone, adapter, observation[lane].numpy())
        assert (np.abs(together[lane].numpy() - expected) <= bound).all()


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(1, 20),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(0, 2**31),
)
def test_critic_values_are_those_of_a_perceptron_per_lane_and_twin(lanes, twins, rows, obs, act, seed):
    drawn = draw_critics(obs + act, range(lanes), seed % 3)
    layers = {name: torch.from_numpy(value[:, :twins]) for name, value in drawn.items()}
    generator = np.random.default_rng(seed)
    observation, action = (
        torch.from_numpy(generator.standard_normal((lanes, rows, size)).astype(np.float32)) for size in (obs, act)
    )
    found = critic_values(layers, observation, action)
    assert found.shape == (lanes, twins, rows)
    for lane in range(lanes):
        x = torch.cat([observation[lane], action[lane]], 1).double()
        for twin in range(twins):
            net = nn.Sequential(
                nn.Linear(obs + act, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1)
            ).double()
            for i in range(3):
                net[2 * i].weight.data = layers[f"{i}.weight"][lane, twin].double()
                net[2 * i].bias.data = layers[f"{i}.bias"][lane, twin].double()
            # Sums of 256 float32 products of size O(1): the rounding is below 256 * 2^-24 = 1.5e-5.
            torch.testing.assert_close(found[lane, twin].double(), net(x).squeeze(1), rtol=2e-5, atol=2e-5)


def test_a_shared_layer_is_one_matrix_for_all_lanes():
    generator = np.random.default_rng(0)
    x, weight, bias = (torch.from_numpy(generator.standard_normal(shape)) for shape in ((3, 4, 5), (1, 2, 5), (1, 2)))
    expected = np.einsum("kbi,oi->kbo", x.numpy(), weight[0].numpy()) + bias[0].numpy()
    np.testing.assert_allclose(linear(x, weight, bias).numpy(), expected, rtol=1e-12)
    per_lane = linear(x, weight.expand(3, 2, 5), bias.expand(3, 2))
    np.testing.assert_allclose(per_lane.numpy(), expected, rtol=1e-12)


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
