"""An update of `TD3` is that of Fujimoto et al. (2018), in every lane as alone, and continues from a saved state."""

import copy
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from apb.lane_networks import LaneNetworks
from apb.layer_stack import NativeLayerStack
from apb.td3 import TD3
from learning import FIELDS, draw_batch, lane_of, same_arrays, small_backbone, small_settings, small_shape
from plain_td3 import OracleCritic, OracleTD3
from torch import nn

SETTINGS = small_settings(
    learning_rate=1e-3,
    critic_learning_rate=3e-3,
    tau=0.05,
    gamma=0.9,
    policy_delay=2,
    target_policy_noise=0.6,
    target_noise_clip=0.4,
)


def make(seeds=(4,), backbone=None, settings=SETTINGS, **options):
    backbone = small_backbone() if backbone is None else backbone
    return TD3(LaneNetworks(backbone, small_shape(backbone), seeds, settings, **options))


def adam_steps(td3):
    return td3.networks.actor_adam.steps, td3.networks.critics_adam.steps


# --- the equations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy_starts", "learned"), [(0, "both"), (3, "both"), (0, "pre"), (0, "post")])
@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(("reading", "training"), [("A", "frozen"), ("B", "frozen"), ("A", "per_lane")])
def test_updates_are_those_of_td3_written_plainly_in_torch(reading, training, lanes, native, policy_starts, learned):
    """Natively, and as torch computes on devices other than a CPU."""
    settings = replace(SETTINGS, policy_starts=policy_starts, learned_layers=learned)
    td3 = make(range(7, 7 + lanes), small_backbone(reading), settings, backbone_training=training, native=native)
    for target in (td3.networks.actor, td3.networks.target_actor):
        # Near the bounds, so that clipping target actions matters.
        target["post.bias"][:] = torch.tensor([1.5, -1.5])
    # Critics of mean 0 on the first batch, so that either twin is the smaller one at times.
    following = draw_batch(lanes, seed=0).next_observation
    action = torch.tensor([0.9, -0.9]).expand(16, 2)
    for lane in range(lanes):
        for twin in range(2):
            mean = OracleCritic(td3.networks.target_critics, lane, twin)(following[lane], action).mean().detach()
            for layers in (td3.networks.critics, td3.networks.target_critics):
                layers["2.bias"][lane, twin] -= mean
    oracles = [OracleTD3(td3, lane) for lane in range(lanes)]
    for number in range(7):
        batch = draw_batch(lanes, seed=number)
        td3.update(batch)
        for lane, oracle in enumerate(oracles):
            oracle.update(lane_of(batch, lane))
            oracle.assert_equals(td3, lane)
            oracle.adopt(td3, lane)
    # The comparison says something only where noise and actions were clipped and either twin was the smaller one.
    assert min(oracles[0].clipped_noise, oracles[0].clipped_actions, oracles[0].second_is_smaller) > 0.1 * 7
    assert oracles[0].second_is_smaller < 0.9 * 7


@pytest.mark.parametrize("choice", ["hard", "soft"])
@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
def test_with_an_extra_action_the_target_is_what_the_better_action_is_worth_or_the_mean_of_a_soft_choice(
    choice, native
):
    td3 = make((7, 8), settings=replace(SETTINGS, extra_action=choice), native=native)
    oracles = [OracleTD3(td3, lane) for lane in range(2)]
    for number in range(7):
        batch = draw_batch(2, seed=number)
        batch.prior_action = draw_batch(2, seed=100 + number).action
        td3.update(batch)
        for lane, oracle in enumerate(oracles):
            oracle.update(lane_of(batch, lane))
            oracle.assert_equals(td3, lane)
            oracle.adopt(td3, lane)
    assert 0.1 * 7 < oracles[0].prior_is_better < 0.9 * 7


