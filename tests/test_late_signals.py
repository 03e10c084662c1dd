"""A signal that comes in an evaluation, or after the budget is spent, ends the run in order; a resume makes up for the
evaluation."""

import json
import os
import signal

import pytest
from adapt_runs import run
from apb import ApbWarning, Callback, resume
from cli_runs import ENV, FAST, PointEnv, call
from run_files import assert_same_outcome, outcome

OPTIONS = {"total_timesteps": 70, "eval_freq": 70, "n_eval_episodes": 2, "checkpoint_freq": 0, "learning_starts": 60}


class SignalAtCheckpoint(Callback):
    def __init__(self, number):
        self.number = number

    def on_checkpoint(self, state, path):
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_last_save_leaves_the_final_evaluation_to_a_resume(number, here):
    whole = run(ENV, run_dir="whole", **OPTIONS)
    stopped = run(ENV, run_dir="cut", callback=SignalAtCheckpoint(number), **OPTIONS)
    assert (stopped.stopped_by, stopped.total_timesteps, stopped.final) == (signal.Signals(number).name, 70, ())
    assert json.loads((here / "cut" / "result.json").read_text())["final"] == []
    resumed = resume("cut")
    assert (resumed.stopped_by, resumed.evaluations) == ("budget", whole.evaluations)
    assert [final.to_json() for final in resumed.final] == [final.to_json() for final in whole.final]


def test_a_signal_in_the_final_evaluation_ends_it_at_once_with_exit_code_75(here, monkeypatch, capsys):
    options = ("adapt", ENV, "--total-timesteps", 80, *FAST)
    monkeypatch.setattr(PointEnv, "steps_of_all", 0)
    whole = call(capsys, *options, "--run-dir", "whole", "--json").json
    steps = PointEnv.steps_of_all
    monkeypatch.setattr(PointEnv, "steps_of_all", 0)
    monkeypatch.setattr(PointEnv, "stop_at", steps - 20)
    stopped = call(capsys, *options, "--run-dir", "parts")
    assert stopped.code == 75
    assert PointEnv.steps_of_all < steps - 15, "no episode is played to its end"
    assert "stopped by SIGTERM" in stopped.out
    assert "apb resume parts" in stopped.out
    resumed = call(capsys, "resume", "parts", "--json")
    assert resumed.code == 0
    assert resumed.json["final"] == whole["final"]
    assert resumed.json["stopped_by"] == "budget"


EVERY_40 = OPTIONS | {"total_timesteps": 120, "eval_freq": 40, "learning_starts": 60, "batch_size": 8, "keep_last": 1}


@pytest.mark.parametrize(
    "stop_at",
    [
        pytest.param(7, id="before anything is learned"),
        pytest.param(40 + 40 + 7, id="on the way"),
        pytest.param(4 * 40 + 2 * 40 + 7, id="at the end"),
    ],
)
def test_a_signal_in_an_evaluation_leaves_it_to_a_resume(stop_at, here, monkeypatch):
    whole = run(ENV, run_dir="whole", **EVERY_40)
    monkeypatch.setattr(PointEnv, "steps_of_all", 0)
    monkeypatch.setattr(PointEnv, "stop_at", stop_at)
    stopped = run(ENV, run_dir="cut", **EVERY_40)
    assert stopped.stopped_by == "SIGTERM"
    assert PointEnv.steps_of_all <= stop_at + 1, "no episode is played to its end"
    assert stopped.evaluations == whole.evaluations[: len(stopped.evaluations)] != whole.evaluations
    assert resume("cut").evaluations == whole.evaluations
    assert_same_outcome(outcome("cut"), outcome("whole"))


def test_an_evaluation_is_made_to_its_end_where_the_run_cannot_be_saved_yet(here, monkeypatch):
    options = EVERY_40 | {"eval_freq": 30}  # in the middle of an episode
    whole = run(ENV, run_dir="whole", **options)
    monkeypatch.setattr(PointEnv, "steps_of_all", 0)
    monkeypatch.setattr(PointEnv, "stop_at", 40 + 30 + 7)
    with pytest.warns(ApbWarning, match="the run goes on to the end of one"):
        stopped = run(ENV, run_dir="cut", **options)
    assert (stopped.stopped_by, stopped.total_timesteps) == ("SIGTERM", 40)
    assert stopped.evaluations == whole.evaluations[:2]
    resume("cut")
    assert_same_outcome(outcome("cut"), outcome("whole"))
