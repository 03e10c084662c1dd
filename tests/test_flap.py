"""An adaptation by FLAP takes no gradient: a rollout of the mean layers, and what the predictor says of it."""

import re
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import apb
import gymnasium
import numpy as np
import pytest
import torch
from apb import ConfigError, MismatchError
from apb.adapter_shape import learned_layers
from apb.flap.rollouts import predicted_adapters
from apb.meta_training.evaluation import returns_on, returns_with
from apb.registration import env_id
from apb.tasks import FAMILIES, Split, Task, get, register
from emulated_device import emulated_cuda
from flap_runs import ALONE, TASK, drawn_backbone, flap, flap_meta, predicted_from
from learning import SMALL
from meta_runs import FALLING, SPLIT, meta_run
from sized_envs import SizedEnv

THREE = [f"{SPLIT}/ood:{number}" for number in (0, 7, 20)]


def layers_of(policy):
    shape = policy.adapter.shape
    return {name: array.tobytes() for name, array in shape.split(policy.adapter.parameters).items()}


@pytest.mark.parametrize("strategy", ["param_noise", "adaptive_param_noise", "behavior_transfer"])
def test_a_rollout_is_acted_by_the_mean_layers_whatever_the_strategy(strategy, loops, monkeypatch):
    """Strategies ask critics, which know nothing before anything is learned."""
    psi = drawn_backbone()
    prior = {"prior": "nearest"} if strategy == "behavior_transfer" else {}
    options = ALONE | {"adapter_init": "predicted", "gradient_steps": 0, "total_timesteps": 20, "learning_starts": 20}
    population = {"population_size": 2} if strategy == "param_noise" else {}
    apb.adapt(TASK, psi, **options, **prior, **population, strategy=strategy)
    apb.adapt(TASK, psi, **options, strategy="action_noise")
    asked, plain = (loop.replay.table[0, :, :] for loop in loops)
    assert asked.tobytes() == plain.tobytes() or strategy == "param_noise"
    assert loops[0].learner.updates == 0
    assert (loops[0].strategy.state()[0].get("generation", np.zeros(1)) == 0).all()


# --- no gradient -----------------------------------------------------------------------------------------------------


def test_the_post_layer_is_what_is_predicted_from_the_replay_and_all_else_stays(loops):
    psi = drawn_backbone()
    result = flap(psi)
    assert loops[0].learner.updates == 0
    assert loops[0].replay.size.tolist() == [20]
    assert result.policy.backbone.hash == psi.hash
    mean, found = psi.adapters.mean(), result.adapter.parameters
    places = psi.predictor.places
    assert found[places].tobytes() == predicted_from(loops[0].replay, psi).tobytes()
    others = np.setdiff1d(np.arange(len(mean)), places)
    assert found[others].tobytes() == mean[others].tobytes()
    assert (found[places] != mean[places]).any()


@pytest.mark.parametrize("layers", ["pre", "both"])
def test_a_predictor_of_other_layers_predicts_those(layers, loops):
    psi = drawn_backbone(layers=layers)
    found, start = flap(psi).policy.adapter, psi.adapters.mean()
    changed = {name for name, array in found.shape.split(found.parameters != start).items() if array.any()}
    assert {name.partition(".")[0] for name in changed} == set(learned_layers(layers))
    assert found.parameters[psi.predictor.places].tobytes() == predicted_from(loops[0].replay, psi).tobytes()


def test_the_mean_layers_act_until_layers_are_predicted(loops):
    psi = drawn_backbone()
    flap(psi, action_noise=0.0)
    acting = apb.Policy(
        psi,
        apb.Adapter(psi.adapters.shape, psi.adapters.mean()),
        loops[0].source.observation_space,
        loops[0].source.action_space,
    )
    rows = loops[0].replay.table[0, :20]
    np.testing.assert_allclose(rows[:, 40:46], acting(rows[:, :20].astype(np.float64)), atol=1e-5)


def test_without_noise_it_predicts_what_the_evaluation_of_a_meta_training_does():
    psi, tasks = drawn_backbone(), [get(name) for name in THREE]
    result = flap(psi, tasks, action_noise=0.0, seed=4)
    found = [policy.adapter.parameters for policy in result.policies]
    np.testing.assert_allclose(found, predicted_adapters(tasks, psi, seed=4, transitions=20), atol=1e-5)


def test_each_of_several_tasks_gets_its_own_layers(loops):
    psi = drawn_backbone()
    result = flap(psi, [get(name) for name in THREE], n_seeds=2)
    heads = [policy.adapter.parameters[psi.predictor.places] for policy in result.policies]
    for lane, head in enumerate(heads):
        assert head.tobytes() == predicted_from(loops[0].replay, psi, lane).tobytes()
    assert len({head.tobytes() for head in heads}) == 6
    alone = flap(psi, THREE[1], n_seeds=2)
    assert [layers_of(policy) for policy in alone.policies] == [layers_of(policy) for policy in result.policies[2:4]]


