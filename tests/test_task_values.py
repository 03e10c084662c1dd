"""What a `Task` promises as a value: nothing changes it, equal problems are equal, and it is copied and pickled."""

import copy
import dataclasses
import json
import pickle

import gymnasium
import numpy as np
import pytest
from apb import tasks
from apb.errors import ConfigError
from apb.tasks import Split, Task
from hypothesis import given, settings
from hypothesis import strategies as st

COPIES = [copy.copy, copy.deepcopy, dataclasses.replace, lambda task: pickle.loads(pickle.dumps(task))]
GOAL = [0.5, -0.25]


@settings(max_examples=60)
@given(st.data())
def test_a_copy_of_a_task_is_the_task_with_its_label_and_one_that_is_pickled_is_small(data):
    names = [f"{family}/{name}" for family in tasks.FAMILIES for name in tasks.splits_of(family)]
    split = tasks.get(data.draw(st.sampled_from(names)))
    task = data.draw(st.sampled_from(split.train + split.test + split.ood))
    assert task.made_family.model is not None  # compiled, and not to be carried about
    for way in COPIES:
        made = way(task)
        assert made == task
        assert hash(made) == hash(task)
        assert (made.family, made.label) == (task.family, task.label)
        assert json.dumps(made.arguments) == json.dumps(task.arguments)
    assert len(pickle.dumps(task)) < 300 + 2 * len(json.dumps(task.arguments))


@pytest.mark.parametrize("split", ["ant-goal/ldm", "cheetah-vel-permuted-state/theorem"])
def test_nothing_that_is_done_to_the_arguments_changes_a_task_or_the_hash_of_its_split(split):
    untouched, split = tasks.get(split), tasks.get(split)
    for task in split.tasks:
        for value in task.arguments.values():
            if isinstance(value, list):
                value.reverse()
                value[0] = 99
        task.arguments.clear()
        task.arguments["velocity"] = 1.0
        for values in task.values.values():
            if isinstance(values, list):
                values.clear()
    assert split == untouched
    assert split.hash == untouched.hash
    assert str(split[0]) == str(untouched[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        split[0].arguments = {}


@pytest.mark.parametrize("label", ["", "my\ntask", "\x1b[2J", "x" * 201, 3, ("a", 1)])
def test_what_no_file_or_table_could_hold_is_no_label(label):
    with pytest.raises(ConfigError, match=r"^label = .*; expected printable text of 1 to 200 characters, or None"):
        Task("ant-goal", {"goal": GOAL}, label)
    assert Task("ant-goal", {"goal": GOAL}, "x" * 200).label == "x" * 200


def test_what_a_task_is_made_of_may_change_afterwards():
    nested, array, given = [*GOAL], np.array(GOAL), {}
    made = [Task("ant-goal", {"goal": nested}), Task("ant-goal", {"goal": array}), Task("ant-goal", given)]
    nested[0] = array[0] = 9.0
    given["goal"] = GOAL
    assert made[0] == made[1] == Task("ant-goal", {"goal": GOAL})
    assert made[2] == Task("ant-goal", {})


EQUAL = [
    ("cheetah-vel", {}, {"include_torso_position": True}),
    ("cheetah-vel", {"velocity": 2}, {"velocity": 2.0, "include_torso_position": True}),
    ("cheetah-vel", {"velocity": 0.0}, {"velocity": np.float32(-0.0)}),
    ("ant-goal", {"goal": GOAL}, {"goal": tuple(GOAL)}),
    ("ant-goal", {"goal": GOAL}, {"goal": np.array(GOAL)}),
    ("ant-goal", {"goal": GOAL}, {"goal": [np.float64(each) for each in GOAL]}),
    ("hopper-mass", {}, {"consistent_inertia": False}),
]


@pytest.mark.parametrize(("family", "first", "second"), EQUAL)
def test_tasks_that_are_one_problem_are_equal_however_it_was_said(family, first, second):
    one, other = Task(family, first), Task(family, second, label="a name")
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other}) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("cheetah-vel", {"velocity": 2.0}), ("cheetah-vel", {"velocity": np.nextafter(2.0, 3.0)})),
        (("cheetah-vel", {}), ("cheetah-vel", {"include_torso_position": False})),
        (("cheetah-vel", {"velocity": 2.0}), ("sparse-cheetah-vel", {"velocity": 2.0})),
        (("ant-goal", {"goal": GOAL}), ("ant-goal", {"goal": GOAL[::-1]})),
        (("hopper-mass", {}), ("hopper-mass", {"consistent_inertia": True})),
    ],
)
def test_tasks_that_differ_are_not_equal(first, second):
    assert Task(*first) != Task(*second)
    assert len({Task(*first), Task(*second)}) == 2
    assert Task(*first) != first


def test_arguments_come_out_as_what_a_file_holds_and_as_what_gymnasium_takes():
    task = Task("ant-goal", {"goal": (np.float64(0.5), -0.25)})
    assert task.arguments == {"goal": GOAL}
    assert json.loads(json.dumps(task.arguments)) == dict(task.arguments) == task.arguments
    env = gymnasium.make(task.env_id, **task.arguments)
    assert env.spec.kwargs["goal"] == GOAL
    assert repr(task) == "Task(family='ant-goal', arguments={'goal': [0.5, -0.25]}, label=None)"


@pytest.mark.parametrize("arguments", [None, 3, ["goal"], "goal"])
def test_arguments_that_are_no_mapping_are_refused(arguments):
    if arguments is None:
        assert Task("ant-goal", arguments) == Task("ant-goal", {})
    else:
        with pytest.raises(ConfigError, match=r"arguments = .* expected a dict"):
            Task("ant-goal", arguments)


def test_a_split_that_is_pickled_is_the_split():
    split = tasks.get("walker-rand-params/mier-ood")
    assert split.hash
    found = pickle.loads(pickle.dumps(split))
    assert isinstance(found, Split)
    assert found == split
    assert found.hash == split.hash
