"""`adapt` takes tasks by name, as objects and in lists; every lane and member is a row of one batched simulation."""

import json
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import apb
import gymnasium
import numpy as np
import pytest
from adapt_runs import finished_loop, run, same_policies, strategies
from apb import ConfigError, InvalidEnvError, Policy, SimulationError, UnknownNameError, resume
from apb.batch_rows import BatchRows
from apb.environments import EnvSource, Simulations
from apb.lanes import names_of
from apb.runs import read_evaluations
from apb.tasks import FAMILIES, Task, get, register
from crashes import Crash, CrashAt
from run_files import assert_same_outcome, outcome

FALLING = [Task("hopper-mass", {"exponent": exponent}) for exponent in (-1.0, 2.0)]
"""Tasks whose episodes end after some ten steps, at different times."""


def test_a_task_is_the_same_by_its_name_as_an_object_and_as_an_env_id_with_arguments():
    task = get("cheetah-vel/mier-hard:3")
    for env in (task, [task], "cheetah-vel/mier-hard/ood:3"):
        assert same_policies(run(env).policies, run("cheetah-vel/mier-hard:3").policies)
    by_id = run("apb/CheetahVel-v0", env_kwargs=dict(task.arguments))
    assert same_policies(by_id.policies, run(task).policies)


def test_names_of_tasks_may_stand_in_a_list_and_lanes_are_task_by_task():
    result = run(["hopper-mass/tavt:1", "hopper-mass/tavt/train:0"], n_seeds=2, total_timesteps=20)
    names = ["hopper-mass/tavt/ood:1", "hopper-mass/tavt/train:0"]
    assert list(result.lanes) == [{"seed": seed, "task": name} for name in names for seed in (0, 1)]
    assert run("hopper-mass/tavt:1", total_timesteps=20).lanes == ({"seed": 0},)


def test_no_two_lanes_have_one_name_whatever_their_tasks_are_called():
    slow, fast = (Task("cheetah-vel", {"velocity": speed}) for speed in (1.0, 2.0))
    assert names_of([replace(slow, label="a"), fast]) == ["a", "task 1: cheetah-vel with velocity = 2"]
    label = "task 0: cheetah-vel with velocity = 1"
    assert names_of([slow, replace(fast, label=label)]) == [label, f"task 1: {label}"]


def test_arguments_of_gymnasium_make_beside_a_name_make_a_single_env_of_the_task():
    source = EnvSource.resolve("cheetah-vel/mier-hard:3", {"max_episode_steps": 7, "include_torso_position": False})
    env = source.make()
    assert not source.tasks
    assert (env.spec.max_episode_steps, env.observation_space.shape) == (7, (17,))
    assert env.unwrapped.values == {"velocity": get("cheetah-vel/mier-hard:3").arguments["velocity"]}
    with pytest.raises(
        ConfigError, match=r"has 30 tasks, and an env with render_mode has one; expected one of .*/mier-hard:0 to"
    ):
        EnvSource.resolve("cheetah-vel/mier-hard", {"render_mode": "rgb_array"})


def test_switches_of_a_named_task_are_given_as_env_arguments():
    result = run("cheetah-vel/mier-hard:0", env_kwargs={"include_torso_position": False})
    assert result.policy.observation_space.shape == (17,)
    assert result.policy.metadata["env_kwargs"]["include_torso_position"] is False


def test_a_split_and_a_slice_of_it_are_its_tasks_one_lane_each():
    loop = finished_loop(get("cheetah-permuted-joints/swaps")[:3], total_timesteps=20)
    assert len(loop.lanes) == 3
    assert EnvSource.resolve("cheetah-vel/ldm").tasks == get("cheetah-vel/ldm").tasks


@strategies
def test_all_lanes_and_members_are_rows_of_one_batch(options):
    loop = finished_loop(FALLING, total_timesteps=30, n_seeds=3, **options)
    (env,) = loop.simulations._rows.envs
    assert isinstance(loop.simulations._rows, BatchRows)
    assert env.num_envs == 2 * 3 * options.get("population_size", 1)
    rows_per_task = env.num_envs // 2
    assert env.parameters["exponent"].tolist() == [-1.0] * rows_per_task + [2.0] * rows_per_task


