"""Lanes that learn a backbone together may be anywhere: shards of them, each with a learner and a copy of psi, exchange
only their parts of its gradient and their scales, and find the same bits."""

from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from threading import Barrier

import numpy as np
import pytest
import torch
from apb import _native
from apb.adapter_shape import AdapterShape
from apb.learner import Learner
from apb.meta_training.settings import MetaSettings
from apb.replay import Replay
from learning import same_arrays, small_backbone, small_settings

SEEDS = (7, 8, 21, 40, 3)
SCALES = (0.1, 1.0, 100.0, 3.0, 0.01)
"""What the rewards of each lane are multiplied by, so that a lane that counts twice, or as another, tells."""
SIZES = ((5, 2),) * 5
OWN_SIZES = ((5, 2), (7, 1), (2, 3), (9, 1), (3, 3))
"""Numbers that the env of each lane observes and acts in: the largest of a shard may be less than those of all."""

SHARDS = [(2, 3), (1, 4), (4, 1), (1, 1, 1, 1, 1)]
SHARED = ("backbone", "target_backbone", "backbone_adam.exp_avg", "backbone_adam.exp_avg_sq")


@pytest.fixture(autouse=True)
def one_torch_thread():
    """A learner sets torch's number of threads and puts it back, which is of the process: here several learn in one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class AllGather:
    """Brings together what shards in threads give: a stand-in for a collective operation between machines."""

    def __init__(self, shards):
        self.given = [None] * shards
        self.barrier = Barrier(shards, timeout=60)
        self.calls = 0

    def of(self, shard):
        def gather(parts, scales):
            self.given[shard] = parts, scales
            if self.barrier.wait() == 0:
                self.calls += 1
            names = parts.keys()
            every = {name: torch.cat([parts[name] for parts, _ in self.given]) for name in names}
            scales = torch.cat([scales for _, scales in self.given])
            self.barrier.wait()  # nobody goes on, and writes over its parts, before all have read them
            return every, scales

        return gather


def filled(lanes, sizes):
    """A replay of these lanes, each with transitions of its own at its own sizes, and zeros beyond them."""
    observed, acted = np.max([sizes[lane] for lane in lanes], axis=0).tolist()
    replay = Replay([SEEDS[lane] for lane in lanes], 200, observed, acted, batch_size=16)
    columns = []
    for lane in lanes:
        generator = np.random.default_rng(lane)
        observation, following = np.zeros((2, 1, 200, observed), np.float32)
        action = np.zeros((1, 200, acted), np.float32)
        own_observed, own_acted = sizes[lane]
        observation[..., :own_observed] = generator.standard_normal((1, 200, own_observed))
        following[..., :own_observed] = generator.standard_normal((1, 200, own_observed))
        action[..., :own_acted] = np.tanh(generator.standard_normal((1, 200, own_acted)))
        reward = SCALES[lane] * generator.standard_normal((1, 200)).astype(np.float32)
        columns.append((observation, action, reward, following, generator.random((1, 200)) < 0.3))
    replay.add(*map(np.concatenate, zip(*columns, strict=True)), np.ones((len(lanes), 200), np.bool_))
    return replay


def learned(lanes, sizes, gather=None, reading="B", **changes):
    """A learner of these lanes after some updates with a reset between, and its losses on the way."""
    backbone, threads = small_backbone(reading), len(lanes) % 3 + 1
    learner = Learner(
        backbone,
        AdapterShape.of(backbone, *np.max([sizes[lane] for lane in lanes], axis=0).tolist()),
        [SEEDS[lane] for lane in lanes],
        small_settings(MetaSettings, learning_rate=3e-3, tau=0.5, **changes),
        own_shapes=[AdapterShape.of(backbone, *sizes[lane]) for lane in lanes],
        backbone_training="shared",
        pool=_native.ThreadPool(threads),
        gather=gather,
    )
    replay, losses = filled(lanes, sizes), []
    for number in range(4):
        learner.update(replay, 3)
        losses.append(learner.losses())
        if number == 1:
            learner.reset()
    return learner, losses


def together_and_sharded(cut, sizes, **options):
    """All lanes in one learner, and the shards of a cut: the lanes of each, and what it learned."""
    shards = [range(start, stop) for start, stop in pairwise(accumulate(cut, initial=0))]
    exchange = AllGather(len(shards))
    with ThreadPoolExecutor(len(shards)) as threads:
        runs = [threads.submit(learned, lanes, sizes, exchange.of(n), **options) for n, lanes in enumerate(shards)]
    return learned(range(5), sizes, **options), list(zip(shards, [run.result() for run in runs], strict=True)), exchange


def of_all(state):
    """What is one for all lanes, of a learner's state."""
    return {name: value for name, value in state.items() if name.rpartition(".layers.")[0] in SHARED}


@pytest.mark.parametrize("cut", SHARDS, ids=str)
@pytest.mark.parametrize("max_grad_norm", [0.0, 0.02])
@pytest.mark.parametrize("reading", ["A", "B"])
def test_shards_that_exchange_parts_and_scales_learn_what_the_lanes_learn_together_bit_for_bit(
    reading, max_grad_norm, cut
):
    """psi, its target and optimiser in each shard; of each lane adapter, critics, targets, optimisers and losses."""
    (whole, losses), shards, exchange = together_and_sharded(
        cut, SIZES, reading=reading, max_grad_norm=max_grad_norm, policy_delay=3
    )
    together = whole.state()
    assert len(of_all(together)) == 4 * len(small_backbone(reading).tensors())
    assert whole.backbones()[0].hash != small_backbone(reading).hash
    for lanes, (shard, shard_losses) in shards:
        state = shard.state()
        assert same_arrays(of_all(state), of_all(together))
        assert shard.counters() == whole.counters()
        own = slice(lanes.start, lanes.stop)
        for name in together.keys() - of_all(together).keys():
            assert state[name].tobytes() == together[name][own].tobytes(), name
        for found, expected in zip(shard_losses, losses, strict=True):
            assert same_arrays(found, {name: value[own] for name, value in expected.items()})
    assert exchange.calls == whole.counters()["backbone_steps"] == 4, "once for each step of the policies, not more"


@pytest.mark.parametrize("cut", SHARDS, ids=str)
def test_shards_of_lanes_of_several_sizes_need_not_be_padded_alike(cut):
    """Each is padded to the largest sizes in it."""
    (whole, losses), shards, _ = together_and_sharded(cut, OWN_SIZES)
    for lanes, (shard, shard_losses) in shards:
        own = slice(lanes.start, lanes.stop)
        assert same_arrays(of_all(shard.state()), of_all(whole.state()))
        for found, expected in zip(shard.own_adapters(), whole.own_adapters()[own], strict=True):
            assert found.tobytes() == expected.tobytes()
        for found, expected in zip(shard_losses, losses, strict=True):
            assert same_arrays(found, {name: value[own] for name, value in expected.items()})


def test_shards_that_do_not_exchange_learn_another_backbone():
    """Or the tests above would say nothing."""
    whole, _ = learned(range(5), SIZES)
    for lanes in (range(2), range(2, 5)):
        alone, _ = learned(lanes, SIZES)
        assert not same_arrays(of_all(alone.state()), of_all(whole.state()))