def test_a_trained_backbone_of_reading_a_is_plain_td3():
    """Obs-32-32-act with ReLUs, all of it learned: the network of TD3's authors, at a smaller width."""
    backbone = small_backbone("A")
    td3 = make(backbone=backbone, backbone_training="per_lane")
    actor = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2), nn.Tanh())
    assert {name: tuple(value.shape[1:]) for name, value in td3.networks.actor.items()} == {
        "pre.weight": (32, 5),
        "pre.bias": (32,),
        "layers.0.weight": (32, 32),
        "layers.0.bias": (32,),
        "post.weight": (2, 32),
        "post.bias": (2,),
    }
    assert sum(value.numel() for value in td3.networks.actor.values()) == sum(
        value.numel() for value in actor.parameters()
    )
    before = {name: value.clone() for name, value in td3.networks.actor.items()}
    for number in range(2):
        td3.update(draw_batch(1, seed=number))
    assert all((before[name] != value).any() for name, value in td3.networks.actor.items())


@pytest.mark.parametrize("terminated", [0.0, 1.0])
def test_only_a_termination_ends_the_future(terminated):
    td3 = make(settings=small_settings(gamma=0.9, target_policy_noise=0.0))
    batch = draw_batch(1, seed=5, terminated=terminated)
    oracle = OracleTD3(td3, 0)
    with torch.no_grad():
        future = oracle.target_actor(batch.next_observation[0])
        value = torch.minimum(*(critic(batch.next_observation[0], future) for critic in oracle.target_critics))
        target = batch.reward[0] + (0.9 * value if terminated == 0 else 0.0)
        q = [critic(batch.observation[0], batch.action[0]) for critic in oracle.critics]
    td3.update(batch)
    expected = sum(((value - target) ** 2).mean() for value in q)
    torch.testing.assert_close(td3.critic_loss[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_the_value_of_a_state_is_what_both_critics_expect_of_the_actor_there(rows, native):
    td3 = make(seeds=(4, 9), native=native)
    td3.update(draw_batch(2, seed=1))
    observation = torch.randn(2, rows, 5, generator=torch.Generator().manual_seed(0))
    found = td3.values(observation)
    for lane in range(2):
        oracle = OracleTD3(td3, lane)
        with torch.no_grad():
            action = oracle.actor(observation[lane])
            values = [critic(observation[lane], action) for critic in oracle.critics]
        torch.testing.assert_close(found[lane], (values[0] + values[1]) / 2, rtol=1e-5, atol=1e-6)


def test_buffers_are_kept_for_batches_and_the_last_other_number_of_rows_only(monkeypatch):
    alive, made = weakref.WeakSet(), []

    class Counted(NativeLayerStack):
        def __init__(self, sizes, relus, networks, rows, pool):
            super().__init__(sizes, relus, networks, rows, pool)
            alive.add(self)
            made.append(rows)

    monkeypatch.setattr("apb.layer_stack.NativeLayerStack", Counted)
    td3 = make()
    batch = list(alive)
    values = {rows: td3.values(torch.zeros(1, rows, 5)) for rows in (2, 3, 16, 3, 4)}
    assert made == [16] * 3 + [2] * 2 + [3] * 2 + [4] * 2
    assert len(alive) == len(batch) + 2
    assert (values[2][0, 0] == values[4]).all(), "what was returned stays"


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_policy_and_targets_move_once_in_policy_delay_updates(delay):
    td3 = make(settings=small_settings(policy_delay=delay))
    for number in range(1, 8):
        before = td3.state()
        td3.update(draw_batch(1, seed=number))
        after = td3.state()
        moved = {
            group: any((before[n] != after[n]).any() for n in before if n.startswith(f"{group}."))
            for group in ("actor", "target_actor", "target_critics", "critics")
        }
        on_time = number % delay == 0
        assert moved == {"actor": on_time, "target_actor": on_time, "target_critics": on_time, "critics": True}
        assert adam_steps(td3) == (number // delay, number)


def test_the_actor_step_raises_the_first_critics_value():
    td3 = make(settings=small_settings(policy_delay=1, learning_rate=1e-3, critic_learning_rate=1e-12))
    batch = draw_batch(1, seed=1)
    losses = []
    for _ in range(30):
        td3.update(batch)
        losses.append(td3.actor_loss.item())
    assert losses[-1] < losses[0] - 0.003
    assert losses == sorted(losses, reverse=True)


def test_the_critic_step_lowers_its_loss():
    td3 = make(settings=small_settings(gamma=0.0))
    batch = draw_batch(1, seed=1)
    losses = []
    for _ in range(60):
        td3.update(batch)
        losses.append(td3.critic_loss.item())
    assert losses[-1] < 0.5 * losses[0]


# --- backbones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["A", "B"])
def test_a_frozen_backbone_keeps_its_bytes_and_its_gradient_reaches_both_linear_layers(reading):
    backbone = small_backbone(reading)
    hash_before, before = backbone.hash, copy.deepcopy(backbone.tensors())
    td3 = make(backbone=backbone)
    adapters = td3.networks.adapters()
    for number in range(4):
        td3.update(draw_batch(1, seed=number))
    assert td3.networks.backbones() == [backbone]
    assert same_arrays(before, backbone.tensors())
    assert small_backbone(reading).hash == hash_before == backbone.hash
    assert set(td3.networks.actor) == {"pre.weight", "pre.bias", "post.weight", "post.bias"}
    for name, value in td3.networks.shape.split(td3.networks.adapters()).items():
        assert (value != td3.networks.shape.split(adapters)[name]).any(), name


@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
@pytest.mark.parametrize(("learned", "other"), [("pre", "post"), ("post", "pre")])
def test_the_layer_that_is_not_learned_keeps_its_bytes(learned, other, native):
    td3 = make(settings=replace(SETTINGS, learned_layers=learned), native=native)
    before = td3.networks.shape.split(td3.networks.adapters())
    for number in range(4):
        td3.update(draw_batch(1, seed=number))
    after = td3.networks.shape.split(td3.networks.adapters())
    for kind in ("weight", "bias"):
        assert (after[f"{other}.{kind}"] == before[f"{other}.{kind}"]).all()
        assert (after[f"{learned}.{kind}"] != before[f"{learned}.{kind}"]).any()


def test_a_trained_backbone_is_a_copy_of_each_lane_and_the_given_one_stays():
    backbone = small_backbone("A")
    hash_before = backbone.hash
    td3 = make((1, 2), backbone, backbone_training="per_lane")
    for number in range(4):
        td3.update(draw_batch(2, seed=number))
    trained = td3.networks.backbones()
    assert backbone.hash == hash_before
    assert len({backbone.hash, trained[0].hash, trained[1].hash}) == 3
    assert trained[0].input_activation
    assert same_arrays(trained[1].tensors(), {name: td3.networks.actor[name][1].numpy() for name in backbone.tensors()})


# --- lanes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", ["frozen", "per_lane"])
def test_lanes_in_one_program_learn_what_they_learn_alone(training):
    seeds, backbone = (3, 8, 21), small_backbone("A")
    together = make(seeds, backbone, backbone_training=training)
    alone = [make((seed,), backbone, backbone_training=training) for seed in seeds]
    for lane, td3 in enumerate(alone):
        for name, value in td3.state().items():
            assert (together.state()[name][lane] == value[0]).all(), name
    for number in range(6):
        batch = draw_batch(3, seed=number)
        together.update(batch)
        for lane, td3 in enumerate(alone):
            td3.update(lane_of(batch, lane))
    for lane, td3 in enumerate(alone):
        for name, value in td3.state().items():
            assert together.state()[name][lane].tobytes() == value[0].tobytes(), name


def test_what_a_lane_learns_does_not_depend_on_the_data_of_another():
    first, second = make((3, 8)), make((3, 8))
    for number in range(5):
        batch = draw_batch(2, seed=number)
        first.update(batch)
        for name in FIELDS:
            getattr(batch, name)[1] *= 0.5
        second.update(batch)
    for name, value in first.state().items():
        assert (value[0] == second.state()[name][0]).all(), name
    assert (first.networks.adapters()[1] != second.networks.adapters()[1]).any()


def test_a_lane_is_drawn_from_its_own_seed_and_a_reset_draws_anew():
    td3 = make((5, 6))
    start = td3.state()
    assert (start["actor.post.weight"][0] != start["actor.post.weight"][1]).any()
    assert (start["critics.0.weight"][0] != start["critics.0.weight"][1]).any()
    assert (start["critics.0.weight"][0, 0] != start["critics.0.weight"][0, 1]).any()
    for number in range(4):
        td3.update(draw_batch(2, seed=number))
    td3.reset(1)
    anew = td3.state()
    assert td3.resets == 1
    assert td3.updates == 4
    assert adam_steps(td3) == (0, 0)
    for name in ("actor.post.weight", "critics.0.weight", "critics.2.bias"):
        assert (anew[name] != start[name]).any(), name
    for name, value in anew.items():
        if name.startswith("target_"):
            assert (value == anew[name.removeprefix("target_")]).all(), name
        if "_adam" in name:
            assert (value == 0).all(), name
    again = make((5, 6))
    again.reset(1)
    fresh = {name: value for name, value in again.state().items() if not name.endswith("_loss")}
    assert same_arrays(fresh, {name: anew[name] for name in fresh})
    td3.reset(0)
    assert same_arrays(
        {n: v for n, v in start.items() if "loss" not in n}, {n: v for n, v in td3.state().items() if "loss" not in n}
    )


def test_the_policy_waits_for_critics_that_were_just_drawn_also_after_a_reset():
    td3 = make((4,), settings=replace(SETTINGS, policy_starts=4))
    for draw in (0, 1):
        if draw:
            td3.reset(draw)
        drawn = td3.networks.adapters()
        moved = []
        for number in range(8):
            td3.update(draw_batch(1, seed=number))
            moved.append(bool((td3.networks.adapters() != drawn).any()))
        assert moved == [False] * 5 + [True] * 3


# --- state -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
@pytest.mark.parametrize("training", ["frozen", "per_lane", "shared"])
@pytest.mark.parametrize("updates", [0, 1, 2, 5])
def test_a_saved_state_continues_bit_for_bit(updates, training, native):
    options = {"backbone_training": training, "native": native}
    original, resumed = (make((1, 9), small_backbone("A"), **options) for _ in range(2))
    original.reset(2)
    for number in range(updates):
        original.update(draw_batch(2, seed=number))
    resumed.update(draw_batch(2, seed=77))
    resumed.load_state(original.state(), original.counters())
    assert same_arrays(original.state(), resumed.state())
    for number in range(updates, updates + 5):
        for td3 in (original, resumed):
            td3.update(draw_batch(2, seed=number))
    assert same_arrays(original.state(), resumed.state())
    steps = {"actor_steps": (updates + 5) // 2, "critic_steps": updates + 5}
    steps |= {"backbone_steps": (updates + 5) // 2} if training == "shared" else {}
    assert original.counters() == resumed.counters() == {"updates": updates + 5, "resets": 2, **steps}


def test_a_state_is_a_copy_that_later_updates_leave_alone():
    td3 = make()
    td3.update(draw_batch(1))
    state = td3.state()
    kept = {name: value.copy() for name, value in state.items()}
    td3.update(draw_batch(1))
    assert same_arrays(state, kept)


@pytest.mark.parametrize("training", ["frozen", "per_lane"])
def test_adapters_go_out_and_in_as_flat_vectors_and_leave_all_else_alone(training):
    td3 = make((1, 2), backbone_training=training)
    for number in range(2):
        td3.update(draw_batch(2, seed=number))
    state = td3.state()
    flat = np.random.default_rng(0).standard_normal((2, td3.networks.shape.num_parameters)).astype(np.float32)
    td3.networks.set_adapters(flat)
    assert (td3.networks.adapters() == flat).all()
    assert (td3.networks.actor["post.weight"][1].numpy() == td3.networks.shape.split(flat)["post.weight"][1]).all()
    own = {f"actor.{name}" for name in td3.networks.shape.layers}
    others = {name: value for name, value in td3.state().items() if name not in own}
    assert same_arrays(others, {name: state[name] for name in others})
    td3.update(draw_batch(2, seed=2))
    td3.update(draw_batch(2, seed=3))
    assert (td3.networks.adapters() != flat).any(), "the optimiser still moves the adapters that were set"
