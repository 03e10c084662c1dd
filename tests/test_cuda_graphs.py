"""`CudaGraphs` does what its programs do when they are called, and updates on CUDA are fit for it: on a GPU where torch
finds one, else on an emulated device."""

from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest
import torch
from apb.cuda_graphs import CudaGraphs
from apb.errors import DivergenceError
from apb.learner import Learner
from apb.meta_settings import MetaSettings
from emulated_device import emulated_cuda
from learning import filled_replay, same_arrays, small_backbone, small_settings, small_shape

SEEDS = (3, 14, 15)


@pytest.fixture(autouse=True)
def cuda():
    with nullcontext() if torch.cuda.is_available() else emulated_cuda():
        yield


@pytest.fixture
def replayed():
    """Replays of graphs, a call each."""
    replay, calls = torch.cuda.CUDAGraph.replay, []

    def counted(graph):
        calls.append(graph)
        return replay(graph)

    with mock.patch.object(torch.cuda.CUDAGraph, "replay", counted):
        yield calls


class Sums:
    """Programs that add to one vector: what is given, or twice that."""

    def __init__(self, size=4):
        self.total = torch.zeros(size, device="cuda")
        self.calls = 0

    def add(self, times, given):
        self.calls += 1
        self.total += given * times


def test_a_program_that_is_run_is_a_program_that_is_called(replayed):
    sums, graphs, expected = Sums(), CudaGraphs(torch.device("cuda")), np.zeros(4)
    for number in range(8):
        given, times = torch.full((4,), float(number)), 1 + number % 2
        graphs.run(times, lambda x, times=times: sums.add(times, x), given if number < 5 else given.to("cuda"))
        given.fill_(np.nan)  # it is free to be overwritten
        expected += times * number
        assert sums.total.cpu().tolist() == expected.tolist(), number
    assert sums.calls == 4, "each of the two as it is, and once to be recorded"
    assert len(replayed) == 6
    assert len(set(map(id, replayed))) == 2


def test_a_program_that_asks_for_a_value_is_refused_when_it_is_recorded():
    graphs = CudaGraphs(torch.device("cuda"))

    def program(given):
        given.sum().item()

    graphs.run("asking", program, torch.ones(3))
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        graphs.run("asking", program, torch.ones(3))


LEARNERS = {
    "frozen": {},
    "late policies": {"policy_starts": 4},
    "trained": {"backbone_training": "per_lane", "reading": "A"},
    "meta": {"backbone_training": "shared", "of": MetaSettings},
    "meta, clipped": {"backbone_training": "shared", "of": MetaSettings, "max_grad_norm": 1e-3},
}


def learner(device, reading="B", backbone_training="frozen", of=None, **changes):
    backbone = small_backbone(reading)
    settings = small_settings(**({} if of is None else {"of": of}), **changes)
    return Learner(backbone, small_shape(backbone), SEEDS, settings, backbone_training=backbone_training, device=device)


@pytest.mark.parametrize("options", LEARNERS.values(), ids=LEARNERS)
def test_updates_that_are_launched_as_graphs_are_those_of_a_cpu(options, replayed):
    """Across a reset and a state that is loaded, which write to what was recorded."""
    on_cpu, on_cuda = learner("cpu", **options), learner("cuda", **options)
    state, counters = on_cpu.state(), on_cpu.counters()
    replay = filled_replay(SEEDS)
    for number in range(30):
        for each in (on_cpu, on_cuda):
            each.set_normalization(np.full((3, 5), 0.1 * number), np.ones((3, 5)), 5.0)
            each.update(replay, 1)
            if number == 9:
                each.reset()
            if number == 19:
                each.load_state(state, counters)
        assert on_cuda.counters() == on_cpu.counters()
        found = on_cuda.state()
        for name, expected in on_cpu.state().items():
            np.testing.assert_allclose(found[name], expected, rtol=2e-3, atol=2e-5, err_msg=f"{name}, {number}")
    assert (on_cuda.adapters() != learner("cpu", **options).adapters()).any()
    variants = 3 if "policy_starts" in options else 2
    assert len(replayed) == 30 - variants
    assert len(set(map(id, replayed))) == variants


def test_an_update_that_moves_no_policy_is_not_waited_for():
    """From its launch to the next action, so that envs are simulated meanwhile."""
    on_cuda, replay = learner("cuda", policy_delay=3), filled_replay(SEEDS)
    on_cuda.update(replay, 6)
    before = on_cuda.adapters()
    launch = on_cuda.td3.update

    def launched(batch):
        moved = launch(batch)
        torch.cuda.set_sync_debug_mode("error")
        return moved

    with mock.patch.object(on_cuda.td3, "update", launched):
        try:
            on_cuda.update(replay, 1)
            assert (on_cuda.adapters() == before).all()
            with pytest.raises(RuntimeError, match="synchronizing"):
                on_cuda.losses()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_a_loss_that_is_not_finite_is_told_before_anything_is_learned_from_it():
    on_cuda, replay = learner("cuda"), filled_replay(SEEDS)
    on_cuda.update(replay, 4)
    replay.table[2, :, -2] = 1e38
    on_cuda.update(replay, 1)
    state = on_cuda.td3.state()
    expected = r"the critic_loss of lane 2 \(seed 15\) is inf at update 5; "
    for look in (lambda: on_cuda.update(replay, 1), on_cuda.require_finite):
        with pytest.raises(DivergenceError, match=expected):
            look()
    assert same_arrays(on_cuda.td3.state(), state)
