"""`meta_train` learns one backbone over many tasks, continues exactly, and refuses what cannot be meant."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import apb
import gymnasium
import numpy as np
import pytest
from adapt_runs import run
from apb import (
    Backbone,
    Callback,
    ConfigError,
    FileFormatError,
    InvalidEnvError,
    MetaResult,
    MismatchError,
    RunFolderError,
    UnknownNameError,
    meta_train,
    resume,
)
from apb.environments import EnvSource
from apb.loop import LearningLoop
from apb.meta_settings import MetaSettings
from apb.runner import run_to_end
from apb.runs import RunFolder, StopSignals
from apb.tasks import FAMILIES, Task, get, register
from crashes import Crash, CrashAt
from learning import SMALL, same_arrays, small_backbone
from meta_runs import FALLING, SPLIT, meta_outcome, meta_run
from run_files import assert_same_outcome

CONTINUED = {"checkpoint_freq": 30, "eval_freq": 35, "n_eval_episodes": 1, "log_freq": 20, "learning_starts": 40}
"""Options of a run that is cut: of 100 timesteps of each task, with checkpoints, evaluations and records in them."""


@pytest.fixture(autouse=True)
def _not_on_to_the_disk(monkeypatch):
    """Which takes seconds: what is written outlives a process without it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class StopAt(Callback):
    """Stops the run once it has this many timesteps of each task."""

    def __init__(self, timesteps):
        self.timesteps = timesteps

    def on_step(self, state):
        return state.timesteps < self.timesteps


def adapters_of(result):
    return [adapter.parameters.tobytes() for adapter in result.adapters]


# --- what it returns -------------------------------------------------------------------------------------------------


def test_all_tasks_share_one_backbone_that_learned_and_have_adapters_of_their_own():
    result = meta_run()
    assert isinstance(result, MetaResult)
    assert result.backbone.hash != small_backbone().hash
    assert {policy.backbone.hash for policy in result.policies} == {result.backbone.hash}
    assert [adapter.backbone_hash for adapter in result.adapters] == [result.backbone.hash] * 3
    assert len(set(adapters_of(result))) == 3
    for layer, first in zip(result.backbone.weights, small_backbone().weights, strict=True):
        assert (layer != first).mean() > 0.5


def test_the_backbone_that_is_given_is_never_written_to():
    given = small_backbone()
    before = copy.deepcopy(given.tensors())
    result = meta_run(backbone=given)
    assert same_arrays(given.tensors(), before)
    assert given.hash == small_backbone().hash != result.backbone.hash


def test_nothing_is_learned_during_the_random_steps():
    result = meta_run(learning_starts=100)
    assert result.backbone.hash == small_backbone().hash


def test_adapt_takes_the_backbone_and_leaves_it_as_it_is(tmp_path):
    trained = meta_run().backbone
    trained.save_pretrained(tmp_path / "backbone")
    for backbone in (trained, tmp_path / "backbone"):
        assert run(f"{SPLIT}:0", backbone).policy.backbone.hash == trained.hash


def test_each_task_has_an_equal_part_of_the_budget():
    result = meta_run(total_timesteps=305)
    assert result.total_timesteps == 101
    assert meta_run(n_tasks=2, total_timesteps=305).total_timesteps == 152


def test_every_task_is_named_wherever_it_is_told_of(tmp_path):
    names = ["hopper-mass/tavt/train:0", "hopper-mass/tavt/train:1", "hopper-mass/tavt/ood:1"]
    result = meta_run(FALLING, eval_freq=50, n_eval_episodes=1, log_freq=50, run_dir=tmp_path / "run")
    assert [lane["task"] for lane in result.lanes] == names
    assert [policy.metadata["task"] for policy in result.policies] == names
    told = [(record["timesteps"], record["task"]) for record in result.evaluations]
    assert told == [(timesteps, name) for timesteps in (0, 50, 100) for name in names]
    assert len(result.final) == 3
    assert [record["timesteps"] for record in result.history] == [50, 100]
    assert all(len(record["returns"]) == 1 for record in result.evaluations)
    saved = tmp_path / "run" / "checkpoints" / "000000100" / "policy"
    policies = [apb.Policy.from_pretrained(folder) for folder in sorted(saved.iterdir())]
    assert [policy.metadata["task"] for policy in policies] == names
    assert {policy.backbone.hash for policy in policies} == {result.backbone.hash}


