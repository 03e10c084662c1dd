"""Promises of `EnvSource`: usable envs of every kind are accepted, others refused with advice; files import nothing."""

import json
import sys

import gymnasium
import numpy as np
import pytest
from apb.environments import EnvSource, Simulations
from apb.errors import ConfigError, InvalidEnvError, UnknownNameError
from apb.rendering import render
from envs_for_tests import CountingEnv
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import ClipReward
from policies import make_policy

FLOATS = Box(-1, 1, (3,), np.float32)
IMAGE = Box(0, 255, (8, 8, 3), np.uint8)


def env_with(observation_space=FLOATS, action_space=FLOATS) -> CountingEnv:
    env = CountingEnv()
    env.observation_space, env.action_space = observation_space, action_space
    return env


def broken_factory():
    raise OSError("no such robot")


@pytest.mark.parametrize(
    "env",
    [
        "Pendulum-v1",
        gymnasium.make("Pendulum-v1"),
        lambda: gymnasium.make("Pendulum-v1"),
        gymnasium.envs.classic_control.PendulumEnv,
        gymnasium.make_vec("Pendulum-v1", num_envs=2),
        gymnasium.spec("Pendulum-v1"),
    ],
    ids=["id", "Env", "factory", "class", "VectorEnv", "EnvSpec"],
)
def test_id_env_factory_and_vector_env_describe_the_same_env_and_make_new_ones(env):
    source = EnvSource.resolve(env)
    assert source.observation_space.shape == (3,)
    assert source.action_space.high == [2]
    assert source.can_make
    first, second = source.make(), source.separate().make()
    assert first.observation_space == source.observation_space
    assert len({id(first.unwrapped), id(second.unwrapped), id(source.instance)}) == 3
    assert EnvSource.resolve(source) is source


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 2]),
        spaces.MultiBinary(3),
        spaces.Text(3),
        spaces.Dict({"a": FLOATS}),
        spaces.Tuple([FLOATS]),
        IMAGE,
        Box(-5, 5, (2,), np.int64),
        Box(-1, 1, (0,), np.float32),
    ],
    ids=str,
)
@pytest.mark.parametrize("argument", ["observation_space", "action_space"])
def test_spaces_that_are_not_a_box_of_floats_are_refused(argument, space):
    with pytest.raises(InvalidEnvError, match=rf"{argument} = .*; expected"):
        EnvSource.resolve(env_with(**{argument: space}))


def test_spaces_that_are_refused_are_those_of_an_env_with_a_name_and_actions_come_first():
    with pytest.raises(InvalidEnvError, match=r"env FrozenLake-v1: action_space = Discrete\(4\) is not supported"):
        EnvSource.resolve("FrozenLake-v1")


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ([-1, -np.inf], [1, np.inf], r"low = -inf, high = inf at index 1; expected finite bounds"),
        ([0, 0], [np.inf, 1], r"high = inf at index 0; expected finite bounds"),
        ([-np.inf, 0], [1, 1], r"low = -inf, high = 1\.0 at index 0; expected finite bounds"),
        ([np.nan, 0], [1, 1], r"low = nan.* at index 0; expected finite bounds"),
        ([0, 2], [1, 2], r"low = 2\.0, high = 2\.0 at index 1; expected low < high"),
        ([0, 3], [1, 2], r"low = 3\.0, high = 2\.0 at index 1; expected low < high"),
    ],
)
def test_action_bounds_must_be_finite_and_ordered(low, high, message):
    space = Box(-1, 1, (2,), np.float32)
    space.low, space.high = np.array(low, np.float32), np.array(high, np.float32)
    with pytest.raises(InvalidEnvError, match=message):
        EnvSource.resolve(env_with(action_space=space))


@pytest.mark.parametrize("beyond", [1e39, 1e300, np.finfo(np.float64).max])
def test_action_bounds_must_be_finite_in_float32(beyond):
    for low, high in ((-beyond, beyond), (0, beyond), (-beyond, 1)):
        space = Box(low, high, (1,), np.float64)
        with pytest.raises(InvalidEnvError, match=r"action_space has .* at index 0; expected finite bounds .*float32"):
            EnvSource.resolve(env_with(action_space=space))
    largest = float(np.finfo(np.float32).max)
    EnvSource.resolve(env_with(action_space=Box(-largest, largest, (1,), np.float64)))


def test_observation_bounds_may_be_infinite_but_not_nan():
    space = Box(-np.inf, np.inf, (2,), np.float64)
    assert EnvSource.resolve(env_with(observation_space=space)).observation_space == space
    space.high = np.array([1, np.nan])
    with pytest.raises(InvalidEnvError, match="NaN bounds"):
        EnvSource.resolve(env_with(observation_space=space))


def test_spaces_of_a_vector_env_are_those_of_one_sub_env():
    with pytest.raises(InvalidEnvError, match="action_space"):
        EnvSource.resolve(SyncVectorEnv([lambda: env_with(action_space=spaces.Discrete(2))]))


