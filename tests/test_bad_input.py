"""Bad input to `adapt`, `resume`, `evaluate`: one clear error that says where and what to do, and nothing is lost."""

import errno
import json
import math
import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from apb import (
    ApbError,
    ApbWarning,
    Backbone,
    Callback,
    ConfigError,
    DivergenceError,
    FileFormatError,
    InvalidEnvError,
    MismatchError,
    RunFolderError,
    SimulationError,
    UnknownNameError,
    adapt,
    evaluate,
    resume,
)
from apb.environments import EnvSource
from apb.loop import AdaptationLoop
from apb.loop_state import load_loop_state, loop_state
from apb.rng import MAX_SEED
from apb.settings import AdaptSettings
from envs_for_tests import CountingEnv
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st
from learning import SMALL, small_backbone
from policies import make_policy


def run(env="Pendulum-v1", backbone=None, **options):
    return adapt(
        env, small_backbone() if backbone is None else backbone, **{**SMALL, "total_timesteps": 100, **options}
    )


# --- options -------------------------------------------------------------------------------------------------------

INTEGERS = {
    "total_timesteps": 0,
    "seed": -1,
    "n_seeds": 0,
    "num_threads": 0,
    "eval_freq": -1,
    "n_eval_episodes": 0,
    "checkpoint_freq": -1,
    "log_freq": 0,
    "keep_last": 0,
    "learning_starts": -1,
    "gradient_steps": -1,
    "buffer_size": 0,
    "batch_size": 0,
    "policy_delay": 0,
    "reset_interval": 0,
    "population_size": 1,
    "segment_length": 0,
}
NUMBERS = {
    "learning_rate": (0.0, 1.5),
    "critic_learning_rate": (0.0, 1.5),
    "gamma": (-0.1, 1.1),
    "tau": (0.0, 1.1),
    "target_policy_noise": (-0.1, 11),
    "target_noise_clip": (-0.1, 11),
    "action_noise": (-0.1, 11),
    "param_noise": (0.0, 1.1),
    "evolution_rate": (-0.1, 1.1),
}


@pytest.mark.parametrize(("name", "value"), INTEGERS.items())
def test_an_integer_out_of_range_is_named_with_value_and_range(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} = {value} is out of range; expected a number in \[\d+, "):
        AdaptSettings(**{name: value})


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", ["7", 2.5, math.inf, True, [1]], ids=repr)
def test_what_is_no_integer_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} = {re.escape(repr(value))} .*expected an integer"):
        AdaptSettings(**{name: value})


@pytest.mark.parametrize("name", INTEGERS)
def test_a_float_that_is_whole_is_an_integer(name):
    value = getattr(AdaptSettings(**{name: 4.0}), name)
    assert (type(value), value) == (int, 4)


def test_the_bounds_of_a_range_are_told_to_the_digit():
    with pytest.raises(ConfigError, match=rf"seed = {MAX_SEED + 1} is out of range; .* in \[0, {MAX_SEED}\]"):
        AdaptSettings(seed=MAX_SEED + 1)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_or_not_finite_is_refused(name):
    for value in NUMBERS[name]:
        with pytest.raises(ConfigError, match=rf"^{name} = {value!r} is out of range; expected a number in "):
            AdaptSettings(**{name: value})
    for value in (math.nan, math.inf, "0.1", True):
        with pytest.raises(ConfigError, match=rf"^{name} = {value!r}; expected a finite number"):
            AdaptSettings(**{name: value})


@given(st.sampled_from([*INTEGERS, *NUMBERS]), st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none()))
def test_any_value_of_an_option_is_either_taken_or_refused_by_name(name, value):
    taken, refusal = None, None
    try:
        taken = getattr(AdaptSettings(**{name: value}), name)
    except ConfigError as error:
        refusal = str(error)
    assert name in refusal if refusal else taken == value


@pytest.mark.parametrize("name", ["trainable_backbone", "normalize_observations", "keep_best"])
def test_a_flag_is_true_or_false(name):
    with pytest.raises(ConfigError, match=rf"^{name} = 'no'; expected True or False"):
        AdaptSettings(**{name: "no"})


