"""What a reset or a step is given that cannot be is refused by name, and nothing has moved."""

import gymnasium
import numpy as np
import pytest
from apb.errors import ConfigError, SimulationError, UnknownNameError
from apb.tasks import Task
from apb.tasks.families.cheetah_vel import CheetahVel
from apb.tasks.single import TaskEnv
from gymnasium.vector import AutoresetMode
from task_rig import actions_for, batched, run, same_bits


@pytest.fixture
def untouched():
    """A batch in the middle of its episodes; at the end of the test it goes on as one that nothing happened to."""
    env, same = (batched("hopper-mass", 3, max_episode_steps=9) for _ in range(2))
    for each in (env, same):
        each.reset(seed=4)
        run(each, actions_for(each, 3))
    yield env
    assert all(same_bits(part, same.state()[name]) for name, part in env.state().items())


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        ([1, 2], "seed has 2 elements; expected one integer, or one for each of 3 rows"),
        ([1, 2, 3, 4], "seed has 4 elements"),
        ([], "seed has 0 elements"),
        (np.array([1, 2]), "seed has 2 elements"),
        (-1, "seed = -1 is out of range"),
        ([1, -1, None], r"seed\[1\] = -1 is out of range"),
        (2**63 - 1, "seed = 9223372036854775807 is out of range"),
        ([0, 0, 2**63], r"seed\[2\] = 9223372036854775808 is out of range"),
        (1.5, "seed = 1.5"),
        (["a", 1, 2], r"seed\[0\] = 'a'"),
        (True, "seed = True"),
        ("abc", r"seed\[0\] = 'a'"),
        ({}, "seed = {}"),
        (np.array(1.5), "seed = .*1.5"),
    ],
)
def test_seeds_that_cannot_be_are_refused(untouched, seed, words):
    with pytest.raises(ConfigError, match=words):
        untouched.reset(seed=seed)


def test_seeds_of_numpy_are_integers_too():
    first, second, third, fourth = (batched("hopper-mass", 2) for _ in range(4))
    expected = first.reset(seed=7)[0]
    assert same_bits(fourth.reset(seed=np.array(7))[0], expected)
    assert same_bits(second.reset(seed=np.int64(7))[0], expected)
    assert same_bits(third.reset(seed=np.array([7, 8]))[0], expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reset_mask": [1, 0, 1]}, r"options\['reset_mask'\] is int64 \(3,\); expected bool \(3,\)"),
        ({"reset_mask": np.ones(2, bool)}, r"reset_mask'\] is bool \(2,\); expected bool \(3,\)"),
        ({"reset_mask": np.ones((3, 1), bool)}, r"reset_mask'\] is bool \(3, 1\)"),
        ({"reset_mask": True}, r"reset_mask'\] is bool \(\)"),
        ({"reset_mask": "all"}, "reset_mask"),
        ({"reset_mask": [[True], [True, False], []]}, r"reset_mask'\] = \[\[True\]"),
        ([True], r"options = \[True\] is a list; expected a dict"),
    ],
)
def test_options_of_a_reset_that_cannot_be_are_refused(untouched, options, words):
    with pytest.raises(ConfigError, match=words):
        untouched.reset(seed=3, options=options)


def with_value(value, dtype=np.float64):
    actions = np.zeros((3, 3), dtype)
    actions[1, 2] = value
    return actions


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (with_value(np.nan), r"row 1 of hopper-mass \(exponent = .*\): action 2 is nan; expected a finite number"),
        (with_value(np.inf), "row 1 of hopper-mass .*: action 2 is inf"),
        (with_value(-np.inf, np.float32), "action 2 is -inf"),
        (np.zeros((3, 4)), r"actions have shape \(3, 4\); expected \(3, 3\)"),
        (np.zeros((2, 3)), r"actions have shape \(2, 3\)"),
        (np.zeros(3), r"actions have shape \(3,\)"),
        (np.zeros(9), r"actions have shape \(9,\)"),
        (with_value(None, object), "action"),
        (with_value("fast", object), r"(?s)actions = .*; expected an array of finite numbers"),
        ([[1.0], [2.0, 3.0], []], r"(?s)actions = .*; expected an array of finite numbers"),
        ("up", "actions = 'up'; expected an array"),
        ([["0.5"] * 3] * 3, r"(?s)actions = .*; expected an array of finite numbers"),
        (with_value(1j, np.complex128), r"(?s)actions = .*; expected an array of finite numbers"),
        (with_value(1j, object), r"(?s)actions = .*; expected an array of finite numbers"),
        (None, r"actions"),
        (with_value(10**400, object), r"(?s)actions = .*; expected an array of finite numbers"),
        (np.ma.masked_array(np.zeros((3, 3)), np.eye(3)), r"(?s)actions = .*; expected an array of finite numbers"),
    ],
)
def test_actions_that_cannot_be_are_refused(untouched, actions, words):
    with pytest.raises(SimulationError, match=words):
        untouched.step(actions)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_step_before_the_first_reset_is_refused(mode):
    env = batched("hopper-mass", 3, autoreset_mode=mode)
    with pytest.raises(SimulationError, match=r"rows \[0, 1, 2\] have no episode under way; reset them first"):
        env.step(np.zeros((3, 3)))
    env.reset(options={"reset_mask": np.array([True, False, True])})
    with pytest.raises(SimulationError, match=r"rows \[1\] have no episode under way"):
        env.step(np.zeros((3, 3)))
    env.reset(seed=0)
    env.step(np.zeros((3, 3)))


