"""`meta_train` with `resample_tasks`: other train tasks at each reset, learned from nothing but themselves."""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import apb
import gymnasium
import numpy as np
import pytest
from apb import ApbWarning, Backbone, Callback, ConfigError, FileFormatError, MismatchError, resume
from apb.environments import EnvSource
from apb.meta_training.job import MetaJob
from apb.meta_training.lists import recorded
from apb.meta_training.settings import MetaSettings
from apb.meta_training.tasks import train_tasks
from apb.plotting import LearningCurve, plot_runs
from apb.resampling import tasks_of_reset
from apb.runner import run_to_end
from apb.runs import StopSignals
from apb.tasks import FAMILIES, Split, Task, get, register
from crashes import Crash, CrashAt, StopAt
from learning import SMALL, small_backbone
from meta_runs import SPLIT, meta_run
from run_files import assert_same_outcome, outcome

HOPPERS = "hopper-mass/tavt"
"""A split with tasks whose episodes end after some ten steps."""

IN_TURN = {"resample_tasks": True, "reset_interval": 40, "learning_starts": 15}
"""Of 100 timesteps of each task the first, second and third tasks have 40, 40 and 20."""

RECORDED = {"checkpoint_freq": 10, "eval_freq": 40, "n_eval_episodes": 1, "log_freq": 20}


def in_turn(split=HOPPERS, **options):
    return meta_run(split, **{**IN_TURN, **options})


def tasks_in_turn(split=HOPPERS, seed=0, count=3, resets=2):
    """The tasks from the start on, and from each reset on."""
    first = train_tasks(split, count)[1]
    return [first, *(tasks_of_reset(reset, get(split).train, count, seed) for reset in range(1, resets + 1))]


def names(tasks):
    return [task.label for task in tasks]


def adapters_of(result):
    return [adapter.parameters.tobytes() for adapter in result.adapters]


class Noting(Callback):
    """Notes at each step the tasks that the lanes' policies are of."""

    def __init__(self):
        self.seen = {}

    def on_step(self, state):
        self.seen[state.timesteps] = [policy.metadata["task"] for policy in state.policies()]


# --- which tasks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 57, 99, 100])
def test_tasks_of_a_reset_are_different_ones_of_the_list_and_a_function_of_seed_and_reset(count):
    pool = get(SPLIT).train
    draws = {(seed, reset): tasks_of_reset(reset, pool, count, seed) for seed in (0, 7) for reset in (1, 2, 10**9)}
    for (seed, reset), tasks in draws.items():
        assert len(set(tasks)) == count
        assert set(tasks) <= set(pool)
        assert tasks == tasks_of_reset(reset, pool, count, seed)
    assert len({tuple(names(tasks)) for tasks in draws.values()}) == len(draws) or count == 1


def test_every_task_of_the_list_is_drawn_as_often_as_any_other():
    pool = get("cheetah-permuted-joints/swaps").train
    drawn = [task for reset in range(1, 1201) for task in tasks_of_reset(reset, pool, 2, 0)]
    counts = [drawn.count(task) for task in pool]
    assert max(counts) < 500
    assert min(counts) > 300


