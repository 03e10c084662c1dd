"""What `--method flap` promises on the command line: layers, samples and seconds on the screen, and what is refused."""

import re
from dataclasses import replace

import pytest
from apb import Backbone
from apb.backbone_card import META_TRAINED, backbone_card
from apb.plotting import LearningCurve
from cli_runs import call
from flap_runs import TASK, drawn_backbone
from meta_runs import SPLIT

FEW = ["--n-tasks=2", "--learning-starts=20", "--batch-size=8", "--num-threads=1", "--eval-freq=0"]
FEW += ["--total-timesteps=80", "--predictor-width=8", "--predictor-depth=1"]
SHORT = ["--total-timesteps=20", "--num-threads=1", "--eval-freq=20", "--n-eval-episodes=1"]
RETURNS = {
    name: {"mean": mean, "adapters": adapters, "tasks": [f"{SPLIT}/{name}:0"], "returns": [mean]}
    for name, mean, adapters in (("train", -10.0, "own"), ("ood", -20.0, "predicted"))
}
TOLD = {"kind": META_TRAINED, "split": {"name": SPLIT, "sha256": "0" * 64}, "returns": RETURNS}


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A backbone with a predictor in the folder `flap` of the current one."""
    monkeypatch.chdir(tmp_path)
    psi = replace(drawn_backbone(), metadata=TOLD)
    psi.save_pretrained("flap")
    return psi


def adapted(capsys, *words):
    return call(capsys, "adapt", TASK, "--method", "flap", "--backbone", "flap", *SHORT, *words)


def test_an_adaptation_tells_samples_time_and_that_there_was_no_gradient(saved, capsys):
    said = adapted(capsys)
    assert said.code == 0
    assert re.search(r"layers predicted from 20 transitions in [0-9.e+]+ ms, no gradient\n", said.out)
    assert said.out.startswith(f"{TASK}, FLAP: return per episode")
    assert f"{TASK}, backbone flap, from predicted layers, FLAP, seed 0" in said.err
    assert "action_noise" not in said.out + said.err
    assert "policy: runs/cheetah-vel-mier-hard-ood-3-FLAP-1" in said.out


def test_for_programs_samples_and_seconds_are_in_the_object(saved, capsys):
    told = adapted(capsys, "--json", "--n-seeds=2").json
    assert told["predicted_start"]["transitions"] == [20, 20]
    assert told["predicted_start"]["seconds"] > 0


def test_of_several_seeds_the_transitions_are_those_of_each(saved, capsys):
    assert "layers predicted from 20 transitions per seed in " in adapted(capsys, "--n-seeds=2").out


def test_without_a_budget_it_takes_one_episode(saved, capsys):
    said = call(capsys, "adapt", TASK, "--method=flap", "--backbone=flap", "--eval-freq=0", "--num-threads=1")
    assert "layers predicted from 200 transitions in " in said.out
    assert "\n200 steps per seed: " in said.out


def test_td3_that_goes_on_tells_that_its_layers_were_predicted(saved, capsys):
    options = ["--learning-starts=10", "--policy-starts=0", "--batch-size=8", *SHORT]
    said = call(capsys, "adapt", TASK, "--adapter-init=predicted", "--backbone=flap", *options)
    assert re.search(r"layers predicted from 10 transitions in \S+ ms\n", said.out)
    assert said.out.startswith(f"{TASK}, action_noise: ")
    assert "no gradient" not in said.out


def test_a_resume_tells_the_same(saved, capsys):
    adapted(capsys, "--run-dir=run")
    said = call(capsys, "resume", "run")
    assert "nothing is left to do" in said.out
    assert f"{TASK}, FLAP: " in said.out
    assert "layers predicted from 20 transitions in " in said.out


def test_the_curve_is_called_flap(saved, capsys):
    adapted(capsys, "--run-dir=run")
    assert {curve.strategy for curve in LearningCurve.read("run")} == {"FLAP"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--controls"], "--method flap takes no gradient, and controls learn by gradients"),
        (["--gradient-steps=2"], "gradient_steps = 2 contradicts method = 'flap'"),
        (["--strategy=param_noise"], "strategy = 'param_noise' contradicts method = 'flap'"),
        (["--trainable-backbone"], "trainable_backbone = True contradicts method = 'flap'"),
        (["--learning-starts=7"], "learning_starts = 7 contradicts method = 'flap'"),
        (["--adapter-init=mean"], "adapter_init = 'mean' contradicts method = 'flap'"),
        # What is named counts, also where it is what the verb has by default.
        (["--gradient-steps", "1"], "gradient_steps = 1 contradicts method = 'flap'"),
        (["--learning-starts", "1000"], "learning_starts = 1000 contradicts method = 'flap'"),
    ],
)
def test_what_contradicts_it_is_refused(saved, capsys, words, told):
    said = adapted(capsys, *words)
    assert said.code == 2
    assert told in " ".join(said.err.split())
    assert not list(saved_runs())


def saved_runs():
    from pathlib import Path

    return Path("runs").glob("*")


def test_without_an_env_or_a_backbone_with_a_predictor_it_says_what_it_needs(saved, capsys):
    controlled = call(capsys, "adapt", "--method", "flap", "--backbone", "flap")
    assert controlled.code == 2, "without ENV there would be controls, which learn nothing"
    main_job = call(capsys, "adapt", "--method", "flap")
    assert main_job.code == 2
    assert "expected ENV and --backbone" in " ".join(main_job.err.split())
    shipped = call(capsys, "adapt", TASK, "--method", "flap", "--backbone", "cheetah-vel")
    assert shipped.code == 2
    assert "the backbone has no predictor of layers" in " ".join(shipped.err.split())


def test_a_method_that_is_misspelt_is_told(saved, capsys):
    said = call(capsys, "adapt", TASK, "--method", "flop")
    assert said.code == 2
    assert "flop" in said.err


def test_the_card_tells_of_the_predictor_and_how_it_is_used(saved, capsys):
    card = call(capsys, "backbones", "show", "flap").out
    assert f"| predictor of layers | {saved.predictor.num_parameters:,} parameters, `{saved.predictor.hash}` |" in card
    assert f'apb.adapt("{SPLIT}/ood:0", "path/to/this/folder", method="flap")' in card
    assert "--method flap --backbone FOLDER" in card
    assert "| ood (1) | -20.0 | predicted, from one rollout of each task |" in card
    assert "| train (1) | -10.0 | own |" in card
    assert call(capsys, "backbones", "show", "flap", "--json").json["predictor"] == saved.predictor.description()


def test_the_card_of_a_backbone_without_a_predictor_names_no_method(saved):
    card = backbone_card(replace(saved, predictor=None))
    assert "flap" not in card.lower()
    assert "predictor" not in card


def test_meta_train_ends_with_the_command_that_adapts_by_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = call(capsys, "meta-train", SPLIT, "--method", "flap", *FEW)
    assert said.code == 0
    *_, show, adapt = (line.split() for line in said.out.strip().splitlines())
    assert adapt[:2] == ["apb", "adapt"]
    assert adapt[-2:] == ["--method", "flap"]
    assert Backbone.from_pretrained(show[-1]).predictor is not None
    again = call(capsys, *adapt[1:], *SHORT)
    assert again.code == 0
    assert "layers predicted from 20 transitions in " in again.out


def test_what_contradicts_a_meta_training_by_it_is_refused_also_where_it_is_the_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = call(capsys, "meta-train", SPLIT, "--method", "flap", "--learned-layers", "both", *FEW)
    assert said.code == 2
    assert "learned_layers = 'both' contradicts method = 'flap'" in " ".join(said.err.split())


def test_an_option_of_a_predictor_without_one_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = call(capsys, "meta-train", SPLIT, *FEW)
    assert said.code == 2
    assert "predictor_width = 8 with layer_predictor = False" in " ".join(said.err.split())
