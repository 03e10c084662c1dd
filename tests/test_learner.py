"""`Learner`: lanes learn together what each learns alone, bit for bit, on any number of threads; losses are watched."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from apb import _native
from apb.errors import ConfigError, DivergenceError
from apb.lane_networks import LaneNetworks
from apb.learner import Learner
from apb.meta_training.settings import MetaSettings
from apb.td3 import TD3
from learning import filled_replay, same_arrays, small_backbone, small_settings, small_shape

SEEDS = (3, 14, 15, 92)


def make(seeds=SEEDS, num_threads=1, backbone=None, backbone_training="frozen", **changes):
    backbone = small_backbone() if backbone is None else backbone
    return Learner(
        backbone,
        small_shape(backbone),
        seeds,
        small_settings(**changes),
        backbone_training=backbone_training,
        pool=_native.ThreadPool(num_threads),
    )


def learned(learner, replay, updates=7):
    learner.update(replay, updates - 3)
    learner.update(replay, 3)
    return learner.state()


@pytest.mark.parametrize("training", ["frozen", "per_lane"])
def test_lanes_learn_together_what_they_learn_one_by_one_bit_for_bit(training):
    backbone = small_backbone("A")
    together = learned(make(num_threads=3, backbone=backbone, backbone_training=training), filled_replay(SEEDS))
    for lane, seed in enumerate(SEEDS):
        alone = learned(make((seed,), backbone=backbone, backbone_training=training), filled_replay([seed]))
        for name, value in alone.items():
            assert value[0].tobytes() == together[name][lane].tobytes(), (name, lane)


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("num_threads", [2, 4, 7])
def test_lanes_learn_the_same_bytes_on_any_number_of_threads(num_threads, lanes):
    one, many = (learned(make(SEEDS[:lanes], threads), filled_replay(SEEDS[:lanes])) for threads in (1, num_threads))
    assert same_arrays(one, many)


def test_a_learner_of_one_lane_is_td3_on_samples_of_its_replay():
    backbone, replay = small_backbone(), filled_replay([8])
    td3 = TD3(LaneNetworks(backbone, small_shape(backbone), (8,), small_settings()))
    for draw in range(5):
        td3.update(replay.sample(draw))
    assert same_arrays(learned(make((8,)), filled_replay([8]), 5), td3.state())


def test_updates_leave_torchs_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    learner, seen = make(), []
    learner.td3.update = lambda batch: seen.append(torch.get_num_threads())
    torch.set_num_threads(3)
    try:
        learner.update(filled_replay(SEEDS), 2)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1], "what torch does in an update is too small for threads"


def test_sampled_observations_are_normalised_as_those_that_are_acted_on():
    mean = np.array([[1.0, -2, 0, 3, 0.5]])
    inverse_std = np.array([[0.5, 2, 1, 0.1, 4]])
    learner, replay = make((8,)), filled_replay([8])
    learner.set_normalization(mean, inverse_std, 1.5)
    batches = []
    learner.td3.update = lambda batch: batches.append(
        (batch.observation.clone(), batch.next_observation.clone(), batch.reward.clone())
    )
    learner.update(replay, 1)
    plain = replay.sample(0)
    for found, raw in zip(batches[0][:2], (plain.observation, plain.next_observation), strict=True):
        expected = np.clip((raw.numpy() - mean.astype(np.float32)) * inverse_std.astype(np.float32), -1.5, 1.5)
        assert (found.numpy() == expected).all()
    assert (batches[0][2] == plain.reward).all()


def test_values_are_those_of_normalised_observations():
    learner = make((8,))
    observation = np.random.default_rng(0).standard_normal((1, 6, 5)).astype(np.float32)
    mean, inverse_std = np.full((1, 5), 0.5), np.full((1, 5), 2.0)
    expected = learner.td3.values(torch.from_numpy(((observation - np.float32(0.5)) * np.float32(2)).clip(-1, 1)))
    plain = learner.values(observation)
    learner.set_normalization(mean, inverse_std, 1.0)
    assert (learner.values(observation) == expected.numpy()).all()
    assert (plain != expected.numpy()).any()


def test_a_saved_learner_continues_bit_for_bit_also_after_a_reset_and_with_other_threads():
    original, resumed = make(num_threads=1), make(num_threads=4)
    replay = filled_replay(SEEDS)
    original.update(replay, 5)
    original.reset()
    original.update(replay, 3)
    saved, counters = original.state(), original.counters()
    resumed.load_state(saved, counters)
    assert resumed.counters() == counters == {"updates": 8, "resets": 1, "actor_steps": 2, "critic_steps": 3}
    for learner in (original, resumed):
        learner.update(replay, 4)
        learner.reset()
        learner.update(replay, 3)
    assert same_arrays(original.state(), resumed.state())
    assert original.resets == resumed.resets == 2


def test_a_reset_draws_new_weights_for_every_lane():
    learner = make()
    before = learner.adapters()
    learner.reset()
    assert (learner.adapters() != before).any(axis=1).all()


def test_adapters_of_all_lanes_go_out_and_in():
    learner = make()
    flat = np.random.default_rng(0).standard_normal(learner.adapters().shape).astype(np.float32)
    learner.set_adapters(flat)
    assert (learner.adapters() == flat).all()
    assert all(backbone is learner.backbones()[0] for backbone in learner.backbones())


def test_a_loss_that_is_not_finite_names_lane_seed_and_update():
    learner, replay = make(num_threads=2), filled_replay(SEEDS)
    learner.update(replay, 2)
    replay.table[2, :, -2] = 1e38
    with pytest.raises(
        DivergenceError, match=r"the critic_loss of lane 2 \(seed 15\) is inf at update 3; .*learning_rate"
    ):
        learner.update(replay, 1)


@pytest.mark.parametrize("count", [1, 5, 10])
def test_a_divergence_is_told_of_its_own_lane_and_update_however_many_are_asked_for_at_once(count):
    """A backbone that all learn would take it to the first lane, and later updates to the actor's loss."""
    learner, replay = make(backbone_training="shared", of=MetaSettings), filled_replay(SEEDS)
    replay.table[2, :, :10] *= 1e20
    with pytest.raises(DivergenceError, match=r"the critic_loss of lane 2 \(seed 15\) is inf at update 1; "):
        learner.update(replay, count)


