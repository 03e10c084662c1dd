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
from apb.meta_training.settings import MetaSettings
from apb.settings import AdaptSettings
from emulated_device import emulated_cuda
from learning import filled_replay, same_arrays, small_backbone, small_settings, small_shape

SEEDS = (3, 14, 15)


@pytest.fixture(autouse=True)
def cuda(request):
    emulated = getattr(request, "param", None) == "emulated" or not torch.cuda.is_available()
    with emulated_cuda() if emulated else nullcontext():
        yield


on_the_emulated_device = pytest.mark.parametrize("cuda", ["emulated"], indirect=True)


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


ASKING = {
    "item": lambda x: x.sum().item(),
    "branch": lambda x: 1 if x.sum() > 0 else 0,
    "list": lambda x: x.tolist(),
    "copy": lambda x: x.cpu(),
    "mask": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "equal": lambda x: torch.equal(x, x),
    "from the host": lambda x: x + torch.tensor([1.0, 2.0, 3.0], device="cuda"),
    "of the cpu": lambda x: x.copy_(torch.ones(3)),
}


@on_the_emulated_device  # on a GPU a recording that fails spoils the process for other tests
@pytest.mark.parametrize("program", ASKING.values(), ids=ASKING)
def test_a_program_that_asks_for_a_value_is_refused_when_it_is_recorded(program):
    graphs = CudaGraphs(torch.device("cuda"))
    graphs.run("asking", program, torch.ones(3))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing") as raised:
            graphs.run("asking", program, torch.ones(3))
        assert "APB_CUDA_GRAPHS=0" in raised.value.__notes__[0]


def test_recording_can_be_turned_off(monkeypatch, replayed):
    monkeypatch.setenv("APB_CUDA_GRAPHS", "0")
    off, replay = learner("cuda"), filled_replay(SEEDS)
    off.update(replay, 5)
    assert replayed == []
    monkeypatch.delenv("APB_CUDA_GRAPHS")
    on = learner("cuda")
    on.update(replay, 5)
    assert len(replayed) == 3
    for name, expected in off.state().items():
        np.testing.assert_allclose(on.state()[name], expected, rtol=2e-3, atol=2e-5, err_msg=name)


def test_what_shards_exchange_on_the_host_is_not_recorded(replayed):
    calls = []

    def gather(parts, scales):
        calls.append(scales.cpu().tolist())
        return parts, scales

    sharded = learner("cuda", backbone_training="shared", of=MetaSettings, gather=gather)
    sharded.update(filled_replay(SEEDS), 8)
    assert len(calls) == 4
    assert replayed == []


@on_the_emulated_device
def test_steps_that_are_not_taken_are_told():
    on_cuda, replay = learner("cuda"), filled_replay(SEEDS)
    on_cuda.update(replay, 4)
    on_cuda.require_finite()
    with mock.patch.object(torch.cuda.CUDAGraph, "replay"):
        on_cuda.update(replay, 2)
    with pytest.raises(RuntimeError, match="has taken 4 steps of the critics; expected 6"):
        on_cuda.require_finite()


LEARNERS = {
    "frozen": {},
    "late policies": {"policy_starts": 4},
    "trained": {"backbone_training": "per_lane", "reading": "A"},
    "meta": {"backbone_training": "shared", "of": MetaSettings},
    "meta, clipped": {"backbone_training": "shared", "of": MetaSettings, "max_grad_norm": 1e-3},
}


def learner(device, reading="B", backbone_training="frozen", of=AdaptSettings, gather=None, **changes):
    backbone, settings = small_backbone(reading), small_settings(of, **changes)
    options = {"backbone_training": backbone_training, "gather": gather, "device": device}
    return Learner(backbone, small_shape(backbone), SEEDS, settings, **options)


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


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
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
