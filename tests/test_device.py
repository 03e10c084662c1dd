"""`device="cuda"` learns what a CPU learns, and its runs go on: on a GPU where torch finds one, else on an emulated
device."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from adapt_runs import STRATEGY_OPTIONS, run
from apb import ConfigError, resume
from crashes import Crash, CrashAt
from emulated_device import CUDA, emulated_cuda
from learning import small_backbone
from meta_runs import meta_run
from pretrain_runs import pretrain_run
from run_files import assert_same_outcome, outcome

EVERYTHING = {
    "total_timesteps": 180,
    "n_seeds": 2,
    "eval_freq": 90,
    "n_eval_episodes": 1,
    "checkpoint_freq": 60,
    "reset_interval": 100,
    "normalize_observations": True,
}
POPULATION = {"segment_length": 20}  # several generations, whose fitness asks the critics


def swing(observations):
    """A prior: torque with the velocity."""
    return 2 * np.sign(observations[:, 2:])


STRATEGIES = [*STRATEGY_OPTIONS, {"strategy": "behavior_transfer", "prior": swing, "flight_prob": 0.05}]
strategies = pytest.mark.parametrize("options", STRATEGIES, ids=lambda options: options["strategy"])


@pytest.fixture(autouse=True)
def cuda(request):
    emulated = getattr(request, "param", None) == "emulated" or not torch.cuda.is_available()
    with emulated_cuda() if emulated else nullcontext():
        yield


@strategies
@pytest.mark.parametrize("trainable_backbone", [False, True])
def test_cuda_learns_what_a_cpu_learns(options, trainable_backbone):
    still = {}
    if options.get("strategy") == "param_noise":
        options, still = {**options, **POPULATION}, {"evolution_rate": 0}
    on_cpu, on_cuda = (
        run(**EVERYTHING, **options, trainable_backbone=trainable_backbone, device=device) for device in ("cpu", "cuda")
    )
    as_drawn = run(**EVERYTHING, **options, trainable_backbone=trainable_backbone, gradient_steps=0, **still)
    for expected, policy, drawn in zip(on_cpu.policies, on_cuda.policies, as_drawn.policies, strict=True):
        np.testing.assert_allclose(policy.adapter.parameters, expected.adapter.parameters, rtol=0, atol=2e-4)
        assert np.abs(policy.adapter.parameters - drawn.adapter.parameters).max() > 2e-3, "the tolerance is far below"
    assert [e["timesteps"] for e in on_cuda.evaluations] == [e["timesteps"] for e in on_cpu.evaluations]


@pytest.mark.parametrize("envs", ["cheetah-vel/mier-hard", ["Pendulum-v1", "MountainCarContinuous-v0"]], ids=str)
def test_cuda_meta_trains_what_a_cpu_does(envs):
    others = ("n_seeds", "normalize_observations")
    options = {name: value for name, value in EVERYTHING.items() if name not in others}
    options |= {"total_timesteps": 360, "n_tasks": 2}
    on_cpu, on_cuda = (meta_run(envs, **options, device=device) for device in ("cpu", "cuda"))
    initial = small_backbone().tensors()
    learned, expected = on_cuda.backbone.tensors(), on_cpu.backbone.tensors()
    for name, values in expected.items():
        np.testing.assert_allclose(learned[name], values, rtol=0, atol=2e-4, err_msg=name)
    assert max(np.abs(learned[name] - value).max() for name, value in initial.items()) > 2e-3
    for ours, theirs in zip(on_cuda.adapters, on_cpu.adapters, strict=True):
        np.testing.assert_allclose(ours.parameters, theirs.parameters, rtol=0, atol=2e-4)


@pytest.mark.parametrize("objective", ["rnd", "knn"])
def test_cuda_learns_without_rewards_what_a_cpu_does(objective):
    options = {"objective": objective, "total_timesteps": 180, "n_seeds": 2}
    on_cpu, on_cuda = (pretrain_run(**options, device=device) for device in ("cpu", "cuda"))
    initial = small_backbone().tensors()
    for expected, policy in zip(on_cpu.policies, on_cuda.policies, strict=True):
        np.testing.assert_allclose(policy.adapter.parameters, expected.adapter.parameters, rtol=0, atol=2e-4)
        learned = policy.backbone.tensors()
        for name, values in expected.backbone.tensors().items():
            np.testing.assert_allclose(learned[name], values, rtol=0, atol=2e-4, err_msg=name)
        assert max(np.abs(learned[name] - value).max() for name, value in initial.items()) > 2e-3


@strategies
@pytest.mark.parametrize("cuda", ["emulated"], indirect=True)  # a GPU need not compute the same bytes twice
def test_a_run_on_cuda_continues_exactly(options, tmp_path):
    options = {**EVERYTHING, **options, "device": "cuda"}
    run(run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        run(run_dir=tmp_path / "cut", callback=CrashAt(150), **options)
    resume(tmp_path / "cut", **{name: value for name, value in options.items() if name == "prior"})
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_where_another_device_left_it(first, second, tmp_path):
    whole = run(**EVERYTHING, device=first)
    with pytest.raises(Crash):
        run(run_dir=tmp_path / "cut", callback=CrashAt(150), **EVERYTHING, device=first)
    result = resume(tmp_path / "cut", device=second)
    for expected, policy in zip(whole.policies, result.policies, strict=True):
        np.testing.assert_allclose(policy.adapter.parameters, expected.adapter.parameters, rtol=0, atol=2e-4)


def test_auto_is_cuda_where_torch_finds_it(tmp_path):
    run(run_dir=tmp_path / "run", device="auto")
    assert '"device": "cuda"' in (tmp_path / "run" / "config.json").read_text()


def test_a_device_that_is_not_there_is_refused():
    count = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=rf"device = 'cuda:{count}', but torch .* finds {count} CUDA device"):
        run(device=f"cuda:{count}")


def test_the_device_takes_no_tensor_of_the_cpu_and_gives_none_away():
    x = torch.zeros(2, 3, device="cuda")
    assert x.device == CUDA
    for mixed in (
        lambda: x + torch.ones(2, 3),
        lambda: torch.mm(torch.ones(2, 2), x),
        lambda: x.add_(torch.ones(2, 3)),
    ):
        with pytest.raises(RuntimeError, match=r"on (the same|one) device"):
            mixed()
    for leak in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="convert cuda:0"):
            leak()
    assert x.to(torch.float64).device == CUDA
    x.copy_(torch.ones(2, 3))
    assert x.flatten()[:2].mul_(2).device == CUDA
    assert x.cpu().tolist() == [[2, 2, 1], [1, 1, 1]]
