"""What splits promise: published numbers never change, they follow the laws of their sources, and names find them."""

import json
import math
import re
import shutil

import numpy as np
import pytest
from apb import tasks
from apb.errors import FileFormatError
from apb.tasks import recipes, splits
from apb.tasks.recipes.laws import BASES, Draws, annulus, either, uniform
from apb.tasks.scale import SCALED_SPLITS
from hypothesis import given, settings
from hypothesis import strategies as st
from published_splits import HASHES

LOADED = {name: tasks.get(name) for name in HASHES}
DENSE = sorted(name for name in HASHES if "permuted-state" not in name)

SIZES = {
    "cheetah-vel/pearl": (100, 30, 0),
    "cheetah-vel/mier-medium": (100, 30, 30),
    "cheetah-vel/mier-hard": (100, 30, 30),
    "cheetah-vel/mier-sensitivity": (100, 30, 10),
    "cheetah-vel/ldm": (100, 2, 5),
    "cheetah-vel/tavt": (100, 4, 5),
    "cheetah-vel/tavt-extra": (100, 30, 4),
    "cheetah-vel/tavt-extra-hard": (100, 30, 6),
    "cheetah-dir/pearl": (2, 2, 0),
    "cheetah-dir/apb-ood": (1, 1, 1),
    "ant-dir/pearl": (2, 2, 0),
    "ant-dir/mier-ood": (100, 30, 10),
    "ant-dir/ldm": (4, 4, 4),
    "ant-dir/tavt-2": (2, 1, 2),
    "ant-dir/tavt-4": (4, 4, 4),
    "ant-goal/pearl": (150, 30, 0),
    "ant-goal/ldm": (150, 8, 4),
    "ant-goal/tavt": (150, 8, 4),
    "ant-goal/tavt-extra": (150, 30, 8),
    "ant-goal/tavt-extra-hard": (150, 30, 16),
    "humanoid-dir/pearl": (100, 30, 0),
    "humanoid-dir/apb-ood": (100, 30, 10),
    "hopper-rand-params/pearl": (40, 10, 0),
    "hopper-rand-params/apb-ood": (40, 10, 20),
    "walker-rand-params/pearl": (40, 10, 0),
    "walker-rand-params/mier-ood": (40, 10, 20),
    "cheetah-negated-joints/mier": (10, 10, 10),
    "cheetah-permuted-joints/swaps": (6, 6, 9),
    "ant-negated-joints/mier": (35, 35, 15),
    "hopper-mass/tavt": (100, 4, 5),
    "hopper-mass/tavt-alt": (100, 2, 3),
    "walker-mass/tavt": (100, 4, 5),
    "walker-mass/tavt-alt": (100, 2, 3),
}
"""Tasks in train, test and ood, as in the sources."""


FAR = {"hopper": "apb-ood", "walker": "mier-ood"}
"""The splits of rand-params with an OOD list."""


def values(name, parameter):
    """Of all tasks of a list, "cheetah-vel/mier-hard/ood"."""
    return np.array([task.arguments[parameter] for task in tasks.get(name)])


def radii(name):
    return np.linalg.norm(values(name, "goal"), axis=1)


def spread_over(numbers, low, high):
    """Whether numbers lie in [low, high] and fill it, as far as some dozens of them do."""
    assert low - 1e-6 <= numbers.min() < low + 0.2 * (high - low)
    assert high + 1e-6 >= numbers.max() > high - 0.2 * (high - low)
    return True


# --- the published numbers -------------------------------------------------------------------------------------------


def test_no_published_split_has_changed_and_each_is_listed_here():
    assert {name: split.hash for name, split in LOADED.items()} == HASHES
    found = {f"{family}/{name}" for family in tasks.FAMILIES for name in tasks.splits_of(family)}
    assert found == HASHES.keys()


def test_the_recipes_draw_what_is_stored(tmp_path):
    recipes.write(tmp_path)
    stored = {path.name: path.read_text() for path in splits.DATA.glob("*.json")}
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == stored


