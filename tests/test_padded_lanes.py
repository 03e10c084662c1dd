"""Lanes whose envs observe and act in different numbers learn in one program, each what it learns alone."""

from functools import partial

import numpy as np
import pytest
import torch
from apb import rng
from apb.adapter import draw_initial
from apb.adapter_shape import AdapterShape
from apb.env_spaces import flat_size
from apb.jobs import Job
from apb.lane_networks import LaneNetworks
from apb.lane_noise import LaneNoise
from apb.replay import Batch
from apb.settings import AdaptSettings
from apb.several_envs import resolve_all
from apb.td3 import TD3
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from learning import FIELDS, SMALL, same_arrays, small_backbone, small_settings
from sized_envs import ENVS, SizedEnv

SIZES = [(5, 2), (7, 1), (2, 3)]
"""Numbers that an env observes and acts in."""


def shapes_of(backbone, sizes):
    """The shapes of lanes of these sizes, and that of the largest."""
    common = AdapterShape.of(backbone, *np.max(sizes, axis=0).tolist())
    return [AdapterShape.of(backbone, *each) for each in sizes], common


def pad(tensor, size):
    return torch.nn.functional.pad(tensor, (0, size - tensor.shape[-1]))


def draw_batch(observation_size, action_size, seed):
    """Transitions (1, 16, ...) of unit scale, a third of them terminated."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(1, 16, *shape, generator=generator)

    not_terminated = (torch.rand(1, 16, generator=generator) > 1 / 3).float()
    return Batch(
        normal(observation_size), normal(action_size).tanh(), normal(), normal(observation_size), not_terminated
    )


def batches_of(sizes, number):
    """A batch for each lane alone, and the padded ones in one."""
    alone = [draw_batch(*each, seed=100 * lane + number) for lane, each in enumerate(sizes)]
    observation_size, action_size = np.max(sizes, axis=0).tolist()
    widths = {"observation": observation_size, "action": action_size, "next_observation": observation_size}
    columns = [
        torch.cat([pad(getattr(each, name), widths[name]) if name in widths else getattr(each, name) for each in alone])
        for name in FIELDS
    ]
    return alone, Batch(*columns)


def unpadded(td3, lane):
    """The state of one lane with only what its own sizes have; and the largest number that stands at other places."""
    own, common = td3.networks.own_shapes[lane], td3.networks.shape
    state, beyond = {}, 0.0
    inputs = np.r_[: own.observation_size, common.observation_size : common.observation_size + own.action_size]
    for name, array in td3.state().items():
        value, rest = array[lane : lane + 1], array[lane : lane + 1].copy()
        kind = name.rpartition(".")[0].rpartition(".")[2]
        if name.endswith("0.weight") and "critics" in name:
            place = (..., inputs)
        elif kind in ("pre", "post"):
            place = (slice(None), *map(slice, own.layers[f"{kind}.{name.rpartition('.')[2]}"]))
        else:
            place = ...
        state[name] = np.ascontiguousarray(value[place])
        rest[place] = 0
        beyond = max(beyond, float(np.abs(rest).max()))
    return state, beyond


# --- the update rule -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
@pytest.mark.parametrize("training", ["frozen", "per_lane"])
@pytest.mark.parametrize("reading", ["A", "B"])
def test_a_lane_that_is_padded_learns_what_it_learns_alone(reading, training, native):
    """Bit for bit natively; torch adds up in an order that depends on the sizes."""
    backbone, seeds = small_backbone(reading), (3, 8, 21)
    own, common = shapes_of(backbone, SIZES)
    options = {"backbone_training": training, "native": native}
    hyper = small_settings(learning_rate=1e-2)
    together = TD3(LaneNetworks(backbone, common, seeds, hyper, own_shapes=own, **options))
    alone = [
        TD3(LaneNetworks(backbone, shape, (seed,), hyper, **options)) for shape, seed in zip(own, seeds, strict=True)
    ]
    for number in range(7):
        if number == 5:
            for td3 in (together, *alone):
                td3.reset(1)
        each, padded = batches_of(SIZES, number)
        together.update(padded)
        for td3, batch in zip(alone, each, strict=True):
            td3.update(batch)
        for lane, td3 in enumerate(alone):
            found, beyond = unpadded(together, lane)
            assert beyond == 0, "what pads a lane never moves"
            if native:
                assert same_arrays(found, td3.state())
                assert together.networks.own_adapters()[lane].tobytes() == td3.networks.adapters()[0].tobytes()
            else:
                for name, value in td3.state().items():
                    np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=4),
    st.integers(1, 20),
    st.integers(0, 2**62),
)
def test_a_lane_is_drawn_as_alone_whatever_stands_beside_it(sizes, rows, seed):
    backbone = small_backbone()
    own, common = shapes_of(backbone, sizes)
    seeds = [seed + lane for lane in range(len(sizes))]
    together = TD3(LaneNetworks(backbone, common, seeds, small_settings(), own_shapes=own))
    noise = LaneNoise(seeds, rng.Stream.PROBE, rows, [action for _, action in sizes])
    for lane, shape in enumerate(own):
        assert (together.networks.own_adapters()[lane] == draw_initial(backbone, shape, seeds[lane])).all()
        state, beyond = unpadded(together, lane)
        assert same_arrays(state, TD3(LaneNetworks(backbone, shape, seeds[lane : lane + 1], small_settings())).state())
        assert beyond == 0
        alone = LaneNoise(seeds[lane : lane + 1], rng.Stream.PROBE, rows, [shape.action_size])
        for draw in ("normal", "uniform"):
            padded = getattr(noise, draw)(7)[lane]
            assert padded[:, : shape.action_size].tobytes() == getattr(alone, draw)(7)[0].tobytes()
            assert not padded[:, shape.action_size :].any()


def test_warm_up_actions_fill_the_range():
    drawn = LaneNoise([4], rng.Stream.PROBE, 1000, [2]).uniform(0)
    assert -1 <= drawn.min() < -0.99
    assert 0.99 < drawn.max() < 1
    assert abs(drawn.mean()) < 0.05


# --- the loop --------------------------------------------------------------------------------------------------------


def finished_loop(source, **options):
    settings = AdaptSettings(**{**SMALL, "total_timesteps": 110, **options})
    loop = Job(source, None, small_backbone(), settings, [], {}).loop()
    loop.start()
    while not loop.finished:
        loop.step()
    return loop


def critics_of(loop, lane):
    return unpadded(loop.learner.td3, lane)[0]


def assert_lanes_learned_what_they_learn_alone(source, **options):
    together = finished_loop(source, **options)
    seeds = options.get("n_seeds", 1)
    results = together.evaluate() if options.get("eval_freq") else None
    observed = together.simulations.observation_size
    acted = together.simulations.bounds.size
    for number, part in enumerate(source.parts):
        alone = finished_loop(part, **options)
        expected = alone.evaluate() if results else None
        size, action_size = flat_size(part.observation_space), flat_size(part.action_space)
        for seed in range(seeds):
            lane = number * seeds + seed
            assert together.lanes[lane].seed == alone.lanes[seed].seed
            assert together.learner.own_adapters()[lane].tobytes() == alone.learner.adapters()[seed].tobytes()
            assert same_arrays(critics_of(together, lane), critics_of(alone, seed))
            pairs = ((0, size), (observed, size), (2 * observed, action_size), (2 * observed + acted, 2))
            columns = np.concatenate([np.arange(start, start + count) for start, count in pairs])
            table = together.replay.table[lane]
            np.testing.assert_array_equal(table[:, columns], alone.replay.table[seed])
            assert not np.delete(table, columns, axis=1).any(), "what pads a lane is zero in its replay"
            if results:
                assert results[lane].returns.tolist() == expected[seed].returns.tolist()
                assert results[lane].lengths.tolist() == expected[seed].lengths.tolist()
            policy, own = together.policies()[lane], alone.policies()[seed]
            assert (policy.observation_space, policy.action_space) == (own.observation_space, own.action_space)
            assert policy.adapter.parameters.tobytes() == own.adapter.parameters.tobytes()
            observation = np.random.default_rng(lane).normal(size=policy.observation_space.shape)
            assert policy(observation).tobytes() == own(observation).tobytes()
            assert policy.metadata == {**own.metadata, **together.lanes[lane].key}
        alone.close()
    together.close()


@pytest.mark.parametrize(
    "options",
    [
        {"n_seeds": 2, "eval_freq": 50, "n_eval_episodes": 3},
        {"normalize_observations": True, "reset_interval": 80},
        {"strategy": "param_noise", "population_size": 3, "segment_length": 3, "total_timesteps": 150},
        {"strategy": "adaptive_param_noise", "total_timesteps": 160},
        {"trainable_backbone": True},
    ],
    ids=["action_noise", "normalized", "param_noise", "adaptive_param_noise", "trained backbones"],
)
def test_a_lane_beside_other_envs_goes_the_way_that_it_goes_alone(options):
    """Bit for bit: warm-up, exploration, replay, updates, evaluations and policies."""
    assert_lanes_learned_what_they_learn_alone(resolve_all(ENVS), **options)


@settings(max_examples=5, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 20), st.floats(-5, -0.1), st.floats(0.1, 5)),
        min_size=2,
        max_size=4,
    )
)
def test_so_it_does_at_any_sizes_and_bounds(sizes):
    made = [partial(SizedEnv, (observed,), (acted,), low, high) for observed, acted, low, high in sizes]
    assert_lanes_learned_what_they_learn_alone(resolve_all(made), total_timesteps=80)