@strategies
def test_each_of_several_tasks_and_seeds_learns_what_it_learns_alone(options):
    together = run(FALLING, seed=4, n_seeds=2, **options).policies
    alone = [policy for task in FALLING for seed in (4, 5) for policy in run(task, seed=seed, **options).policies]
    assert same_policies(together, alone)


@pytest.mark.parametrize("threads", [1, 3])
def test_results_do_not_depend_on_the_threads_of_the_simulation(threads):
    options = {"eval_freq": 50, "n_eval_episodes": 3, "n_seeds": 2}
    result = run(FALLING, num_threads=threads, **options)
    other = run(FALLING, num_threads=2, **options)
    assert same_policies(result.policies, other.policies)
    assert result.evaluations == other.evaluations


def test_a_batched_task_gives_the_bits_of_a_single_env_of_it():
    task = FALLING[0]
    single = run(lambda: gymnasium.make(task.env_id, **task.arguments))
    assert same_policies(run(task).policies, single.policies)


def test_every_lane_is_told_by_its_task_and_seed_in_policies_evaluations_and_folders(tmp_path):
    result = run(FALLING, n_seeds=2, eval_freq=50, n_eval_episodes=2, run_dir=tmp_path / "run")
    lanes = [(f"task {number}: {task}", seed) for number, task in enumerate(FALLING) for seed in (0, 1)]
    assert [(policy.metadata["task"], policy.metadata["seed"]) for policy in result.policies] == lanes
    assert [policy.metadata["env_kwargs"] for policy in result.policies[::2]] == [task.arguments for task in FALLING]
    records = read_evaluations(tmp_path / "run")
    assert [(record["task"], record["seed"]) for record in records if record["timesteps"] == 50] == lanes
    folder = tmp_path / "run" / "checkpoints" / "000000100" / "policy"
    names = [f"task-{task}-seed-{seed}" for task in (0, 1) for seed in (0, 1)]
    assert sorted(path.name for path in folder.iterdir()) == names
    saved = [Policy.from_pretrained(folder / name) for name in names]
    assert same_policies(saved, result.policies)


def test_tasks_with_the_same_label_are_told_apart():
    tasks = [replace(task, label="a") for task in FALLING]
    result = run([*tasks, get("hopper-mass/tavt:1")], total_timesteps=20)
    names = ["task 0: a", "task 1: a", "hopper-mass/tavt/ood:1"]
    assert [lane["task"] for lane in result.lanes] == names
    assert [policy.metadata["task"] for policy in result.policies] == names


def test_a_policy_has_the_name_of_its_task_if_there_is_one():
    (named,), (unnamed,) = (run(task, total_timesteps=20).policies for task in ("hopper-mass/tavt:1", FALLING[0]))
    assert named.metadata["task"] == "hopper-mass/tavt/ood:1"
    assert "task" not in unnamed.metadata
    assert "task" not in run("Pendulum-v1", total_timesteps=20).policy.metadata


def test_a_policy_is_evaluated_in_the_task_of_its_lane():
    result = run(FALLING, eval_freq=100, n_eval_episodes=3)
    for task, policy, final in zip(FALLING, result.policies, result.final, strict=True):
        alone = run(task, eval_freq=100, n_eval_episodes=3)
        assert same_policies([policy], alone.policies)
        assert final.returns.tolist() == alone.final[0].returns.tolist()


def test_evaluate_takes_a_task_and_simulates_its_episodes_in_one_batch():
    policy = run(FALLING[0]).policy
    single = gymnasium.make(FALLING[0].env_id, **FALLING[0].arguments)
    assert apb.evaluate(policy, FALLING[0], 5, seed=3).returns.size == 5
    by_factory = apb.evaluate(policy, lambda: gymnasium.make(FALLING[0].env_id, **FALLING[0].arguments), 5, seed=3)
    assert apb.evaluate(policy, FALLING[0], 5, seed=3).returns.tolist() == by_factory.returns.tolist()
    single.close()


