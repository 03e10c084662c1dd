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
from apb.tasks.scales import SCALED_SPLITS
from hypothesis import given, settings
from hypothesis import strategies as st

# Never change a line here: give a split with other tasks another name.
PUBLISHED = {
    "cheetah-vel": {
        "pearl": "85e2253241ca0d6b726cfc7a9b91f0000f8aab9d5dcf96737fee0a1a34813e00",
        "mier-medium": "f08cdd212b977f770bf863e0a31ac0bafba6e755976b9d794fe7f457dc05cee3",
        "mier-hard": "4dc63a347da426b8b66f8d0e5302d3b06dfb413003cc272f7bfb3d708018688e",
        "ldm": "ea7c2428525b76e08f2596f18b6ec8ed562f1f92b258bbd8f18678d81580c134",
        "tavt": "efb66cf185341911fad738f63f058eec8605099c0b14e900bbb80f4b9f3d42f8",
        "tavt-extra": "6e1966c3c5d6995631917abc6dbf4367c327883f691492bc8605c284d2fe8192",
        "tavt-extra-hard": "4b4d863ca93ccad759861a34e075a955b4e9c68c810b586b93179dad09cc94f8",
        "mier-sensitivity": "6932dcb35dc0c60aae05338dcd9e00cf299f57b48256d1731dd6c316d57f3d68",
    },
    "cheetah-dir": {
        "pearl": "8de3c6f427154f338bed2d70210801bb31d82c9b50295fb953be31dede5fee30",
        "apb-ood": "62e601af921d90394514bd28705b2f9fc9bed4db917c8edd2f184f06be9a0f95",
    },
    "ant-dir": {
        "pearl": "1a0bdceb108721fdeb55c4b14b64bfcb19ba2fcf5f1e5e3c4b1847ac8a35c181",
        "mier-ood": "d7a501df92a41b36b0277e167d2d245196ab39823a02421f9f2239300d9db11b",
        "ldm": "6dcc280d38a15a9e0095d4a4a0e6e489121abfbf80abb87225228bcee9f706c6",
        "tavt-2": "cd17f4a5e8998dded99f8014b0fef658dcacc1b9aab37502b593793f84364e55",
        "tavt-4": "d522dda7e920f03298cd8f222692cc66287a6136a6e704abaa76dfee4d16f053",
    },
    "ant-goal": {
        "pearl": "ab43cbdab219e57e3dc3ede9ec309a09dddc33bd0501dd2099ebba0f063c648d",
        "ldm": "34bb00cb98c519721c99656561e2afdbdac8b7de7c2ce59c5658b549fd34f9a1",
        "tavt": "e7760e3369d0f1272d504786e2e7ccd4379b7bde105c0071efa036d285e1101a",
        "tavt-extra": "dddb565f82862d15171bea3849fe62e8e0588bb565ceb5af868ee50058199699",
        "tavt-extra-hard": "c8f94b17165c150a1ec0d5398c89c93e9e830ae3c83daa3a7ed5e6dfacc4b069",
    },
    "humanoid-dir": {
        "pearl": "e182af614675c906fe2afae725588d196e86cdb21cb012bf11a3b7614a2d7f33",
        "apb-ood": "55c563bc03ba52813b139b9326ac9aa8d92598eb3f245277665db042faeba113",
    },
    "hopper-rand-params": {
        "pearl": "3f0f5ff7123edfc7132997cbe7a2749137ca4c06c522cf1681ad23be9a8ecb61",
        "apb-ood": "fdae56466d765992940796984386ac8c59992bb3e592ca296ad43cd25dcbbb59",
    },
    "walker-rand-params": {
        "pearl": "00db6eab015faf92a7dd9c2eafe7cc0af4b5ea3a647f9dc1af847a884b681958",
        "mier-ood": "89d17725e620fa153753e2b399ca0e7aed8fc5002d3bcd0ce25f52c14de472ff",
    },
    "cheetah-negated-joints": {
        "mier": "0f77fbed841d3c3befca6c19cfb25a90203d7e42591c4655fc2ca58010982e43",
    },
    "cheetah-permuted-joints": {
        "swaps": "2552e326b52b9bcdcd3fce91963d48c88994fb60394286fcc0d85b696c44d25d",
    },
    "ant-negated-joints": {
        "mier": "350340e277c6c246dd1e64d6de3c1deb504dd3b0047cdced2783650f5c63fc33",
    },
    "hopper-mass": {
        "tavt": "341686e1713249ddb7260b91f0481262b9c55fceaa487bc6ff2e9b7ac4afaf14",
        "tavt-alt": "a8466b43bbbbb6c385a0f2763a655c2ea2f7f45fa02f9f2c119701513d23e70d",
    },
    "walker-mass": {
        "tavt": "89a560050243f930383d110267c3c92c60ebfcb3cf8e6117f6631f18703eda81",
        "tavt-alt": "9e560c98026953a5f0a6e6591ef8de42e777ee912b6ad20a6dd5b3c67b13cb19",
    },
    "sparse-cheetah-vel": {
        "pearl": "06104a7e38db2f21c3c01ee1ffc4d808d26a77a7dd66cde59924450fcab22300",
        "mier-medium": "2905dc40cee1bbc51309a9ba42c7e4b517683767aa2bc923759a559f38079ff8",
        "mier-hard": "b7948e34f63ae39c20556370602c71b3d2f1b76121068e9c2c2d1a193f51fc8b",
        "ldm": "e008f3165d5d63917f09d9123b8ffab8860fb0d958bc5fca8d20e58c0453fd4f",
        "tavt": "6f875a631fed70bd2a3353a5e392554d772f56b5bcf26f1b358fe733f25a1224",
        "tavt-extra": "971ff4b4f18d6d68457bd4352193e1481b4a9926ffd7c3e8d3fc789ead0d4a6e",
        "tavt-extra-hard": "5f5b63fb6714c8fa2aa1f57ee0d8e0972557c8877756378f6aef4b3437530601",
        "mier-sensitivity": "4879cf0051d92b3379049da4972d64b9c54dd7c54a1a8e607216ad4043c51766",
    },
    "sparse-ant-goal": {
        "pearl": "d253a426791b31483b6d3f85b2497f1de2fbd5d283ca13c8ed17a72786885aec",
        "ldm": "9f14514c8aa261b46fd6cc549dc9016ab79512b68266c64079822c49942f2006",
        "tavt": "acd7d43cdce655daca39ebb678ec903ca9fc3a9f4ce4a7f394da581a1d485bf1",
        "tavt-extra": "343604130e2fbfb809d2ff51374c5f54cbab1780e1074eb36dd6df67f1fb0143",
        "tavt-extra-hard": "5ba3f067cd279fff2604f30f0f10564d0cd44156370668529f5fabc4d4b026ee",
    },
    "cheetah-vel-permuted-state": {
        "theorem": "a085721acd96661d15b2e7e025f395c10405fdf29e1ca05f45895ce839d0831b",
    },
    "cheetah-dir-permuted-state": {
        "theorem": "078199114933e2ce6057cacd2d7375cd01a0cc84c8932e611a6174ab598686f6",
    },
    "ant-dir-permuted-state": {
        "theorem": "2301218715f80fb09cca40246b682423618bd0dfca99b39c362b8ee3cd9f82fb",
    },
    "ant-goal-permuted-state": {
        "theorem": "556d67db79c3565e2ed5b62c7e4d26255dbf79a11e8468876fbc28f6044c3aef",
    },
    "humanoid-dir-permuted-state": {
        "theorem": "f5fdc258c36907092124568956bc3e25080a8486c6f0628f5cba3ed12ab16758",
    },
    "hopper-rand-params-permuted-state": {
        "theorem": "f18d4cbf1fcd0c0b1a2f16fafbdab820426ea43bc83c6c75d8d030ff2376d586",
    },
    "walker-rand-params-permuted-state": {
        "theorem": "a370050010f0db09f08e1f36a6e3c611dbd2fd9f001347ead601fd201c5c0516",
    },
    "cheetah-negated-joints-permuted-state": {
        "theorem": "0697fc5b315a8bc9c9b8c622a1ca55454695be530e2495726f8db48f0975b604",
    },
    "cheetah-permuted-joints-permuted-state": {
        "theorem": "7fb130d65fcf4d1c9e596c32e6a5b829c076b471f69c7ef3340e00b6b648528a",
    },
    "ant-negated-joints-permuted-state": {
        "theorem": "e558826b3386a90bbf88796442ad320cef79b8c18782b2dc9fd6e2c719d2cd7e",
    },
    "hopper-mass-permuted-state": {
        "theorem": "fe3e09363a36aec5a677717f489182d6bbc1695712d3fd17f91ff19ebf780995",
    },
    "walker-mass-permuted-state": {
        "theorem": "80e17874492c8f73ed48811547c5ea8090cb54764a6458a36b5fc615563d3163",
    },
    "sparse-cheetah-vel-permuted-state": {
        "theorem": "716caa0ca16ee2c736eeaa8a1ac7d935c509c19f46574f1e396bcf0ef345525d",
    },
    "sparse-ant-goal-permuted-state": {
        "theorem": "39b16f8f6296a6e061b648c937b081467547459df1c4e6bcb06fa419cb430a58",
    },
}
"""The hash of every split."""

HASHES = {f"{family}/{name}": value for family, own in PUBLISHED.items() for name, value in own.items()}
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