def test_more_threads_than_four_times_the_cores_are_refused(monkeypatch):
    monkeypatch.setattr("apb.settings.usable_cpus", lambda: 2)
    monkeypatch.setenv("APB_NUM_THREADS", "1")  # what to use where nothing is asked for, and no bound
    AdaptSettings(num_threads=8)
    with pytest.raises(ConfigError, match="num_threads = 9 is more than four times the 2 cores that affinity and"):
        AdaptSettings(num_threads=9)


def test_a_run_of_a_larger_machine_goes_on_with_the_threads_of_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr("apb.settings.usable_cpus", lambda: 2)
    run(run_dir=tmp_path / "run", num_threads=8, total_timesteps=70)
    monkeypatch.setattr("apb.settings.usable_cpus", lambda: 1)
    with pytest.warns(ApbWarning, match=r"started with num_threads = 8, more than this machine is given \(4\)"):
        resume(tmp_path / "run")
    with pytest.raises(ConfigError, match="num_threads = 8 is more than four times the 1 cores"):
        resume(tmp_path / "run", num_threads=8)


def test_seeds_of_lanes_beyond_the_largest_are_refused():
    AdaptSettings(seed=MAX_SEED - 1, n_seeds=2)
    with pytest.raises(ConfigError, match=f"with n_seeds = 3 goes beyond {MAX_SEED}; choose a smaller seed"):
        AdaptSettings(seed=MAX_SEED - 1, n_seeds=3)


def test_an_unknown_option_or_strategy_is_answered_with_the_nearest_name():
    with pytest.raises(
        UnknownNameError, match=r"adapt\(\) has no option 'total_timestep'; did you mean 'total_timesteps'\?"
    ):
        run(total_timestep=100)
    with pytest.raises(UnknownNameError, match="no option 'lr'; did you mean 'learning_rate'"):
        run(lr=1e-3)
    with pytest.raises(UnknownNameError, match="strategy = 'parm_noise' is unknown; did you mean 'param_noise'"):
        run(strategy="parm_noise")
    for strategy in (None, 3, ["action_noise"]):
        with pytest.raises(UnknownNameError, match=r"strategy = .* is unknown; .*known: action_noise, param_noise"):
            run(strategy=strategy)


