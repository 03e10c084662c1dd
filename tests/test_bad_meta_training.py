"""What `meta_train` refuses, before any work is lost: tasks, options and run folders that cannot be meant."""

import json
import logging
import os
from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import pytest
from adapt_runs import run
from apb import (
    Backbone,
    Callback,
    ConfigError,
    FileFormatError,
    InvalidEnvError,
    MismatchError,
    RunFolderError,
    UnknownNameError,
    resume,
)
from apb.runs import RunFolder
from apb.tasks import FAMILIES, Task, get, register
from crashes import Crash, CrashAt
from meta_runs import FALLING, SPLIT, meta_run

# --- what cannot be meant --------------------------------------------------------------------------------------------


LIST = [f"{SPLIT}/train:3", f"{SPLIT}/train:4"]


@pytest.mark.parametrize(
    ("tasks", "n_tasks", "error", "message"),
    [
        ([], None, ConfigError, r"tasks = \[\] has 0 train tasks; expected at least 2"),
        ([LIST[0]], None, ConfigError, r"tasks = \['.*:3'\] has 1 train task; expected at least 2.*`apb adapt`"),
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
        ([LIST[0], LIST[0]], None, ConfigError, f"{SPLIT}/train:3 twice; expected different ones"),
        ("Hopper-v5,Walker2d-v5", None, ConfigError, "one name; .* in a shell with spaces .*: Hopper-v5 Walker2d-v5$"),
        (["Ant-v5", f"{SPLIT}, Hopper-v5"], None, ConfigError, f"one name; .* spaces between them: {SPLIT} Hopper-v5$"),
        ([LIST[0], 4], None, InvalidEnvError, "4 .*; expected "),
        ([LIST[0], f"{SPLIT}/train:100"], None, UnknownNameError, "has 100 tasks; expected a number from 0 to 99"),
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
        ({"normalize_observations": True}, UnknownNameError, r"no option 'normalize_observations'.* known: "),
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


def test_a_run_folder_that_is_full_is_left_alone_and_told_before_anything_is_announced(tmp_path, caplog):
    run(run_dir=tmp_path / "run", total_timesteps=20)
    before = contents(tmp_path / "run")
    caplog.set_level(logging.INFO, "apb")
    with pytest.raises(RunFolderError, match=r"is not empty .*; expected a new or empty folder"):
        meta_run(run_dir=tmp_path / "run")
    assert contents(tmp_path / "run") == before
    assert not caplog.records


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