def test_numbers_survive_the_file_bit_for_bit():
    drawn = {str(split): split for split in recipes.all_splits()}
    assert drawn == LOADED


def test_every_family_has_a_split_and_every_permuted_one_the_theorem():
    for family in tasks.FAMILIES:
        assert tasks.splits_of(family)
        assert (tasks.splits_of(family) == ("theorem",)) == family.endswith("-permuted-state")


@pytest.mark.parametrize("name", DENSE)
def test_each_split_has_as_many_tasks_as_its_source(name):
    split = LOADED[name]
    assert (len(split.train), len(split.test), len(split.ood)) == SIZES[name.removeprefix("sparse-")]


@pytest.mark.parametrize("name", HASHES)
def test_every_task_is_in_the_range_of_its_family_and_has_its_place_as_label(name):
    split = LOADED[name]
    family = split.tasks[0].made_family
    for part in splits.LISTS:
        for index, task in enumerate(getattr(split, part)):
            assert task.label == str(task) == f"{name}/{part}:{index}"
            assert task.family == split.family
            rows = family.rows(task.values, 1)
            assert all(np.isfinite(value).all() for value in rows.values())


@pytest.mark.parametrize("name", HASHES)
def test_no_ood_task_is_a_training_or_test_task_and_no_list_has_a_task_twice(name):
    split = LOADED[name]
    told = {part: [json.dumps(task.arguments) for task in getattr(split, part)] for part in splits.LISTS}
    assert all(len(set(arguments)) == len(arguments) for arguments in told.values())
    assert not set(told["ood"]) & {*told["train"], *told["test"]}
    assert told["train"]
    assert told["test"]


@pytest.mark.parametrize("name", HASHES)
def test_each_split_says_what_is_ood_about_it_and_where_it_comes_from(name):
    split = LOADED[name]
    assert 0 < len(split.about) <= 120
    assert "\n" not in split.about + split.source
    assert re.search("PEARL|MIER|LDM|TAVT", split.source)
    assert split.about.startswith("nothing") == (not split.ood)
    assert split.tasks == (split.ood or split.test)


@pytest.mark.parametrize("family", tasks.FAMILIES)
def test_a_task_of_each_family_can_be_stepped(family):
    task = tasks.get(f"{family}/{tasks.splits_of(family)[-1]}")[-1]
    with task.make() as env:
        observation, _ = env.reset(seed=0)
        _, reward, *_ = env.step(np.zeros(env.action_space.shape, np.float32))
    assert np.isfinite(observation).all()
    assert math.isfinite(reward)


# --- their laws ------------------------------------------------------------------------------------------------------

INTERVALS = [
    ("cheetah-vel/pearl/train", "velocity", 0, 3),
    ("cheetah-vel/pearl/test", "velocity", 0, 3),
    ("cheetah-vel/mier-medium/train", "velocity", 0, 2.5),
    ("cheetah-vel/mier-medium/test", "velocity", 0, 2.5),
    ("cheetah-vel/mier-medium/ood", "velocity", 2.5, 3),
    ("cheetah-vel/mier-hard/train", "velocity", 0, 1.5),
    ("cheetah-vel/mier-hard/test", "velocity", 0, 1.5),
    ("cheetah-vel/mier-hard/ood", "velocity", 2.5, 3),
    ("cheetah-vel/tavt-extra/train", "velocity", 0.5, 3),
    ("cheetah-vel/tavt-extra-hard/test", "velocity", 1, 2.5),
    ("ant-dir/mier-ood/train", "angle", 0, 1.5 * math.pi),
    ("ant-dir/mier-ood/test", "angle", 0, 1.5 * math.pi),
    ("humanoid-dir/apb-ood/train", "angle", 0, 1.5 * math.pi),
    ("humanoid-dir/apb-ood/test", "angle", 0, 1.5 * math.pi),
    ("humanoid-dir/pearl/train", "angle", 0, 2 * math.pi),
]


