"""A run goes on in the env that it was started in, in whatever form that is given, and in no other."""

import gymnasium
import numpy as np
import pytest
from apb import ApbWarning, Callback, InvalidEnvError, MismatchError, adapt, resume
from envs_for_tests import CountingEnv
from learning import SMALL, small_backbone
from run_files import assert_same_outcome, outcome

OPTIONS = {**SMALL, "total_timesteps": 150, "checkpoint_freq": 50}


class Stop(Callback):
    def on_step(self, state):
        return state.timesteps != 110


def run(run_dir, env, callback=None, **options):
    return adapt(env, small_backbone(), run_dir=run_dir, callback=callback, **OPTIONS | options)


def on_the_moon():
    env = gymnasium.make("InvertedPendulum-v5")
    env.unwrapped.model.opt.gravity[:] = [0, 0, -1.6]
    return env


def assert_ends_alike(cut, whole):
    """Equal but for the checkpoint that the stop added."""
    cut, whole = outcome(cut), outcome(whole)
    del cut["checkpoints"], whole["checkpoints"]
    assert_same_outcome(cut, whole)


def test_a_changed_env_object_is_not_made_anew_without_the_change_but_asked_for(tmp_path):
    run(tmp_path / "whole", on_the_moon())
    run(tmp_path / "cut", on_the_moon(), Stop())
    with pytest.raises(InvalidEnvError, match=r"'InvertedPendulum-v5'.* was given as an object .*; pass the env again"):
        resume(tmp_path / "cut")
    resume(tmp_path / "cut", env=on_the_moon())
    assert_ends_alike(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize(
    "form", [gymnasium.make, lambda env_id: lambda: gymnasium.make(env_id)], ids=["Env", "factory"]
)
def test_an_unchanged_env_object_may_be_given_again_as_its_id_which_is_told(form, tmp_path):
    run(tmp_path / "whole", "InvertedPendulum-v5")
    run(tmp_path / "cut", form("InvertedPendulum-v5"), Stop())
    with pytest.warns(ApbWarning, match="started with an env object or a function, and goes on in InvertedPendulum-v5"):
        resume(tmp_path / "cut", env="InvertedPendulum-v5")
    assert_ends_alike(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (lambda: gymnasium.make("Pendulum-v1", max_episode_steps=9), "max_episode_steps"),
        (lambda: gymnasium.make("Pendulum-v1", g=1.0), "kwargs"),
        (lambda: gymnasium.wrappers.ClipReward(gymnasium.make("Pendulum-v1"), -1, 1), "layers"),
    ],
)
def test_a_run_does_not_go_on_in_an_env_of_the_same_id_that_is_made_otherwise(other, field, tmp_path):
    run(tmp_path / "run", lambda: gymnasium.make("Pendulum-v1"), Stop())
    for env in (other, other()):
        with pytest.raises(MismatchError, match=rf"not the one that the run .* learns in: they differ in .*{field} \("):
            resume(tmp_path / "run", env=env)


def test_a_run_that_is_given_its_own_id_goes_on_with_its_own_arguments(tmp_path):
    run(tmp_path / "whole", "Pendulum-v1", env_kwargs={"g": 1.0})
    run(tmp_path / "cut", "Pendulum-v1", Stop(), env_kwargs={"g": 1.0})
    resume(tmp_path / "cut", env="Pendulum-v1")
    assert_ends_alike(tmp_path / "cut", tmp_path / "whole")


class Calm(CountingEnv):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)


class Wild(Calm):
    pass


def test_a_run_does_not_go_on_where_its_id_now_names_another_env(tmp_path):
    try:
        gymnasium.register("Weather-v0", Calm, max_episode_steps=20)
        run(tmp_path / "run", "Weather-v0", Stop())
        for entry_point, steps in ((Wild, 20), (Calm, 21)):
            gymnasium.registry.pop("Weather-v0")
            gymnasium.register("Weather-v0", entry_point, max_episode_steps=steps)
            with pytest.raises(MismatchError, match=r"entry_point \(|max_episode_steps \(21, was 20\)"):
                resume(tmp_path / "run")
        gymnasium.registry.pop("Weather-v0")
        gymnasium.register("Weather-v0", Calm, max_episode_steps=20)
        assert resume(tmp_path / "run").stopped_by == "budget"
    finally:
        gymnasium.registry.pop("Weather-v0", None)
