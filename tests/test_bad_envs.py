"""An env that cannot be learned or evaluated in is refused before the first step, with what would do instead."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from adapt_runs import run
from apb import (
    ConfigError,
    InvalidEnvError,
    MismatchError,
    UnknownNameError,
    evaluate,
)
from apb.rendering import render
from envs_for_tests import CountingEnv
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import SyncVectorEnv
from policies import make_policy

# --- to learn in -----------------------------------------------------------------------------------------------------


class Spaces(CountingEnv):
    def __init__(self, observation_space, action_space):
        super().__init__()
        self.observation_space, self.action_space = observation_space, action_space


UNIT = Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("observation_space", "action_space", "field"),
    [
        (UNIT, Discrete(3), "action"),
        (Discrete(3), UNIT, "observation"),
        (Dict(a=UNIT), UNIT, "observation"),
        (Box(0, 255, (8, 8, 3), np.uint8), UNIT, "observation"),
        (UNIT, Box(-np.inf, np.inf, (2,)), "action"),
        (UNIT, Box(-1, np.array([1, np.inf], dtype=np.float32)), "action"),
    ],
)
def test_an_env_with_other_spaces_is_refused(observation_space, action_space, field):
    with pytest.raises(InvalidEnvError, match=rf"{field}_space.*; expected"):
        run(Spaces(observation_space, action_space))


class Forgetful(gymnasium.Env):
    """Has the spaces that it is given, no others."""

    def __init__(self, **spaces):
        vars(self).update(spaces)


class ForgetfulVector(gymnasium.vector.VectorEnv):
    num_envs = 2
    observation_space = action_space = Box(-1, 1, (2, 1))


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        (Forgetful, "observation_space"),
        (Forgetful(action_space=UNIT), "observation_space"),
        (Forgetful(observation_space=UNIT), "action_space"),
        (gymnasium.Wrapper(Forgetful(observation_space=UNIT)), "action_space"),
        (ForgetfulVector(), "single_observation_space"),
    ],
)
def test_an_env_without_its_spaces_is_told_what_is_missing(env, missing):
    told = rf"^env Forgetful\w*: it does not .* no attribute '{missing}'.*; expected .* sets \w*observation_space and"
    for use in (lambda: run(env), lambda: evaluate(make_policy(2, 2), env, 1)):
        with pytest.raises(InvalidEnvError, match=told):
            use()


def test_an_unknown_env_is_answered_with_the_nearest_id():
    with pytest.raises(UnknownNameError, match=r"env = 'HalfCheeta-v5' is not registered.*'HalfCheetah-v5'"):
        run("HalfCheeta-v5")


# --- to evaluate in --------------------------------------------------------------------------------------------------


def test_an_env_of_which_there_is_one_only_is_not_evaluated_in():
    with pytest.raises(
        InvalidEnvError,
        match=r"evaluation needs separate envs; pass a function .* as env or as eval_env, or eval_freq=0",
    ):
        run(CountingEnv(), eval_freq=10)
    with pytest.raises(InvalidEnvError, match=r"so no second env can be made"):
        run(CountingEnv(), n_seeds=2)


def test_the_env_that_is_learned_in_is_not_evaluated_in():
    env = gymnasium.make("Pendulum-v1")
    with pytest.raises(InvalidEnvError, match="would move it"):
        run(lambda: env, eval_freq=50, n_eval_episodes=1)
    with pytest.raises(InvalidEnvError, match="would move it"):
        run(env, eval_env=env, eval_freq=50, n_eval_episodes=1)


def test_what_a_vector_env_of_functions_is_told_to_do_works():
    def vector_env():
        return SyncVectorEnv([CountingEnv, CountingEnv])

    options = {"total_timesteps": 30, "eval_freq": 10, "n_eval_episodes": 1}
    with pytest.raises(InvalidEnvError, match=r"a function that makes one Env .* in place of a VectorEnv"):
        run(vector_env(), **options)
    assert run(CountingEnv, **options).evaluations
    assert run(vector_env(), eval_env=CountingEnv, **options).evaluations
    assert not run(vector_env(), **options | {"eval_freq": 0}).evaluations
    assert evaluate(lambda observations: observations[:, :1], vector_env(), 3).lengths.tolist() == [3, 3, 3]


def test_an_evaluation_env_of_other_shapes_or_bounds_is_refused():
    with pytest.raises(InvalidEnvError, match=r"the observation_space of eval_env has shape \(17,\), expected \(3,\)"):
        run(eval_env="HalfCheetah-v5", eval_freq=10)
    stronger = lambda: Spaces(CountingEnv.observation_space, Box(-5, 5, (1,)))  # noqa: E731
    with pytest.raises(InvalidEnvError, match=r"the action_space of eval_env has low\[0\] = -5, expected -2 .* same"):
        run(CountingEnv, eval_env=stronger, eval_freq=10)


def test_what_holds_a_policy_is_refused_with_where_the_policy_is(tmp_path):
    holder = SimpleNamespace(policy=make_policy(3, 1))  # as the result of `adapt` is one
    for use in (lambda: evaluate(holder, "Pendulum-v1", 1), lambda: render(holder, "Pendulum-v1", tmp_path / "a.gif")):
        with pytest.raises(
            ConfigError, match=r"policy is a SimpleNamespace; expected an apb\.Policy.*pass its `\.policy`"
        ):
            use()


def test_a_policy_is_not_evaluated_in_an_env_of_other_shapes_or_bounds():
    policy = make_policy(3, 1)
    with pytest.raises(MismatchError, match=r"the env's observation_space has shape \(17,\), expected \(3,\)"):
        evaluate(policy, "HalfCheetah-v5", 1)
    with pytest.raises(MismatchError, match=r"the env's .* has low\[0\] = "):
        evaluate(policy, "Pendulum-v1", 1)
    with pytest.raises(ConfigError, match=r"the policy returned actions of shape \(2,\); expected \(2, 1\)"):
        evaluate(lambda observations: observations[:, 0], "Pendulum-v1", 2)
    for arguments in (("Pendulum-v1", policy), (gymnasium.make("Pendulum-v1"), policy), ("a/folder", "Pendulum-v1")):
        with pytest.raises(ConfigError, match=r"expected apb\.evaluate\(policy, env\), and a policy that is loaded"):
            evaluate(*arguments)
    for actions in ("a", None, [[1.0], [2.0, 3.0]], [[1j], [1j]]):
        with pytest.raises(ConfigError, match=r"the policy returned actions = .*; expected numbers of shape \(2, 1\)"):
            evaluate(lambda observations, actions=actions: actions, "Pendulum-v1", 2)
    with pytest.raises(ConfigError, match=r"policy is a int; expected an apb.Policy"):
        evaluate(7, "Pendulum-v1", 1)
    for name, value in (("n_eval_episodes", 0), ("seed", -1)):
        with pytest.raises(ConfigError, match=f"{name} = {value} is out of range"):
            evaluate(policy, "Pendulum-v1", **{name: value})
        for wrong in (None, "1", 1.5):
            with pytest.raises(ConfigError, match=f"{name} = {wrong!r} .*; expected an integer"):
                evaluate(policy, "Pendulum-v1", **{name: wrong})
