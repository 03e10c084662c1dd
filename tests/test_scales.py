"""Scores: 0 is what doing nothing earns in a task, 1 what plain TD3 does; the data is what the raw files say."""

import json
import math
import re

import apb
import numpy as np
import pytest
from apb import tasks
from apb.errors import ConfigError, UnknownNameError
from apb.tasks.scale import SCALED_SPLITS, SCALED_TASKS, Measured, Scale, scale_of, scales
from documentation import ROOT

MEASURED = sorted(scales())
RESULTS = ROOT / "docs" / "results"
RETURNS = json.loads((RESULTS / "task-scales" / "returns.json").read_text())


def test_every_family_has_a_split_with_all_three_lists_of_which_tasks_are_scaled():
    assert SCALED_SPLITS.keys() == {name for name in tasks.FAMILIES if not name.endswith("-permuted-state")}
    for family, split in SCALED_SPLITS.items():
        found = tasks.get(f"{family}/{split}")
        assert all(getattr(found, part) for part in ("train", "test", "ood"))
    assert len({*SCALED_TASKS}) == 3 * len(SCALED_SPLITS) - 1  # of cheetah-dir there are only two
    assert set(MEASURED) <= set(SCALED_TASKS)


@pytest.mark.parametrize("name", MEASURED)
def test_a_score_is_0_for_doing_nothing_and_1_for_td3_where_that_is_clearly_better(name):
    scale = scale_of(tasks.get(name))
    if scale.top.mean - scale.zero.mean > 5 * math.hypot(scale.zero.error, scale.top.error):
        assert scale.score(scale.zero.mean) == 0
        assert scale.score(scale.top.mean) == 1
    else:
        with pytest.raises(ConfigError, match="compare returns here, not scores"):
            scale.score(0.0)


@pytest.mark.parametrize("episodes", [10, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MEASURED[:: max(1, len(MEASURED) // 6)])
def test_the_return_of_doing_nothing_is_measured_again(name, episodes):
    task = tasks.get(name)
    size = task.made_family.action_size
    again = apb.evaluate(lambda rows: np.zeros((len(rows), size)), task, episodes, seed=0)
    assert again.returns == pytest.approx(RETURNS[name]["zero"][:episodes])


@pytest.mark.parametrize("name", MEASURED)
def test_a_scale_is_what_its_returns_say_and_its_budget_that_of_the_raw_file(name):
    scale, own = scales()[name], RETURNS[name]
    top = own["dense td3"] if name.startswith("sparse-") else own["td3"]
    for measured, values in ((scale.zero, own["zero"]), (scale.random, own["random"]), (scale.top, top)):
        assert len(values) == 100
        assert measured.mean == pytest.approx(np.mean(values))
        assert measured.error == pytest.approx(np.std(values, ddof=1) / 10)
    stem = name.replace("/", "-").replace(":", "-")
    header = json.loads((RESULTS / "raw" / f"{stem}-td3-scale-0.jsonl").read_text().splitlines()[0])
    assert (scale.timesteps, scale.seeds) == (header["total_timesteps"], 1)
    assert header["env"] == name
    # Ten other episodes of the same policy.
    assert abs(scale.td3.mean - np.mean(header["final_returns"])) < 5 * 4 * scale.td3.error + 1


def test_a_task_has_the_scale_of_what_is_the_same_problem():
    (name,) = [name for name in MEASURED if name.startswith("cheetah-vel/") and "/test:" in name]
    assert scale_of(tasks.get("cheetah-vel-permuted-state/theorem:0")) == scales()[name]
    assert scale_of(tasks.get(name, include_torso_position=True)) == scales()[name]  # the default


def test_a_scale_is_found_by_the_name_of_its_task():
    name = next(iter(scales()))
    assert scale_of(name) == scale_of(tasks.get(name)) == scales()[name]
    with pytest.raises(
        ConfigError, match=r"30 tasks; expected one of cheetah-vel/mier-hard:0 to cheetah-vel/mier-hard:29"
    ):
        scale_of("cheetah-vel/mier-hard")


def test_a_task_without_a_scale_is_refused_with_those_that_have_one():
    with pytest.raises(UnknownNameError, match=r"no scale.*velocity = 1\.234.*cheetah-vel/mier-hard/test:0"):
        scale_of(tasks.Task("cheetah-vel", {"velocity": 1.234}))
    with pytest.raises(UnknownNameError, match=r"no scale.*include_torso_position = False"):
        scale_of(tasks.get("cheetah-vel/mier-hard/test:0", include_torso_position=False))


def test_where_td3_is_not_clearly_better_than_doing_nothing_there_is_no_score():
    def scale(zero, top, error=1.0):
        return Scale(Measured(zero, error), Measured(-5, 1), Measured(top, error), Measured(top, error), 1000, 1)

    for zero, top in ((0.0, -3.0), (0.0, 0.0), (0.0, 7.0)):
        with pytest.raises(ConfigError, match=r"plain TD3 earned .*no action at all 0\.0 ± 1\.0"):
            scale(zero, top).score(1.0)
    assert scale(-300.0, -100.0).score(-200.0) == 0.5


def test_scales_of_another_mujoco_are_told(monkeypatch):
    monkeypatch.setattr("mujoco.__version__", "3.17.0")
    with pytest.warns(apb.ApbWarning, match=r"measured with MuJoCo .*, and this is 3\.17\.0"):
        scale_of(tasks.get(MEASURED[0]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("cheetah-vel/mier-hard", "has 30 tasks; expected one of cheetah-vel/mier-hard:0 to cheetah-vel/mier-hard:29"),
        (tasks.get("cheetah-vel/mier-hard"), "task = 'cheetah-vel/mier-hard' has 30 tasks; expected one of"),
        (tasks.get("cheetah-vel/mier-hard/ood"), "expected one apb.tasks.Task, or the name of one"),
        (None, "task = None; expected one apb.tasks.Task"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_several_tasks_or_none_has_no_scale_and_is_told_so(wrong, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        scale_of(wrong)