def test_a_run_moves_to_another_device_when_it_is_resumed_and_to_none_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run(run_dir=tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    with pytest.raises(ConfigError, match=r"device = 'cuda', but torch .* finds no CUDA device"):
        resume(tmp_path / "run")
    again = resume(tmp_path / "run", device="cpu")
    assert again.adapter.parameters.tobytes() == result.adapter.parameters.tobytes()


@pytest.mark.parametrize(
    "name", ["actor_adam.exp_avg.post.weight", "critics.0.weight", "actor.pre.bias", "target_critics.1.bias"]
)
def test_a_training_state_of_other_shapes_is_refused_before_it_is_used(name):
    loop = AdaptationLoop(
        EnvSource.resolve("Pendulum-v1"), None, small_backbone(), AdaptSettings(**{**SMALL, "total_timesteps": 100})
    )
    loop.start()
    for _ in range(60):
        loop.step()
    for change in (lambda a: a[..., :1], lambda a: a.astype(np.float64), lambda a: a[None]):
        state = loop_state(loop)
        state["learner"][name] = change(state["learner"][name])
        with pytest.raises(MismatchError, match=f"{re.escape(name)}.*expected float32"):
            load_loop_state(loop, state)
    for counter, value in (("updates", -1), ("steps", "many"), ("timesteps", 10**30), ("wall_time", None)):
        state = loop_state(loop)
        state["counters"][counter] = value
        with pytest.raises(FileFormatError, match=f"{counter} = "):
            load_loop_state(loop, state)


def test_the_env_that_is_learned_in_is_not_evaluated_in():
    env = gymnasium.make("Pendulum-v1")
    with pytest.raises(InvalidEnvError, match="would move it"):
        run(lambda: env, eval_freq=50, n_eval_episodes=1)
    with pytest.raises(InvalidEnvError, match="would move it"):
        run(env, eval_env=env, eval_freq=50, n_eval_episodes=1)


def test_a_callback_whose_state_is_no_json_is_refused_before_the_first_step():
    class Best(Callback):
        def state_dict(self):
            return {"best": -math.inf}

    with pytest.raises(ConfigError, match=r"state_dict\(\) of callback Best is not JSON"):
        run(callback=Best())


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device = 'cuda', but torch .* finds no CUDA device; use 'cpu' or 'auto'"):
        run(device="cuda")
    for device in ("gpu", "cuda:x", "", None, 1.5):
        with pytest.raises(ConfigError, match=rf"device = {re.escape(repr(device))} is not a device; expected 'cpu'"):
            run(device=device)
    with pytest.raises(ConfigError, match=r"device = 'meta' is of kind 'meta'; expected 'cpu'"):
        run(device="meta")
    assert run(device="auto", total_timesteps=1).total_timesteps == 1


def test_a_replay_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("apb.replay.available_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"buffer_size = 100 needs 0 MiB of replay memory .*choose a smaller"):
        run()


@pytest.mark.parametrize("callback", [7, print, Callback, [Callback(), 7], [Callback]], ids=repr)
def test_what_is_no_callback_is_refused(callback):
    with pytest.raises(ConfigError, match=r"callback .*expected .*apb\.Callback"):
        run(callback=callback)


def test_what_is_no_backbone_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"backbone is a int; expected an apb.Backbone, the folder of a saved"):
        adapt("Pendulum-v1", 7)
    with pytest.raises(FileFormatError, match="nowhere"):
        adapt("Pendulum-v1", tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match=r"backbone = 'rnadom' is neither .*; did you mean 'random'\?"):
        adapt("Pendulum-v1", "rnadom")
    with pytest.raises(UnknownNameError, match=r"; did you mean strategy='param_noise'\?"):
        adapt("Pendulum-v1", "param_noise")
    with pytest.raises(UnknownNameError, match=r"backbone = 'psi-3' is neither 'random' nor a folder that exists$"):
        adapt("Pendulum-v1", "psi-3")


# --- envs ----------------------------------------------------------------------------------------------------------


class Spaces(CountingEnv):
    def __init__(self, observation_space, action_space):
        super().__init__()
        self.observation_space, self.action_space = observation_space, action_space


UNIT = Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("observation_space", "action_space", "field"),
    [
        (UNIT, Discrete(3), "action"),
        (Discrete(3), UNIT, "observation"),
        (Dict(a=UNIT), UNIT, "observation"),
        (Box(0, 255, (8, 8, 3), np.uint8), UNIT, "observation"),
        (UNIT, Box(-np.inf, np.inf, (2,)), "action"),
        (UNIT, Box(-1, np.array([1, np.inf], dtype=np.float32)), "action"),
    ],
)
def test_an_env_with_other_spaces_is_refused(observation_space, action_space, field):
    with pytest.raises(InvalidEnvError, match=f"{field}_space"):
        run(Spaces(observation_space, action_space))


def test_an_unknown_env_is_answered_with_the_nearest_id():
    with pytest.raises(UnknownNameError, match=r"env = 'HalfCheeta-v5' is not registered.*'HalfCheetah-v5'"):
        run("HalfCheeta-v5")


def test_an_env_of_which_there_is_one_only_is_not_evaluated_in():
    with pytest.raises(
        InvalidEnvError,
        match=r"evaluation needs separate envs; pass a function .* as env or as eval_env, or eval_freq=0",
    ):
        run(CountingEnv(), eval_freq=10)
    with pytest.raises(InvalidEnvError, match=r"so no second env can be made"):
        run(CountingEnv(), n_seeds=2)


def test_what_a_vector_env_of_functions_is_told_to_do_works():
    def vector_env():
        return SyncVectorEnv([CountingEnv, CountingEnv])

    options = {"total_timesteps": 30, "eval_freq": 10, "n_eval_episodes": 1}
    with pytest.raises(InvalidEnvError, match=r"a function that makes one Env .* in place of a VectorEnv"):
        run(vector_env(), **options)
    assert run(CountingEnv, **options).evaluations
    assert run(vector_env(), eval_env=CountingEnv, **options).evaluations
    assert not run(vector_env(), **options | {"eval_freq": 0}).evaluations
    assert evaluate(lambda observations: observations[:, :1], vector_env(), 3).lengths.tolist() == [3, 3, 3]


def test_an_evaluation_env_of_other_shapes_is_refused():
    with pytest.raises(InvalidEnvError, match=r"eval_env has observation_space .*expected the shape of env's"):
        run(eval_env="HalfCheetah-v5", eval_freq=10)


