"""What is wrong with a task, its envs or what they are given is said at once, by name, and changes nothing."""

import sys

import numpy as np
import pytest
from apb.errors import ConfigError, InvalidEnvError, UnknownNameError
from apb.simulation import BatchedEnv
from apb.tasks import Task, check_family
from apb.tasks.single import TaskEnv
from gymnasium.vector import AutoresetMode

# --- tasks -----------------------------------------------------------------------------------------------------------

TASKS = {
    "above the range": (
        "cheetah-vel",
        {"velocity": 20.5},
        ConfigError,
        r"velocity = 20\.5; expected a number in \[0, 20\]",
    ),
    "below the range": ("cheetah-vel", {"velocity": -0.1}, ConfigError, r"velocity = -0\.1; expected .*m/s"),
    "NaN": ("cheetah-vel", {"velocity": float("nan")}, ConfigError, "velocity = nan; expected a number in"),
    "infinite": ("hopper-mass", {"exponent": float("inf")}, ConfigError, "exponent = inf; expected"),
    "text": ("cheetah-vel", {"velocity": "fast"}, ConfigError, "velocity = 'fast'; expected a number"),
    "a number as text": ("cheetah-vel", {"velocity": "3"}, ConfigError, "velocity = '3'; expected a number"),
    "a flag": ("cheetah-vel", {"velocity": True}, ConfigError, "velocity = True; expected a number"),
    "None": ("cheetah-vel", {"velocity": None}, ConfigError, "velocity.*expected a number"),
    "a dict": ("cheetah-vel", {"velocity": {}}, ConfigError, "velocity = {}; expected a number"),
    "ragged": ("ant-goal", {"goal": [1.0, [2.0]]}, ConfigError, "goal = .*; expected a number in .*array"),
    "one number of two": ("ant-goal", {"goal": [1.0]}, ConfigError, r"goal has shape \(1,\); expected \(2,\)"),
    "a number for an array": ("ant-goal", {"goal": 1.0}, ConfigError, r"goal has shape \(\); expected \(2,\)"),
    "an element out of range": ("ant-goal", {"goal": [1.0, 21.0]}, ConfigError, r"goal\[1\] = 21\.0; expected"),
    "half a sign": (
        "ant-negated-joints",
        {"signs": [1] * 7 + [0.5]},
        ConfigError,
        r"signs\[7\] = 0\.5; expected -1 or 1",
    ),
    "no sign": ("cheetah-dir", {"direction": 0}, ConfigError, r"direction = 0\.0; expected 1 or -1|expected -1 or 1"),
    "twice the same": (
        "cheetah-permuted-joints",
        {"order": [0, 1, 2, 3, 4, 4]},
        ConfigError,
        "order.*repeats an element; expected 0 to 5 in any order",
    ),
    "between elements": ("cheetah-permuted-joints", {"order": [0, 1, 2, 3, 4, 4.5]}, ConfigError, r"order\[5\] = 4\.5"),
    "too few elements": ("cheetah-permuted-joints", {"order": [0, 1, 2]}, ConfigError, r"order has shape \(3,\)"),
    "no permutation of states": ("cheetah-vel-permuted-state", {"permutation": [0] * 20}, ConfigError, "permutation"),
    "a permutation of another size": (
        "cheetah-vel-permuted-state",
        {"permutation": list(range(20)), "include_torso_position": False},
        ConfigError,
        r"permutation has shape \(20,\); expected \(17,\)",
    ),
    "a negative factor": ("walker-rand-params", {"body_mass": [-1] * 8}, ConfigError, r"body_mass\[0\] = -1\.0"),
    "a factor of 0": ("walker-rand-params", {"body_mass": [0] * 8}, ConfigError, r"body_mass\[0\] = 0\.0; expected"),
    "an unknown parameter": ("cheetah-vel", {"velocty": 2.0}, UnknownNameError, "did you mean 'velocity'"),
    "an unknown switch": ("hopper-mass", {"timestep": True}, UnknownNameError, "timestep_of_pearl"),
    "another family's parameter": (
        "ant-dir",
        {"goal": [1, 1]},
        UnknownNameError,
        "neither a parameter nor a switch 'goal'",
    ),
    "a number for a switch": (
        "hopper-mass",
        {"consistent_inertia": 1},
        ConfigError,
        "consistent_inertia = 1; expected a bool",
    ),
    "text for a switch": (
        "hopper-mass",
        {"timestep_of_pearl": "no"},
        ConfigError,
        "timestep_of_pearl = 'no'; expected",
    ),
    "None for a switch": (
        "cheetah-vel",
        {"include_torso_position": None},
        ConfigError,
        "include_torso_position = None",
    ),
    "an unknown family": ("cheeta-vel", {}, UnknownNameError, "did you mean 'cheetah-vel'"),
    "no name of a family": (3, {}, UnknownNameError, "family = 3 is unknown"),
}


@pytest.mark.parametrize(
    "make", [Task, lambda family, arguments: TaskEnv(family, **arguments)], ids=["Task", "TaskEnv"]
)
@pytest.mark.parametrize(("family", "arguments", "error", "words"), TASKS.values(), ids=TASKS)
def test_a_task_that_cannot_be_is_refused(make, family, arguments, error, words):
    with pytest.raises(error, match=words):
        make(family, arguments)


