"""The scales of scores are made of what they say: which policies, from which starts, and what a score of 1 is."""

import json
from types import SimpleNamespace

import apb
import numpy as np
import pytest
from apb import tasks
from apb.tasks.scale import SCALED_TASKS
from documentation import ROOT

HOPPER = "hopper-rand-params/apb-ood/ood:0"
"""A task of short episodes."""
DENSE, SPARSE = "cheetah-vel/mier-hard/ood:0", "sparse-cheetah-vel/mier-hard/ood:0"


@pytest.fixture
def scales(monkeypatch):
    """`benchmarks.science.scales`, which is no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(ROOT)
    from benchmarks.science import scales

    return scales


def curves_of(*names, seeds=1):
    """Learning curves as far as scales read them."""
    return {name: SimpleNamespace(headers=[{"total_timesteps": 7_000}] * seeds) for name in names}


# --- returns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zero", "random"])
def test_the_committed_returns_are_those_of_these_policies_from_these_starts(scales, kind):
    committed = json.loads(scales.RETURNS.read_text())[HOPPER][kind]
    task = tasks.get(HOPPER)
    policy = getattr(scales, f"{kind}_policy")(task.made_family.action_size)
    assert scales.returns_of(policy, task) == pytest.approx(committed, rel=1e-4)


def test_no_action_is_zero_in_every_joint_and_every_row(scales):
    assert np.array_equal(scales.zero_policy(6)(np.ones((5, 17))), np.zeros((5, 6)))


def test_random_actions_are_uniform_over_the_whole_range_of_actions(scales):
    policy = scales.random_policy(6)
    actions = np.stack([policy(np.ones((5, 17))) for _ in range(2_000)])
    assert actions.shape == (2_000, 5, 6)
    assert np.abs(actions).max() <= 1
    counts, _ = np.histogram(actions, bins=10, range=(-1, 1))
    assert counts == pytest.approx(actions.size / 10, rel=0.05)
    rows = actions.reshape(2_000, -1)
    assert np.abs(np.corrcoef(rows, rowvar=False) - np.eye(30)).max() < 0.1


def test_of_every_task_the_policies_of_its_own_run_and_that_of_its_dense_twin_are_evaluated_in_it(scales, monkeypatch):
    folder = object()

    def learned_policy(runs, name):
        assert runs is folder
        return f"run of {name}"

    def returns_of(policy, task):
        return [task, policy if isinstance(policy, str) else policy(np.ones((1, 2))).tolist()]

    monkeypatch.setattr(scales, "learned_policy", learned_policy)
    monkeypatch.setattr(scales, "returns_of", returns_of)
    returns = {}
    scales.measure(returns, folder)
    assert list(returns) == list(SCALED_TASKS)
    for name, own in returns.items():
        task = tasks.get(name)
        size = task.made_family.action_size
        expected = {
            "zero": [task, [[0.0] * size]],
            "random": [task, scales.random_policy(size)(np.ones((1, 2))).tolist()],
            "td3": [task, f"run of {name}"],
        }
        if name.startswith("sparse-"):
            dense = name.removeprefix("sparse-")
            assert dense in SCALED_TASKS
            assert tasks.get(dense).values == task.values
            expected["dense td3"] = [task, f"run of {dense}"]
        assert own == expected, name


def test_returns_that_are_there_stay_and_without_runs_none_of_a_learner_are_added(scales, monkeypatch):
    measured = []
    monkeypatch.setattr(scales, "SCALED_TASKS", (DENSE, SPARSE))
    monkeypatch.setattr(scales, "returns_of", lambda policy, task: measured.append(task) or [1.0])
    returns = {DENSE: {"zero": [5.0], "random": [6.0], "td3": [7.0]}, SPARSE: {"random": [8.0]}}
    scales.measure(returns, None)
    assert returns == {
        DENSE: {"zero": [5.0], "random": [6.0], "td3": [7.0]},
        SPARSE: {"zero": [1.0], "random": [8.0]},
    }
    assert measured == [tasks.get(SPARSE)]


def test_a_learned_policy_is_the_last_of_a_finished_run(scales, tmp_path):
    run_dir = tmp_path / scales.STUDY / "hopper-rand-params-apb-ood-ood-0-td3-scale-0"
    assert scales.learned_policy(tmp_path, HOPPER) is None
    result = apb.adapt(
        HOPPER, "random", run_dir=run_dir, total_timesteps=60, learning_starts=20, eval_freq=20, checkpoint_freq=20
    )
    found = scales.learned_policy(tmp_path, HOPPER)
    observations = np.random.default_rng(0).normal(size=(5, *found.observation_space.shape))
    assert np.array_equal(found(observations), result.policy(observations))
    (run_dir / "result.json").unlink()
    assert scales.learned_policy(tmp_path, HOPPER) is None


# --- scales --------------------------------------------------------------------------------------------------------


def test_a_score_of_1_is_what_the_learner_earns_and_in_a_sparse_task_what_that_of_the_dense_reward_does(scales):
    own = {"zero": [0.0] * 100, "random": [-1.0] * 100, "td3": [1.0] * 100}
    found = scales.scales({DENSE: own, SPARSE: own | {"dense td3": [2.0] * 100}}, curves_of(DENSE, SPARSE))
    means = {name: {key: scale[key]["mean"] for key in (*own, "top")} for name, scale in found.items()}
    assert means[DENSE] == {"zero": 0, "random": -1, "td3": 1, "top": 1}
    assert means[SPARSE] == {"zero": 0, "random": -1, "td3": 1, "top": 2}


def test_a_scale_has_means_with_their_standard_errors_and_the_budget_of_its_run(scales):
    own = {"zero": [1.0, 3.0], "random": [0.0, 0.0], "td3": [10.0, 16.0]}
    found = scales.scales({DENSE: own}, curves_of(DENSE, seeds=3))[DENSE]
    assert found == {
        "zero": {"mean": 2.0, "error": pytest.approx(1.0)},
        "random": {"mean": 0.0, "error": 0.0},
        "td3": {"mean": 13.0, "error": pytest.approx(3.0)},
        "top": {"mean": 13.0, "error": pytest.approx(3.0)},
        "timesteps": 7_000,
        "seeds": 3,
    }


def test_a_task_of_which_anything_is_missing_has_no_scale(scales):
    own = {"zero": [0.0, 1.0], "random": [0.0, 1.0], "td3": [0.0, 1.0]}
    both = curves_of(DENSE, SPARSE)
    assert set(scales.scales({DENSE: own, SPARSE: own}, both)) == {DENSE}  # none of the dense reward
    unlearned = {key: own[key] for key in ("zero", "random")}
    assert scales.scales({DENSE: unlearned, SPARSE: unlearned | {"dense td3": [1.0, 2.0]}}, both) == {}
    assert scales.scales({DENSE: own}, curves_of(SPARSE)) == {}


def test_a_column_of_the_table_has_the_returns_of_its_policy(scales):
    own = {"zero": [1.0, 1.0], "random": [2.0, 2.0], "td3": [3.0, 3.0]}
    sparse = own | {"dense td3": [3_999.0, 4_001.0]}
    returns = {DENSE: own, SPARSE: sparse, HOPPER: {"zero": [1.0, 1.0]}}
    found = scales.scales(returns, curves_of(DENSE, SPARSE))
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in scales.table(returns, found)]
    assert head == ["task", "no action", "random actions", "plain TD3", "TD3 with the dense reward", *head[5:]]
    assert rows == [
        [DENSE, "1.0 ± 0.0", "2.0 ± 0.0", "3.0 ± 0.0", "", "7,000", "1"],
        [SPARSE, "1.0 ± 0.0", "2.0 ± 0.0", "3.0 ± 0.0", "4,000.0 ± 1.0", "7,000", "1"],
        [HOPPER, "1.0 ± 0.0", "not run", "not run", "", "", ""],
    ]


# --- the figure ----------------------------------------------------------------------------------------------------


def test_a_list_has_one_colour_in_all_panels_and_a_legend_leaves_room_for_the_curves(scales):
    curve = SimpleNamespace(timesteps=np.array([0, 1_000]), returns=np.zeros((1, 2)))
    figure = scales.figure(dict.fromkeys(SCALED_TASKS, curve), {name: {"zero": [0.0]} for name in SCALED_TASKS})
    colours = {}
    for panel in figure.axes:
        for line in panel.get_lines()[::2]:  # after each curve what no action earns
            part, _, values = line.get_label().partition(": ")
            colours.setdefault(part, set()).add(line.get_color())
            assert len(values) <= 40
    assert sorted(colours) == ["ood", "test", "train"]
    assert sorted(map(len, colours.values())) == [1, 1, 1]
    assert len(set.union(*colours.values())) == 3
