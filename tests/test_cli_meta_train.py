"""What `apb meta-train` and `apb backbones` promise: results for people and for programs, and the next commands."""

import contextlib
import io
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import apb
import gymnasium
import numpy as np
import pytest
from apb.backbone import Backbone
from apb.cli import main
from apb.cli.summary import RunSummary
from apb.resampling import tasks_of_reset
from apb.runs import RunFolder, short_path
from apb.tasks import get
from cli_runs import call
from crashes import StopAt
from gymnasium.envs.registration import EnvSpec
from meta_runs import meta_run
from sized_envs import SizedEnv

SPLIT = "cheetah-vel/mier-hard"
FEW = ["--n-tasks=2", "--learning-starts=20", "--batch-size=8", "--num-threads=1", "--eval-freq=30"]
FEW += ["--n-eval-episodes=1", "--total-timesteps=80"]

OWN = [partial(SizedEnv, (3,)), partial(SizedEnv, (4,), (2,))]
OWN_IDS = ["Gone-v0", "AlsoGone-v0"]
"""Functions that make envs of a user's own, and ids that a module of theirs registers for them."""


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A folder in which a backbone was meta-trained, the run in it, and what the command printed."""
    here, printed = tmp_path_factory.mktemp("meta-train"), io.StringIO()
    with contextlib.chdir(here), contextlib.redirect_stdout(printed):
        assert main(["meta-train", SPLIT, *FEW]) == 0
    return here, Path("runs") / "cheetah-vel-mier-hard-meta-train-1", printed.getvalue()


@pytest.fixture
def trained(once, tmp_path, monkeypatch):
    """The same in a folder of the test's own, to be changed: what the command printed, and the run."""
    here, run, printed = once
    shutil.copytree(here, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return printed, tmp_path / run


def test_meta_train_ends_with_returns_on_all_lists_and_a_backbone_that_adapt_takes(trained, capsys):
    printed, run = trained
    for words in (f"{SPLIT}/train:0", f"{SPLIT}/train:50", "test", "ood", "nearest train task", "40 steps per task"):
        assert words in printed
    *_, show, adapt = (line.split() for line in printed.strip().splitlines())
    assert "kind" in call(capsys, *show[1:], "--json").out
    assert adapt[:2] == ["apb", "adapt"]
    assert adapt[2] in Backbone.from_pretrained(run / "pretrained").metadata["returns"]["ood"]["tasks"]
    assert adapt[-3:] == ["--adapter-init", "nearest", "--controls"]
    options = ["--total-timesteps=30", "--learning-starts=20", "--policy-starts=0", "--batch-size=8", "--eval-freq=0"]
    again = call(capsys, *adapt[1:], *options, "--json")
    assert again.code == 0
    policy = apb.Policy.from_pretrained(json.loads(again.out)["policy"])
    assert policy.backbone.hash == Backbone.from_pretrained(run / "pretrained").hash
    assert list(again.json["controls"]["runs"]) == ["this run", "random backbone", "plain TD3"]


def test_the_screen_names_the_tasks_counts_steps_in_one_way_and_announces_the_final_evaluation(here, capsys):
    said = call(capsys, "meta-train", SPLIT, *FEW)
    title = "2 tasks of cheetah-vel/mier-hard, meta-training"
    header, *lines = [line for line in said.err.splitlines() if "replay" not in line]
    assert header.startswith(f"{title}, 40 steps per task, 80 in all, run folder runs/")
    for steps in (0, 30, 40):
        assert any(
            re.match(rf"{steps} steps per task: eval \S+ \(train:0 \S+, train:50 \S+\)$", line) for line in lines
        )
    assert any(line.startswith(f"{title}: 80/80 steps, ") for line in lines)
    assert lines[-1] == f"{title}: final evaluation on 62 tasks", "2 train, 30 test and 30 OOD tasks"
    assert "40 steps per task, 80 in all: " in said.out


def test_a_family_alone_is_told_as_its_first_split_on_the_screen_and_in_the_name_of_the_folder(here, capsys):
    said = call(capsys, "meta-train", "cheetah-vel", *FEW, "--eval-freq=0")
    assert "2 tasks of cheetah-vel/pearl, meta-training, " in said.err
    assert [folder.name for folder in (here / "runs").iterdir()] == ["cheetah-vel-pearl-meta-train-1"]
    assert "2 tasks of cheetah-vel/pearl, " in said.out
    (backbone,) = (here / "runs").glob("*/pretrained")
    assert (
        "# Backbone meta-trained on 2 tasks of cheetah-vel/pearl\n" in call(capsys, "backbones", "show", backbone).out
    )


def test_a_resumed_meta_training_has_the_title_that_it_had(here, capsys):
    meta_run(n_tasks=2, total_timesteps=80, run_dir="run", callback=StopAt(30))
    header = call(capsys, "resume", "run").err
    assert "2 tasks of cheetah-vel/mier-hard, meta-training, 40 steps per task, 80 in all, run folder run\n" in header


def test_the_result_for_programs_has_the_returns_of_each_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    told = json.loads(call(capsys, "meta-train", SPLIT, *FEW, "--json").out)
    assert told["tasks"] == [f"{SPLIT}/train:0", f"{SPLIT}/train:50"]
    assert {name: len(each["returns"]) for name, each in told["zero_shot"].items()} == {
        "train": 2,
        "test": 30,
        "ood": 30,
    }
    assert told["timesteps"] == 40


def test_tasks_are_resampled_and_the_returns_are_those_of_the_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = [*FEW, "--total-timesteps=130", "--reset-interval=22", "--resample-tasks"]
    told = call(capsys, "meta-train", SPLIT, *few, "--json").json
    last = [str(task) for task in tasks_of_reset(2, get(SPLIT).train, 2, 0)]
    assert told["tasks"] == last
    run = told["run_dir"]
    assert json.loads((tmp_path / run / "config.json").read_text())["tasks"] == [f"{SPLIT}/train:{n}" for n in (0, 50)]
    shown = call(capsys, "resume", run)
    assert shown.code == 0
    assert all(name in shown.out for name in last)
    assert call(capsys, "plot", run).code == 0
    (tmp_path / run / "result.json").unlink()
    assert call(capsys, "resume", run, "--json").json["final"] == told["final"]


def test_of_a_stopped_run_the_latest_evaluation_is_shown_of_the_tasks_that_are_under_way(tmp_path):
    options = {"resample_tasks": True, "reset_interval": 20, "learning_starts": 10, "eval_freq": 20}
    stopped = {"n_eval_episodes": 1, "callback": StopAt(50)}
    meta_run(run_dir=tmp_path / "run", total_timesteps=180, **options, **stopped)
    summary = RunSummary.read(RunFolder.open(tmp_path / "run"))
    assert [task for task, _ in summary.lanes] == [str(task) for task in tasks_of_reset(2, get(SPLIT).train, 3, 0)]
    assert {record["timesteps"] for record in summary.latest.values()} == {40}
    assert not set(summary.lanes) & set(summary.latest), "those are of the tasks before"
    shown = summary.to_json()
    assert shown["untrained"] == [None] * 3
    assert summary.shown([])


def test_the_help_tells_of_resampled_tasks(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(call(capsys, "meta-train", "--help").out.replace("│", " ").split())
    assert "--resample-tasks At each reset (`reset_interval`) take other train tasks of the split" in text


def test_of_a_meta_training_that_has_ended_nothing_is_left_to_do(trained, capsys):
    _, run = trained
    assert "its budget of 40 steps" in call(capsys, "resume", run).out


@pytest.mark.parametrize(
    ("envs", "hint"),
    [
        (OWN, "no command can name such a list; in Python `apb.resume(RUN, env=[...])` takes it again."),
        ([OWN[0], "Pendulum-v1"], "no command can name such a list; in Python `apb.resume(RUN, env=[...])` takes it"),
        (OWN_IDS, "give one env of the list after the path; `module:Gone-v0` imports the module that registers it."),
    ],
    ids=["functions", "a function and an id", "ids"],
)
def test_what_a_resume_in_a_list_of_envs_lacks_is_told_and_only_if_something_is_left_to_do(
    envs, hint, here, capsys, monkeypatch
):
    with monkeypatch.context() as imported:
        for env_id, env in zip(OWN_IDS, OWN, strict=True):
            imported.setitem(gymnasium.registry, env_id, EnvSpec(env_id, env))
        for run_dir, stop in (("stopped", 30), ("ended", 10**9)):
            meta_run(envs, n_tasks=None, total_timesteps=80, run_dir=run_dir, callback=StopAt(stop))
    stopped, ended = call(capsys, "resume", "stopped"), call(capsys, "resume", "ended")
    assert stopped.code == 2
    assert stopped.err.splitlines()[-1].startswith(f"Here: {hint}")
    assert ended.code == 0
    assert "Here:" not in ended.out


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda folder: os.truncate(folder / "model.safetensors", 100)])
def test_a_finished_backbone_that_is_gone_or_damaged_is_made_again_by_a_resume(trained, capsys, damage):
    _, run = trained
    made = Backbone.from_pretrained(run / "pretrained").hash
    damage(run / "pretrained")
    called = call(capsys, "resume", run, "--json")
    assert called.code == 0
    assert Backbone.from_pretrained(run / "pretrained").hash == made
    assert called.json["backbone"] == str(short_path(run / "pretrained"))