@pytest.mark.parametrize(("family", "arguments", "error", "words"), TASKS.values(), ids=TASKS)
def test_rows_of_a_task_that_cannot_be_are_refused(family, arguments, error, words):
    # A value for all rows is found wrong in the first of them.
    in_a_row = words.replace(r"\] = ", r"\].* = ").replace(" = ", "( of row 0)? = ", 1)
    with pytest.raises(error, match=in_a_row):
        BatchedEnv(family, 3, **arguments)


@pytest.mark.parametrize(
    ("family", "arguments", "words"),
    [
        ("cheetah-vel", {"velocity": [1.0, 2.0, 99.0]}, r"velocity of row 2 = 99\.0; expected a number in \[0, 20\]"),
        ("cheetah-vel", {"velocity": [1.0, np.nan, 2.0]}, "velocity of row 1 = nan"),
        (
            "cheetah-vel",
            {"velocity": [1.0, 2.0]},
            r"velocity has shape \(2,\); expected \(\) for all of 3 rows, or \(3,\)",
        ),
        ("cheetah-vel", {"velocity": [[1.0], [2.0], [3.0]]}, r"velocity has shape \(3, 1\)"),
        ("ant-goal", {"goal": [[0, 0], [0, 25], [0, 0]]}, r"goal\[1\] of row 1 = 25\.0"),
        (
            "ant-goal",
            {"goal": [1.0, 2.0, 3.0]},
            r"goal has shape \(3,\); expected \(2,\) for all of 3 rows, or \(3, 2\)",
        ),
        ("cheetah-permuted-joints", {"order": [range(6), range(6), [5] * 6]}, "order of row 2 repeats an element"),
        ("cheetah-negated-joints", {"signs": [[1] * 6, [0.5] * 6, [1] * 6]}, r"signs\[0\] of row 1 = 0\.5"),
    ],
)
def test_the_row_with_a_wrong_value_is_named(family, arguments, words):
    with pytest.raises(ConfigError, match=words):
        BatchedEnv(family, 3, **arguments)


# --- the env ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_envs": 0}, "num_envs = 0 is out of range"),
        ({"num_envs": -2}, "num_envs = -2"),
        ({"num_envs": 10**9}, "num_envs = 1000000000"),
        ({"num_envs": 2.5}, "num_envs = 2.5 is a float"),
        ({"num_envs": "4"}, "num_envs = '4' is a str"),
        ({"num_envs": True}, "num_envs = True is a bool"),
        ({"num_threads": 0}, "num_threads = 0"),
        ({"num_threads": 10**6}, "num_threads = 1000000 is out of range.*cores"),
        ({"num_threads": "all"}, "num_threads = 'all'"),
        ({"autoreset_mode": "sometimes"}, "autoreset_mode = 'sometimes'; expected NEXT_STEP, SAME_STEP, DISABLED"),
        ({"autoreset_mode": None}, "autoreset_mode = None"),
        ({"autoreset_mode": np.array(["NEXT_STEP", "DISABLED"])}, "autoreset_mode = "),
        ({"max_episode_steps": 0}, "max_episode_steps = 0 is out of range"),
        ({"max_episode_steps": -1}, "max_episode_steps = -1 is out of range"),
        ({"max_episode_steps": 1.5}, "max_episode_steps = 1.5 is a float"),
        ({"render_mode": "human"}, "render_mode = 'human'; expected 'rgb_array' or None"),
        ({"width": 0}, "width = 0"),
        ({"height": "tall"}, "height = 'tall'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        BatchedEnv("cheetah-vel", **({"num_envs": 2} | options))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_modes_are_taken_by_member_value_and_name(mode):
    for given in (mode, mode.value, mode.name, mode.name.lower()):
        assert BatchedEnv("cheetah-vel", autoreset_mode=given, num_threads=1).metadata["autoreset_mode"] is mode


@pytest.mark.parametrize("given", [{"render_mode": "human"}, {"render_mode": 3}, {"width": -1}, {"height": 0.5}])
def test_a_picture_that_a_single_env_cannot_draw_is_refused(given):
    with pytest.raises(ConfigError, match=next(iter(given))):
        TaskEnv("cheetah-vel", **given)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([], "tasks is empty"),
        ([Task("cheetah-vel", {}), Task("sparse-cheetah-vel", {})], "two families"),
        ([Task("cheetah-vel", {}), Task("cheetah-vel", {"include_torso_position": False})], "other switches"),
        ([Task("hopper-mass", {}), Task("cheetah-vel", {})], "hopper-mass with its defaults and cheetah-vel with"),
    ],
)
def test_tasks_that_cannot_be_rows_of_one_batch_are_refused(tasks, words):
    with pytest.raises(ConfigError, match=words):
        BatchedEnv.of_tasks(tasks)


def test_mujoco_without_batches_says_which_version_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco.batch", None)
    with pytest.raises(InvalidEnvError, match=r"MuJoCo \d.* cannot simulate in batches; install mujoco>=\d"):
        BatchedEnv("cheetah-vel", 2)
    with pytest.raises(InvalidEnvError, match=r"^MuJoCo \d.* cannot simulate in batches; install mujoco>=\d"):
        check_family("cheetah-vel")
    TaskEnv("cheetah-vel").reset(seed=0)
