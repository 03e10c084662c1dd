"""Promises of `AdapterSet`, the adapters that a meta-trained backbone keeps: files, their mean, the nearest task's."""

import json
from dataclasses import replace

import apb
import gymnasium
import numpy as np
import pytest
from apb.adapter_set import AdapterSet
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.backbone_card import META_TRAINED, backbone_card
from apb.errors import ConfigError, FileFormatError, MismatchError, UnknownNameError
from apb.tasks import Task
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

BACKBONE = Backbone.random(0, input_size=4, hidden_sizes=(6, 5))
SHAPE = AdapterShape.of(BACKBONE, 3, 2)
SPEEDS = (0.5, 1.0, 3.0)


def some(speeds=SPEEDS, family="cheetah-vel", name="velocity", **switches):
    parameters = np.random.default_rng(0).standard_normal((len(speeds), SHAPE.num_parameters)).astype(np.float32)
    return AdapterSet.of(SHAPE, parameters, [Task(family, {name: speed, **switches}) for speed in speeds])


def kept(**metadata):
    return replace(BACKBONE, adapters=some(), metadata=metadata)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_backbone_is_saved_with_its_adapters_and_read_back(tmp_path):
    kept().save_pretrained(tmp_path / "b")
    read = Backbone.from_pretrained(tmp_path / "b")
    assert read.hash == BACKBONE.hash
    assert read.adapters.shape == SHAPE
    assert read.adapters.tasks == some().tasks
    assert np.array_equal(read.adapters.parameters, some().parameters)


def test_the_hash_is_of_parameters_and_tasks(tmp_path):
    of = some()
    kept().save_pretrained(tmp_path / "b")
    assert Backbone.from_pretrained(tmp_path / "b").adapters.hash == of.hash
    moved = of.parameters.copy()
    moved[1, 2] += 1e-3
    others = (AdapterSet(SHAPE, moved, of.tasks), AdapterSet(SHAPE, of.parameters, of.tasks[::-1]))
    assert len({of.hash, *(other.hash for other in others)}) == 3


def test_a_backbone_without_adapters_has_none_when_it_is_read(tmp_path):
    BACKBONE.save_pretrained(tmp_path / "b")
    assert Backbone.from_pretrained(tmp_path / "b").adapters is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told["adapters"]["shape"].__setitem__(1, 7), "4, of which the middle ones are the backbone's 4"),
        (lambda told: told["adapters"]["shape"].__setitem__(0, 9), "adapters in .*parameters has shape"),
        (lambda told: told["adapters"]["shape"].pop(), "have the sizes"),
        (lambda told: told["adapters"]["shape"].__setitem__(0, -3), "a size"),
        (lambda told: told["adapters"]["tasks"].pop(), "parameters has shape"),
        (lambda told: told["adapters"]["tasks"].__setitem__(0, 3), "tasks"),
        (lambda told: told["adapters"]["tasks"][0].pop("family"), "family"),
        (lambda told: told.pop("adapters"), "adapters in"),
    ],
)
def test_what_does_not_fit_the_adapters_in_a_file_is_refused(tmp_path, monkeypatch, change, words):
    from apb.files import model_folders

    folder = kept().save_pretrained(tmp_path / "b")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    config["config_sha256"] = model_folders.config_sha256(config)
    path.write_text(json.dumps(config))
    with pytest.raises(FileFormatError, match=words):
        Backbone.from_pretrained(folder)


def test_a_name_that_is_neither_a_folder_nor_a_backbone_of_the_package_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="'cheeta-vel' is neither a folder that exists nor a backbone"):
        Backbone.from_pretrained("cheeta-vel")


# --- where an adaptation may begin -----------------------------------------------------------------------------------


@given(arrays(np.float32, (3, SHAPE.num_parameters), elements=st.floats(-1e3, 1e3, width=32)))
def test_the_mean_is_that_of_each_parameter(parameters):
    of = AdapterSet(SHAPE, parameters, some().tasks)
    assert np.allclose(of.mean(), parameters.astype(np.float64).mean(axis=0), rtol=1e-6, atol=1e-6)
    assert of.mean().dtype == np.float32


@given(st.floats(0, 20))
def test_the_nearest_task_is_the_one_of_the_nearest_speed(speed):
    found = some().nearest(Task("cheetah-vel", {"velocity": speed}))
    assert abs(SPEEDS[found] - speed) <= min(abs(each - speed) for each in SPEEDS) + 1e-9


