"""What names of splits and tasks promise: they lead to what they say, and a wrong one is answered with the nearest."""

import re

import gymnasium
import numpy as np
import pytest
from apb import tasks
from apb.errors import ConfigError, UnknownNameError
from apb.simulation import BatchedEnv
from apb.tasks import splits
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = [f"{family}/{name}" for family in tasks.FAMILIES for name in tasks.splits_of(family)]
HARD = tasks.get("cheetah-vel/mier-hard")


@settings(max_examples=200)
@given(st.data())
def test_every_label_leads_back_to_an_equal_task(data):
    split = tasks.get(data.draw(st.sampled_from(NAMES)))
    task = data.draw(st.sampled_from(split.train + split.test + split.ood))
    found = tasks.get(task.label)
    assert found == task
    assert found.label == task.label


def test_a_name_is_a_split_a_list_or_a_task():
    split = tasks.get("cheetah-vel/mier-hard")
    assert str(split) == "cheetah-vel/mier-hard"
    assert tasks.get("cheetah-vel/mier-hard/train") == split.train
    assert tasks.get("cheetah-vel/mier-hard/test:29") == split.test[29]
    assert tasks.get("cheetah-vel/mier-hard:3") == split[3] == split.ood[3]
    assert tasks.get("cheetah-vel/pearl:3") == tasks.get("cheetah-vel/pearl").test[3]


def test_a_split_is_a_sequence_of_the_tasks_to_adapt_to():
    for name in ("cheetah-vel/mier-hard", "cheetah-vel/pearl"):
        split = tasks.get(name)
        assert tuple(split) == split.tasks
        assert len(split) == len(split.tasks) == 30
        assert split[2:4] == split.tasks[2:4]
        assert split[-1] == split.tasks[29]
        assert str(split) == name


def test_switches_are_given_to_every_task_and_are_part_of_the_hash():
    split = tasks.get("cheetah-vel/mier-hard", include_torso_position=False)
    for task in (*split.train, *split.test, *split.ood):
        assert task.made_family.include_torso_position is False
        assert task.arguments["include_torso_position"] is False
    assert split.hash != HARD.hash
    assert tasks.get("cheetah-vel/mier-hard:0", include_torso_position=False) == split[0]
    assert split[0] != HARD[0]


def test_the_tasks_of_a_split_share_the_model_that_their_parameters_need(monkeypatch):
    compiled = []
    spec = tasks.FAMILIES["walker-rand-params"].spec
    monkeypatch.setattr(
        tasks.FAMILIES["walker-rand-params"], "spec", lambda family: compiled.append(family) or spec(family)
    )
    for timestep_of_pearl in (True, False):
        tasks.get("walker-rand-params/mier-ood", timestep_of_pearl=timestep_of_pearl)
    assert len(compiled) <= 2


def test_a_task_that_somebody_changes_does_not_change_the_split():
    before = tasks.get("ant-goal/ldm")
    tasks.get("ant-goal/ldm")[0].arguments["goal"][0] = 9.0
    assert tasks.get("ant-goal/ldm") == before


WRONG_NAMES = [
    ("cheeta-vel/mier-hard:3", UnknownNameError, "did you mean 'cheetah-vel'"),
    ("Cheetah-Vel/mier-hard:3", UnknownNameError, "did you mean 'cheetah-vel'"),
    ("cheetah-vel/mier-hrad", UnknownNameError, "did you mean 'mier-hard'? known: ldm, mier-hard, mier-medium"),
    ("cheetah-vel/mier-hard/odd:3", UnknownNameError, "did you mean 'ood'? known: ood, test, train"),
    ("cheetah-vel/mier-hard:30", UnknownNameError, "has 30 tasks; expected a number from 0 to 29"),
    (
        "cheetah-vel/mier-hard/train:100",
        UnknownNameError,
        "mier-hard/train has 100 tasks; expected a number from 0 to 99",
    ),
    ("cheetah-vel/mier-hard:-1", UnknownNameError, "expected a number from 0 to 29"),
    ("cheetah-vel/mier-hard:x", UnknownNameError, "expected a number from 0 to 29"),
    ("cheetah-vel/mier-hard:", UnknownNameError, "expected a number from 0 to 29"),
    (f"cheetah-vel/mier-hard:{'9' * 5000}", UnknownNameError, "expected a number from 0 to 29"),
    (f"cheetah-vel/mier-hard:{'0' * 30}99", UnknownNameError, "expected a number from 0 to 29"),
    ("cheetah-vel/mier-hard:\u0663", UnknownNameError, "expected a number from 0 to 29"),
    ("cheetah-vel/pearl/ood:0", UnknownNameError, "pearl/ood has 0 tasks; expected another list"),
    ("mier-hard:3", UnknownNameError, "no family before its split; did you mean 'cheetah-vel/mier-hard:3'? families"),
    ("mier-hrad", UnknownNameError, "did you mean 'cheetah-vel/mier-hard'? families with a split mier-hard: cheetah-v"),
    ("tavt-4/ood:3", UnknownNameError, "did you mean 'ant-dir/tavt-4/ood:3'? families with a split tavt-4: ant-dir"),
    (
        "mier-hrad/odd:3",
        UnknownNameError,
        "did you mean 'cheetah-vel/mier-hard/odd:3'? families with a split mier-hard",
    ),
    ("ood", UnknownNameError, "no family and split before its list; expected FAMILY/SPLIT/ood, for example 'cheetah-v"),
    ("train:3", UnknownNameError, "expected FAMILY/SPLIT/train, for example 'cheetah-vel/mier-hard/train:3'"),
    ("nothing-near:3", UnknownNameError, "family = 'nothing-near' is unknown; known: "),
    ("cheetah-vel", ConfigError, "names no split; expected cheetah-vel/SPLIT, one of pearl, mier-medium"),
    ("cheetah-vel/", ConfigError, "expected FAMILY/SPLIT[/LIST][:NUMBER]"),
    ("", ConfigError, "expected FAMILY/SPLIT[/LIST][:NUMBER]"),
    (3, ConfigError, "task = 3; expected FAMILY/SPLIT"),
]