def test_the_first_train_tasks_of_a_split_are_used():
    result = meta_run(n_tasks=2)
    assert [lane["task"] for lane in result.lanes] == [f"{SPLIT}/train:0", f"{SPLIT}/train:1"]
    assert adapters_of(meta_run(get(SPLIT), n_tasks=2)) == adapters_of(result)
    assert adapters_of(meta_run(list(get(SPLIT).train[:2]), n_tasks=2)) == adapters_of(result)
    assert adapters_of(meta_run([f"{SPLIT}/train:{number}" for number in (0, 1)], n_tasks=None)) == adapters_of(result)


def test_without_a_number_twenty_tasks_are_used_or_all_there_are():
    assert len(meta_run(n_tasks=None, total_timesteps=20).lanes) == 20
    assert len(meta_run("cheetah-permuted-joints/swaps", n_tasks=None, total_timesteps=6).lanes) == 6
    assert len(meta_run(f"{SPLIT}/ood", n_tasks=None, total_timesteps=30).lanes) == 30


def test_a_familys_name_stands_for_its_first_split():
    first = apb.tasks.splits_of("cheetah-vel")[0]
    assert [lane["task"] for lane in meta_run("cheetah-vel").lanes] == [
        f"cheetah-vel/{first}/train:{number}" for number in range(3)
    ]


def test_without_a_backbone_one_is_drawn_from_the_seed():
    result = meta_train(SPLIT, n_tasks=2, total_timesteps=20, seed=7, eval_freq=0)
    assert result.backbone.hash == Backbone.random(7, input_size=20).hash


def test_a_result_is_a_function_of_the_seed_whatever_the_number_of_threads():
    first, again, other = (meta_run(seed=seed, num_threads=threads) for seed, threads in ((3, 1), (3, 3), (4, 1)))
    assert first.backbone.hash == again.backbone.hash != other.backbone.hash
    assert adapters_of(first) == adapters_of(again)
    seeds = [lane["seed"] for result in (first, other) for lane in result.lanes]
    assert len(set(seeds)) == 6


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "param_noise", "population_size": 3},
        {"normalize_observations": True},
        {"reset_interval": 30},
        {"max_grad_norm": 0.01},
        {"gradient_steps": 2},
    ],
    ids=str,
)
def test_an_option_changes_what_is_learned(options):
    assert meta_run(**options).backbone.hash != meta_run().backbone.hash


def test_what_acts_is_the_policies_of_the_moment():
    loop = LearningLoop(
        EnvSource.resolve(FALLING), None, small_backbone(), MetaSettings(**{**SMALL, "total_timesteps": 300})
    )
    run_to_end(loop, None, StopSignals())
    observations = loop.simulations.observations
    actions = loop.actors.forward(loop.learner.adapters()[:, None], observations)
    expected = [policy(row) for policy, row in zip(loop.policies(), observations, strict=True)]
    np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=1e-5)
    loop.close()


# --- run folders -----------------------------------------------------------------------------------------------------