def test_each_parameter_counts_in_units_of_its_own_deviation_and_a_goal_is_as_near_as_it_lies():
    tasks = [Task("hopper-rand-params", {"body_mass": [m] * 5, "dof_damping": [d] * 6}) for m, d in CLOSE]
    of = AdapterSet.of(SHAPE, np.zeros((4, SHAPE.num_parameters), np.float32), tasks)
    near = Task("hopper-rand-params", {"body_mass": [2.9] * 5, "dof_damping": [1.0002] * 6})
    assert of.nearest(near) == 3, "a thousandth of the damping is as far as all of the mass"
    of = some(((-2.0, 0.0), (2.0, 0.0), (0.0, 0.1)), family="ant-goal", name="goal")
    assert of.nearest(Task("ant-goal", {"goal": (1.5, 1.0)})) == 1


CLOSE = [(1.0, 1.0), (3.0, 1.001), (1.0, 1.001), (3.0, 1.0)]


def test_directions_are_near_across_the_full_turn():
    of = some((0.19, 4.26, 2.0), family="ant-dir", name="angle")
    assert of.nearest(Task("ant-dir", {"angle": 6.28})) == 0
    assert of.nearest(Task("ant-dir", {"angle": -0.3})) == 0


def test_joint_orders_are_near_if_many_joints_are_in_the_same_place():
    orders = ((1, 0, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0))
    of = some(orders, family="cheetah-permuted-joints", name="order")
    assert of.nearest(Task("cheetah-permuted-joints", {"order": (5, 4, 3, 2, 0, 1)})) == 1
    assert of.nearest(Task("cheetah-permuted-joints", {"order": (0, 1, 2, 3, 4, 5)})) == 0


def test_what_is_the_same_in_all_train_tasks_decides_nothing():
    """Its deviation may be a rounding error, by which any difference would be huge."""
    masses = np.arange(1.0, 11.0)
    tasks = [Task("hopper-rand-params", {"body_mass": [m] * 5, "geom_friction": [[0.1] * 3] * 5}) for m in masses]
    of = AdapterSet.of(SHAPE, np.zeros((10, SHAPE.num_parameters), np.float32), tasks)
    for number, mass in enumerate(masses + 0.1):
        near = Task("hopper-rand-params", {"body_mass": [mass] * 5, "geom_friction": [[0.15] * 3] * 5})
        assert of.nearest(near) == number


def test_a_task_of_another_family_or_with_other_switches_has_no_nearest_one():
    switched = Task("cheetah-vel", {"include_torso_position": False})
    for other, found in ((Task("ant-goal", {}), r"another family \(ant-goal\)"), (switched, "has other switches")):
        with pytest.raises(MismatchError, match=rf"{found} than the tasks .*, which are of cheetah-vel;"):
            some().nearest(other)


