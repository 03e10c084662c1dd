"""`meta_train` learns one backbone over many tasks and continues exactly."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import apb
import numpy as np
import pytest
from adapt_runs import run
from apb import (
    Backbone,
    FileFormatError,
    MetaResult,
    SimulationError,
    meta_train,
    resume,
)
from apb.environments import EnvSource
from apb.loop import LearningLoop
from apb.meta_training import job as meta_job
from apb.meta_training.lists import lists_of
from apb.meta_training.settings import MetaSettings
from apb.meta_training.tasks import train_tasks
from apb.runner import run_to_end
from apb.runs import StopSignals
from apb.tasks import get
from apb.tasks.splits import LISTS
from crashes import Crash, CrashAt, StopAt
from learning import SMALL, same_arrays, small_backbone
from meta_runs import FALLING, SPLIT, meta_run
from run_files import assert_same_outcome, outcome

CONTINUED = {"checkpoint_freq": 30, "eval_freq": 35, "n_eval_episodes": 1, "log_freq": 20, "learning_starts": 40}
"""Options of a run that is cut: of 100 timesteps of each task, with checkpoints, evaluations and records in them."""


EMPTY = {"name": SPLIT, "sha256": None, **{name: [] for name in LISTS}}
"""The record of a split without tasks."""


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
    names = ["hopper-mass/tavt/train:0", "hopper-mass/tavt/train:1", "hopper-mass/tavt/train:2"]
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


def test_train_tasks_that_are_evenly_spread_over_the_list_of_a_split_are_used():
    result = meta_run(n_tasks=2)
    assert [lane["task"] for lane in result.lanes] == [f"{SPLIT}/train:0", f"{SPLIT}/train:50"]
    assert adapters_of(meta_run(get(SPLIT), n_tasks=2)) == adapters_of(result)
    assert adapters_of(meta_run(list(get(SPLIT).train[::50]), n_tasks=2)) == adapters_of(result)
    assert adapters_of(meta_run([f"{SPLIT}/train:{number}" for number in (0, 50)], n_tasks=None)) == adapters_of(result)


@pytest.mark.parametrize("count", [2, 3, 7, 34, 35])
def test_of_an_ordered_list_tasks_from_all_of_it_are_used(count):
    split = get("ant-negated-joints/mier")
    _, chosen = train_tasks(split, count)
    numbers = [split.train.index(task) for task in chosen]
    assert len(set(numbers)) == count
    assert set(np.diff([*numbers, 35])) <= {35 // count, -(-35 // count)}


def test_lanes_draw_what_no_adaptation_with_a_small_seed_draws():
    seeds = [seed for run in (0, 1) for (seed,) in MetaSettings(seed=run).lane_seeds(20)]
    assert len(set(seeds)) == 40
    assert min(seeds) > 10_000


def test_without_a_number_twenty_tasks_are_used_or_all_there_are():
    assert len(meta_run(n_tasks=None, total_timesteps=20).lanes) == 20
    assert len(meta_run("cheetah-permuted-joints/swaps", n_tasks=None, total_timesteps=6).lanes) == 6
    assert len(meta_run(f"{SPLIT}/train", n_tasks=None, total_timesteps=100).lanes) == 100


def test_a_split_or_a_family_in_a_list_stands_for_the_tasks_that_it_stands_for_alone():
    alone = [task for name in (SPLIT, "cheetah-vel/tavt", "ant-goal") for task in train_tasks(name, None)[1]]
    _, chosen = train_tasks([SPLIT, get("cheetah-vel/tavt"), "ant-goal", "Hopper-v5"], None)
    assert chosen == [*alone, "Hopper-v5"]
    assert len(train_tasks([f"{SPLIT}/train", "Hopper-v5"], None)[1]) == 101


@pytest.mark.parametrize(
    "tasks", [[f"{SPLIT}:0", f"{SPLIT}:1"], f"{SPLIT}/test", [get(SPLIT).ood[0], get(SPLIT).ood[1]]]
)
def test_tasks_that_are_kept_to_be_tested_on_are_told(tasks):
    with pytest.warns(
        apb.ApbWarning, match=rf"meta-training on {SPLIT}/(ood|test):0.*Expected tasks of the list train"
    ):
        train_tasks(tasks, None)


def test_a_familys_name_stands_for_its_first_split():
    first = apb.tasks.splits_of("cheetah-vel")[0]
    assert [lane["task"] for lane in meta_run("cheetah-vel").lanes] == [
        f"cheetah-vel/{first}/train:{number}" for number in (0, 33, 66)
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
    assert (config["split"]["name"], config["split"]["sha256"]) == (SPLIT, get(SPLIT).hash)
    assert lists_of(config["split"], "here") == {name: getattr(get(SPLIT), name) for name in LISTS}
    assert config["tasks"] == [f"{SPLIT}/train:{number}" for number in range(0, 100, 5)]
    assert config["settings"]["n_tasks"] == 20
    assert config["backbone_hash"] == small_backbone().hash
    meta_run(FALLING, total_timesteps=6, run_dir=tmp_path / "listed")
    assert json.loads((tmp_path / "listed" / "config.json").read_text())["split"] is None


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"reset_interval": 30},
        {"strategy": "param_noise", "population_size": 4},
        {"strategy": "adaptive_param_noise"},
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
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
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
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_a_run_that_crashed_before_its_first_checkpoint_begins_again(tmp_path):
    meta_run(FALLING, run_dir=tmp_path / "whole", **CONTINUED)
    with pytest.raises(Crash):
        meta_run(FALLING, run_dir=tmp_path / "cut", callback=CrashAt(10), **CONTINUED)
    resume(tmp_path / "cut")
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path):
    first = meta_run(FALLING, run_dir=tmp_path / "run", **CONTINUED)
    before = outcome(tmp_path / "run")
    again = resume(tmp_path / "run")
    assert_same_outcome(outcome(tmp_path / "run"), before)
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
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_a_split_of_ones_own_is_evaluated_on_its_own_lists_and_has_no_published_hash(tmp_path):
    own = replace(get(SPLIT), train=get(SPLIT).test[:2], ood=get(SPLIT).ood[:1], name="mine")
    changed = replace(get(SPLIT), test=get(SPLIT).test[:3])
    for number, split in enumerate((own, changed, get(SPLIT), get(SPLIT, include_torso_position=False))):
        with warnings.catch_warnings(action="ignore"):
            run_dir = tmp_path / str(number)
            result = meta_run(split, n_tasks=2, run_dir=run_dir, eval_freq=100, n_eval_episodes=1)
        told = json.loads((run_dir / "config.json").read_text())["split"]
        published = split not in (own, changed)
        assert (told["name"], told["sha256"]) == (str(split), get(SPLIT).hash if published else None)
        for name in ("test", "ood"):
            assert result.zero_shot[name].tasks == tuple(map(str, getattr(split, name)))


@pytest.fixture(scope="module")
def begun_once(tmp_path_factory):
    path = tmp_path_factory.mktemp("begun") / "run"
    meta_run(FALLING, run_dir=path, callback=StopAt(67), **CONTINUED)
    (path / "result.json").unlink()
    return path


@pytest.fixture
def begun(begun_once, tmp_path):
    """A run that has something left to do, to be changed."""
    return shutil.copytree(begun_once, tmp_path / "run")


@pytest.mark.parametrize(
    "split",
    [
        {},
        "x",
        [1],
        {"name": SPLIT},
        EMPTY | {"ood": 3},
        {name: value for name, value in EMPTY.items() if name != "train"},
        EMPTY | {"train": [{"family": "no-such", "arguments": {}, "label": None}]},
        EMPTY | {"test": [{"family": "cheetah-vel", "arguments": {"x": 1}, "label": None}]},
    ],
    ids=str,
)
def test_a_damaged_record_of_the_split_is_told_before_anything_is_trained(begun, split):
    path = begun / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split": split}))
    with pytest.raises(FileFormatError, match=r"split in config\.json|config\.json has 'split'"):
        resume(begun)


def test_a_configuration_without_a_record_of_the_split_is_told_too(begun):
    path = begun / "config.json"
    config = json.loads(path.read_text())
    del config["split"]
    path.write_text(json.dumps(config))
    with pytest.raises(FileFormatError, match=r"config\.json has no 'split'"):
        resume(begun)


def test_a_failure_of_the_last_evaluation_leaves_the_backbone_and_a_resume_makes_it_again(tmp_path, monkeypatch):
    def blown_up(*arguments, **options):
        raise SimulationError("simulation of lane 3 blew up")

    options = {"n_tasks": 2, "eval_freq": 100, "n_eval_episodes": 1}
    with monkeypatch.context() as patched:
        patched.setattr(meta_job, "returns_on", blown_up)
        with pytest.raises(SimulationError, match=r"blew up; .*checkpoint.*`apb resume"):
            meta_run(run_dir=tmp_path / "run", **options)
    kept = Backbone.from_pretrained(tmp_path / "run" / "pretrained")
    assert kept.adapters is not None
    assert not (tmp_path / "run" / "result.json").exists()
    again = resume(tmp_path / "run")
    assert again.backbone.hash == kept.hash
    assert set(again.zero_shot) == {"train", "test", "ood"}
    assert set(Backbone.from_pretrained(tmp_path / "run" / "pretrained").metadata["returns"]) == set(again.zero_shot)


def test_a_signal_in_the_last_evaluation_stops_it_and_a_resume_makes_it(tmp_path, monkeypatch):
    returns_on = meta_job.returns_on

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return returns_on(*arguments, **options)

    options = {"n_tasks": 2, "eval_freq": 100, "n_eval_episodes": 1}
    with monkeypatch.context() as patched:
        patched.setattr(meta_job, "returns_on", interrupted)
        stopped = meta_run(run_dir=tmp_path / "run", **options)
    assert stopped.stopped_by == "SIGINT"
    assert not stopped.zero_shot
    whole = resume(tmp_path / "run")
    assert whole.stopped_by == "budget"
    assert whole.zero_shot["ood"].mean == meta_run(**options).zero_shot["ood"].mean


def test_a_run_goes_on_with_its_replay_on_disk(tmp_path):
    whole = meta_run(FALLING, run_dir=tmp_path / "whole", **CONTINUED)
    meta_run(FALLING, run_dir=tmp_path / "cut", callback=StopAt(51), **CONTINUED)
    result = resume(tmp_path / "cut", callback=StopAt(10**9), replay_on_disk=True)
    assert adapters_of(result) == adapters_of(whole)
