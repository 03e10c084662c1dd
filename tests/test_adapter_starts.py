"""Where an adaptation begins (`adapter_init`): drawn anew, at the identity, or where the train tasks ended."""

import re
from dataclasses import replace
from functools import partial

import apb
import numpy as np
import pytest
from apb.adapter import draw_initial
from apb.adapter_set import AdapterSet
from apb.adapter_shape import AdapterShape
from apb.adapter_starts import starts_of
from apb.backbone import Backbone
from apb.errors import ConfigError, MismatchError
from apb.meta_training.settings import MetaSettings
from apb.settings import AdaptSettings
from apb.tasks import Task, get
from meta_runs import meta_run
from sized_envs import SizedEnv

SPEEDS = (0.5, 2.0)


def backbone(reading="B", observations=20):
    psi = Backbone.random(0, reading=reading, input_size=None if reading == "A" else 8, hidden_sizes=(8, 8))
    shape = AdapterShape.of(psi, observations, 6)
    parameters = np.random.default_rng(0).standard_normal((2, shape.num_parameters)).astype(np.float32)
    kept = AdapterSet.of(shape, parameters, [Task("cheetah-vel", {"velocity": speed}) for speed in SPEEDS])
    return replace(psi, adapters=kept)


def start(name, psi, task=None, seed=3, draw=0):
    (found,) = starts_of(name, psi, [psi.adapters.shape], [seed], [task])
    return found(draw)


@pytest.mark.parametrize("draw", [0, 2])
def test_scratch_is_drawn_from_the_seed_and_anew_at_each_reset(draw):
    psi = backbone()
    assert np.array_equal(start("scratch", psi, draw=draw), draw_initial(psi, psi.adapters.shape, 3, draw))


@pytest.mark.parametrize("reading", ["A", "B"])
def test_identity_begins_with_the_observation_itself_in_either_reading(reading):
    psi = backbone(reading)
    layers = psi.adapters.shape.split(start("identity", psi))
    assert np.array_equal(layers["pre.weight"], np.eye(8, 20))
    assert not layers["pre.bias"].any()
    drawn = psi.adapters.shape.split(draw_initial(psi, psi.adapters.shape, 3))
    assert np.array_equal(layers["post.weight"], drawn["post.weight"])


def test_mean_and_nearest_are_those_of_the_train_tasks_at_every_draw():
    psi = backbone()
    for draw in (0, 1):
        assert np.array_equal(start("mean", psi, draw=draw), psi.adapters.mean())
        for speed, number in ((0.0, 0), (9.0, 1)):
            task = Task("cheetah-vel", {"velocity": speed})
            assert np.array_equal(start("nearest", psi, task, draw=draw), psi.adapters.parameters[number])


def test_lanes_of_several_tasks_begin_each_at_the_nearest_train_task():
    tasks = [Task("cheetah-vel", {"velocity": speed}) for speed in (3.0, 0.1)]
    options = {"total_timesteps": 1, "learning_starts": 0, "gradient_steps": 0, "eval_freq": 0, "num_threads": 1}
    psi = backbone()
    result = apb.adapt(tasks, psi, adapter_init="nearest", **options)
    found = [policy.adapter.parameters for policy in result.policies]
    assert np.array_equal(found, psi.adapters.parameters[[1, 0]])


def test_a_reset_goes_back_to_the_same_beginning(monkeypatch):
    options = {"learning_starts": 2, "policy_starts": 0, "batch_size": 4, "eval_freq": 0, "reset_interval": 8}
    psi = backbone()
    result = apb.adapt(
        "cheetah-vel/mier-hard:0", psi, adapter_init="mean", total_timesteps=9, gradient_steps=1, **options
    )
    moved = np.abs(result.adapter.parameters - psi.adapters.mean()).max()
    assert moved < 0.01, "one update after the reset"


@pytest.mark.parametrize("name", ["mean", "nearest"])
def test_a_backbone_without_adapters_has_no_such_beginning(name):
    words = rf"adapter_init = '{name}', but the backbone keeps no adapters of train tasks: it was not meta-trained; "
    with pytest.raises(ConfigError, match=words):
        apb.adapt("cheetah-vel/mier-hard:0", "random", adapter_init=name, total_timesteps=2)


@pytest.mark.parametrize("name", ["mean", "nearest"])
@pytest.mark.parametrize("sizes", [(3, 4), (3, 3)], ids=["of several sizes", "of one size"])
def test_a_backbone_of_envs_that_are_no_tasks_of_one_family_says_why_it_keeps_no_adapters(name, sizes):
    envs = [partial(SizedEnv, (size,)) for size in sizes]
    psi = meta_run(envs, n_tasks=None, total_timesteps=80).backbone
    told = re.escape(f"it was meta-trained on {psi.metadata['tasks']}, which are not tasks of one family; expected ")
    with pytest.raises(ConfigError, match=f"{told}adapter_init='scratch' or adapter_init='identity'"):
        apb.adapt(envs[0], psi, adapter_init=name, total_timesteps=2)
    for start in ("scratch", "identity"):
        apb.adapt(envs[0], psi, adapter_init=start, total_timesteps=2, learning_starts=2, eval_freq=0)


def test_an_env_that_is_no_task_has_no_nearest_train_task_and_one_of_other_sizes_no_mean():
    psi = backbone(observations=17)
    with pytest.raises(ConfigError, match=r"the env is no task of apb\.tasks"):
        apb.adapt("HalfCheetah-v5", psi, adapter_init="nearest", total_timesteps=2)
    with pytest.raises(MismatchError, match="adapter_init='scratch'"):
        apb.adapt("Pendulum-v1", psi, adapter_init="mean", total_timesteps=2)


def test_a_task_of_another_family_has_no_nearest_train_task():
    with pytest.raises(MismatchError, match="another family"):
        apb.adapt(get("cheetah-dir/pearl")[0], backbone(), adapter_init="nearest", total_timesteps=2)


@pytest.mark.parametrize(("name", "steps"), [("scratch", 0), ("identity", 0), ("mean", 5_000), ("nearest", 5_000)])
def test_critics_learn_first_where_the_policy_begins_with_what_was_learned_before(name, steps):
    assert AdaptSettings(adapter_init=name).policy_starts == steps
    assert AdaptSettings(adapter_init=name, policy_starts=7).policy_starts == 7
    assert MetaSettings().policy_starts == 0


def test_a_run_is_not_continued_with_other_adapters_of_its_backbone(tmp_path):
    options = {"total_timesteps": 40, "learning_starts": 20, "policy_starts": 0, "batch_size": 4, "eval_freq": 0}
    psi = backbone()
    run = {"run_dir": tmp_path / "run", "checkpoint_freq": 10}
    apb.adapt(get("cheetah-vel/mier-hard")[0], psi, adapter_init="nearest", **run, **options)
    parameters = psi.adapters.parameters + 1
    other = replace(psi, adapters=AdapterSet(psi.adapters.shape, parameters, psi.adapters.tasks))
    other.save_pretrained(tmp_path / "run" / "backbone")
    with pytest.raises(MismatchError, match="belongs to adapters_hash"):
        apb.resume(tmp_path / "run")