@pytest.mark.parametrize(("name", "parameter", "low", "high"), INTERVALS)
def test_lists_that_are_drawn_fill_their_intervals(name, parameter, low, high):
    assert spread_over(values(name, parameter), low, high)


@pytest.mark.parametrize(
    ("name", "parameter", "first", "second"),
    [
        ("cheetah-vel/ldm", "velocity", (0, 0.5), (3, 3.5)),
        ("cheetah-vel/tavt", "velocity", (0, 0.5), (3, 3.5)),
        ("hopper-mass/tavt", "exponent", (0, 0.5), (3, 3.5)),
        ("walker-mass/tavt-alt", "exponent", (-3, -1), (1, 3)),
    ],
)
def test_two_intervals_have_half_of_the_training_tasks_each(name, parameter, first, second):
    numbers = values(f"{name}/train", parameter)
    near = numbers < (first[1] + second[0]) / 2
    assert 35 <= near.sum() <= 65
    assert spread_over(numbers[near], *first)
    assert spread_over(numbers[~near], *second)
    gap = values(f"{name}/ood", parameter)
    assert ((gap > first[1]) & (gap < second[0])).all()


@pytest.mark.parametrize("name", ["ant-goal/ldm", "ant-goal/tavt"])
def test_goals_of_ldm_are_uniform_in_the_area_of_a_disc_and_a_ring(name):
    distances = radii(f"{name}/train")
    inner = distances < 1.75
    # Of the area of both, 4/15 are in the disc.
    assert 25 <= inner.sum() <= 55
    assert spread_over(distances[inner] ** 2, 0, 1)
    assert spread_over(distances[~inner] ** 2, 2.5**2, 3**2)
    np.testing.assert_allclose(radii(f"{name}/ood"), 1.75)
    assert set(radii(f"{name}/test")) == {0.5, 2.75}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("ant-goal/pearl", 0, 3), ("ant-goal/tavt-extra", 1, 2.5), ("ant-goal/tavt-extra-hard", 1.5, 2)],
)
def test_other_goals_are_uniform_in_the_area_of_a_ring_and_in_all_directions(name, low, high):
    for part in ("train", "test"):
        goals = values(f"{name}/{part}", "goal")
        assert spread_over(np.square(goals).sum(axis=1), low**2, high**2)
        assert len(set(np.floor(np.arctan2(goals[:, 1], goals[:, 0]) / (math.pi / 4)))) == 8
    if LOADED[name].ood:
        distances = radii(f"{name}/ood")
        assert ((distances < low) | (distances > high)).all()


def test_directions_are_those_of_the_sources():
    def degrees(name):
        return sorted(np.degrees(values(name, "angle")).round(9))

    assert degrees("ant-dir/pearl/train") == degrees("ant-dir/pearl/test") == [0, 180]
    for name in ("ldm", "tavt-4"):
        assert degrees(f"ant-dir/{name}/train") == degrees(f"ant-dir/{name}/test") == [0, 90, 180, 270]
        assert degrees(f"ant-dir/{name}/ood") == [45, 135, 225, 315]
    assert [degrees(f"ant-dir/tavt-2/{part}") for part in splits.LISTS] == [[0, 90], [45], [135, 315]]
    assert degrees("ant-dir/mier-ood/ood") == degrees("humanoid-dir/apb-ood/ood") == list(range(270, 361, 10))


def test_cheetahs_that_learn_to_run_forwards_are_tested_backwards():
    directions = [values(f"cheetah-dir/apb-ood/{part}", "direction").tolist() for part in splits.LISTS]
    assert directions == [[1], [1], [-1]]