@pytest.mark.parametrize(("name", "error", "words"), WRONG_NAMES, ids=lambda value: str(value)[:30])
def test_a_wrong_name_is_answered_with_the_nearest_one_or_the_range(name, error, words):
    with pytest.raises(error, match=re.escape(words)):
        tasks.get(name)


@pytest.mark.parametrize(
    ("index", "kind", "words"),
    [
        (99, IndexError, "has 30 tasks to adapt to, those of its list ood; expected a number in [-30, 29]"),
        (
            -31,
            IndexError,
            "expected a number in [-30, 29] or a slice. Its lists are split.train (100), split.test (30)",
        ),
        ("train", ValueError, "split['train']: did you mean split.train?"),
        ("oood", ValueError, "did you mean split.ood?"),
        (1.0, ValueError, "split[1.0]: cheetah-vel/mier-hard has 30 tasks"),
        (slice("a", None), ValueError, "or a slice"),
        (slice(None, None, 0), ValueError, "or a slice"),
    ],
    ids=str,
)
def test_what_is_no_number_of_a_task_of_a_split_is_answered_with_how_many_there_are(index, kind, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        HARD[index]
    assert isinstance(caught.value, kind)


def test_a_split_without_tasks_to_adapt_to_says_so_and_iteration_ends():
    empty = tasks.Split("cheetah-vel", "none", HARD.train, (), ())
    assert [*empty, *reversed(empty)] == []
    with pytest.raises(UnknownNameError, match=re.escape("has 0 tasks to adapt to, those of its list test; expected")):
        empty[0]


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "ask",
    [
        lambda: tasks.get(LONG),
        lambda: tasks.get(f"{LONG}/"),
        lambda: tasks.get([LONG]),
        lambda: tasks.get(f"cheetah-vel/{LONG}"),
        lambda: tasks.get(f"cheetah-vel/pearl/{LONG}"),
        lambda: tasks.get(f"cheetah-vel/pearl:{LONG}"),
        lambda: tasks.get("cheetah-vel/pearl", **{LONG: True}),
        lambda: tasks.get("cheetah-vel/pearl", include_torso_position=LONG),
        lambda: tasks.splits_of(LONG),
        lambda: tasks.Task(LONG, {}),
        lambda: tasks.Task("cheetah-vel", {LONG: 1.0}),
        lambda: tasks.Task("cheetah-vel", {"velocity": LONG}),
        lambda: tasks.Task("ant-goal", {"goal": [1.0] * 100_000}),
        lambda: BatchedEnv("cheetah-vel", autoreset_mode=LONG),
        lambda: BatchedEnv("cheetah-vel", render_mode=LONG),
    ],
)
def test_what_is_far_too_long_is_repeated_in_part_only(ask):
    with pytest.raises(ConfigError) as caught:
        ask()
    assert len(str(caught.value)) < 2_000
    assert all(len(note) < 500 for note in getattr(caught.value, "__notes__", []))


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"include_torso_postion": False}, "did you mean 'include_torso_position'"),
        ({"velocity": 1.0}, "velocity = 1.0 is no switch of cheetah-vel"),
        ({"include_torso_position": 1}, "expected a bool"),
    ],
)
def test_only_switches_may_be_given_beside_a_name(switches, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        tasks.get("cheetah-vel/mier-hard", **switches)


def test_a_switch_that_does_not_fit_a_split_is_refused_with_the_list_that_it_is_about():
    with pytest.raises(ConfigError, match=re.escape("permutation has shape (20,); expected (17,)")) as caught:
        tasks.get("cheetah-vel-permuted-state/theorem", include_torso_position=False)
    assert "cheetah-vel-permuted-state/theorem/ood" in caught.value.__notes__[0]


def test_splits_of_an_unknown_family_are_answered_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="did you mean 'ant-goal'"):
        tasks.splits_of("ant-gaol")