def test_a_finished_backbone_is_not_written_through_a_link_that_leads_nowhere(trained, capsys, tmp_path):
    _, run = trained
    shutil.rmtree(run / "pretrained")
    (run / "pretrained").symlink_to(tmp_path / "elsewhere")
    refused = call(capsys, "resume", run)
    assert refused.code == 2
    assert "pretrained is a link to" in refused.err
    assert not (tmp_path / "elsewhere").exists()
    (run / "pretrained").unlink()
    assert call(capsys, "resume", run).code == 0
    Backbone.from_pretrained(run / "pretrained")


@pytest.mark.parametrize(
    "damaged", ["x", {"train": 5}, {"train": {"mean": "x", "adapters": "own", "returns": []}}], ids=str
)
def test_damaged_returns_in_the_result_are_told(trained, capsys, damaged):
    _, run = trained
    path = run / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"zero_shot": damaged}))
    called = call(capsys, "resume", run)
    assert called.code == 2
    assert "zero_shot" in called.err
    assert "writes it again" in called.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cheeta-vel/mier-hard"], "did you mean 'cheetah-vel'"),
        (["cheetah-vel/mier-hrd"], "did you mean 'mier-hard'"),
        ([f"{SPLIT}:3"], "expected a split"),
        ([SPLIT, "--n-tasks", "1"], "n_tasks = 1; expected 2 to 100"),
        ([SPLIT, "--n-tasks", "101"], "expected 2 to 100, as many as"),
        ([SPLIT, "--resample-tasks"], "resample_tasks = True without reset_interval"),
        ([SPLIT, "--n-seeds", "2"], "--n-seeds"),
        ([SPLIT, "--backbone", "no-such"], "no-such"),
        ([SPLIT, "--backbone", ""], "= '' is no name"),
        ([SPLIT, "--backbone", "no-such", "--reading", "A"], "--reading A describes a random backbone"),
        ([], "expects SPLIT"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    called = call(capsys, "meta-train", *arguments)
    assert called.code == 2
    assert words in " ".join(called.err.replace("│", " ").split())
    assert "Traceback" not in called.err
    assert not list(tmp_path.iterdir())


def test_backbones_lists_what_the_package_ships(capsys):
    called = call(capsys, "backbones")
    assert called.code == 0
    assert "cheetah-vel" in apb.shipped.shipped()
    for name in apb.shipped.shipped():
        backbone = Backbone.from_pretrained(name)
        start = " --adapter-init nearest" if backbone.adapters else ""
        ood = backbone.metadata["returns"].get("ood")
        task = ood["tasks"][np.argmax(ood["returns"])] if ood else "ENV"
        assert f"  apb adapt {task} --backbone {name}{start} --controls" in called.out.splitlines()


def test_a_backbone_that_keeps_no_adapters_is_not_suggested_with_a_beginning_that_needs_them(here, capsys):
    meta_run(OWN, n_tasks=None, total_timesteps=80, run_dir="run")
    kept = Path("run", "pretrained")
    assert call(capsys, "resume", "run").out.endswith(f"\n  apb adapt ENV --backbone {kept} --controls\n")


def test_the_card_of_a_folder_is_shown(trained, capsys):
    _, run = trained
    called = call(capsys, "backbones", "show", run / "pretrained")
    for words in ("2 tasks of cheetah-vel", SPLIT, "Intended use and limits"):
        assert words in called.out


def test_backbones_names_the_split_that_each_was_trained_on(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = call(capsys, "backbones").out
    for folder in apb.shipped.shipped().values():
        told = Backbone.from_pretrained(folder).metadata
        split = told["split"]
        assert (f"{told['n_tasks']} tasks of {split['name']}" if split else told["tasks"]) in out


@pytest.mark.parametrize("arguments", [["show"], ["show", "a", "b"], ["a", "b"]])
def test_other_words_than_show_and_a_name_are_refused(capsys, arguments):
    called = call(capsys, "backbones", *arguments)
    assert called.code == 2
    assert "expected nothing, or `show` and one name or folder; the package has " in called.err
    assert all(name in called.err for name in apb.shipped.shipped())