@pytest.mark.parametrize(
    ("env_id", "near"),
    [("HalfCheeta-v5", "HalfCheetah-v5"), ("halfcheetah-v5", "HalfCheetah-v5"), ("Pendulum-v7", "Pendulum-v1")],
)
def test_an_unknown_id_is_refused_with_the_nearest_ones(env_id, near):
    with pytest.raises(UnknownNameError, match=f"did you mean .*'{near}'"):
        EnvSource.resolve(env_id)


def test_the_nearest_id_of_another_package_keeps_its_module():
    with pytest.raises(UnknownNameError, match=r"did you mean 'gymnasium.envs.mujoco:HalfCheetah-v5'"):
        EnvSource.resolve("gymnasium.envs.mujoco:HalfCheeta-v5")


def test_an_id_like_no_other_is_told_how_to_name_an_env_of_another_package():
    with pytest.raises(UnknownNameError, match="an env of another package: `module:Id-v0` imports it first") as caught:
        EnvSource.resolve("ReachForTheSky-v4")
    assert "did you mean" not in str(caught.value), "Reacher-v4 is not near"


@pytest.mark.parametrize("env", [CountingEnv, CountingEnv(), lambda: ClipReward(CountingEnv(), -1, 1)])
def test_an_env_without_id_is_called_by_its_class(env):
    assert EnvSource.resolve(env).name == "CountingEnv"


@pytest.mark.parametrize("kwargs", ["abc", "", [1], (), 5, False])
def test_arguments_of_an_env_that_are_no_mapping_are_refused(kwargs, tmp_path):
    message = r"env_kwargs = .* is a \w+; expected a dict of arguments"
    with pytest.raises(ConfigError, match=message):
        EnvSource.resolve("Pendulum-v1", kwargs)
    with pytest.raises(ConfigError, match=message):
        render(make_policy(3, 1), "Pendulum-v1", tmp_path / "a.gif", env_kwargs=kwargs)


def test_an_error_whose_text_fails_is_told_by_its_class_and_place():
    class WorseError(Exception):
        def __str__(self):
            raise ZeroDivisionError

    def fails():
        raise WorseError

    with pytest.raises(InvalidEnvError, match=r"raised WorseError: at .*test_env_source\.py:\d+"):
        EnvSource.resolve(fails)