@pytest.fixture
def own_family():
    name = "cheetah-of-mine"
    tasks.register(type("CheetahOfMine", (tasks.FAMILIES["cheetah-vel"],), {"name": name}))
    yield name
    del tasks.FAMILIES[name]
    gymnasium.registry.pop("apb/CheetahOfMine-v0")


def test_a_family_of_a_user_has_no_splits_and_says_so(own_family):
    assert tasks.splits_of(own_family) == ()
    with pytest.raises(UnknownNameError, match="has no split 'pearl'; it has none"):
        tasks.get(f"{own_family}/pearl")
    with pytest.raises(ConfigError, match="this family has none"):
        tasks.get(own_family)


def test_a_user_can_make_a_split(own_family):
    made = [tasks.Task(own_family, {"velocity": speed}) for speed in np.linspace(1, 3, 3)]
    split = tasks.Split(own_family, "mine", tuple(made[:1]), tuple(made[1:2]), tuple(made[2:]))
    assert split[0] == made[2]
    assert split.hash == tasks.Split(own_family, "mine", *(tuple(made[i : i + 1]) for i in range(3))).hash
    assert split.hash != tasks.Split(own_family, "mine", (), tuple(made[1:2]), tuple(made[2:])).hash


# --- names of tasks and ids of envs ----------------------------------------------------------------------------------


@given(st.data())
def test_every_name_of_a_task_is_told_from_an_id(data):
    name = data.draw(st.sampled_from(NAMES))
    assert tasks.is_task_name(name)
    assert tasks.is_task_name(f"{name}/{data.draw(st.sampled_from(splits.LISTS))}")
    assert tasks.is_task_name(f"{name}:{data.draw(st.text(max_size=4))}")


@pytest.mark.parametrize(
    "text",
    [
        "cheeta-vel/mier-hard:3",
        "cheeta-vel/mier-hard",
        "Cheetah-Vel/pearl",
        "nothing-near/pearl:3",
        "nothing/pearl/ood",
        "cheetah-vel",
        "cheetah-vel:3",
        "cheetah-vel/",
        "cheetah-vel/mier-hard-v0",
        "mier-hard:3",
        "mier-hrad:3",
        "mier-hard",
        "pearl/ood:3",
        "mier-hard/ood",
        "mier-hrd/ood",
        "mier-hard/odd",
        "mier-hrd",
        "mier-hard:-1",
        "ood",
        "train",
    ],
)
def test_a_misspelt_name_is_meant_as_one_of_a_task(text):
    assert tasks.is_task_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "HalfCheetah-v5",
        "HalfCheetah",
        "apb/CheetahVel-v0",
        "apb/CheetahVel",
        "apb/Chetah-v0",
        "module:Id-v0",
        "module:ns/Id-v0",
        "module.sub:cheetah-vel/Id",
        "pearl:Id-v0",
        "pearl-v0",
        "mier-hard-v0",
        "pearl/Id",
        "pearl/ood-v0",
        "pearl:Id",
        "Swimmer",
        "nothing/ood",
        "ALE/Pong-v5",
        "walker/Run-v0",
        "runs/a/best",
        "/tmp/x",
        "",
        None,
        3,
    ],
)
def test_an_id_and_anything_else_is_no_name_of_a_task(text):
    assert not tasks.is_task_name(text)


def test_ids_that_a_user_registers_are_no_names_of_tasks_however_they_are_spelled():
    assert tasks.is_task_name("cheeta-vel/other")
    ids = ("cheeta-vel/Thing-v0", "ant-dir/mine")
    for name in ids:
        gymnasium.register(name, entry_point=lambda: None)
    try:
        assert not any(tasks.is_task_name(name) for name in (*ids, "cheeta-vel/other"))
        assert tasks.is_task_name("ant-dir/pearl")
    finally:
        for name in ids:
            del gymnasium.registry[name]


def test_no_id_of_gymnasium_is_taken_for_a_task_even_where_it_is_not_registered(monkeypatch):
    names = [*gymnasium.registry, "AntMaze_Medium-v5"]  # the last is alike "mier-medium"
    assert not [name for name in names if tasks.is_task_name(name)]
    monkeypatch.setattr(gymnasium, "registry", {})
    assert not [name for name in names if tasks.is_task_name(name) or tasks.is_task_name(name.rpartition("-v")[0])]
