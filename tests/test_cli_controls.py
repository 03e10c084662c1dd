"""What `apb adapt` without an env promises, and `--controls`: the same task with a random backbone, and plain TD3."""

import json

import apb
import pytest
from apb.backbone import Backbone
from apb.cli import adapt
from apb.runs import RunFolder
from cli_runs import ENV, FAST, call

FEW = ["--total-timesteps", 90, *FAST]


@pytest.fixture
def saved(here):
    Backbone.random(9, input_size=2, hidden_sizes=(8, 8)).save_pretrained(here / "saved")
    return "saved"


def config(run):
    return RunFolder.open(run).config


def test_without_an_env_a_backbone_of_the_package_is_adapted_to_a_task_that_it_has_not_seen(here, capsys):
    few = ["--total-timesteps=30", "--learning-starts=30", "--batch-size=8", "--eval-freq=30", "--n-eval-episodes=1"]
    data = call(capsys, "adapt", *few, "--json").json
    assert data["env"] == "cheetah-vel/mier-hard/ood:0"
    assert config(data["run_dir"])["backbone_hash"] == Backbone.from_pretrained(adapt.MAIN_JOB_BACKBONE).hash
    runs = {name: each["run_dir"] for name, each in data["controls"]["runs"].items()}
    chosen = {name: config(folder)["settings"]["adapter_init"] for name, folder in runs.items()}
    assert chosen == {"this run": "nearest", "random backbone": "scratch", "plain TD3": "scratch"}


@pytest.mark.parametrize(
    "arguments", [("--adapter-init", "scratch"), ("--backbone", "cheetah-vel"), ("cheetah-vel/mier-hard:0",)]
)
def test_whoever_names_an_env_a_backbone_or_a_beginning_gets_that_with_the_default_of_the_rest(here, capsys, arguments):
    few = ["--total-timesteps=30", "--learning-starts=30", "--batch-size=8", "--eval-freq=0"]
    data = call(capsys, "adapt", *arguments, *few, "--json").json
    assert data["env"] == "cheetah-vel/mier-hard/ood:0"
    assert config(data["run_dir"])["settings"]["adapter_init"] == "scratch"


def test_controls_have_the_same_env_budget_and_seeds_and_lie_beside_the_run(saved, here, capsys):
    arguments = ("adapt", ENV, "--backbone", saved, "--n-seeds", 2, "--seed", 3, "--controls", *FEW)
    data = call(capsys, *arguments, "--json").json
    runs = {name: each["run_dir"] for name, each in data["controls"]["runs"].items()}
    assert runs["this run"] == data["run_dir"]
    assert runs["random backbone"] == f"{data['run_dir']}-random"
    assert runs["plain TD3"] == f"{data['run_dir']}-td3"
    own = config(runs["this run"])
    for name, folder in runs.items():
        found = config(folder)
        trained = name == "plain TD3"
        assert found["settings"] == own["settings"] | {"trainable_backbone": trained}
        assert found["env_identity"] == own["env_identity"]
        psi = apb.Backbone.from_pretrained(here / folder / "backbone")
        assert psi.input_activation == trained
        assert (psi.hash == own["backbone_hash"]) == (name == "this run")
    assert (here / data["controls"]["picture"]).read_bytes().startswith(b"\x89PNG")
    again = call(capsys, *arguments)
    assert f"{runs['this run'][:-1]}2-td3" in again.out


def test_what_is_told_of_each_run_are_means_of_its_evaluations(saved, here, capsys):
    data = call(capsys, "adapt", ENV, "--backbone", saved, "--controls", *FEW, "--json").json
    for each in data["controls"]["runs"].values():
        lines = (here / each["run_dir"] / "evaluations.jsonl").read_text().splitlines()
        returns = [json.loads(line)["eval/mean_reward"] for line in lines]
        assert each["mean_over_budget"] == pytest.approx(sum(returns) / len(returns))
        assert each["last"] == pytest.approx(returns[-1])


@pytest.mark.parametrize(
    ("options", "left"),
    [(("--backbone", "random"), {"plain TD3"}), (("--reading", "A", "--trainable-backbone"), {"random backbone"})],
)
def test_a_control_that_would_be_the_run_itself_is_not_run_again(here, capsys, options, left):
    data = call(capsys, "adapt", ENV, *options, "--controls", *FEW, "--json").json
    assert set(data["controls"]["runs"]) - {"this run"} == left


def test_without_evaluations_there_is_no_picture(here, capsys):
    called = call(capsys, "adapt", ENV, "--controls", *FEW, "--eval-freq", 0)
    assert called.code == 0
    assert "curves:" not in called.out


def test_controls_of_a_run_that_begins_with_what_was_learned_before_begin_from_scratch(here, capsys):
    arguments = ("--adapter-init", "nearest", "--learned-layers", "pre", "--controls", "--total-timesteps", 30)
    few = ("--learning-starts", 30, "--batch-size", 8, "--eval-freq", 0)
    data = call(
        capsys, "adapt", "cheetah-vel/mier-hard:0", "--backbone", "cheetah-vel", *arguments, *few, "--json"
    ).json
    found = {name: config(each["run_dir"])["settings"] for name, each in data["controls"]["runs"].items()}
    chosen = {name: (of["adapter_init"], of["policy_starts"], of["learned_layers"]) for name, of in found.items()}
    assert chosen == {
        "this run": ("nearest", 5_000, "pre"),
        "random backbone": ("scratch", 0, "pre"),
        "plain TD3": ("scratch", 0, "both"),
    }
