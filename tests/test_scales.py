"""Scores: 0 is what doing nothing earns in a task, 1 what plain TD3 does; the data is what the raw files say."""

import dataclasses
import json

import apb
import numpy as np
import pytest
from apb import tasks
from apb.errors import ConfigError, UnknownNameError
from apb.tasks.scales import SCALED_SPLITS, SCALED_TASKS, Scale, scale_of, scales
from documentation import ROOT

MEASURED = sorted(scales())


def test_every_family_has_a_split_with_all_three_lists_of_which_tasks_are_scaled():
    assert SCALED_SPLITS.keys() == {name for name in tasks.FAMILIES if not name.endswith("-permuted-state")}
    for family, split in SCALED_SPLITS.items():
        found = tasks.get(f"{family}/{split}")
        assert all(getattr(found, part) for part in ("train", "test", "ood"))
    assert len({*SCALED_TASKS}) == 3 * len(SCALED_SPLITS)
    assert set(MEASURED) <= set(SCALED_TASKS)


@pytest.mark.parametrize("name", MEASURED)
def test_a_score_is_0_for_doing_nothing_and_1_for_td3(name):
    scale = scale_of(tasks.get(name))
    if scale.td3 > scale.zero:
        assert scale.score(scale.zero) == 0
        assert scale.score(scale.td3) == 1
    else:
        with pytest.raises(ConfigError, match="compare returns here, not scores"):
            scale.score(0.0)


@pytest.mark.parametrize("name", MEASURED[:: max(1, len(MEASURED) // 6)])
def test_the_return_of_doing_nothing_is_measured_again(name):
    task = tasks.get(name)
    size = task.made_family.action_size
    again = apb.evaluate(lambda rows: np.zeros((len(rows), size)), task, 100, seed=0)
    assert again.mean == pytest.approx(scale_of(task).zero)


@pytest.mark.parametrize("name", MEASURED)
def test_the_return_of_td3_is_that_of_its_raw_file(name):
    stem = name.replace("/", "-").replace(":", "-")
    header = json.loads((ROOT / "docs/results/raw" / f"{stem}-td3-scale-0.jsonl").read_text().splitlines()[0])
    scale = scales()[name]
    assert scale.td3 == pytest.approx(np.mean(header["final_returns"]))
    assert (scale.timesteps, scale.seeds) == (header["total_timesteps"], 1)
    assert header["env"] == name


def test_a_task_in_permuted_states_has_the_scale_of_its_original():
    (name,) = [name for name in MEASURED if name.startswith("cheetah-vel/") and "/test:" in name]
    permuted = tasks.get("cheetah-vel-permuted-state/theorem:0")
    assert scale_of(permuted) == scales()[name]


def test_a_task_without_a_scale_is_refused_with_those_that_have_one():
    with pytest.raises(UnknownNameError, match=r"no scale.*velocity = 1\.234.*cheetah-vel/mier-hard/test:0"):
        scale_of(tasks.Task("cheetah-vel", {"velocity": 1.234}))
    switched = dataclasses.replace(tasks.get(MEASURED[0]), arguments={"include_torso_position": False, "velocity": 2.0})
    with pytest.raises(UnknownNameError, match="no scale"):
        scale_of(switched)


def test_where_td3_is_no_better_than_doing_nothing_there_is_no_score():
    with pytest.raises(ConfigError, match=r"plain TD3 reached -3\.0.*no action at all 0\.0"):
        Scale(0.0, -5.0, -3.0, 1000, 1).score(1.0)
    assert Scale(-300.0, -350.0, -100.0, 1000, 1).score(-200.0) == 0.5
