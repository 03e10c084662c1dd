"""A run that fails in the middle says where, what is saved, and continues from there."""

import math
import re

import gymnasium
import numpy as np
import pytest
from adapt_runs import run
from apb import Callback, DivergenceError, SimulationError, UnknownNameError, resume
from apb.environments import EnvSource
from apb.strategies import STRATEGIES
from broken_strategies import Right
from crashes import StopAt
from learning import SMALL


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
        ("shape", r"step\(\) returned an observation of shape \(4,\); expected \(3,\)"),
        (math.nan, r"the reward is nan; expected a finite float32"),
        (-math.inf, r"the reward is -inf; expected a finite float32"),
        (1e39, r"the reward is 1e\+39; expected a finite float32"),
        (None, r"step\(\) returned reward = None; expected one number"),
    ],
    ids=str,
)
def test_an_env_that_goes_wrong_in_the_middle_is_named_with_step_field_and_last_good_checkpoint(fault, what, tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(SimulationError, match=what) as caught:
        run(lambda: Faulty(fault, 85), run_dir=run_dir, checkpoint_freq=40, learning_starts=1000)
    text = str(caught.value)
    assert re.search(r"env .*, episode 0 after 84 steps of it, after 84 steps in total", text)
    begins = f"there is no checkpoint yet; `apb.resume({str(run_dir)!r}, env=...)` starts it from the beginning"
    assert begins in text, "an env of unknown state is saved at the end of an episode only"
    with pytest.raises(SimulationError, match="nothing was saved, since the run had no run_dir"):
        run(lambda: Faulty(fault, 5), learning_starts=1000)


def test_an_env_that_goes_wrong_in_an_evaluation_is_told_from_the_one_that_is_learned_in():
    with pytest.raises(
        SimulationError, match=r"^in the evaluation at timestep 0: env .*after \d+ steps in total: step"
    ):
        run(eval_env=lambda: Faulty("raise", 30), eval_freq=50, n_eval_episodes=1)


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
    assert f"`apb.resume({str(run_dir)!r}, env=...)` continues from it" in text
    result = resume(run_dir, env=FaultyPendulum)
    assert (result.stopped_by, result.total_timesteps) == ("budget", 100)


class Burning(Callback):
    """Fails at once, as an env would, and has a state if it is one that keeps it."""

    def on_step(self, state):
        raise SimulationError("fire")


class Remembering(Burning):
    def state_dict(self):
        return {"n": 1}


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({}, "apb resume '{}'"),
        ({"env": "gymnasium:Pendulum-v1"}, "apb resume '{}' gymnasium:Pendulum-v1"),
        (
            {"env": "gymnasium:Pendulum-v1", "env_kwargs": {"g": 3.0}},
            "apb resume '{}' gymnasium:Pendulum-v1",  # the folder has the arguments
        ),
        ({"eval_env": lambda: gymnasium.make("Pendulum-v1"), "eval_freq": 90}, "apb.resume('{}', eval_env=...)"),
        ({"callback": Remembering()}, "apb.resume('{}', callback=...)"),
        (
            {"env": lambda: gymnasium.make("Pendulum-v1"), "callback": [Remembering(), Callback()]},
            "apb.resume('{}', env=..., callback=...)",
        ),
    ],
    ids=["id", "module", "arguments", "eval_env", "callback", "env and callback"],
)
def test_what_is_said_to_continue_a_failed_run_names_all_that_the_folder_does_not_hold(options, needed, tmp_path):
    run_dir = tmp_path / "a run"
    with pytest.raises(SimulationError) as caught:
        run(**{"run_dir": run_dir, "callback": Burning()} | options)
    assert str(caught.value).endswith(f"; `{needed.format(run_dir)}` starts it from the beginning")


class Failing(Right):
    """A strategy of the user's own with a slip that shows in the middle of a run."""

    name = "failing"
    fails_at = 85

    def perturb(self, actions, observations, step):
        super().perturb(actions, observations, step)
        if step == self.fails_at:
            raise KeyError("memory")


def test_what_code_of_the_users_own_raises_goes_through_and_tells_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(STRATEGIES, Failing.name, Failing)
    run_dir = tmp_path / "run"
    with pytest.raises(KeyError, match="memory") as caught:
        run("Pendulum-v1", run_dir=run_dir, checkpoint_freq=40, strategy=Failing.name)
    (note,) = caught.value.__notes__
    assert f"the last good checkpoint is {run_dir / 'checkpoints' / '000000080'}" in note
    assert f"`apb.resume({str(run_dir)!r})` continues from it" in note, "no shell knows the strategy"
    monkeypatch.delitem(STRATEGIES, Failing.name)
    with pytest.raises(UnknownNameError, match=r"strategy = 'failing' is unknown; .* has to be registered here too"):
        resume(run_dir)
    monkeypatch.setitem(STRATEGIES, Failing.name, Failing)
    monkeypatch.setattr(Failing, "fails_at", None)
    assert resume(run_dir).total_timesteps == 100
    with pytest.raises(KeyError) as caught:
        run("Pendulum-v1", callback=Erring())
    assert caught.value.__notes__ == ["apb: nothing was saved, since the run had no run_dir"]


class Erring(Callback):
    def on_step(self, state):
        raise KeyError("slip")


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
    what = r"the critic_loss of lane 0 \(seed 0\) is inf at update (\d+); .*scale of the observations or rewards"
    found = re.match(rf"env {re.escape(EnvSource.resolve(Overflowing).name)}, timestep (\d+): {what}", text)
    assert found, text
    timestep, update = map(int, found.groups())
    assert timestep >= 85
    assert update == timestep - SMALL["learning_starts"] + 1
    assert f"the last good checkpoint is {run_dir / 'checkpoints' / '000000060'}" in text


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    ("options", "timestep"),
    [
        ({"log_freq": 100}, 100),
        ({"checkpoint_freq": 120}, 120),
        ({"eval_freq": 140, "n_eval_episodes": 1}, 140),
        ({"callback": StopAt(150)}, 150),
        ({}, 200),
    ],
    ids=["record", "checkpoint", "evaluation", "stop", "end"],
)
def test_gradients_that_overflow_are_a_divergence_at_the_next_look_at_what_was_learned(
    options, timestep, kept, tmp_path
):
    """Observations of 1e12 stop most parameters, and no loss is infinite."""

    def far():
        bounds = np.full(3, 1e12, np.float32)
        return gymnasium.wrappers.RescaleObservation(gymnasium.make("Pendulum-v1"), -bounds, bounds)

    run_dir = tmp_path / "run" if kept else None
    with pytest.raises(DivergenceError) as caught:
        run(far, run_dir=run_dir, **{"total_timesteps": 200, "eval_env": far, **options})
    text = str(caught.value)
    what = r"critics_adam.exp_avg_sq of lane 0 \(seed 0\) has overflowed .*scale of the observations or rewards"
    assert re.search(rf", timestep {timestep}: {what}", text), text
    assert ("there is no checkpoint yet" if kept else "nothing was saved") in text