@strategies
def test_a_crashed_run_of_several_tasks_continues_exactly_in_the_middle_of_episodes(options, tmp_path):
    options = {"total_timesteps": 230, "checkpoint_freq": 45, "eval_freq": 70, "n_eval_episodes": 2, **options}
    tasks = [*get("cheetah-vel/mier-hard")[:2]]
    run(tasks, run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        run(tasks, run_dir=tmp_path / "cut", callback=CrashAt(111), **options)
    with pytest.raises(Crash):
        resume(tmp_path / "cut", callback=CrashAt(215))
    resume(tmp_path / "cut")
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_a_run_in_tasks_whose_episodes_end_continues_exactly(tmp_path):
    options = {"total_timesteps": 160, "checkpoint_freq": 33, "normalize_observations": True}
    run(FALLING, run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        run(FALLING, run_dir=tmp_path / "cut", callback=CrashAt(101), **options)
    resume(tmp_path / "cut")
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_a_run_is_resumed_only_in_its_own_tasks(tmp_path):
    with pytest.raises(Crash):
        run(FALLING, run_dir=tmp_path / "run", checkpoint_freq=20, callback=CrashAt(50))
    with pytest.raises(apb.MismatchError, match="differ in kwargs"):
        resume(tmp_path / "run", env=FALLING[::-1])
    assert len(resume(tmp_path / "run", env=FALLING).policies) == 2


def test_a_run_goes_on_under_the_names_of_its_tasks_in_whatever_form_they_are_given(tmp_path):
    tasks, options = get("hopper-mass/tavt")[:2], {"eval_freq": 30, "n_eval_episodes": 1, "checkpoint_freq": 40}
    run(tasks, run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        run(tasks, run_dir=tmp_path / "cut", callback=CrashAt(70), **options)
    same = [Task(task.family, {**task.arguments, "timestep_of_pearl": True}) for task in tasks]
    resume(tmp_path / "cut", env=same)
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_the_refusal_of_other_tasks_is_not_as_long_as_their_numbers(tmp_path):
    with pytest.raises(Crash):
        run("walker-rand-params/mier-ood:0", run_dir=tmp_path / "run", callback=CrashAt(50))
    with pytest.raises(
        apb.MismatchError, match=r"env walker-rand-params/mier-ood/ood:1 is not .*differ in k"
    ) as refused:
        resume(tmp_path / "run", env="walker-rand-params/mier-ood:1")
    assert len(str(refused.value)) < 700 + len(str(tmp_path))


def test_what_a_family_raises_in_a_run_is_an_error_of_the_env():
    @dataclass(frozen=True)
    class Raising(FAMILIES["cheetah-vel"]):
        name: ClassVar[str] = "raising-vel"

        def reward_terms(self, physics, velocity, control, parameters):
            raise LookupError("deep in my code")

    register(Raising)
    try:
        with pytest.raises(SimulationError, match=r"apb/RaisingVel-v0.*LookupError: deep in my code"):
            run(Task("raising-vel", {}))
    finally:
        del FAMILIES["raising-vel"], gymnasium.registry["apb/RaisingVel-v0"]


def test_a_family_of_another_module_is_simulated_in_a_batch_by_its_id_too(tmp_path, monkeypatch):
    (tmp_path / "own_family.py").write_text(OWN_FAMILY)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        source = EnvSource.resolve("own_family:apb/OwnVel-v0", {"velocity": 1.5})
        assert [task.arguments["velocity"] for task in source.tasks] == [1.5]
        assert source.words == ["own_family:apb/OwnVel-v0"]
    finally:
        del FAMILIES["own-vel"], gymnasium.registry["apb/OwnVel-v0"], sys.modules["own_family"]


OWN_FAMILY = """
from dataclasses import dataclass
from typing import ClassVar
from apb.tasks import register
from apb.tasks.families.cheetah_vel import CheetahVel

@register
@dataclass(frozen=True)
class OwnVel(CheetahVel):
    name: ClassVar[str] = "own-vel"
"""


def test_what_is_no_list_of_tasks_of_one_family_is_refused_before_anything_is_made():
    other = get("walker-mass/tavt:0")
    with pytest.raises(ConfigError, match="tasks of one family with the same switches"):
        run([*FALLING, other])
    with pytest.raises(ConfigError, match="tasks of one family with the same switches"):
        run([FALLING[0], Task("hopper-mass", {"exponent": 1.0, "timestep_of_pearl": False})])
    with pytest.raises(InvalidEnvError, match=r"a list with 'HalfCheetah-v5' in it; expected tasks"):
        run([FALLING[0], "HalfCheetah-v5"])
    with pytest.raises(InvalidEnvError, match="env has no tasks"):
        run([])
    with pytest.raises(ConfigError, match="8192 learning problems; expected at most 4096"):
        run(FALLING, n_seeds=4096)


def test_lanes_that_cannot_be_shared_evenly_among_the_tasks_are_refused():
    with pytest.raises(ConfigError, match="3 lanes for 2 tasks of hopper-mass; expected a multiple of 2"):
        EnvSource.resolve(FALLING).rows(3, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cheeta-vel/mier-hard:3", "cheetah-vel"),
        ("cheetah-vel/mier-hrd:3", "mier-hard"),
        ("cheetah-vel/mier-hard:300", "30"),
        ("mier-hard:3", "cheetah-vel/mier-hard:3"),
        ("apb/CheetahVal-v0", "apb/CheetahVel-v0"),
    ],
)
def test_a_task_that_does_not_exist_is_refused_with_what_exists(name, message):
    with pytest.raises((UnknownNameError, ConfigError), match=message):
        run(name)


def test_tasks_to_evaluate_in_are_one_or_as_many_as_are_learned():
    result = run(FALLING, eval_env=FALLING[0], eval_freq=100, n_eval_episodes=2)
    assert len(result.final) == 2
    for others in ([*FALLING, Task("hopper-mass", {})], FALLING):
        with pytest.raises(ConfigError, match="expected one task for all, or one for each, in the same order"):
            run(FALLING if len(others) == 3 else FALLING[0], n_seeds=2, eval_env=others, eval_freq=100)
    with pytest.raises(ConfigError, match="has the task hopper-mass with exponent = -1 twice"):
        run([FALLING[0], FALLING[0]])


def test_arguments_that_no_task_has_make_single_envs():
    source = EnvSource.resolve("apb/CheetahVel-v0", {"velocity": 1.0, "max_episode_steps": 7})
    assert not source.tasks
    with Simulations(source, 1, 1, [0]) as simulations:
        simulations.reset()
        ends = [bool(simulations.step(np.zeros((1, 1, 6), np.float32)).truncated[0, 0]) for _ in range(7)]
    assert ends == [False] * 6 + [True]


def test_the_configuration_of_a_run_names_its_tasks_and_holds_all_their_numbers(tmp_path):
    run(FALLING, run_dir=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["env"] == "2 tasks of hopper-mass"
    assert config["tasks"] == [f"task {number}: {task}" for number, task in enumerate(FALLING)]
    assert config["env_identity"]["kwargs"] == {"tasks": [dict(task.arguments) for task in FALLING]}


@pytest.mark.parametrize("family", ["hopper-mass", "humanoid-dir"])
def test_a_run_in_an_env_object_of_a_task_continues_exactly_in_the_middle_of_an_episode(family, tmp_path):
    def env():
        return Task(family, {}).make()

    options = {"total_timesteps": 120, "checkpoint_freq": 33}
    run(env(), run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        run(env(), run_dir=tmp_path / "cut", callback=CrashAt(101), **options)
    resume(tmp_path / "cut", env=env())
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
    assert (tmp_path / "whole" / "checkpoints" / "000000099").exists()


def test_a_batched_env_object_of_one_task_is_learned_in_and_evaluated_in_envs_of_its_own():
    envs = gymnasium.make_vec("apb/HopperMass-v0", num_envs=4, exponent=1.0, max_episode_steps=30)
    result = run(envs, eval_freq=50, n_eval_episodes=3)
    assert 97 <= result.total_timesteps <= 100  # the four rows step together, and a reset is no transition
    assert result.final[0].lengths.max() <= 30
    envs.close()


def test_a_batched_env_object_of_several_tasks_needs_an_env_to_evaluate_in():
    envs = gymnasium.make_vec("apb/HopperMass-v0", num_envs=2, exponent=[0.5, 1.0])
    with pytest.raises(InvalidEnvError, match=r"a batch of several tasks of hopper-mass.*\[envs.task\(row\) for row"):
        run(envs, eval_freq=50)
    by_rows = run([envs.unwrapped.task(row) for row in range(2)], total_timesteps=20)
    assert [policy.metadata["env_kwargs"]["exponent"] for policy in by_rows.policies] == [0.5, 1.0]
    assert run(envs, eval_freq=50, n_eval_episodes=2, eval_env=FALLING[0]).final[0].lengths.size == 2