def test_a_policy_is_not_evaluated_in_an_env_of_other_shapes_or_bounds():
    policy = make_policy(3, 1)
    with pytest.raises(MismatchError, match=r"the env's observation_space has shape \(17,\), expected \(3,\)"):
        evaluate(policy, "HalfCheetah-v5", 1)
    with pytest.raises(MismatchError, match=r"the env's .* has low\[0\] = "):
        evaluate(policy, "Pendulum-v1", 1)
    with pytest.raises(ConfigError, match=r"the policy returned actions of shape \(2,\); expected \(2, 1\)"):
        evaluate(lambda observations: observations[:, 0], "Pendulum-v1", 2)
    for arguments in (("Pendulum-v1", policy), (gymnasium.make("Pendulum-v1"), policy), ("a/folder", "Pendulum-v1")):
        with pytest.raises(ConfigError, match=r"expected evaluate\(policy, env\), and a policy that is loaded"):
            evaluate(*arguments)
    with pytest.raises(ConfigError, match=r"policy is a int; expected an apb.Policy"):
        evaluate(7, "Pendulum-v1", 1)
    for name, value in (("n_eval_episodes", 0), ("seed", -1)):
        with pytest.raises(ConfigError, match=f"{name} = {value} is out of range"):
            evaluate(policy, "Pendulum-v1", **{name: value})
        for wrong in (None, "1", 1.5):
            with pytest.raises(ConfigError, match=f"{name} = {wrong!r} .*; expected an integer"):
                evaluate(policy, "Pendulum-v1", **{name: wrong})


