"""Promises of the forward pass: the equation within a derived bound, and the permutation identity."""

import numpy as np
import pytest
import torch
from apb.adapter import Adapter, AdapterShape
from apb.backbone import Backbone
from apb.normalization import Normalizer
from apb.policy import Policy
from gymnasium.spaces import Box
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import (
    action_box,
    draw_observations,
    make_policy,
    observation_box,
    policies,
    reference,
)


@settings(max_examples=30)
@given(policies(), st.integers(0, 2**32 - 1))
def test_the_reference_is_the_equation_as_torch_computes_it(policy, seed):
    observations = draw_observations(policy, 4, seed)
    x = torch.tensor(observations)
    if policy.normalizer is not None:
        mean, inverse_std = (torch.tensor(a).double() for a in (policy.normalizer.mean, policy.normalizer.inverse_std))
        x = ((x - mean) * inverse_std).clamp(-policy.normalizer.clip, policy.normalizer.clip)
    layers = {name: torch.tensor(array).double() for name, array in policy.adapter.layers.items()}
    x = torch.nn.functional.linear(x, layers["pre.weight"], layers["pre.bias"])
    if policy.backbone.input_activation:
        x = x.relu()
    for weight, bias in zip(policy.backbone.weights, policy.backbone.biases, strict=True):
        x = torch.nn.functional.linear(x, torch.tensor(weight).double(), torch.tensor(bias).double()).relu()
    x = torch.nn.functional.linear(x, layers["post.weight"], layers["post.bias"]).tanh()
    expected = torch.tensor(policy.offset).double() + torch.tensor(policy.scale).double() * x
    np.testing.assert_allclose(reference(policy, observations)[0], expected.numpy(), rtol=1e-9, atol=1e-12)


@settings(max_examples=60)
@given(policies(), st.integers(1, 33), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_actions_are_those_of_the_equation_within_the_rounding_bound(policy, rows, dtype, seed):
    observations = draw_observations(policy, rows, seed, dtype)
    expected, bound = reference(policy, observations)
    assert (np.abs(policy(observations) - expected) <= bound).all()


def test_the_rounding_bound_is_tight_enough_to_see_a_wrong_weight():
    policy = make_policy(seed=3)
    _, bound = reference(policy, draw_observations(policy, 50))
    assert bound.max() < 1e-4


def test_the_rounding_bound_follows_an_error_through_later_layers():
    # 0.3 is rounded to float32, and 2^13 makes 10^-4 of that; no later layer rounds that much by itself.
    one = np.ones((1, 1), np.float32)
    backbone = Backbone((one,), (one[0],))
    adapter = Adapter(AdapterShape(1, 1, 1, 1), np.array([2**13, -0.3 * 2**13, 1, -1], np.float32))
    policy = Policy(backbone, adapter, observation_box(1), action_box(1))
    expected, bound = reference(policy, np.array([[0.3]]))
    assert 1e-5 < np.abs(policy(np.array([[0.3]])) - expected) <= bound < 1e-2


@settings(max_examples=40)
@given(policies(), st.randoms(use_true_random=False))
def test_permuted_observations_and_pre_layer_columns_give_the_same_action(policy, random):
    shape = policy.adapter.shape
    order = np.array(random.sample(range(shape.observation_size), shape.observation_size))
    observations = draw_observations(policy, 3)
    permuted = permute_observations(policy, order)
    # Another order of summation rounds otherwise: both lie within the bound of the exact value.
    _, bound = reference(policy, observations)
    assert (np.abs(permuted(observations[:, order]).astype(np.float64) - policy(observations)) <= 2 * bound).all()


@pytest.mark.parametrize("observation_size", [5, 12, 20])
def test_the_permutation_of_an_identity_pre_layer_is_exact_to_the_bit(observation_size):
    # Each sum has one term that is not zero, so its order cannot matter.
    backbone = Backbone.random(0, input_size=12, hidden_sizes=(16, 16))
    adapter = Adapter.initial(backbone, observation_size, 3)
    policy = Policy(backbone, adapter, observation_box(observation_size), action_box(3))
    order = np.random.default_rng(1).permutation(observation_size)
    observations = draw_observations(policy, 9)
    assert np.array_equal(permute_observations(policy, order)(observations[:, order]), policy(observations))


@settings(max_examples=40)
@given(policies(), st.randoms(use_true_random=False))
def test_flipped_signs_of_observations_and_pre_layer_columns_give_the_same_bits(policy, random):
    signs = np.array([random.choice((-1, 1)) for _ in range(policy.adapter.shape.observation_size)], np.float32)
    layers = {name: array.copy() for name, array in policy.adapter.layers.items()}
    layers["pre.weight"] *= signs
    normalizer = policy.normalizer
    if normalizer is not None:
        normalizer = Normalizer(normalizer.mean * signs, normalizer.inverse_std, normalizer.clip)
    flipped = rebuild(policy, layers, normalizer=normalizer)
    observations = draw_observations(policy, 3)
    assert np.array_equal(flipped(observations * signs), policy(observations))


@settings(max_examples=40)
@given(policies(), st.randoms(use_true_random=False))
def test_permuted_rows_of_the_post_layer_permute_the_actions_to_the_bit(policy, random):
    size = policy.adapter.shape.action_size
    order = np.array(random.sample(range(size), size))
    layers = dict(policy.adapter.layers)
    layers["post.weight"], layers["post.bias"] = layers["post.weight"][order], layers["post.bias"][order]
    space = Box(policy.action_space.low[order], policy.action_space.high[order])
    observations = draw_observations(policy, 3)
    assert np.array_equal(rebuild(policy, layers, action_space=space)(observations), policy(observations)[:, order])


@settings(max_examples=40)
@given(policies(), st.randoms(use_true_random=False))
def test_flipped_rows_of_the_post_layer_flip_the_actions_to_the_bit(policy, random):
    size = policy.adapter.shape.action_size
    signs = np.array([random.choice((-1, 1)) for _ in range(size)], np.float32)
    symmetric = action_box(size, 0.4)
    layers = dict(policy.adapter.layers)
    layers["post.weight"], layers["post.bias"] = layers["post.weight"] * signs[:, None], layers["post.bias"] * signs
    observations = draw_observations(policy, 3)
    plain = rebuild(policy, dict(policy.adapter.layers), action_space=symmetric)
    assert np.array_equal(rebuild(policy, layers, action_space=symmetric)(observations), plain(observations) * signs)


def rebuild(policy, layers, *, normalizer=None, action_space=None):
    """`policy` with other adapter layers, and another normaliser or action space where given."""
    parameters = np.concatenate([layers[name].ravel() for name in policy.adapter.layers])
    return Policy(
        policy.backbone,
        Adapter(policy.adapter.shape, parameters),
        policy.observation_space,
        action_space or policy.action_space,
        normalizer or policy.normalizer,
    )


def permute_observations(policy, order):
    layers = dict(policy.adapter.layers)
    layers["pre.weight"] = layers["pre.weight"][:, order]
    normalizer = policy.normalizer
    if normalizer is not None:
        normalizer = Normalizer(normalizer.mean[order], normalizer.inverse_std[order], normalizer.clip)
    return rebuild(policy, layers, normalizer=normalizer)