def test_the_lanes_have_the_tasks_of_each_reset_from_it_on():
    noting = Noting()
    result = in_turn(callback=noting, seed=5)
    turns = tasks_in_turn(seed=5)
    assert [noting.seen[timesteps] for timesteps in range(1, 101)] == [
        names(turns[(timesteps - 1) // 40]) for timesteps in range(1, 101)
    ]
    assert [lane["task"] for lane in result.lanes] == names(turns[2])
    assert result.resets == 2
    assert len({task for turn in turns for task in names(turn)}) > 6


def test_the_backbone_goes_on_through_the_tasks_and_keeps_the_adapters_of_the_last():
    result = in_turn()
    last = tasks_in_turn()[2]
    assert result.backbone.hash not in (small_backbone().hash, in_turn(total_timesteps=240).backbone.hash)
    assert [task["arguments"] for task in result.backbone.adapters.tasks] == [task.arguments for task in last]
    assert [row.tobytes() for row in result.backbone.adapters.parameters] == adapters_of(result)
    assert result.backbone.adapters.nearest(last[1]) == 1
    assert adapters_of(result) == adapters_of(in_turn(num_threads=3))
    assert adapters_of(result) != adapters_of(in_turn(resample_tasks=False))


# --- what they learn from --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TellingVel(FAMILIES["cheetah-vel"]):
    """The reward tells the task."""

    name: ClassVar[str] = "telling-vel"

    def reward_terms(self, physics, velocity, control, parameters):
        return {"told": np.array(parameters["velocity"])}


@pytest.fixture
def telling():
    """A split of ten tasks of such a family."""
    register(TellingVel)
    tasks = [Task("telling-vel", {"velocity": number / 8}, f"telling-vel/own/train:{number}") for number in range(10)]
    yield Split("telling-vel", "own", tuple(tasks), tuple(tasks[:2]), ())
    del FAMILIES["telling-vel"], gymnasium.registry["apb/TellingVel-v0"]


class Watching(Callback):
    """Looks at each step into a loop: rows in the replay, rewards in it, updates so far."""

    def __init__(self):
        self.loop, self.rows, self.rewards, self.updates = None, {}, {}, {}

    def on_step(self, state):
        replay, width = self.loop.replay, self.loop.replay.table.shape[2]
        held = [table[:size, width - 2] for table, size in zip(replay.table, replay.size, strict=True)]
        self.rows[state.timesteps] = [len(lane) for lane in held]
        self.rewards[state.timesteps] = [set(lane.tolist()) for lane in held]
        self.updates[state.timesteps] = state.updates


def watched(split, **options):
    """What a callback saw of such a run."""
    settings = MetaSettings(**{**SMALL, **IN_TURN, "total_timesteps": 300, **options})
    watching = Watching()
    source = EnvSource.resolve(train_tasks(split, 3)[1])
    job = MetaJob(source, None, small_backbone(), settings, [watching], {"split": recorded(split)})
    watching.loop = job.loop()
    run_to_end(watching.loop, None, StopSignals())
    watching.loop.close()
    return watching


@pytest.mark.parametrize("buffer_size", [1000, 25])
def test_lanes_learn_from_transitions_of_their_own_tasks_only(telling, buffer_size):
    seen = watched(telling, buffer_size=buffer_size)
    turns = [train_tasks(telling, 3)[1], *(tasks_of_reset(reset, telling.train, 3, 0) for reset in (1, 2))]
    for timesteps in range(1, 101):
        turn, before = divmod(timesteps - 1, 40)
        assert seen.rows[timesteps] == [min(before + 1, buffer_size)] * 3
        assert seen.rewards[timesteps] == [{task.arguments["velocity"]} for task in turns[turn]]


def test_evaluations_and_episodes_are_those_of_the_tasks_that_lanes_have_at_the_time(telling):
    options = {"reset_interval": 210, "learning_starts": 205, "eval_freq": 105, "n_eval_episodes": 1, "log_freq": 210}
    result = in_turn(telling, total_timesteps=1260, **options)
    speeds = {task.label: task.arguments["velocity"] for task in telling.train}
    for record in result.evaluations:
        assert record["returns"] == pytest.approx([200 * speeds[record["task"]]])
    assert [final.mean for final in result.final] == pytest.approx(
        [200 * speeds[lane["task"]] for lane in result.lanes]
    )
    turns = [train_tasks(telling, 3)[1], tasks_of_reset(1, telling.train, 3, 0)]
    for record, tasks in zip(result.history, turns, strict=True):
        mean = np.mean([200 * task.arguments["velocity"] for task in tasks])
        assert record["rollout/ep_rew_mean"] == pytest.approx(mean)


def test_lanes_begin_each_task_with_random_steps_of_which_they_learn_nothing():
    seen = watched(get(HOPPERS))
    steps = [timesteps for timesteps in range(2, 101) if seen.updates[timesteps] > seen.updates[timesteps - 1]]
    assert steps == [*range(15, 41), *range(55, 81), *range(95, 101)]
    assert seen.updates[100] == len(steps)


def test_several_simulations_of_a_lane_take_other_tasks_together():
    seen = watched(get(HOPPERS), strategy="param_noise", population_size=3)
    ends = {timesteps: rows for timesteps, rows in seen.rows.items() if rows[0] == 3}
    assert list(ends) == [3, 45, 84], "the steps after 0, 42 and 81 timesteps"
    steps = sorted(seen.updates)
    learning = [new for old, new in pairwise(steps) if seen.updates[new] > seen.updates[old]]
    assert learning == [*range(15, 43, 3), *range(57, 82, 3), *range(96, 100, 3)]


def test_lanes_that_keep_their_tasks_keep_envs_and_replay_at_a_reset():
    seen = watched(get(HOPPERS), resample_tasks=False)
    assert [seen.rows[timesteps] for timesteps in (40, 41, 81, 100)] == [[t] * 3 for t in (40, 41, 81, 100)]
    assert seen.loop.simulations.total_steps == 300
    assert seen.updates[100] == 100 - 14


# --- run folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "extra"),
    [
        ([CrashAt(25)], {}),
        ([StopAt(40)], {}),
        ([CrashAt(41)], {}),
        ([StopAt(41)], {}),
        ([CrashAt(67)], {"buffer_size": 17}),
        ([CrashAt(25), StopAt(52), CrashAt(87)], {"buffer_size": 30, "keep_last": 1}),
        ([CrashAt(49), CrashAt(95)], {"strategy": "param_noise", "population_size": 3}),
        ([CrashAt(49), CrashAt(95)], {"strategy": "adaptive_param_noise"}),
    ],
    ids=["first", "before", "at", "after", "second", "each", "population", "perturbed"],
)
def test_a_run_that_is_cut_in_any_of_its_tasks_continues_exactly(stop, extra, tmp_path):
    options = RECORDED | extra
    whole = in_turn(run_dir=tmp_path / "whole", **options)
    for number, callback in enumerate(stop):
        try:
            if number:
                resume(tmp_path / "cut", callback=callback, num_threads=2)
            else:
                in_turn(run_dir=tmp_path / "cut", callback=callback, **options)
        except Crash:
            pass
    result = resume(tmp_path / "cut", num_threads=3)
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
    assert (result.lanes, result.resets, result.evaluations) == (whole.lanes, whole.resets, whole.evaluations)
    assert adapters_of(result) == adapters_of(whole)
    told = [Backbone.from_pretrained(tmp_path / each / "pretrained") for each in ("cut", "whole")]
    assert told[0].adapters.hash == told[1].adapters.hash
    assert told[0].metadata["task_names"] == told[1].metadata["task_names"]


def test_an_older_checkpoint_of_other_tasks_stays_whole(tmp_path):
    in_turn(run_dir=tmp_path / "run", checkpoint_freq=30, keep_last=4)
    before = outcome(tmp_path / "run")
    resume(tmp_path / "run" / "checkpoints" / "000000030")
    assert_same_outcome(outcome(tmp_path / "run"), before)


def test_records_policies_and_card_name_the_tasks_of_their_time(tmp_path):
    run_dir = tmp_path / "run"
    result = in_turn(run_dir=run_dir, **RECORDED)
    turns = tasks_in_turn()
    lines = [json.loads(line) for line in (run_dir / "evaluations.jsonl").read_text().splitlines()]
    told = [(line["timesteps"], line["task"]) for line in lines]
    # An evaluation at the timestep of a reset is of what was learned before it.
    at = {0: turns[0], 40: turns[0], 80: turns[1], 100: turns[2]}
    assert told == [(timesteps, name) for timesteps, turn in at.items() for name in names(turn)]
    saved = sorted((run_dir / "checkpoints" / "000000100" / "policy").iterdir())
    assert [apb.Policy.from_pretrained(folder).metadata["task"] for folder in saved] == names(turns[2])
    assert [lane["task"] for lane in json.loads((run_dir / "result.json").read_text())["lanes"]] == names(turns[2])
    assert result.zero_shot["train"].tasks == tuple(names(turns[2]))
    learned = list(dict.fromkeys(name for turn in turns for name in names(turn)))
    metadata = Backbone.from_pretrained(run_dir / "pretrained").metadata
    assert (metadata["task_names"], metadata["n_tasks"]) == (learned, 3)
    card = (run_dir / "pretrained" / "README.md").read_text()
    assert f"{len(learned)} tasks, 3 tasks of hopper-mass/tavt at a time" in card
    assert f"| they are | {', '.join(learned)} |" in card
    assert "| adapters of the train tasks | those of the last 3, included |" in card


def test_a_curve_is_of_one_task_in_one_lane_however_often_it_is_drawn(tmp_path):
    path = tmp_path / "run" / "evaluations.jsonl"
    path.parent.mkdir()
    (path.parent / "config.json").write_text(json.dumps({"job": "meta_train", "env": "x", "in_words": "y"}))
    turns = {0: "AB", 10: "AB", 20: "BC", 30: "BC", 40: "AB", 50: "AB"}
    lines = [
        {"timesteps": step, "seed": seed, "task": task, "eval/mean_reward": step + seed, "eval/std_reward": 0.0}
        for step, tasks in turns.items()
        for seed, task in enumerate(tasks)
    ]
    path.write_text("".join(json.dumps(line | {"returns": [1.0], "lengths": [1]}) + "\n" for line in lines))
    curves = [(curve.env, curve.seeds, curve.timesteps.tolist()) for curve in LearningCurve.read(path.parent)]
    assert curves == [
        ("A", (0,), [0, 10]),
        ("B", (1,), [0, 10]),
        ("B", (0,), [20, 30]),
        ("C", (1,), [20, 30]),
        ("A", (0,), [40, 50]),
        ("B", (1,), [40, 50]),
    ]
    assert plot_runs([path.parent, path.parent], tmp_path / "curve.png").is_file()


def edit_split(run_dir, change):
    path = run_dir / "config.json"
    config = json.loads(path.read_text())
    change(config["split"])
    path.write_text(json.dumps(config))


def test_a_run_goes_on_with_the_tasks_that_its_folder_has_and_no_others(tmp_path):
    with pytest.raises(Crash):
        in_turn(run_dir=tmp_path / "run", callback=CrashAt(30), checkpoint_freq=10)
    with pytest.raises(Crash):
        in_turn(run_dir=tmp_path / "unsaved", callback=CrashAt(5))
    for run_dir in tmp_path.iterdir():
        edit_split(run_dir, lambda split: split["train"].reverse())
    with pytest.raises(MismatchError, match=r"belongs to split_hash.*put .*config\.json"):
        resume(tmp_path / "run")
    edit_split(tmp_path / "unsaved", lambda split: split.update(train=split["train"][:3]))
    with pytest.raises(FileFormatError, match=r"split in config\.json has 3 train tasks; expected more than the 3"):
        resume(tmp_path / "unsaved")


# --- what cannot be meant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (HOPPERS, {"reset_interval": None}, "resample_tasks = True without reset_interval.*expected reset_interval"),
        ([f"{HOPPERS}/train:0", f"{HOPPERS}/train:1"], {"n_tasks": None}, "with a list of tasks.*expected a split"),
        (f"{HOPPERS}/train", {"n_tasks": None}, "resample_tasks = True with a list of tasks.*expected a split"),
        (["Hopper-v5", "Walker2d-v5"], {"n_tasks": None}, "resample_tasks = True with a list of tasks"),
        (HOPPERS, {"n_tasks": 100, "total_timesteps": 10_000}, f"n_tasks = 100 are all train tasks of {HOPPERS}; exp"),
        ("cheetah-permuted-joints/swaps", {"n_tasks": None}, "n_tasks = 6 are all train tasks of .*/swaps; expected a"),
        (HOPPERS, {"learning_starts": 40}, "reset_interval = 40 is not more than learning_starts = 40.*expected more"),
        (HOPPERS, {"reset_interval": 100}, r"total_timesteps = 300 \(100 for each of 3 tasks\) ends before reset_int"),
        (HOPPERS, {"resample_tasks": "yes"}, "resample_tasks = 'yes'"),
    ],
    ids=str,
)
def test_tasks_that_cannot_be_resampled_are_told_before_anything_is_written(tasks, options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        in_turn(tasks, run_dir=tmp_path / "run", **options)
    assert not [*tmp_path.iterdir()]


def test_a_split_with_tasks_that_no_batch_can_hold_is_told_whatever_is_drawn(telling):
    train = telling.train
    for last, words in ((train[9], "twice"), (get(SPLIT).train[0], "tasks of one family")):
        own = Split("telling-vel", "own", (*train, last), (), ())
        with pytest.raises(ConfigError, match=words):
            in_turn(own)


def test_last_tasks_that_have_random_steps_only_are_told():
    with pytest.warns(ApbWarning, match="leaves 10 timesteps for the last of the tasks .*learning_starts = 15"):
        in_turn(total_timesteps=270)