def test_another_shape_is_told_with_what_to_do():
    some().require_fit(SHAPE)
    with pytest.raises(
        MismatchError, match=r"observe 3 numbers and act in 2; this env has 5 and 2: expected a task of cheetah-vel"
    ):
        some().require_fit(AdapterShape.of(BACKBONE, 5, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameters_must_be_finite_numbers_and_cannot_be_written_to(bad):
    parameters = some().parameters.copy()
    parameters[1, 2] = bad
    with pytest.raises(ConfigError, match="NaN or infinity"):
        AdapterSet(SHAPE, parameters, some().tasks)
    with pytest.raises(ValueError, match="read-only"):
        some().parameters[0, 0] = 1


# --- the card --------------------------------------------------------------------------------------------------------


def test_the_card_of_a_meta_trained_backbone_tells_what_it_is_and_lies_in_its_folder(tmp_path):
    told = {
        "kind": META_TRAINED,
        "tasks": "3 tasks of cheetah-vel",
        "split": {"name": "cheetah-vel/mier-hard", "sha256": "abc"},
        "total_timesteps": 12_000,
        "wall_time": 125.0,
        "seed": 7,
        "system": {"mujoco": "4.0.0"},
        "returns": {
            "ood": {"mean": -3.25, "adapters": "nearest", "tasks": ["a", "b", "c"], "returns": [-9, -1.5, -3.25]}
        },
    }
    folder = kept(**told).save_pretrained(tmp_path / "b")
    card = (folder / "README.md").read_text()
    assert card == backbone_card(kept(**told))
    for words in (
        "3 tasks of cheetah-vel",
        "cheetah-vel/mier-hard, SHA-256 `abc`",
        "12,000 in all",
        "2 minutes",
        "| seed | 7 |",
        "4 → 6 → 5, reading B",
        BACKBONE.hash,
        "3, included",
        "mujoco 4.0.0",
        "| ood (3) | -3.2 | nearest |",
        "Intended use and limits",
        'apb.adapt("b", "path/to/this/folder", adapter_init="nearest")',
        'Without `adapter_init` they are\ndrawn anew, from `"scratch"`',
        "is loaded by its name",
        "`docs/results`",
    ):
        assert words in card


def test_the_card_of_a_backbone_that_keeps_no_adapters_suggests_no_beginning_that_needs_them():
    card = backbone_card(replace(BACKBONE, metadata={"kind": META_TRAINED, "split": None}))
    assert 'apb.adapt("a Gymnasium id, or a task of apb.tasks", "path/to/this/folder")' in card
    assert "keeps none of those that its train tasks had" in card
    assert "nearest" not in card


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.3, "1 second"), (59, "59 seconds"), (89.2, "90 seconds"), (95, "2 minutes"), (3700, "62 minutes")],
)
def test_a_card_tells_the_time_of_a_short_run_in_seconds(seconds, words):
    assert f"| wall time | {words} |" in backbone_card(replace(BACKBONE, metadata={"wall_time": seconds}))


def test_a_card_suggests_a_task_of_the_split_where_none_was_evaluated():
    card = backbone_card(kept(split={"name": "cheetah-vel/mier-hard", "sha256": "abc"}))
    assert 'apb.adapt("cheetah-vel/mier-hard:0", ' in card


def test_a_card_leaves_out_what_is_not_known():
    card = backbone_card(Backbone.random(0, input_size=4, hidden_sizes=(6, 5)))
    assert "None" not in card
    assert "Not evaluated." in card


@pytest.mark.parametrize(
    "odd",
    [
        "text",
        3,
        [1],
        {},
        None,
        {"train": {}},
        {"train": {"returns": 3, "mean": "x"}, "ood": {"returns": ["x"], "tasks": [1]}},
    ],
    ids=str,
)
def test_whatever_the_metadata_hold_a_card_is_made(odd):
    told = dict.fromkeys(("tasks", "split", "total_timesteps", "wall_time", "system", "returns", "task_names"), odd)
    for kind in (META_TRAINED, odd):
        assert BACKBONE.hash in backbone_card(kept(**told, kind=kind))


def test_the_card_of_a_random_backbone_does_not_say_that_it_was_trained():
    assert "which no meta-training has made" in backbone_card(BACKBONE)
    assert "meta-trained on" not in backbone_card(BACKBONE)


def test_a_set_has_at_least_one_adapter():
    with pytest.raises(ConfigError, match="no adapters; expected at least one"):
        AdapterSet(SHAPE, np.zeros((0, SHAPE.num_parameters), np.float32), ())


def test_train_tasks_of_families_that_are_not_known_here_are_in_nobodys_way():
    of = some()
    mixed = AdapterSet(SHAPE, of.parameters, (*of.tasks[:2], {"family": "of-somebody", "arguments": {"x": 1}}))
    assert mixed.nearest(Task("cheetah-vel", {"velocity": 9.0})) == 1


def test_a_backbone_of_no_meta_training_has_no_card(tmp_path):
    assert not (BACKBONE.save_pretrained(tmp_path / "b") / "README.md").exists()


def test_every_backbone_of_the_package_is_small_and_tells_what_it_was_trained_on():
    assert "cheetah-vel" in apb.shipped.shipped()
    for name, folder in apb.shipped.shipped().items():
        backbone = Backbone.from_pretrained(name)
        assert sum(path.stat().st_size for path in folder.rglob("*")) < 1_000_000
        assert backbone.metadata["kind"] == META_TRAINED
        assert (folder / "README.md").read_text() == backbone_card(backbone)
        split = backbone.metadata["split"]
        if split is None:  # several robots, of which adapters are of no use to another
            assert all(env in gymnasium.registry for env in backbone.metadata["task_names"])
        else:
            assert backbone.adapters is not None
            assert split["sha256"] == apb.tasks.get(split["name"]).hash