def test_gradients_whose_squares_overflow_are_told_of_their_lane_where_what_is_learned_is_looked_at():
    learner, replay = make(), filled_replay(SEEDS)
    learner.update(replay, 2)
    learner.require_finite()
    replay.table[2, :, :10] *= 1e12
    learner.update(replay, 3)
    assert all(np.isfinite(values).all() for values in learner.losses().values()), "the losses do not tell"
    expected = r"critics_adam.exp_avg_sq of lane 2 \(seed 15\) .* by update 5, .*scale of the observations or rewards"
    with pytest.raises(DivergenceError, match=expected):
        learner.require_finite()


def test_a_shared_backbone_that_is_not_finite_is_told_of_all_lanes():
    learner = make(backbone_training="shared", of=MetaSettings)
    state = learner.state()
    state["backbone.layers.0.weight"][:] = np.nan
    learner.load_state(state, learner.counters())
    with pytest.raises(DivergenceError, match=r"^backbone of all lanes has overflowed by update 0"):
        learner.require_finite()


def test_a_loss_is_told_from_its_first_step_on():
    learner, replay = make(policy_delay=3), filled_replay(SEEDS)
    assert learner.losses() == {}
    told = []
    for _ in range(4):
        learner.update(replay, 1)
        told.append(sorted(learner.losses()))
    assert told == [["critic_loss"]] * 2 + [["actor_loss", "critic_loss"]] * 2


def test_losses_are_those_of_each_lane():
    learner, replay = make(), filled_replay(SEEDS)
    learner.update(replay, 4)
    losses = learner.losses()
    assert {name: values.shape for name, values in losses.items()} == {"actor_loss": (4,), "critic_loss": (4,)}
    alone = make(SEEDS[2:3])
    alone.update(filled_replay(SEEDS[2:3]), 4)
    assert all(alone.losses()[name][0] == values[2] for name, values in losses.items())


# --- memory ----------------------------------------------------------------------------------------------------------

RESIDENT = """
import os, sys
from apb.learner import Learner
from apb.replay import Replay
from apb.td3 import TD3
from learning import filled_replay, small_backbone, small_settings, small_shape

backbone = small_backbone()

def learn(lanes, batch_size):
    replay = filled_replay(range(lanes), batch_size=batch_size)
    learner = Learner(backbone, small_shape(backbone), range(lanes), small_settings(batch_size=batch_size))
    learner.update(replay, 2)
    return learner, replay

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

lanes, batch_size = map(int, sys.argv[1:])
first = learn(1, 16)  # so that what a process takes once is not counted
before = resident()
second = learn(lanes, batch_size)
counted = TD3.required_bytes(backbone, small_shape(backbone), lanes, batch_size)
print((resident() - before) / (counted + Replay.required_bytes(lanes, batch_size, 5, 2)))
"""


@pytest.mark.parametrize(("lanes", "batch_size"), [(1, 4000), (20, 256), (40, 64)])
def test_the_bytes_that_learning_takes_are_known_before_it_begins(lanes, batch_size):
    command = [sys.executable, "-c", RESIDENT, str(lanes), str(batch_size)]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    assert 0.95 < float(result.stdout) < 1.3


def test_a_batch_size_and_lanes_that_do_not_fit_into_memory_are_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr("apb.learner.available_memory", lambda: 2**30)
    monkeypatch.setattr("apb.learner.LaneNetworks.__init__", lambda *arguments, **options: pytest.fail("it was made"))
    with pytest.raises(ConfigError, match=r"^batch_size = 1000000 needs 18,.* in 1 lane; 1,024 .* smaller batch_size"):
        make((8,), batch_size=1_000_000)
    with pytest.raises(ConfigError, match=r"^batch_size = 16 needs .* in 4,096 lanes; .* fewer tasks or seeds"):
        make(range(4096), batch_size=16)