def test_speeds_that_are_listed_are_those_of_the_sources():
    listed = {
        name: values(f"cheetah-vel/{name}/ood", "velocity").tolist() for name in tasks.splits_of("cheetah-vel")[3:]
    }
    assert listed["ldm"] == listed["tavt"] == [0.75, 1.25, 1.75, 2.25, 2.75]
    assert listed["mier-sensitivity"] == [1.75 + 0.25 * step for step in range(10)]
    for name, low, high in (("tavt-extra", 0.5, 3), ("tavt-extra-hard", 1, 2.5)):
        assert all(speed < low or speed > high for speed in listed[name])
    assert LOADED["cheetah-vel/mier-sensitivity"].train == LOADED["cheetah-vel/mier-hard"].train


@pytest.mark.parametrize(("name", "size", "known", "further"), [("cheetah", 6, 3, 2), ("ant", 8, 4, 3)])
def test_the_last_joint_is_flipped_in_ood_tasks_alone(name, size, known, further):
    train = values(f"{name}-negated-joints/mier/train", "signs")
    ood = values(f"{name}-negated-joints/mier/ood", "signs")
    assert train.shape[1] == ood.shape[1] == size
    assert ((train == -1).sum(axis=1) == known).all()
    assert ((ood == -1).sum(axis=1) == further + 1).all()
    assert (train[:, -1] == 1).all()
    assert (ood[:, -1] == -1).all()
    assert len(np.unique(train, axis=0)) == math.comb(size - 1, known) == len(train)


def test_joints_are_swapped_within_a_leg_in_training_and_between_the_legs_out_of_distribution():
    leg = np.arange(6) // 3
    for part, same in (("train", True), ("test", True), ("ood", False)):
        for order in values(f"cheetah-permuted-joints/swaps/{part}", "order"):
            moved = np.flatnonzero(order != np.arange(6))
            assert moved.size == 2
            assert (leg[moved[0]] == leg[moved[1]]) == same


@pytest.mark.parametrize(
    "name", [f"{robot}-rand-params/{name}" for robot in ("hopper", "walker") for name in ("pearl", FAR[robot])]
)
def test_each_element_of_the_dynamics_has_a_factor_of_its_own(name):
    for field, base in BASES.items():
        exponents = np.log(values(f"{name}/train", field)) / math.log(base)
        assert spread_over(exponents, -3, 3)
        assert exponents.shape[1:] == LOADED[name].tasks[0].made_family.parameters[field].shape
        flat = exponents.reshape(len(exponents), -1)
        assert (abs(np.corrcoef(flat.T) - np.eye(flat.shape[1])) < 0.6).all()
        assert abs(flat.mean(axis=0)).max() < 1.2


@pytest.mark.parametrize("robot", FAR)
def test_bodies_out_of_distribution_have_factors_five_deviations_above_the_mean(robot):
    for field in BASES:
        train, ood = (values(f"{robot}-rand-params/{FAR[robot]}/{part}", field) for part in ("train", "ood"))
        standardised = (ood - train.mean(axis=0)) / train.std(axis=0) - 5
        assert abs(standardised.mean()) < 0.3
        assert 0.8 < standardised.std() < 1.2
        assert (ood > 0).all()


@pytest.mark.parametrize("family", ["cheetah-vel", "ant-goal"])
def test_a_sparse_family_has_the_tasks_of_its_dense_one(family):
    assert tasks.splits_of(f"sparse-{family}") == tasks.splits_of(family)
    for name in tasks.splits_of(family):
        for part in splits.LISTS:
            dense, sparse = (getattr(LOADED[f"{prefix}{family}/{name}"], part) for prefix in ("", "sparse-"))
            assert [task.arguments for task in sparse] == [task.arguments for task in dense]
            assert all(task.family == f"sparse-{family}" for task in sparse)


