"""A prior is any policy that is known beforehand: one acts in a run, its layers are a beginning, and a run keeps it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from apb import (
    ApbError,
    Backbone,
    Callback,
    ConfigError,
    FileFormatError,
    MismatchError,
    Policy,
    RunFolderError,
    adapt,
    meta_train,
    pretrain,
    resume,
)
from apb import tasks as apb_tasks
from apb.cli import main
from apb.environments import EnvSource
from apb.plotting import plot_runs
from apb.prior import Prior
from crashes import Crash, CrashAt
from gymnasium.spaces import Box
from learning import SMALL, small_backbone
from policies import random_adapter, random_normalizer
from pretrain_runs import PlaneEnv
from run_files import assert_same_outcome, outcome

NAME = "behavior_transfer"


def pendulum_policy(seed=0, backbone=None, normalizer=None, **metadata):
    backbone = small_backbone() if backbone is None else backbone
    env = gymnasium.make("Pendulum-v1")
    adapter = random_adapter(backbone, 3, 1, seed)
    return Policy(backbone, adapter, env.observation_space, env.action_space, normalizer, metadata)


def swing(observations):
    """A prior that is a function: torque with the velocity."""
    return 2 * np.sign(observations[:, 2:])


def run(run_dir=None, env="Pendulum-v1", backbone=None, **options):
    given = {**SMALL, "total_timesteps": 150, "log_freq": 50, "strategy": NAME, **options}
    given = {**({"flight_prob": 0.05} if given["strategy"] == NAME else {}), **given}
    return adapt(env, small_backbone() if backbone is None else backbone, run_dir=run_dir, **given)


# --- the layers of the prior -----------------------------------------------------------------------------------------


def test_learning_begins_with_the_layers_of_the_prior_around_its_own_backbone():
    prior = pendulum_policy(seed=5, backbone=small_backbone(seed=9))
    result = adapt(
        "Pendulum-v1", prior=prior, adapter_init="prior", **SMALL, total_timesteps=80, gradient_steps=0, n_seeds=2
    )
    for policy in result.policies:
        assert policy.backbone.hash == prior.backbone.hash
        assert (policy.adapter.parameters == prior.adapter.parameters).all()


def test_the_layers_of_a_prior_fit_no_other_backbone():
    with pytest.raises(MismatchError, match=r"adapter_init = 'prior', but the prior has the backbone .*leave backbone"):
        run(backbone=small_backbone(seed=9), prior=pendulum_policy(), adapter_init="prior", policy_starts=0)


def test_the_layers_of_a_prior_that_normalises_its_observations_are_no_beginning_and_it_can_explore(tmp_path):
    prior = pendulum_policy(normalizer=random_normalizer(3))
    told = r"adapter_init = 'prior', but the prior normalises its observations, .* without normalize_observations"
    with pytest.raises(MismatchError, match=told):
        run(tmp_path / "run", prior=prior, adapter_init="prior", policy_starts=0)
    assert not (tmp_path / "run").exists()
    run(prior=prior)


# --- what can be given, and what cannot ------------------------------------------------------------------------------


class Recurrent:
    """SB3's protocol."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        return swing(observation), None


def test_a_policy_its_folder_a_run_an_object_with_predict_and_a_function_are_priors(tmp_path):
    policy = pendulum_policy()
    folder = policy.save_pretrained(tmp_path / "policy")
    first = run(prior=policy)
    for same in (folder, str(folder)):
        again = run(prior=same)
        assert first.adapter.parameters.tobytes() == again.adapter.parameters.tobytes()
    function, predicting = run(prior=swing), run(prior=Recurrent())
    assert function.adapter.parameters.tobytes() == predicting.adapter.parameters.tobytes()
    assert function.adapter.parameters.tobytes() != first.adapter.parameters.tobytes()
    run(tmp_path / "run", prior=policy)
    source = EnvSource.resolve("Pendulum-v1")
    assert Prior(tmp_path / "run", source).policy is not None


