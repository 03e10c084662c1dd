"""What `apb pretrain` promises: what was covered, for people and for programs, and the next commands."""

import json
import shutil

import pytest
from apb import Backbone
from apb.cli import EXIT_USER_ERROR, main
from apb.cli.summary import RunSummary
from apb.runs import EXIT_STOPPED, RunFolder
from apb.saved_policies import find_policies
from cli_runs import ENV, FAST, PointEnv, call

FEW = ["--total-timesteps=120", *FAST]
SEEDS = ["--n-seeds=2", "--seed=3"]


def test_it_ends_with_what_was_covered_and_the_env_s_own_reward_as_what_it_is(here, capsys):
    called = call(capsys, "pretrain", "hopper", *FEW)
    assert called.code == 0
    for words in (
        "pre-training",
        "what the policy visits without having learned from any reward",
        "distance to the 12 nearest",
        "policy with noise",
        "random actions",
        "return of the env's own reward",
        " m │",
        "backbone: runs/hopper-pretrain-1/pretrained",
        "picture of the coverage: runs/hopper-pretrain-1/coverage.png",
        "  apb adapt TASK --strategy behavior_transfer --prior runs/hopper-pretrain-1",
    ):
        assert words in called.out
    assert "apb/HopperRandParams-v0, pre-training by rnd" in called.err
    assert "before learning" not in called.out, "one table: the same episodes are in that of the coverage"


def test_it_tells_a_program_the_coverage_of_each_seed_and_the_files(here, capsys):
    told = json.loads(
        call(capsys, "pretrain", ENV, "--objective", "knn", "--knn-neighbors=3", *FEW, *SEEDS, "--json").out
    )
    assert [set(lane) for lane in told["coverage"]] == [{"policy", "noisy", "random"}] * 2
    assert told["coverage"][0]["policy"].keys() == {"entropy", "mean_reward"}
    assert told["seeds"] == [3, 4]
    assert Backbone.from_pretrained(told["backbone"]).metadata["kind"] == "pre-trained"


def test_a_run_stands_for_its_policies_of_which_the_first_is_that_of_the_backbone(here, capsys):
    call(capsys, "pretrain", ENV, *FEW, *SEEDS, "--run-dir", "run")
    policies = find_policies(here / "run")
    assert [saved.seed for saved in policies] == [3, 4]
    assert policies[0].policy.backbone.hash == Backbone.from_pretrained(here / "run" / "pretrained").hash
    assert call(capsys, "eval", "run", "--n-eval-episodes=1").code == 0


def test_a_backbone_can_be_adapted_and_shown(here, capsys):
    call(capsys, "pretrain", ENV, *FEW, "--run-dir", "run")
    assert call(capsys, "adapt", ENV, "--backbone", "run/pretrained", "--total-timesteps=80", *FAST).code == 0
    assert "pre-trained" in call(capsys, "backbones", "show", "run/pretrained").out


@pytest.mark.filterwarnings("ignore:SIGTERM")
def test_a_run_that_was_stopped_is_resumed_to_the_same_end(here, capsys, monkeypatch):
    whole = call(capsys, "pretrain", ENV, *FEW, "--run-dir", "whole")
    monkeypatch.setattr(PointEnv, "stop_at", PointEnv.steps_of_all + 150)
    stopped = call(capsys, "pretrain", ENV, *FEW, "--run-dir", "run")
    assert stopped.code == EXIT_STOPPED
    assert "apb resume run" in stopped.out
    assert not RunSummary.read(RunFolder.open("run")).finished
    resumed = call(capsys, "resume", "run")
    assert resumed.code == whole.code == 0
    coverage = [json.loads((here / run / "result.json").read_text())["coverage"] for run in ("run", "whole")]
    assert coverage[0] == coverage[1]
    again = call(capsys, "resume", "run")
    assert "nothing is left to do" in again.out
    assert "random actions" in again.out
    shutil.rmtree(here / "run" / "pretrained")
    assert call(capsys, "resume", "run").code == 0
    assert (here / "run" / "pretrained").is_dir()


def test_the_curve_says_that_nothing_learns_from_what_it_shows(here, capsys, curves):
    from apb.plotting import LearningCurve

    call(capsys, "pretrain", ENV, *FEW, "--run-dir", "run")
    (curve,) = LearningCurve.read("run")
    assert curve.strategy == "pre-training by rnd: the env's own reward, not learned from"
    assert (here / "run" / "curve.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "apb pretrain expects ENV, a robot or an env to learn in: ant, for example"),
        (["ants"], "did you mean the robot 'ant'? robots: ant, cheetah, hopper, humanoid, walker"),
        ([ENV, "--objective", "rdn"], "objective = 'rdn' is unknown; did you mean 'rnd'?"),
        ([ENV, "--trainable-backbone"], "apb pretrain has no option --trainable-backbone"),
        ([ENV, "--learning-starts=9e5"], "leaves nothing to learn in"),
        ([ENV, "--elements", "0:9"], "elements = '0:9'"),
        ([ENV, "--backbone", "nowhere"], "'nowhere'"),
    ],
    ids=str,
)
def test_a_slip_is_told_and_no_folder_is_left(here, capsys, arguments, words):
    called = call(capsys, "pretrain", *arguments)
    assert called.code == EXIT_USER_ERROR
    assert words in called.err
    assert not (here / "runs").exists()


def test_help_has_every_objective_and_robot(capsys):
    assert main(["pretrain", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("--objective", "random network distillation", "particle entropy", "--elements", "humanoid-dir"):
        assert words in text