@pytest.mark.parametrize("family", [name for name in tasks.FAMILIES if not name.endswith("-permuted-state")])
def test_the_theorem_changes_only_the_order_of_observations(family):
    base = LOADED[f"{family}/{SCALED_SPLITS[family]}"]
    split = LOADED[f"{family}-permuted-state/theorem"]
    assert [task.arguments for task in split.train] == [task.arguments for task in base.train]
    assert [task.arguments for task in split.test] == [task.arguments for task in base.test]
    assert len(split.ood) == min(10, len(base.test))
    size = base.tasks[0].made_family.observation_size
    orders = [task.arguments["permutation"] for task in split.ood]
    assert all(sorted(order) == list(range(size)) for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)
    for task, original in zip(split.ood, base.test, strict=False):
        assert {name: value for name, value in task.arguments.items() if name != "permutation"} == original.arguments


# --- laws ------------------------------------------------------------------------------------------------------------


def test_a_law_gives_the_same_numbers_for_the_same_label_and_others_for_another():
    law = either(uniform("x", 0, 1), uniform("x", 5, 6), 0.3)
    assert law(Draws("a"), 20) == law(Draws("a"), 20)
    assert law(Draws("a"), 20) != law(Draws("b"), 20)


def test_each_call_of_the_draws_gives_new_numbers():
    draws = Draws("a")
    first, second = draws.uniform(3, 2), draws.uniform(6)
    assert first.shape == (3, 2)
    assert not np.isin(first, second).any()


def test_gaussian_numbers_are_standard_normal():
    numbers = Draws("normal").normal(20_000)
    assert abs(numbers.mean()) < 0.03
    assert abs(numbers.std() - 1) < 0.03
    assert abs((np.abs(numbers) < 1).mean() - math.erf(math.sqrt(0.5))) < 0.02
    assert abs(np.corrcoef(numbers[::2], numbers[1::2])[0, 1]) < 0.03


@settings(max_examples=25)
@given(low=st.floats(0, 5), width=st.floats(0.1, 5), label=st.text(max_size=5))
def test_points_of_a_ring_are_between_its_radii(low, width, label):
    points = np.array([task["p"] for task in annulus("p", low, low + width)(Draws(label), 50)])
    distances = np.linalg.norm(points, axis=1)
    assert low - 1e-6 <= distances.min()
    assert distances.max() <= low + width + 1e-6


# --- damaged files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data files, to be damaged."""
    folder = shutil.copytree(splits.DATA, tmp_path / "data")
    monkeypatch.setattr(splits, "DATA", folder)
    return folder


def damage(path, change):
    content = json.loads(path.read_text())
    change(content["splits"])
    path.write_text(json.dumps(content))


DAMAGES = {
    "a number": lambda found: found["mier-hard"]["ood"][3].update(velocity=2.51),
    "a training task": lambda found: found["mier-hard"]["train"].pop(),
    "the order": lambda found: found["mier-hard"]["test"].reverse(),
    "the list": lambda found: found["mier-hard"].update(test=found["mier-hard"]["ood"]),
    "the split": lambda found: found.update({"mier-hard": found["mier-medium"]}),
    "the hash": lambda found: found["mier-hard"].update(sha256="0" * 64),
    "no list": lambda found: found["mier-hard"].pop("ood"),
    "another kind": lambda found: found["mier-hard"].update(train=[1, 2]),
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_a_split_with_other_numbers_is_refused_by_its_name_and_the_others_are_not(data, change):
    damage(data / "cheetah-vel.json", change)
    with pytest.raises(
        FileFormatError, match=r"split cheetah-vel/mier-hard in .*/cheetah-vel\.json .*install the package again"
    ):
        tasks.get("cheetah-vel/mier-hard:0")
    assert tasks.get("cheetah-vel/pearl") == LOADED["cheetah-vel/pearl"]


@pytest.mark.parametrize("text", ["", "[]", '{"splits": []}', '{"splits": {"mier-hard": 3}}'])
def test_a_file_that_is_something_else_is_refused(data, text):
    (data / "cheetah-vel.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"/cheetah-vel\.json"):
        tasks.get("cheetah-vel/mier-hard:0")