def test_an_error_without_words_is_told_by_its_place():
    def silent():
        raise AssertionError

    line = silent.__code__.co_firstlineno + 1
    with pytest.raises(InvalidEnvError, match=rf"raised AssertionError: at {__file__}:{line}; expected"):
        EnvSource.resolve(silent)


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        ("", {}, "cannot be made"),
        ("no spaces allowed", {}, "cannot be made"),
        ("no_such_module_at_all:Env-v0", {}, "cannot be made: ModuleNotFoundError.*`python -m apb`.* PYTHONPATH=. "),
        ("HalfCheetah-v2", {}, "cannot be made: "),
        ("Pendulum-v1", {"gravity": 1}, "env_kwargs = {'gravity': 1} cannot be made: TypeError"),
        (broken_factory, {}, "calling it raised OSError: no such robot"),
        (lambda argument: argument, {}, "calling it raised TypeError"),
        (EnvSpec("Broken-v0", entry_point=broken_factory), {}, "no new env .* OSError: no such robot"),
        (lambda: "an env", {}, "returned a str"),
        (lambda: SyncVectorEnv([CountingEnv]), {}, "returned a SyncVectorEnv"),
        (3.5, {}, "is a float; expected an id"),
        (None, {}, "is a NoneType; expected an id"),
        (3, {}, "another library's vector of envs give the function that makes one;"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is out of date.*:DeprecationWarning")
def test_an_env_that_cannot_be_made_is_refused_with_the_reason(env, kwargs, message):
    with pytest.raises(InvalidEnvError, match=message):
        EnvSource.resolve(env, kwargs)


def test_env_kwargs_reach_an_id_and_are_refused_elsewhere():
    source = EnvSource.resolve("Pendulum-v1", {"g": 3.0})
    assert source.make().unwrapped.g == 3.0
    with pytest.raises(ConfigError, match="env_kwargs"):
        EnvSource.resolve(CountingEnv(), {"g": 3.0})
    for env in (CountingEnv, gymnasium.spec("Pendulum-v1"), source):
        with pytest.raises(ConfigError, match="env_kwargs"):
            EnvSource.resolve(env, {"g": 3.0})
    assert EnvSource.resolve(source) is source


def test_an_object_without_spec_serves_alone_and_asks_for_a_factory_where_more_are_needed():
    source = EnvSource.resolve(CountingEnv())
    assert not source.can_make
    for need in (source.make, source.separate, lambda: Simulations(source, 1, 2, [0])):
        with pytest.raises(InvalidEnvError, match="pass an id or a factory"):
            need()


def test_further_envs_of_an_object_have_its_arguments_wrappers_and_time_limit():
    env = gymnasium.wrappers.ClipReward(gymnasium.make("Pendulum-v1", max_episode_steps=7, g=2.0), -1, 1)
    made = EnvSource.resolve(env).make()
    assert isinstance(made, gymnasium.wrappers.ClipReward)
    assert made.spec.max_episode_steps == 7
    assert made.unwrapped.g == 2.0


def test_further_envs_of_a_vector_env_are_single_with_its_arguments():
    source = EnvSource.resolve(gymnasium.make_vec("Pendulum-v1", num_envs=3, g=2.0))
    made = source.make()
    assert made.action_space.shape == (1,)
    assert made.unwrapped.g == 2.0
    assert made.spec.max_episode_steps == 200
    assert source.separate().instance is None


def test_a_factory_whose_envs_differ_is_refused():
    sizes = iter([1, 1, 2])
    source = EnvSource.resolve(lambda: env_with(action_space=Box(-1, 1, (next(sizes),), np.float32)))
    with pytest.raises(InvalidEnvError, match="other spaces"):
        Simulations(source, 1, 2, [0])


@pytest.mark.parametrize(
    ("env", "kwargs"),
    [
        ("Hopper-v5", {"forward_reward_weight": 2.0, "max_episode_steps": 9}),
        (gymnasium.make("Hopper-v5", forward_reward_weight=2.0, max_episode_steps=9).spec, {}),
    ],
    ids=["id", "EnvSpec"],
)
def test_an_env_is_rebuilt_from_its_identity_after_a_trip_through_json(env, kwargs):
    source = EnvSource.resolve(env, kwargs)
    identity = json.loads(json.dumps(source.identity))
    rebuilt = EnvSource.from_identity(identity)
    assert rebuilt.identity == identity
    made = rebuilt.make()
    assert made.unwrapped._forward_reward_weight == 2.0
    assert made.spec.max_episode_steps == 9
    assert identity["action_high"] == [1.0] * 3
    assert identity["observation_size"] == 11


@pytest.mark.parametrize(
    "env",
    [
        CountingEnv,
        CountingEnv(),
        gymnasium.make("Pendulum-v1"),
        gymnasium.wrappers.ClipReward(gymnasium.make("Pendulum-v1"), -1, 1),
        gymnasium.wrappers.ClipReward(gymnasium.make("Pendulum-v1"), -1, 1).spec,
        gymnasium.make_vec("Pendulum-v1", num_envs=2),
    ],
    ids=["factory", "no spec", "an object", "wrapped", "EnvSpec of a wrapped one", "VectorEnv"],
)
def test_an_env_that_its_id_does_not_describe_is_not_rebuilt_from_its_identity(env):
    source = EnvSource.resolve(env)
    assert source.identity["recreatable"] is False
    with pytest.raises(InvalidEnvError, match="pass the env again"):
        EnvSource.from_identity(json.loads(json.dumps(source.identity)))


def test_an_id_an_object_and_a_factory_of_one_env_have_one_description_and_another_env_has_another():
    def make(**kwargs):
        return gymnasium.make("Pendulum-v1", **kwargs)

    def description(env, kwargs=None):
        return EnvSource.resolve(env, kwargs).description

    assert description("Pendulum-v1") == description(make()) == description(make) == description(make().spec)
    assert description("Pendulum-v1", {"g": 2.0}) == description(make(g=2.0)) == description(lambda: make(g=2.0))
    vector = [gymnasium.make_vec("Pendulum-v1", num_envs=2, vectorization_mode=mode) for mode in ("sync", "async")]
    others = [
        make,
        lambda: make(g=2.0),
        lambda: make(max_episode_steps=7),
        lambda: gymnasium.wrappers.ClipReward(make(), -1, 1),
        lambda: make().unwrapped,
        vector[0],
    ]
    found = [description(env) for env in others]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])
    assert description(vector[1]) == found[-1]
    for env in vector:
        env.close()


def test_arguments_that_are_arrays_describe_nothing_and_harm_nothing():
    gymnasium.register("WithArray-v0", lambda weights: CountingEnv())
    for kwargs in ({"weights": np.ones(3)}, {"weights": np.zeros(3)}):
        source = EnvSource.resolve(gymnasium.make("WithArray-v0", **kwargs))
        assert source.description["kwargs"] == {}
    del gymnasium.registry["WithArray-v0"]


def test_an_identity_from_a_file_never_imports_a_module(tmp_path, monkeypatch):
    (tmp_path / "evil_for_test.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    identity = EnvSource.resolve("Pendulum-v1").identity | {"id": "evil_for_test:Pendulum-v1"}
    with pytest.raises(UnknownNameError, match="import the package"):
        EnvSource.from_identity(identity)
    assert "evil_for_test" not in sys.modules


@pytest.mark.parametrize("broken", [{}, {"id": 3}, {"kwargs": None}, {"kwargs": [1]}, {"recreatable": "yes"}])
def test_a_malformed_identity_is_refused(broken):
    identity = EnvSource.resolve("Pendulum-v1").identity | broken if broken else {}
    with pytest.raises(InvalidEnvError):
        EnvSource.from_identity(identity)


def test_making_envs_leaves_nothing_on_the_screen_or_in_the_folder(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    env = EnvSource.resolve("HalfCheetah-v5").make()
    EnvSource.resolve(env).separate().make()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
