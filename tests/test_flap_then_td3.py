"""TD3 goes on from the layers that FLAP predicts, and a run that was stopped anywhere in it goes on exactly."""

from dataclasses import replace
from itertools import product

import apb
import numpy as np
import pytest
from apb import MismatchError, resume
from apb.tasks import get
from crashes import Crash, CrashAt
from flap_runs import ALONE, TASK, drawn_backbone, drawn_predictor, flap, predicted_from
from learning import SMALL
from meta_runs import SPLIT
from run_files import assert_same_outcome, outcome

THREE = [f"{SPLIT}/ood:{number}" for number in (0, 7, 20)]

ON = {**SMALL, "adapter_init": "predicted", "learning_starts": 20, "total_timesteps": 60, "policy_starts": 0}


def test_td3_goes_on_from_the_predicted_layers():
    psi = drawn_backbone()
    start = flap(psi).adapter.parameters
    with pytest.warns(apb.ApbWarning, match="ends before new critics have learned"):
        still = apb.adapt(TASK, psi, **ON | {"policy_starts": 1_000}).adapter.parameters
    assert still.tobytes() == start.tobytes(), "critics learn first"
    moved = apb.adapt(TASK, psi, **ON)
    assert 0 < np.abs(moved.adapter.parameters - start).max() < 0.02, "twenty steps of 3e-4"
    assert moved.beside["predicted_start"]["transitions"] == [20]


def test_parameter_noise_goes_on_around_the_predicted_layers(loops):
    psi = drawn_backbone()
    options = {"strategy": "param_noise", "population_size": 3, "segment_length": 5, "evolution_rate": 0.0}
    result = apb.adapt(TASK, psi, **ON | options | {"gradient_steps": 0, "learning_starts": 30})
    loop = loops[0]
    (count,) = result.beside["predicted_start"]["transitions"]
    assert count == 30
    loop.replay.size[:] = count
    assert result.adapter.parameters[psi.predictor.places].tobytes() == predicted_from(loop.replay, psi).tobytes()
    members = loop.strategy.adapters()[0]
    assert members.shape[0] == 3
    assert np.abs(members - result.adapter.parameters).max() < np.abs(members - psi.adapters.mean()).max()


def test_targets_begin_with_the_predicted_layers_too(loops):
    psi = drawn_backbone()
    flap(psi)
    td3 = loops[0].learner.td3
    assert td3.networks.target_actor.flat.numpy().tobytes() == td3.networks.actor.flat.numpy().tobytes()


def test_a_reset_begins_with_the_same_predicted_layers_again(loops):
    psi = drawn_backbone()
    start = flap(psi).adapter.parameters
    result = apb.adapt(TASK, psi, **ON | {"reset_interval": 58, "policy_starts": 3})
    assert result.resets == 1
    assert result.adapter.parameters.tobytes() == start.tobytes()
    td3 = loops[1].learner.td3
    assert td3.networks.target_actor.flat.numpy().tobytes() == td3.networks.actor.flat.numpy().tobytes()


def test_a_reset_before_anything_was_predicted_begins_with_the_mean():
    psi = drawn_backbone()
    result = flap(psi, reset_interval=8)
    assert result.adapter.parameters.tobytes() == flap(psi).adapter.parameters.tobytes()
    assert result.resets == 2


@pytest.mark.parametrize(("on", "moment"), [*product([False, True], [9, 19]), (True, 41)], ids=str)
def test_a_run_that_crashed_within_the_rollout_or_after_it_ends_with_the_bytes_of_one_that_did_not(
    tmp_path, on, moment
):
    options = {"checkpoint_freq": 4, "eval_freq": 10, "n_eval_episodes": 1, "log_freq": 10}
    options = {**ON, **options, "reset_interval": 50} if on else {"method": "flap", **ALONE, **options}
    tasks, psi = [get(name) for name in THREE[:2]], drawn_backbone()
    whole = apb.adapt(tasks, psi, run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        apb.adapt(tasks, psi, run_dir=tmp_path / "cut", callback=CrashAt(moment), **options)
    again = resume(tmp_path / "cut")
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
    transitions = whole.beside["predicted_start"]["transitions"]
    assert again.beside["predicted_start"]["transitions"] == transitions == [20, 20]
    assert again.beside["predicted_start"]["seconds"] > 0


def test_a_run_is_not_continued_with_another_predictor(tmp_path):
    psi = drawn_backbone()
    flap(psi, run_dir=tmp_path / "run")
    replace(psi, predictor=drawn_predictor(psi.predictor.shape, seed=5)).save_pretrained(tmp_path / "run" / "backbone")
    with pytest.raises(MismatchError, match="belongs to predictor_hash"):
        resume(tmp_path / "run")