def test_the_configuration_has_the_job_the_tasks_and_the_split_with_its_hash(tmp_path):
    meta_run(n_tasks=None, total_timesteps=20, run_dir=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["job"] == "meta_train"
    assert config["split"] == {"name": SPLIT, "sha256": get(SPLIT).hash}
    assert config["tasks"] == [f"{SPLIT}/train:{number}" for number in range(20)]
    assert config["settings"]["n_tasks"] == 20
    assert config["backbone_hash"] == small_backbone().hash
    meta_run(FALLING, total_timesteps=6, run_dir=tmp_path / "listed")
    assert json.loads((tmp_path / "listed" / "config.json").read_text())["split"] is None


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"normalize_observations": True, "reset_interval": 30},
        {"strategy": "param_noise", "population_size": 4},
        {"max_grad_norm": 0.01, "policy_delay": 3},
    ],
    ids=str,
)
def test_a_crashed_run_continues_exactly_with_another_number_of_threads(extra, tmp_path):
    options = CONTINUED | extra
    whole = meta_run(FALLING, run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        meta_run(FALLING, run_dir=tmp_path / "cut", callback=CrashAt(67), **options)
    with pytest.raises(Crash):
        resume(tmp_path / "cut", callback=CrashAt(95), num_threads=3)
    result = resume(tmp_path / "cut", num_threads=2)
    assert_same_outcome(meta_outcome(tmp_path / "cut"), meta_outcome(tmp_path / "whole"))
    assert isinstance(result, MetaResult)
    assert result.backbone.hash == whole.backbone.hash
    assert result.evaluations == whole.evaluations
    assert adapters_of(result) == adapters_of(whole)


def test_a_run_on_a_split_that_a_callback_stops_continues_exactly(tmp_path):
    options = CONTINUED | {"eval_freq": 0, "keep_last": 1}
    meta_run(run_dir=tmp_path / "whole", **options)
    stopped = meta_run(run_dir=tmp_path / "cut", callback=StopAt(51), **options)
    assert isinstance(stopped, MetaResult)
    assert (stopped.stopped_by, stopped.total_timesteps) == ("callback", 51)
    assert stopped.backbone.hash != small_backbone().hash
    assert isinstance(resume(tmp_path / "cut"), MetaResult)
    assert_same_outcome(meta_outcome(tmp_path / "cut"), meta_outcome(tmp_path / "whole"))


def test_a_run_that_crashed_before_its_first_checkpoint_begins_again(tmp_path):
    meta_run(FALLING, run_dir=tmp_path / "whole", **CONTINUED)
    with pytest.raises(Crash):
        meta_run(FALLING, run_dir=tmp_path / "cut", callback=CrashAt(10), **CONTINUED)
    resume(tmp_path / "cut")
    assert_same_outcome(meta_outcome(tmp_path / "cut"), meta_outcome(tmp_path / "whole"))


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path):
    first = meta_run(FALLING, run_dir=tmp_path / "run", **CONTINUED)
    before = meta_outcome(tmp_path / "run")
    again = resume(tmp_path / "run")
    assert_same_outcome(meta_outcome(tmp_path / "run"), before)
    assert again.backbone.hash == first.backbone.hash
    assert [each.returns.tolist() for each in again.final] == [each.returns.tolist() for each in first.final]


@pytest.mark.slow
def test_a_run_killed_in_the_middle_continues_exactly(tmp_path):
    options = CONTINUED | {"total_timesteps": 900, "eval_freq": 200}
    meta_run(FALLING, run_dir=tmp_path / "whole", **options)
    command = [sys.executable, Path(__file__).with_name("meta_runs.py"), tmp_path / "cut", json.dumps(options)]
    latest = tmp_path / "cut" / "checkpoints" / "LATEST"
    with subprocess.Popen(command) as process:
        while process.poll() is None and not latest.exists():
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert isinstance(resume(tmp_path / "cut", num_threads=3), MetaResult)
    assert_same_outcome(meta_outcome(tmp_path / "cut"), meta_outcome(tmp_path / "whole"))


# --- what cannot be meant --------------------------------------------------------------------------------------------


LIST = [f"{SPLIT}:3", f"{SPLIT}:4"]


