"""What a file tells of an env: tasks keep the names that are theirs, and what is malformed is refused."""

import json

import pytest
from apb import tasks
from apb.env_source import EnvSource
from apb.errors import InvalidEnvError


def identity_of(*given):
    return json.loads(json.dumps(EnvSource.resolve([*given]).identity))


@pytest.mark.parametrize("switch", [True, False])
def test_tasks_are_rebuilt_with_their_names(switch):
    named = tasks.get("cheetah-vel/mier-hard/train", include_torso_position=switch)[4:6]
    rebuilt = EnvSource.from_identity(identity_of(*named))
    assert rebuilt.tasks == named
    assert [task.label for task in rebuilt.tasks] == ["cheetah-vel/mier-hard/train:4", "cheetah-vel/mier-hard/train:5"]
    assert EnvSource.from_identity(identity_of(named[0])).name == named[0].label


def test_a_task_whose_arguments_were_changed_has_the_name_of_another_no_more():
    identity = identity_of(tasks.get("cheetah-vel/mier-hard:3"))
    changed = EnvSource.from_identity({**identity, "kwargs": {"velocity": 1.0}})
    assert changed.tasks == (tasks.Task("cheetah-vel", {"velocity": 1.0}),)
    assert (changed.name, changed.identity["labels"]) == ("apb/CheetahVel-v0", [None])
    several = identity_of(*tasks.get("cheetah-vel/mier-hard")[:2])
    several["kwargs"]["tasks"][0]["velocity"] = 1.0
    assert EnvSource.from_identity(several).identity["labels"] == [None, "cheetah-vel/mier-hard/ood:1"]


@pytest.mark.parametrize("label", ["fast", "cheetah-vel/mine/ood:0", "cheetah-vel/mier-hard:99", "a:b", ":0", None])
def test_a_name_that_no_split_of_the_package_has_is_kept(label):
    task = tasks.Task("cheetah-vel", {"velocity": 1.0}, label)
    assert EnvSource.from_identity(identity_of(task)).tasks[0].label == label


@pytest.mark.parametrize(
    "broken",
    [
        {"labels": ["a"]},
        {"labels": ["a", "b", "c"]},
        {"labels": ["a", 3]},
        {"labels": ["a", ""]},
        {"labels": ["a", "b" * 201]},
        {"labels": ["a", "\x1b[2J"]},
        {"kwargs": {"tasks": []}},
        {"kwargs": {"tasks": 5}},
        {"kwargs": {"tasks": [{"velocity": 1.0}, 5]}},
        {"kwargs": {"tasks": [{"velocity": 1.0}, {"speed": 1.0}]}},
    ],
    ids=str,
)
def test_tasks_that_are_malformed_are_refused(broken):
    identity = identity_of(*tasks.get("cheetah-vel/mier-hard")[:2])
    with pytest.raises(
        InvalidEnvError, match=r"the recorded tasks of env 'apb/CheetahVel-v0' are .*; pass the env again"
    ):
        EnvSource.from_identity(identity | broken)