class Faulty(gymnasium.Wrapper):
    """Pendulum, until step `at` of all its life."""

    def __init__(self, fault, at):
        super().__init__(gymnasium.make("Pendulum-v1"))
        self.fault, self.at, self.steps = fault, at, 0

    def step(self, action):
        self.steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        if self.steps >= self.at:
            if self.fault == "raise":
                raise RuntimeError("the motor is on fire")
            if self.fault == "observation":
                observation = np.array([1, np.nan, 0], dtype=np.float32)
            elif self.fault == "shape":
                observation = np.zeros(4, dtype=np.float32)
            else:
                reward = self.fault
        return observation, reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("raise", r"step\(\) raised RuntimeError: the motor is on fire"),
        ("observation", r"the observation of step\(\) is nan at index 1; expected a finite float32"),
        ("shape", r"shape"),
        (math.nan, r"the reward is nan; expected a finite float32"),
        (-math.inf, r"the reward is -inf; expected a finite float32"),
        (1e39, r"the reward is 1e\+39; expected a finite float32"),
        (None, r"reward"),
    ],
    ids=str,
)
def test_an_env_that_goes_wrong_in_the_middle_is_named_with_step_field_and_last_good_checkpoint(fault, what, tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(SimulationError, match=what) as caught:
        run(lambda: Faulty(fault, 85), run_dir=run_dir, checkpoint_freq=40, learning_starts=1000, env_kwargs=None)
    text = str(caught.value)
    assert re.search(r"env .*, episode 0 after 84 steps of it, after 84 steps in total", text)
    assert "there is no checkpoint yet" in text, "an env of unknown state is saved at the end of an episode only"
    with pytest.raises(SimulationError, match="nothing was saved, since the run had no run_dir"):
        run(lambda: Faulty(fault, 5), learning_starts=1000)


class FaultyPendulum(gymnasium.envs.classic_control.PendulumEnv):
    """Known to nobody, so that its checkpoints wait for the end of an episode, of 30 steps."""

    age = steps = 0

    def reset(self, **options):
        self.age = 0
        return super().reset(**options)

    def step(self, action):
        self.age += 1
        self.steps += 1
        observation, reward, _, _, info = super().step(action)
        return observation, math.nan if self.steps == 85 else reward, False, self.age == 30, info


def test_a_run_that_failed_continues_from_its_last_good_checkpoint(tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(SimulationError) as caught:
        run(FaultyPendulum, run_dir=run_dir, checkpoint_freq=40)
    text = str(caught.value)
    assert "episode 2 after 24 steps of it, after 84 steps in total: the reward is nan" in text
    assert f"the last good checkpoint is {run_dir / 'checkpoints' / '000000060'}" in text
    assert f"`apb resume {run_dir}` continues from it" in text
    result = resume(run_dir, env=FaultyPendulum)
    assert (result.stopped_by, result.total_timesteps) == ("budget", 100)


@pytest.mark.parametrize("reward", [1e30, -1e38])
def test_a_loss_that_overflows_is_a_divergence_that_says_where_to_look_and_where_to_continue(reward, tmp_path):
    class Overflowing(FaultyPendulum):
        def step(self, action):
            observation, _, terminated, truncated, info = super().step(action)
            return observation, reward if self.steps == 85 else -1.0, terminated, truncated, info

    run_dir = tmp_path / "run"
    with pytest.raises(DivergenceError) as caught:
        run(Overflowing, run_dir=run_dir, checkpoint_freq=40, batch_size=256, total_timesteps=200)
    text = str(caught.value)
    assert re.search(r"the critic_loss of lane 0 \(seed 0\) is inf at update \d+; .*scale of the rewards", text)
    assert f"the last good checkpoint is {run_dir / 'checkpoints' / '000000060'}" in text


# --- run folders ---------------------------------------------------------------------------------------------------


def test_a_run_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"is not empty \(thesis.txt\); expected a new or empty folder"):
        run(run_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.fixture
def finished(tmp_path):
    run(run_dir=tmp_path / "run", total_timesteps=70, checkpoint_freq=70, batch_size=8, log_freq=30)
    return tmp_path / "run"


def edit_config(run_dir, **changes):
    path = run_dir / "config.json"
    config = json.loads(path.read_text())
    settings = changes.pop("settings", {})
    config["settings"] = config["settings"] | settings if isinstance(settings, dict) else settings
    path.write_text(json.dumps(config | changes))


def test_a_checkpoint_of_other_options_is_refused(finished):
    edit_config(finished, settings={"gamma": 0.5})
    with pytest.raises(MismatchError, match="belongs to config_hash"):
        resume(finished)


def test_a_checkpoint_of_another_env_is_refused(finished):
    with pytest.raises(
        MismatchError, match=r"env MountainCarContinuous-v0 is not the one .*observation_size \(2, was 3\)"
    ):
        resume(finished, env="MountainCarContinuous-v0")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("removed", ["checkpoints", "checkpoints and replay", "steps", "all but the result"])
def test_a_run_whose_checkpoints_were_removed_does_not_begin_again_over_what_it_measured(removed, finished):
    if removed.startswith("checkpoints"):
        (finished / "result.json").unlink()
        for name in removed.split(" and "):
            shutil.rmtree(finished / name)
    else:
        for path in (finished / "checkpoints").iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif removed.startswith("all"):
                path.unlink()
    before = contents(finished)
    with pytest.raises(RunFolderError, match=r"records of a run and none of its checkpoints.*put .*checkpoints back"):
        resume(finished)
    assert contents(finished) == before


def test_a_run_that_begins_again_does_so_with_the_backbone_that_it_was_started_with(finished):
    for name in ("checkpoints", "replay"):
        shutil.rmtree(finished / name)
    for name in ("history.jsonl", "evaluations.jsonl", "result.json"):
        (finished / name).unlink(missing_ok=True)
    small_backbone(seed=99).save_pretrained(finished / "backbone")
    with pytest.raises(MismatchError, match=f"config.json says '{small_backbone().hash}'"):
        resume(finished)
    small_backbone().save_pretrained(finished / "backbone")
    assert resume(finished).total_timesteps == 70


@pytest.mark.parametrize("kind", ["folder", "pipe", "huge"])
def test_a_name_of_the_newest_checkpoint_that_is_no_file_is_passed_over_or_named(kind, finished):
    latest = finished / "checkpoints" / "LATEST"
    latest.unlink()
    if kind == "folder":
        latest.mkdir()
    elif kind == "pipe":
        os.mkfifo(latest)
    else:
        with latest.open("wb") as file:
            file.truncate(2**40)
    refused = pytest.raises(RunFolderError, match=r"checkpoints cannot be written: Is a directory")
    with (
        pytest.warns(ApbWarning, match="LATEST is missing or damaged; taking the newest"),
        refused if kind == "folder" else nullcontext(),
    ):
        resume(finished)
    assert latest.is_dir() if kind == "folder" else latest.read_text() == "000000070\n"


@pytest.mark.parametrize("name", ["result.json", "history.jsonl", "LATEST"])
def test_a_full_disk_while_a_run_is_resumed_is_one_error_that_says_what_is_kept(name, finished, monkeypatch):
    def full(path, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return replace(path, target)

    replace = Path.replace
    (finished / "history.jsonl").write_text(json.dumps({"timesteps": 999}) + "\n")
    monkeypatch.setattr(Path, "replace", full)
    kept = f"the last good checkpoint is {finished / 'checkpoints' / '000000070'}"
    with pytest.raises(RunFolderError, match=f"cannot be written: No space left on device; {kept}; make room"):
        resume(finished)


def test_a_checkpoint_of_another_backbone_is_refused(finished):
    small_backbone(seed=99).save_pretrained(finished / "backbone")
    with pytest.raises(MismatchError, match=f"belongs to backbone_hash = '{small_backbone().hash}'"):
        resume(finished)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"gamma": 7}},
        {"settings": {"gama": 0.5}},
        {"settings": {"strategy": "none"}},
        {"env_identity": None},
        {"env_identity": "Pendulum-v1"},
        {"env_identity": 3},
        {"eval_env_identity": 3},
        {"eval_env_identity": "Pendulum-v1"},
        {"eval_env_identity": [1]},
        {"settings": None},
        {"settings": [1]},
        {"settings": {"device": 10**30}},
        {"settings": {"num_threads": 1e300}},
        {"settings": {"num_threads": "4"}},
    ],
    ids=str,
)
def test_a_damaged_configuration_is_refused(changes, finished):
    edit_config(finished, **changes)
    message = r"config.json|cannot be rebuilt|device = "
    with pytest.raises((FileFormatError, InvalidEnvError, ConfigError), match=message):
        resume(finished)