def test_nearest_is_the_policy_of_the_nearest_train_task_of_the_backbone():
    task, backbone = "cheetah-vel/mier-hard:0", Backbone.from_pretrained("cheetah-vel")
    options = {"env": task, "backbone": "cheetah-vel", "prior": "nearest", "total_timesteps": 70}
    result = run(strategy="action_noise", adapter_init="prior", gradient_steps=0, **options)
    nearest = backbone.adapters.nearest(apb_tasks.get(task))
    assert (result.adapter.parameters == backbone.adapters.parameters[nearest]).all()
    run(**options)
    for env, message in (
        ("Pendulum-v1", r"prior = 'nearest', but env Pendulum-v1 is no task of apb\.tasks"),
        ("cheetah-vel/mier-hard", r"prior = 'nearest', but env .* is several tasks"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(**options | {"env": env})
    with pytest.raises(ConfigError, match="prior = 'nearest', but the backbone keeps no adapters"):
        run(**options | {"backbone": None})


def test_of_a_run_with_several_seeds_one_policy_has_to_be_named(tmp_path):
    run(tmp_path / "run", prior=swing, n_seeds=2)
    with pytest.raises(ConfigError, match=r"run holds 2 policies; expected one of their folders, such as .*seed-0"):
        run(prior=tmp_path / "run")


@pytest.mark.parametrize("job", [pretrain, meta_train], ids=lambda job: job.__name__)
def test_only_an_adaptation_takes_a_prior(job):
    env = "Pendulum-v1" if job is pretrain else ["Pendulum-v1", "MountainCarContinuous-v0"]
    with pytest.raises(ConfigError, match=f"'behavior_transfer' without a prior.*: {job.__name__} takes none"):
        job(env, strategy=NAME, total_timesteps=200, learning_starts=50)


def test_a_prior_acts_in_units_of_the_env_and_within_its_bounds():
    source = EnvSource.resolve("Pendulum-v1")
    observations = np.zeros((4, 3), dtype=np.float32)
    for torque, unit in ((2.0, 1.0), (-1.0, -0.5), (7.0, 1.0)):
        actions = Prior(lambda o, torque=torque: np.full((len(o), 1), torque), source)(observations)
        np.testing.assert_allclose(actions, np.full((4, 1), unit))


def test_a_prior_is_first_asked_about_an_observation_that_the_env_may_have():
    class Far(PlaneEnv):
        observation_space = Box(np.float32([1, -np.inf]), np.float32([2, -3]))

    asked = []
    Prior(lambda o: asked.append(o.tolist()) or np.zeros((len(o), 2)), EnvSource.resolve(Far))
    assert asked == [[[1.0, -3.0]]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigError, r"strategy = 'behavior_transfer' without a prior.*expected prior="),
        ({"strategy": "action_noise", "prior": swing}, ConfigError, r"nothing is made of it; expected strategy="),
        ({"prior": swing, "flight_prob": 0, "extra_action": "off"}, ConfigError, r"the prior never acts"),
        (
            {"prior": swing, "adapter_init": "prior", "policy_starts": 0},
            ConfigError,
            r"no prior whose layers could",
        ),
        ({"prior": 3}, ConfigError, r"prior is a int; expected an apb.Policy, a folder"),
        ({"prior": Policy}, ConfigError, r"prior is a type; expected"),
        ({"prior": lambda o: o}, ConfigError, r"the prior returned actions of shape \(1, 3\); expected \(1, 1\)"),
        ({"prior": lambda o: o @ np.ones((9, 1))}, MismatchError, r"prior cannot act in Pendulum-v1, whose .*\(3,\)"),
        ({"prior": lambda o: np.full((len(o), 1), np.nan)}, ConfigError, r"returned NaN or infinity as an action"),
        ({"prior": "nowhere"}, RunFolderError, r"prior = 'nowhere' is neither 'nearest' nor a folder that exists$"),
        ({"prior": "neerest"}, RunFolderError, r"that exists; did you mean 'nearest'\?$"),
        ({"prior": "ant-goal"}, RunFolderError, r"give backbone='ant-goal' and prior='nearest'$"),
        ({"prior": swing, "extra_action": "medium"}, ApbError, r"extra_action = 'medium' is unknown"),
    ],
)
def test_what_cannot_be_a_prior_is_told_before_anything_is_learned(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_prior_of_other_spaces_is_refused():
    with pytest.raises(MismatchError, match=r"^prior: the env's observation_space has shape \(2,\), expected \(3,\)"):
        run(env="MountainCarContinuous-v0", prior=pendulum_policy())


def test_a_prior_whose_actions_stop_being_numbers_is_told(tmp_path):
    def sometimes(observations):
        return np.where(observations[:, :1] != 0, np.nan, 0.0)

    kept = "the last good checkpoint is .*00000060"
    with pytest.raises(ConfigError, match=rf"returned NaN or infinity as an action.*; {kept}"):
        run(tmp_path / "run", prior=sometimes, flight_prob=1.0, checkpoint_freq=20)


def test_a_prior_that_raises_on_the_way_is_told_with_what_is_kept(tmp_path):
    def sometimes(observations):
        if observations.any():
            raise RuntimeError("motor broke")
        return np.zeros((len(observations), 1))

    with pytest.raises(ConfigError, match=r"the prior raised RuntimeError: motor broke; .*; the last good checkpoint"):
        run(tmp_path / "run", prior=sometimes, flight_prob=1.0, checkpoint_freq=20)


@pytest.mark.parametrize("extra_action", ["hard", "off"])
def test_a_prior_that_writes_into_what_it_is_given_changes_nothing_but_that(extra_action):
    def writing(observations):
        observations *= 2
        return swing(observations / 2)

    def learned(prior):
        return run(prior=prior, extra_action=extra_action, learning_starts=20).adapter.parameters.tobytes()

    assert learned(writing) == learned(swing)


# --- exact continuation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"extra_action": "off"}, {"extra_action": "soft", "n_seeds": 2}], ids=str)
def test_a_run_with_a_prior_goes_on_exactly_from_its_folder(options, tmp_path):
    # Long flights, so that one is under way at the checkpoint of step 100.
    options = {"prior": pendulum_policy(), "checkpoint_freq": 20, "flight_exponent": 0, **options}
    run(tmp_path / "whole", **options)
    with pytest.raises(Crash):
        run(tmp_path / "cut", callback=CrashAt(117), **options)
    resume(tmp_path / "cut")
    assert_same_outcome(outcome(tmp_path / "whole"), outcome(tmp_path / "cut"))


@pytest.mark.parametrize("extra_action", ["off", "hard", "soft"])
def test_a_lane_with_a_prior_learns_what_it_learns_alone_on_any_number_of_threads(extra_action):
    together = run(prior=swing, extra_action=extra_action, n_seeds=2, num_threads=2)
    for seed, policy in enumerate(together.policies):
        alone = run(prior=swing, extra_action=extra_action, seed=seed)
        assert alone.adapter.parameters.tobytes() == policy.adapter.parameters.tobytes()


def test_a_run_with_a_function_as_prior_needs_it_again(tmp_path):
    options = {"prior": swing, "checkpoint_freq": 20}
    run(tmp_path / "whole", **options)
    with pytest.raises(Crash):
        run(tmp_path / "cut", callback=CrashAt(117), **options)
    with pytest.raises(ConfigError, match=r"a prior that its folder does not keep .*prior=FOLDER .* a function"):
        resume(tmp_path / "cut")
    with pytest.raises(MismatchError, match=r"the prior is .*'Policy'.*give the one that the run was started with"):
        resume(tmp_path / "cut", prior=pendulum_policy())
    resume(tmp_path / "cut", prior=swing)
    assert_same_outcome(outcome(tmp_path / "whole"), outcome(tmp_path / "cut"))


def test_a_run_goes_on_with_no_other_prior_than_its_own(tmp_path):
    run(tmp_path / "with", prior=pendulum_policy())
    with pytest.raises(MismatchError, match="give the one that the run was started with"):
        resume(tmp_path / "with", prior=pendulum_policy(seed=1))
    shutil.rmtree(tmp_path / "with" / "prior")
    pendulum_policy(seed=1).save_pretrained(tmp_path / "with" / "prior")
    with pytest.raises(MismatchError, match=r"the prior is .*; config\.json of .* says .*: give the one that the run"):
        resume(tmp_path / "with")
    resume(tmp_path / "with", prior=pendulum_policy())
    run(tmp_path / "without", strategy="action_noise")
    with pytest.raises(ConfigError, match="was started without one; leave it out"):
        resume(tmp_path / "without", prior=swing)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_damaged_prior_in_the_folder_of_a_run_is_told_as_the_prior_and_can_be_given_again(file, tmp_path, capsys):
    run(tmp_path / "run", prior=pendulum_policy())
    damaged = tmp_path / "run" / "prior" / file
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(
        FileFormatError, match=rf"^the prior that the run in .*{file}.* give the same policy .* as prior=FOLDER$"
    ):
        resume(tmp_path / "run")
    assert main(["resume", str(tmp_path / "run"), "--num-threads", "1"]) == 2
    assert "as --prior FOLDER" in capsys.readouterr().err
    resume(tmp_path / "run", prior=pendulum_policy())


def test_the_hash_of_a_policy_is_of_what_it_computes():
    policy = pendulum_policy()
    assert policy.hash == pendulum_policy().hash
    normalizer = random_normalizer(3)
    normalized = [
        normalizer,
        replace(normalizer, mean=normalizer.mean + 1),
        replace(normalizer, inverse_std=normalizer.inverse_std + 1),
        replace(normalizer, clip=5.0),
    ]
    others = [
        pendulum_policy(1),
        pendulum_policy(0, small_backbone(seed=4)),
        *(pendulum_policy(normalizer=each) for each in normalized),
        *(
            Policy(
                policy.backbone, policy.adapter, policy.observation_space, Box(np.float32([low]), np.float32([high]))
            )
            for low, high in ((-1, 1), (-1, 3))
        ),
    ]
    assert len({each.hash for each in (policy, *others)}) == 1 + len(others)


# --- on the command line ---------------------------------------------------------------------------------------------


class Titled(Callback):
    def on_start(self, state):
        self.title = state.title


def test_a_run_tells_which_prior_it_had(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pendulum_policy().save_pretrained("known")
    own = pendulum_policy(env_id="Pendulum-v1")
    near = {"env": "cheetah-vel/mier-hard:0", "backbone": "cheetah-vel"}
    for number, (prior, name, options) in enumerate(
        (("known", "known", {}), (own, "of Pendulum-v1", {}), (swing, "swing", {}), ("nearest", "of cheetah-vel", near))
    ):
        look = Titled()
        run(tmp_path / str(number), prior=prior, total_timesteps=64, learning_starts=60, callback=look, **options)
        assert f"behavior_transfer, prior {name}" in look.title
        config = json.loads((tmp_path / str(number) / "config.json").read_text())
        assert config["in_words"].startswith(f"behavior_transfer, prior {name}")
    short = ["--total-timesteps", "70", "--learning-starts", "64", "--batch-size", "32", "--eval-freq", "0"]
    assert main(["adapt", "Pendulum-v1", "--strategy", NAME, "--prior", "known", *short]) == 0
    told = capsys.readouterr()
    assert "Pendulum-v1, behavior_transfer, prior known: " in told.out
    assert "random backbone, behavior_transfer, prior known, seed 0" in told.err


def test_a_run_with_a_prior_of_any_name_has_its_picture_and_goes_on_under_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(f"{'long' * 40}/a$b_{{$c")  # matplotlib takes what is between dollars for a formula
    pendulum_policy().save_pretrained(folder)
    options = {"prior": folder, "checkpoint_freq": 20, "eval_freq": 50, "n_eval_episodes": 1}
    with pytest.raises(Crash):
        run(tmp_path / "cut", callback=CrashAt(117), **options)
    look = Titled()
    resume(tmp_path / "cut", callback=look)
    words = json.loads((tmp_path / "cut" / "config.json").read_text())["in_words"]
    assert words.endswith("g/a$b_{$c")
    assert len(words) < 100
    assert look.title == f"Pendulum-v1, {words}"
    assert plot_runs([tmp_path / "cut"], tmp_path / "again.png").stat().st_size > 10_000


def test_a_prior_is_given_by_its_folder_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pendulum_policy().save_pretrained("known")
    short = ["--total-timesteps", "120", "--learning-starts", "64", "--batch-size", "32", "--eval-freq", "0", "--json"]
    assert main(["adapt", "Pendulum-v1", "--strategy", NAME, "--prior", "known", "--run-dir", "a", *short]) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == NAME
    more = ["--adapter-init", "prior", "--policy-starts", "0"]
    assert main(["adapt", "Pendulum-v1", "--prior", "known", "--run-dir", "b", *more, *short]) == 0
    capsys.readouterr()
    assert Policy.from_pretrained(tmp_path / "b" / "prior").backbone.hash == pendulum_policy().backbone.hash
    assert main(["adapt", "Pendulum-v1", "--strategy", NAME, *short]) == 2
    assert "without a prior, the policy that explores; expected --prior FOLDER" in capsys.readouterr().err


def test_the_controls_of_a_run_with_a_prior_explore_without_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pendulum_policy().save_pretrained("known")
    short = ["--total-timesteps", "100", "--learning-starts", "64", "--batch-size", "32", "--eval-freq", "100"]
    short += ["--n-eval-episodes", "1", "--json", "--controls", "--run-dir", "a"]
    assert main(["adapt", "Pendulum-v1", "--strategy", NAME, "--prior", "known", *short]) == 0
    assert set(json.loads(capsys.readouterr().out)["controls"]["runs"]) == {"this run", "random backbone", "plain TD3"}