def test_without_automatic_resets_a_step_after_the_end_is_refused_and_names_the_rows():
    env = batched("cheetah-vel", 8, autoreset_mode="disabled", max_episode_steps=2)
    env.reset(seed=0)
    run(env, np.zeros((2, 8, 6)))
    before = env.state()
    with pytest.raises(SimulationError, match=r"rows \[0, 1, 2, 3, 4\]"):
        env.step(np.zeros((8, 6)))
    assert all(same_bits(part, before[name]) for name, part in env.state().items())


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, "a", True, [1]])
def test_a_seed_that_a_single_env_cannot_take_is_refused(seed):
    env = TaskEnv("cheetah-vel")
    env.reset(seed=1)
    with pytest.raises(ConfigError, match="seed = "):
        env.reset(seed=seed)
    same = TaskEnv("cheetah-vel")
    same.reset(seed=1)
    assert same_bits(env.reset()[0], same.reset()[0])


@pytest.mark.parametrize(
    "action",
    [
        np.full(6, np.nan),
        np.full(6, np.inf),
        np.zeros(5),
        np.zeros((1, 6)),
        np.array([None] * 6),
        np.array(["a"] * 6, object),
        "up",
        None,
    ],
)
def test_an_action_that_a_single_env_cannot_take_is_refused_and_nothing_has_moved(action):
    env, same = TaskEnv("cheetah-vel", velocity=3.0), TaskEnv("cheetah-vel", velocity=3.0)
    with pytest.raises(SimulationError, match="no episode is under way; reset it first"):
        env.step(np.zeros(6))
    for each in (env, same):
        each.reset(seed=1)
    with pytest.raises(SimulationError, match=r"(?s)action.*expected .*finite numbers"):
        env.step(action)
    assert same_bits(env.step(np.ones(6))[0], same.step(np.ones(6))[0])


def test_gymnasiums_make_passes_errors_of_tasks_on():
    with pytest.raises(ConfigError, match="velocity = 99"):
        gymnasium.make("apb/CheetahVel-v0", velocity=99)
    with pytest.raises(UnknownNameError, match="did you mean 'velocity'"):
        gymnasium.make_vec("apb/CheetahVel-v0", num_envs=2, velocty=1)


@pytest.mark.parametrize("options", [{"velocity": 1.0}, {"task": 3}, {"reset_mask": [True], "seed": 1}])
def test_a_reset_is_not_silent_on_options_that_mean_nothing(options):
    for env in (gymnasium.make("apb/CheetahVel-v0"), batched("cheetah-vel", 1)):
        env.reset(seed=0)
        with pytest.raises(ConfigError, match=r"expected no more than 'reset_mask': a task is chosen when its env is"):
            env.reset(options=options)
        env.reset(options={})
        env.close()


def test_an_env_knows_its_task_with_all_values():
    env = gymnasium.make("apb/CheetahVel-v0", include_torso_position=False)
    assert env.unwrapped.task == Task("cheetah-vel", {"include_torso_position": False})
    assert env.unwrapped.task.arguments == {"velocity": 2.0, "include_torso_position": False}
    env.close()


@pytest.mark.parametrize("row", [-1, 3, 1.5, "a", True, 2**40])
def test_a_row_that_there_is_not_is_refused(row):
    env = batched("hopper-mass", 3)
    for use in (env.picture, env.task):
        with pytest.raises(ConfigError, match="row = "):
            use(row)


def test_parameters_that_models_were_made_of_cannot_be_written_to():
    env = batched("hopper-mass", 3)
    with pytest.raises(ValueError, match="read-only"):
        env.parameters["exponent"][0] = 0.5
    with pytest.raises(TypeError):
        env.parameters["exponent"] = np.zeros(3)
    with pytest.raises(AttributeError):
        env.parameters = {}


@pytest.mark.parametrize("field", ["qpos", "qvel"])
@pytest.mark.parametrize(
    "make", [lambda: batched("cheetah-vel", 2), lambda: TaskEnv("cheetah-vel")], ids=["rows", "one"]
)
def test_a_family_that_moves_a_robot_by_looking_at_it_is_refused(make, field, monkeypatch):
    def observe(self, physics, parameters):
        getattr(physics, field)[:] = 0
        return np.zeros((len(physics.qpos), 20))

    env = make()
    env.reset(seed=0)
    monkeypatch.setattr(CheetahVel, "observe", observe)
    with pytest.raises(ValueError, match="read-only"):
        env.step(np.zeros(env.action_space.shape))
