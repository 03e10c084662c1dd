"""`LaneActors`: native actions of K lanes are the policy's equation, for any adapters, backbones and statistics."""

import numpy as np
import pytest
import torch
from apb import _native
from apb.actors import LaneActors
from apb.adapter import Adapter
from apb.layer_stack import NativeLayerStack
from apb.networks import FlatLayers, policy_chain
from apb.reference import reference_forward
from learning import ACTION_SIZE, OBSERVATION_SIZE, small_backbone, small_shape
from policies import random_normalizer

LANES, SLOTS = 3, 6


def draw(members, seed=0, backbone=None):
    shape = small_shape(small_backbone() if backbone is None else backbone)
    generator = np.random.default_rng(seed)
    adapters = (0.3 * generator.standard_normal((LANES, members, shape.num_parameters))).astype(np.float32)
    observations = generator.standard_normal((LANES, SLOTS, OBSERVATION_SIZE)).astype(np.float32)
    return shape, adapters, observations


def assert_equation(actions, shape, backbones, adapters, observations, normalizers=None):
    members = adapters.shape[1]
    rows = observations.shape[1] // members
    for lane in range(observations.shape[0]):
        for member in range(members):
            block = slice(member * rows, (member + 1) * rows)
            expected, bound = reference_forward(
                backbones[lane],
                Adapter(shape, adapters[lane, member]),
                observations[lane, block],
                None if normalizers is None else normalizers[lane],
            )
            assert (np.abs(actions[lane, block] - expected) <= bound).all(), (lane, member)


@pytest.mark.parametrize("reading", ["A", "B"])
@pytest.mark.parametrize("members", [1, 2, SLOTS])
def test_actions_of_a_shared_backbone_are_the_equation_of_each_member(members, reading):
    backbone = small_backbone(reading)
    shape, adapters, observations = draw(members, backbone=backbone)
    actors = LaneActors([backbone] * LANES, shape, _native.ThreadPool(2))
    actions = actors.forward(adapters, observations)
    assert actions.shape == (LANES, SLOTS, ACTION_SIZE)
    assert_equation(actions, shape, [backbone] * LANES, adapters, observations)


def test_native_actions_are_those_of_the_torch_policy_that_learns():
    backbone = small_backbone("A")
    shape, adapters, observations = draw(1, backbone=backbone)
    native = LaneActors([backbone] * LANES, shape).forward(adapters, observations)
    arrays = {name: value[None] for name, value in backbone.tensors().items()} | shape.split(adapters[:, 0])
    sizes = (OBSERVATION_SIZE, *backbone.layer_sizes, ACTION_SIZE)
    stack = NativeLayerStack(sizes, (True, True, False), LANES, SLOTS)
    chain = policy_chain(FlatLayers(arrays, torch.device("cpu")))
    in_torch = stack.forward(chain, torch.from_numpy(observations)).tanh().numpy()
    for lane in range(LANES):
        _, bound = reference_forward(backbone, Adapter(shape, adapters[lane, 0]), observations[lane])
        # Each lies within the bound of the exact value.
        assert (np.abs(native[lane] - in_torch[lane]) <= 2 * bound).all()


def test_lanes_may_have_backbones_of_their_own_and_load_others_later():
    backbones = [small_backbone("A", seed) for seed in range(LANES)]
    shape, adapters, observations = draw(2, backbone=backbones[0])
    actors = LaneActors(backbones, shape)
    assert_equation(actors.forward(adapters, observations), shape, backbones, adapters, observations)
    for changed in ([small_backbone("A", 10 + seed) for seed in range(LANES)], [backbones[1]] * LANES, backbones):
        actors.load_backbones(changed)
        assert_equation(actors.forward(adapters, observations), shape, changed, adapters, observations)


def test_every_lane_normalises_with_its_own_statistics():
    backbone = small_backbone()
    shape, adapters, observations = draw(2)
    normalizers = [random_normalizer(OBSERVATION_SIZE, seed, clip=0.7) for seed in range(LANES)]
    actors = LaneActors([backbone] * LANES, shape)
    plain = actors.forward(adapters, observations)
    actors.load_normalizers(normalizers)
    actions = actors.forward(adapters, observations)
    assert_equation(actions, shape, [backbone] * LANES, adapters, observations, normalizers)
    assert (actions != plain).any()


def test_a_lane_in_the_middle_acts_as_it_does_among_all_bit_for_bit():
    backbones = [small_backbone("B", seed) for seed in range(LANES)]
    shape, adapters, observations = draw(2)
    for kind in ("own backbones", "one backbone", "statistics"):
        actors = LaneActors(backbones if kind == "own backbones" else backbones[:1] * LANES, shape)
        if kind == "statistics":
            actors.load_normalizers([random_normalizer(OBSERVATION_SIZE, seed) for seed in range(LANES)])
        together = actors.forward(adapters, observations)
        for lane in range(LANES):
            alone = actors.forward(adapters[lane : lane + 1], observations[lane : lane + 1], lane)
            assert alone.tobytes() == together[lane : lane + 1].tobytes(), (kind, lane)