@pytest.mark.parametrize("num_threads", [2, 4])
def test_it_predicts_the_same_bytes_on_any_number_of_threads(num_threads):
    found = [flap(drawn_backbone(), num_threads=threads).adapter.parameters for threads in (1, num_threads)]
    assert found[0].tobytes() == found[1].tobytes()


def test_on_cuda_it_predicts_what_it_predicts_on_a_cpu():
    psi = drawn_backbone()
    expected = flap(psi).adapter.parameters
    with nullcontext() if torch.cuda.is_available() else emulated_cuda():
        found = flap(psi, device="cuda").adapter.parameters
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_by_default_it_takes_one_episode_of_200_transitions():
    result = apb.adapt(TASK, drawn_backbone(), method="flap", eval_freq=0, num_threads=1)
    assert result.total_timesteps == 200
    assert result.beside["predicted_start"]["transitions"] == [200]


def test_number_of_samples_and_seconds_are_in_the_result(tmp_path):
    result = flap(drawn_backbone(), [get(name) for name in THREE], run_dir=tmp_path / "run")
    told = result.beside["predicted_start"]
    assert told["transitions"] == [20, 20, 20]
    assert 0 < told["seconds"] < result.wall_time
    written = (tmp_path / "run" / "result.json").read_text()
    assert result.to_json()["predicted_start"] == told
    assert f'"seconds": {told["seconds"]}' in written


def test_a_budget_that_ends_before_learning_starts_predicts_from_what_there_is(loops):
    psi = drawn_backbone()
    with pytest.warns(apb.ApbWarning, match=r"ends before learning_starts = 64: the mean layers act and nothing is"):
        result = apb.adapt(TASK, psi, **{**SMALL, "total_timesteps": 30}, adapter_init="predicted")
    assert result.beside["predicted_start"]["transitions"] == [30]
    assert result.adapter.parameters[psi.predictor.places].tobytes() == predicted_from(loops[0].replay, psi).tobytes()


def test_several_simulations_of_a_user_whose_steps_do_not_divide_the_budget_predict_at_its_end(loops):
    psi = drawn_backbone()
    task = get(TASK)
    envs = gymnasium.vector.SyncVectorEnv(
        [partial(gymnasium.make, env_id(task.family), disable_env_checker=True, **task.arguments)] * 3
    )
    result = flap(psi, envs)
    envs.close()
    assert result.beside["predicted_start"]["transitions"] == [18]


def test_evaluations_are_of_the_mean_and_then_of_what_was_predicted():
    psi = drawn_backbone()
    result = flap(psi, eval_freq=20, n_eval_episodes=1)
    assert [record["timesteps"] for record in result.evaluations] == [0, 20]
    mean = apb.adapt(
        TASK, psi, adapter_init="mean", gradient_steps=0, eval_freq=20, n_eval_episodes=1, total_timesteps=20
    )
    assert result.evaluations[0] == mean.evaluations[0]
    assert result.evaluations[1]["returns"] != mean.evaluations[1]["returns"]


# --- the meta-training's own evaluation ------------------------------------------------------------------------------


def test_unseen_tasks_are_evaluated_with_predicted_layers():
    psi, tasks = drawn_backbone(), [get(name) for name in THREE]
    found = returns_on(tasks, psi, n_eval_episodes=2, seed=3)
    adapters = predicted_adapters(tasks, psi, seed=3)
    expected = returns_with(adapters, tasks, psi, n_eval_episodes=2, seed=3)
    assert found.adapters == "predicted"
    assert [each.returns.tolist() for each in found.results] == [each.returns.tolist() for each in expected]
    nearest = returns_on(tasks, replace(psi, predictor=None), n_eval_episodes=2, seed=3)
    assert nearest.adapters == "nearest"
    assert nearest.mean != found.mean


def test_a_meta_training_ends_with_returns_of_predicted_layers_on_unseen_tasks():
    result = flap_meta(tasks="hopper-mass/tavt", eval_freq=100, n_eval_episodes=1)
    assert {name: each.adapters for name, each in result.zero_shot.items()} == {
        "train": "own",
        "test": "predicted",
        "ood": "predicted",
    }
    assert result.backbone.metadata["returns"]["ood"]["adapters"] == "predicted"
    tasks = get("hopper-mass/tavt").ood
    again = returns_on(tasks, result.backbone, n_eval_episodes=1, seed=0)
    assert again.mean == result.zero_shot["ood"].mean