def test_a_run_of_another_job_is_refused(finished):
    edit_config(finished, job="meta_train")
    with pytest.raises(MismatchError, match="holds a run of job 'meta_train'; expected 'adapt'"):
        resume(finished)


@pytest.mark.parametrize("file", ["training_state/state.safetensors", "training_state/state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_refused(file, damage, finished):
    (checkpoint,) = (finished / "checkpoints").glob("0*")
    path = checkpoint / file
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 4
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    with (
        pytest.warns(UserWarning, match="is damaged and skipped"),
        pytest.raises(RunFolderError, match="no intact checkpoint"),
    ):
        resume(finished)


def test_callbacks_with_state_must_come_back(tmp_path):
    class Stateful(Callback):
        def state_dict(self):
            return {"n": 1}

    run(run_dir=tmp_path / "run", total_timesteps=70, callback=Stateful())
    with pytest.raises(MismatchError, match=r"the checkpoint holds the state of the callbacks \['Stateful'\]; \[\]"):
        resume(tmp_path / "run")
    resume(tmp_path / "run", callback=[Callback(), Stateful()])


def test_every_error_of_the_package_is_an_apb_error():
    for error in (ConfigError, UnknownNameError, InvalidEnvError, SimulationError, DivergenceError, MismatchError):
        assert issubclass(error, ApbError)
    assert issubclass(ConfigError, ValueError)
    assert issubclass(DivergenceError, ArithmeticError)
    with pytest.raises(ValueError, match="reading = 'C' is unknown"):
        Backbone.random(0, reading="C")


def test_a_rewind_that_fails_deletes_nothing(tmp_path):
    class Stateful(Callback):
        def state_dict(self):
            return {"n": 1}

    run(run_dir=tmp_path / "run", checkpoint_freq=25, keep_last=4, callback=Stateful())
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    with pytest.raises(MismatchError):
        resume(tmp_path / "run" / "checkpoints" / "000000025")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == steps
    assert (tmp_path / "run" / "checkpoints" / "LATEST").read_text().strip() == "000000100"


def test_a_linked_replay_folder_keeps_the_files_of_others(tmp_path):
    run(run_dir=tmp_path / "run", checkpoint_freq=25)
    replay = tmp_path / "run" / "replay"
    elsewhere = replay.rename(tmp_path / "elsewhere")
    replay.symlink_to(elsewhere)
    (elsewhere / "thesis.tex").write_text("mine")
    (elsewhere / "photos").mkdir()
    resume(tmp_path / "run" / "checkpoints" / "000000075")
    assert (elsewhere / "thesis.tex").read_text() == "mine"
    assert (elsewhere / "photos").is_dir()


def test_a_linked_lock_is_refused_and_its_target_kept(tmp_path):
    run(run_dir=tmp_path / "run")
    (tmp_path / "mine").write_text("text")
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(RunFolderError, match="cannot be opened"):
        resume(tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "text"