@pytest.mark.parametrize(
    ("tasks", "n_tasks", "error", "message"),
    [
        ([], None, ConfigError, r"tasks = \[\] has 0 train tasks; expected at least 2"),
        ([f"{SPLIT}:3"], None, ConfigError, r"tasks = \['.*:3'\] has 1 train task; expected at least 2.*`apb adapt`"),
        ("cheetah-dir/apb-ood", None, ConfigError, "tasks = cheetah-dir/apb-ood has 1 train task; expected at least 2"),
        (get(f"{SPLIT}:3"), None, ConfigError, r"tasks = Task\(.*; expected a split such as .* or a list of tasks"),
        (f"{SPLIT}:3", None, ConfigError, f"tasks = '{SPLIT}:3'; expected a split such as .* or a list of tasks"),
        (f"{SPLIT}/train:3", None, ConfigError, f"tasks = '{SPLIT}/train:3'; expected a split .* a list of tasks"),
        ("HalfCheetah-v5", None, ConfigError, "tasks = 'HalfCheetah-v5'; expected a split such as 'cheetah-vel/"),
        (None, None, ConfigError, "tasks = None; expected a split such as"),
        (7, None, ConfigError, "tasks = 7; expected a split such as"),
        ({"cheetah-vel": 1}, None, ConfigError, "tasks = {'cheetah-vel': 1}; expected a split such as"),
        ("cheeta-vel", None, UnknownNameError, "'cheeta-vel' is unknown; did you mean 'cheetah-vel'"),
        ("cheeta-vel/mier-hard", None, UnknownNameError, "'cheeta-vel' is unknown; did you mean 'cheetah-vel'"),
        ("cheetah-vel/mier-hrd", None, UnknownNameError, "no split 'mier-hrd'; did you mean 'mier-hard'"),
        (f"{SPLIT}/trian", None, UnknownNameError, "no list 'trian'; did you mean 'train'"),
        (f"{SPLIT}/train:100", None, UnknownNameError, "has 100 tasks; expected a number from 0 to 99"),
        (
            "cheetah-vel:3",
            None,
            ConfigError,
            "'cheetah-vel:3' names no split; expected cheetah-vel/SPLIT, one of pearl",
        ),
        (SPLIT, 101, ConfigError, f"n_tasks = 101; expected 2 to 100, as many as {SPLIT} has"),
        (SPLIT, 1, ConfigError, r"n_tasks = 1 is out of range; expected a number in \[2, 4096\]"),
        (SPLIT, "3", ConfigError, r"n_tasks = '3' is a str; expected an integer in \[2, 4096\]"),
        (LIST, 3, ConfigError, "n_tasks = 3, but the list has 2 tasks; leave n_tasks out"),
        ([LIST[0], LIST[0]], None, ConfigError, f"{SPLIT}/ood:3 twice; expected different ones"),
        ([LIST[0], 4], None, InvalidEnvError, "4 .*; expected "),
        ([LIST[0], f"{SPLIT}:30"], None, UnknownNameError, "has 30 tasks; expected a number from 0 to 29"),
    ],
    ids=repr,
)
def test_what_is_not_several_tasks_is_refused(tasks, n_tasks, error, message, tmp_path):
    with pytest.raises(error, match=message):
        meta_run(tasks, n_tasks=n_tasks, run_dir=tmp_path / "run")
    assert not [*tmp_path.iterdir()], "nothing was written"


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ({"n_taks": 3}, UnknownNameError, r"meta_train\(\) has no option 'n_taks'; did you mean 'n_tasks'\? known: "),
        ({"max_grad": 3}, UnknownNameError, r"no option 'max_grad'; did you mean 'max_grad_norm'"),
        ({"lr": 3}, UnknownNameError, r"no option 'lr'; did you mean 'learning_rate'"),
        ({"n_seeds": 3}, UnknownNameError, r"no option 'n_seeds'; did you mean 'seed'\? known: .* n_tasks"),
        ({"trainable_backbone": True}, UnknownNameError, r"no option 'trainable_backbone'.* known: "),
        ({"seed": 2**51}, ConfigError, f"seed = {2**51}; expected at most {2**51 - 1}"),
        ({"seed": 2**63}, ConfigError, r"seed = \d+ is out of range; expected a number in"),
        ({"max_grad_norm": -1}, ConfigError, "max_grad_norm = -1 is out of range; expected a number in"),
        ({"max_grad_norm": float("nan")}, ConfigError, "max_grad_norm = nan; expected a finite number"),
        ({"total_timesteps": 2}, ConfigError, "total_timesteps = 2 .* 3 tasks; expected at least 3, or fewer tasks"),
        (
            {"total_timesteps": 11, "strategy": "param_noise", "population_size": 4},
            ConfigError,
            "total_timesteps = 11 is less than one step of each simulation of 3 tasks; expected at least 12",
        ),
        ({"strategy": "parm_noise"}, UnknownNameError, "did you mean 'param_noise'"),
        ({"callback": 3}, ConfigError, "callback = 3 is a int; expected an instance of a subclass of apb.Callback"),
        ({"backbone": "nowhere"}, UnknownNameError, "backbone = 'nowhere' is neither"),
        ({"backbone": 3}, ConfigError, "backbone is a int; expected an apb.Backbone"),
        ({"device": "tpu"}, ConfigError, "device = 'tpu' is not a device; expected 'cpu', 'cuda'"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_meant_is_refused(option, error, message, tmp_path):
    with pytest.raises(error, match=message):
        meta_run(run_dir=tmp_path / "run", **option)
    assert not [*tmp_path.iterdir()], "nothing was written"


def test_the_least_budget_is_enough():
    assert meta_run(total_timesteps=3).total_timesteps == 1
    population = {"strategy": "param_noise", "population_size": 4}
    assert meta_run(total_timesteps=12, **population).total_timesteps == 4


def test_a_family_without_splits_is_refused_by_its_name_and_learned_from_by_its_tasks():
    @dataclass(frozen=True)
    class SplitlessVel(FAMILIES["cheetah-vel"]):
        name: ClassVar[str] = "splitless-vel"

    register(SplitlessVel)
    try:
        with pytest.raises(ConfigError, match=r"'splitless-vel' names no split; .* this family has none"):
            meta_run("splitless-vel")
        tasks = [Task("splitless-vel", {"velocity": velocity}) for velocity in (1.0, 2.0)]
        assert len(meta_run(tasks, n_tasks=None, total_timesteps=4).adapters) == 2
    finally:
        del FAMILIES["splitless-vel"], gymnasium.registry["apb/SplitlessVel-v0"]


# --- run folders of something else -----------------------------------------------------------------------------------


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def edit_config(run_dir, change):
    path = run_dir / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def test_a_run_folder_that_is_full_is_left_alone(tmp_path):
    run(run_dir=tmp_path / "run", total_timesteps=20)
    before = contents(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"is not empty .*; expected a new or empty folder"):
        meta_run(run_dir=tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_a_run_folder_in_use_is_left_alone(tmp_path):
    class ResumeInside(Callback):
        def on_step(self, state):
            with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()}"):
                resume(state.run_dir)

    meta_run(run_dir=tmp_path / "run", total_timesteps=6, callback=ResumeInside())
    with RunFolder.open(tmp_path / "run").lock():
        before = contents(tmp_path / "run")
        with pytest.raises(RunFolderError, match="in use by process"):
            resume(tmp_path / "run")
        assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda config: config.update(job="adapt"), FileFormatError, "is not the configuration of an adaptation: .*"),
        (lambda config: config.update(job="distil"), MismatchError, "expected 'adapt' or 'meta_train'"),
        (lambda config: config["settings"].update(max_grad_norm=1.0), MismatchError, "belongs to config_hash"),
        (lambda config: config["settings"].update(n_tasks=2), MismatchError, "belongs to config_hash"),
        (lambda config: config["settings"].update(n_tasks=1), FileFormatError, "a meta-training: n_tasks = 1 is out"),
        (
            lambda config: config["env_identity"]["kwargs"]["tasks"].pop(),
            InvalidEnvError,
            "the recorded tasks of env .* pass the env again",
        ),
    ],
)
def test_a_run_of_another_job_options_or_tasks_is_not_continued_and_nothing_of_it_is_lost(
    change, error, message, tmp_path
):
    with pytest.raises(Crash):
        meta_run(FALLING, run_dir=tmp_path / "run", checkpoint_freq=20, callback=CrashAt(50))
    edit_config(tmp_path / "run", change)
    before = contents(tmp_path / "run")
    with pytest.raises(error, match=message):
        resume(tmp_path / "run")
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("option", ["n_tasks", "total_timesteps", "max_grad_norm", "n_seeds", "tasks"])
def test_what_is_fixed_when_a_run_starts_is_not_taken_by_a_resume(option, tmp_path):
    meta_run(run_dir=tmp_path / "run", total_timesteps=6)
    with pytest.raises(UnknownNameError, match=rf"resume\(\) has no option '{option}'; the budget and the other"):
        resume(tmp_path / "run", **{option: 3})


def test_a_run_goes_on_only_in_its_own_tasks_and_from_its_own_backbone(tmp_path):
    with pytest.raises(Crash):
        meta_run(FALLING, run_dir=tmp_path / "run", checkpoint_freq=20, callback=CrashAt(50))
    with pytest.raises(MismatchError, match="differ in kwargs"):
        resume(tmp_path / "run", env=FALLING[::-1])
    Backbone.random(5, input_size=12, hidden_sizes=(32, 32)).save_pretrained(tmp_path / "other")
    for path in (tmp_path / "other").iterdir():
        (tmp_path / "run" / "backbone" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(MismatchError, match="backbone_hash"):
        resume(tmp_path / "run")
