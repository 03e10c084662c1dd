"""Where a run lies is settled when it starts: no change of folder, odd name, full disk or other process loses it."""

import errno
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import apb
import gymnasium
import pytest
from adapt_runs import run as adapted
from apb import ConfigError, RunFolderError, saved_policies
from apb.files import atomic
from apb.runs import CheckpointWriter, RunFolder, checkpoint, load_checkpoint
from cli_runs import FAST, PointEnv
from policies import make_policy
from toy_run import IDENTITY, assert_loads, save, saved


class Wanderer(PointEnv):
    """Changes the current folder, at its making and in the middle of an episode."""

    def __init__(self):
        super().__init__()
        os.chdir("/")

    def step(self, action):
        os.chdir("/")
        return super().step(action)


def test_an_env_that_changes_the_current_folder_does_not_move_the_run(here):
    options = {"total_timesteps": 70, "eval_freq": 30, "n_eval_episodes": 1, "checkpoint_freq": 20}
    result = adapted(lambda: gymnasium.wrappers.TimeLimit(Wanderer(), 20), run_dir="runs/a", **options)
    assert result.run_dir == here / "runs" / "a"
    assert RunFolder.open(here / "runs" / "a").result.is_file()
    assert load_checkpoint(RunFolder.open(here / "runs" / "a")).step == 70


# --- names that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "expected that of a file or folder"),
        ("a\0b", "has a NUL character in it"),
        (3, "is a int; expected text or a pathlib.Path"),
        (b"a", "is a bytes"),
    ],
    ids=repr,
)
def test_what_no_folder_can_be_called_is_refused(name, words, here):
    made = []
    with pytest.raises(ConfigError, match=words):
        adapted(lambda: made.append(PointEnv()) or made[0], run_dir=name)
    assert made == []
    for use in (apb.resume, apb.Policy.from_pretrained, apb.Backbone.from_pretrained, make_policy().save_pretrained):
        with pytest.raises(ConfigError, match=words):
            use(name)


def test_a_name_that_no_terminal_can_show_does_not_fail_a_run(here):
    command = [Path(sys.executable).with_name("apb"), "adapt", "Pendulum-v1", "--total-timesteps=70", *FAST]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([*command, b"--run-dir=runs/\xfe"], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"policy: runs/\\udcfe/checkpoints/000000070/policy" in done.stdout


# --- a folder in the making ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["system_info.json", "backbone", "config.json"])
def test_a_disk_that_fills_while_the_folder_is_made_leaves_a_folder_to_begin_in(moment, here, monkeypatch):
    def full(path):
        if path.parent.name == "run" and path.name == moment:
            raise OSError(errno.ENOSPC, "No space left on device")
        return beside(path)

    beside = atomic._temporary_beside
    monkeypatch.setattr(atomic, "_temporary_beside", full)
    with pytest.raises(RunFolderError, match=r"cannot be written: .*No space left on device.*make room"):
        adapted(run_dir="run")
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert Path("run/command.txt").is_file()
    assert adapted(run_dir="run").stopped_by == "budget"


def test_a_saved_backbone_in_the_place_of_a_run_is_left_alone(here):
    apb.Backbone.random(0).save_pretrained("run/backbone")
    with pytest.raises(RunFolderError, match="not empty"):
        adapted(run_dir="run")


# --- others that read and write at the same time ---------------------------------------------------------------------


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_looked_for_anew(run, monkeypatch):
    writer = saved(run, 5, keep_last=1)
    load, later = checkpoint._load, [10, 15, 20]

    def overtaken(*arguments):
        if later:
            save(writer, later.pop(0))
        return load(*arguments)

    monkeypatch.setattr(checkpoint, "_load", overtaken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_checkpoint(RunFolder.open(run.path)).step == 20


def test_a_policy_that_is_deleted_before_it_is_read_is_looked_for_anew(finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "run")
    newest, gone = load_checkpoint(RunFolder.open(folder)).path, tmp_path / "gone"
    looked_for = []

    def look(run):
        if gone.exists():
            gone.rename(newest)
        looked_for.append(load_checkpoint(run))
        return looked_for[-1]

    def read(*given):
        if len(looked_for) == 1:
            newest.rename(gone)
        return load(*given)

    load = saved_policies._load
    monkeypatch.setattr(saved_policies, "load_checkpoint", look)
    monkeypatch.setattr(saved_policies, "_load", read)
    assert [saved.seed for saved in saved_policies.find_policies(folder)] == [3, 4]
    assert len(looked_for) == 2


def test_a_folder_in_the_place_of_latest_is_moved_aside_and_the_newest_checkpoint_taken(run):
    saved(run, 5, 10)
    latest = run.checkpoints / "LATEST"
    latest.unlink()
    latest.mkdir()
    (latest / "mine").write_text("text")
    with pytest.warns(apb.ApbWarning, match="LATEST is missing or damaged; taking the newest"):
        parent = load_checkpoint(run)
    assert parent.step == 10
    save(CheckpointWriter(run, IDENTITY, parent=parent), 15)
    assert_loads(run, 15)
    assert (run.checkpoints / "LATEST.moved-1" / "mine").read_text() == "text"
