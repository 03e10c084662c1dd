"""Small backbones, batches, replays and settings for the tests of what learns."""

import numpy as np
import torch
from apb.adapter import AdapterShape
from apb.backbone import Backbone
from apb.replay import Batch, Replay
from apb.settings import AdaptSettings
from apb.td3_settings import TD3Settings

FIELDS = ("observation", "action", "reward", "next_observation", "not_terminated")
"""What every batch has."""

OBSERVATION_SIZE, ACTION_SIZE = 5, 2

SMALL = {"batch_size": 32, "learning_starts": 64, "num_threads": 1, "eval_freq": 0}
"""Options of `adapt` that make a run short; evaluation is off."""


def small_backbone(reading="B", seed=3):
    return Backbone.random(seed, reading=reading, input_size=None if reading == "A" else 12, hidden_sizes=(32, 32))


def small_shape(backbone):
    return AdapterShape.of(backbone, OBSERVATION_SIZE, ACTION_SIZE)


def small_settings(of=AdaptSettings, **changes):
    return TD3Settings.of(of.from_options({"batch_size": 16, **changes}))


def draw_batch(lanes, batch_size=16, seed=0, terminated=0.3):
    """Transitions (K, B, ...) of unit scale, a share of them terminated."""
    generator = np.random.default_rng(seed)

    def normal(*shape):
        return torch.from_numpy(generator.standard_normal((lanes, batch_size, *shape)).astype(np.float32))

    return Batch(
        normal(OBSERVATION_SIZE),
        normal(ACTION_SIZE).tanh(),
        normal(),
        normal(OBSERVATION_SIZE),
        torch.from_numpy((generator.random((lanes, batch_size)) >= terminated).astype(np.float32)),
    )


def lane_of(batch, lane):
    return Batch(**{name: value[lane : lane + 1].clone() for name, value in batch.given().items()})


def filled_replay(seeds, rows=200, capacity=300, batch_size=16, pool=None):
    """A replay whose lane with seed s holds random transitions that depend on s only."""
    replay = Replay(seeds, capacity, OBSERVATION_SIZE, ACTION_SIZE, batch_size, pool)
    lanes = [draw_batch(1, rows, seed=1000 + seed) for seed in seeds]
    columns = [torch.cat([getattr(lane, name) for lane in lanes]).numpy() for name in FIELDS]
    observation, action, reward, following, not_terminated = columns
    replay.add(observation, action, reward, following, not_terminated == 0, np.ones(reward.shape, dtype=np.bool_))
    return replay


def same_arrays(first, second):
    """Whether two dicts hold the same names with the same bytes."""
    return first.keys() == second.keys() and all(first[name].tobytes() == second[name].tobytes() for name in first)
