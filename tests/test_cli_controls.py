"""What `apb adapt` without an env promises, and `--controls`: the same task with a random backbone, and plain TD3."""

import json
import shutil
from pathlib import Path

import apb
import pytest
from apb.backbone import Backbone
from apb.cli import adapt
from apb.runs import EXIT_STOPPED, RunFolder
from cli_runs import ENV, FAST, PointEnv, call

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


def evaluations(data):
    return {name: (Path(each["run_dir"]) / "evaluations.jsonl").read_bytes() for name, each in runs_of(data).items()}


def runs_of(data):
    return data["controls"]["runs"]


@pytest.mark.filterwarnings("ignore:SIGTERM. the state of env:apb.ApbWarning")
@pytest.mark.parametrize("part", [0.15, 0.5, 0.85])
def test_a_run_that_is_stopped_goes_on_with_its_controls_wherever_that_was(saved, here, capsys, monkeypatch, part):
    arguments = ("adapt", ENV, "--backbone", saved, "--controls", *FEW)
    before = PointEnv.steps_of_all
    whole = call(capsys, *arguments, "--json").json
    steps = PointEnv.steps_of_all - before
    monkeypatch.setattr(PointEnv, "stop_at", PointEnv.steps_of_all + round(part * steps))
    stopped = call(capsys, *arguments)
    assert stopped.code == EXIT_STOPPED
    run = runs_of(whole)["this run"]["run_dir"][:-1] + "2"
    assert f"apb resume {run}" in stopped.out
    on = call(capsys, "resume", run, "--json")
    assert on.code == 0
    assert evaluations(on.json) == evaluations(whole)
    assert (here / run / "controls.png").exists()
    again = call(capsys, "resume", run)
    assert "nothing is left to do" in again.out
    assert "plain TD3" in again.out


def test_a_control_that_was_killed_while_its_folder_was_being_made_is_begun_in_it(saved, here, capsys):
    whole = call(capsys, "adapt", ENV, "--backbone", saved, "--controls", *FEW, "--json").json
    run, killed = (here / runs_of(whole)[name]["run_dir"] for name in ("this run", "plain TD3"))
    command = (killed / "command.txt").read_bytes()
    shutil.rmtree(killed)
    killed.mkdir()
    (killed / "command.txt").write_bytes(command)
    assert evaluations(call(capsys, "resume", run, "--json").json) == evaluations(whole)


@pytest.mark.filterwarnings("ignore:SIGTERM. the state of env:apb.ApbWarning")
def test_a_control_that_was_not_run_to_its_end_is_told_with_the_steps_that_it_has(saved, here, capsys, monkeypatch):
    arguments = ("adapt", ENV, "--backbone", saved, "--controls", *FEW)
    before = PointEnv.steps_of_all
    call(capsys, *arguments)
    steps = PointEnv.steps_of_all - before
    monkeypatch.setattr(PointEnv, "stop_at", PointEnv.steps_of_all + steps // 2)
    found = runs_of(call(capsys, *arguments, "--json").json)
    assert [each["timesteps"] < 90 for each in found.values()] == [False, True, True]
    assert "last" not in found["plain TD3"]


def test_a_run_that_was_killed_before_its_first_checkpoint_still_has_its_controls(saved, here, capsys):
    run = Path(call(capsys, "adapt", ENV, "--backbone", saved, "--controls", *FEW, "--json").json["run_dir"])
    for left in (run / "checkpoints", run.with_name(f"{run.name}-random"), run.with_name(f"{run.name}-td3")):
        shutil.rmtree(left)
    for name in ("history.jsonl", "evaluations.jsonl", "result.json", "curve.png", "controls.png"):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / "replay", ignore_errors=True)
    shutil.rmtree(run / "best", ignore_errors=True)
    assert set(runs_of(call(capsys, "resume", run, "--json").json)) == {"this run", "random backbone", "plain TD3"}


def test_the_screen_says_what_is_adapted_and_what_follows(saved, here, capsys):
    called = call(capsys, "adapt", ENV, "--backbone", saved, "--controls", *FEW)
    assert f"{ENV}, backbone saved, action_noise" in called.err
    assert "then, as long each: random backbone, plain TD3" in called.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runs": {"random": "../elsewhere"}}, "a control 'random' in '../elsewhere'; expected"),
        ({"runs": {"sac": "x"}}, "a control 'sac' in 'x'; expected 'random' or 'td3'"),
        ({"settings": {"learning_rat": 1.0}}, "learning_rat"),
        ({"name": 3}, "name"),
    ],
)
def test_what_the_folder_tells_of_controls_is_checked(saved, here, capsys, change, words):
    run = Path(call(capsys, "adapt", ENV, "--backbone", saved, "--controls", *FEW, "--json").json["run_dir"])
    path = run / "controls.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    called = call(capsys, "resume", run)
    assert called.code == 2
    assert words in called.err
    assert "remove controls.json to go on without controls, or put it back as it was" in called.err