# --- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"method": "flap"}, {"adapter_init": "predicted"}], ids=str)
def test_a_backbone_without_a_predictor_is_told(options):
    words = re.escape(
        "adapter_init = 'predicted', but the backbone has no predictor of layers; expected one that was meta-trained "
        'by FLAP: apb.meta_train(..., method="flap"), in a shell `apb meta-train SPLIT --method flap`'
    )
    with pytest.raises(ConfigError, match=words):
        apb.adapt(TASK, replace(drawn_backbone(), predictor=None), **options)


def test_a_random_backbone_has_no_layers_to_begin_with():
    with pytest.raises(ConfigError, match=r"the backbone has no predictor of layers; expected .* meta-trained by FLAP"):
        apb.adapt(TASK, "random", method="flap")


def test_a_task_of_another_family_is_told():
    with pytest.raises(
        MismatchError, match=r"another family \(cheetah-dir\) than .* of cheetah-vel; .*and no method='flap'$"
    ):
        flap(drawn_backbone(), "cheetah-dir/pearl:0")


def test_a_task_with_other_switches_is_told():
    split = "hopper-rand-params/apb-ood"
    task = get(f"{split}/ood:0")
    switched = Task(task.family, {**task.arguments, "consistent_inertia": True})
    with pytest.raises(MismatchError, match="has other switches than"):
        flap(drawn_backbone(split), switched)
    flap(drawn_backbone(split), task)


def test_a_bare_env_of_other_sizes_is_told():
    with pytest.raises(
        MismatchError, match=r"of tasks of cheetah-vel, .*expected a task of cheetah-vel, .*no method='flap'$"
    ):
        flap(drawn_backbone(), "Pendulum-v1")


def test_tasks_of_no_one_family_have_no_layers_that_one_predictor_could_tell():
    envs = [partial(SizedEnv, (3,)), partial(SizedEnv, (4,))]
    words = "layer_predictor = True with .*, which are not tasks of one family; expected a split or tasks of one family"
    with pytest.raises(ConfigError, match=words):
        meta_run(envs, n_tasks=None, method="flap")


# --- an agent that learns --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WantedVel(FAMILIES["cheetah-vel"]):
    """The best controls are all the same number, which differs from task to task, and the reward tells it: so the best
    head is a linear function of what each transition tells."""

    name: ClassVar[str] = "wanted-vel"

    def reward_terms(self, physics, velocity, control, parameters):
        wanted = self.wanted(np.asarray(parameters["velocity"]))
        return {"told": 10 * wanted, "missed": -((control - wanted[:, None]) ** 2).sum(axis=1)}

    @staticmethod
    def wanted(velocity):
        return velocity - 0.6


@pytest.fixture
def wanted():
    """A split of tasks that want controls between -0.6 and 0.6."""
    register(WantedVel)

    def tasks(part, values):
        return tuple(Task("wanted-vel", {"velocity": v}, f"wanted-vel/own/{part}:{n}") for n, v in enumerate(values))

    train, test = tasks("train", np.linspace(0, 1.2, 8).tolist()), tasks("test", [0.1, 0.4, 0.8, 1.1])
    yield Split("wanted-vel", "own", train, test, ())
    del FAMILIES["wanted-vel"], gymnasium.registry["apb/WantedVel-v0"]


def missed(task, result):
    """What an episode misses of the best return."""
    return 200 * 10 * WantedVel.wanted(task.values["velocity"]) - result.mean


@pytest.mark.slow
def test_unseen_tasks_are_solved_with_predicted_layers_and_not_with_the_mean(wanted):
    options = {"total_timesteps": 8 * 2_000, "learning_starts": 100, "batch_size": 64, "gamma": 0.0, "n_tasks": 8}
    options |= {"learning_rate": 3e-3, "predictor_width": 64, "predictor_depth": 2, "eval_freq": 0, "num_threads": 2}
    psi = apb.meta_train(wanted, method="flap", **options).backbone
    mean = np.tile(psi.adapters.mean(), (len(wanted.test), 1))
    found = returns_with(mean, wanted.test, psi, n_eval_episodes=1, seed=0)
    by_mean = [missed(task, result) for task, result in zip(wanted.test, found, strict=True)]
    by_flap = [
        missed(task, flap(psi, task, total_timesteps=50, eval_freq=50, n_eval_episodes=1).final[0])
        for task in wanted.test
    ]
    assert sum(by_flap) < 0.3 * sum(by_mean)
    for own, others in zip(by_flap, by_mean, strict=True):
        assert own < others


def test_a_backbone_of_a_meta_training_by_flap_is_adapted_at_once():
    psi = flap_meta(tasks=FALLING, n_tasks=None).backbone
    result = flap(psi, "hopper-mass/tavt/ood:0")
    assert result.beside["predicted_start"]["transitions"] == [20]
    assert np.isfinite(result.adapter.parameters).all()
