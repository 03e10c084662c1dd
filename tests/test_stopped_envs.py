"""Ctrl-C reaches every process of a terminal: a run whose envs are stopped by it too saves what was learned."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from apb import ApbWarning, adapt, resume
from apb.runs import RunFolder, load_checkpoint
from envs_for_tests import CountingEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from learning import SMALL, small_backbone

OPTIONS = {**SMALL, "total_timesteps": 300, "checkpoint_freq": 60}


class Stopped(SyncVectorEnv):
    """From its `at`-th call of `method` on it raises `error`, of which the process is told by a signal before."""

    def __init__(self, at=None, method="step", error=None, number=signal.SIGINT, mode=AutoresetMode.NEXT_STEP):
        super().__init__([lambda: gymnasium.make("Pendulum-v1", max_episode_steps=40)] * 2, autoreset_mode=mode)
        self.left = at
        self.method, self.error, self.number = method, error, number

    def _called(self, method):
        if self.left is not None and method == self.method:
            self.left -= 1
            if self.left == 0 and self.number is not None:
                os.kill(os.getpid(), self.number)
            if self.left <= 0:
                raise self.error

    def step(self, actions):
        self._called("step")
        return super().step(actions)

    def reset(self, *, seed=None, options=None):
        self._called("reset")
        return super().reset(seed=seed, options=options)


def run(run_dir, env, **options):
    return adapt(env, small_backbone(), run_dir=run_dir, **OPTIONS | options)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("strategy", ["action_noise", "param_noise"])
@pytest.mark.parametrize(
    ("error", "number"),
    [(KeyboardInterrupt(), signal.SIGINT), (EOFError(), signal.SIGTERM), (BrokenPipeError("gone"), signal.SIGINT)],
    ids=["KeyboardInterrupt", "EOFError", "BrokenPipeError"],
)
def test_what_was_learned_is_saved_when_a_signal_stops_the_envs_too(error, number, strategy, mode, tmp_path):
    # Step 71 is in the middle of an episode, after the checkpoint at timestep 80.
    with pytest.warns(ApbWarning, match=rf"{signal.Signals(number).name}: an env was stopped as well"):
        stopped = run(tmp_path / "run", Stopped(71, error=error, number=number, mode=mode), strategy=strategy)
    assert stopped.stopped_by == signal.Signals(number).name
    assert 130 < stopped.total_timesteps < 142
    checkpoint = load_checkpoint(RunFolder.open(tmp_path / "run"))
    assert checkpoint.step == stopped.total_timesteps
    result = resume(tmp_path / "run", env=Stopped(mode=mode))
    assert result.stopped_by == "budget"
    assert result.total_timesteps > 298
    assert np.isfinite(result.adapter.parameters).all()


def test_a_resumed_run_acts_on_what_the_new_episodes_begin_with(tmp_path):
    with pytest.warns(ApbWarning, match="stopped as well"):
        run(tmp_path / "run", Stopped(71, error=KeyboardInterrupt()))
    found = load_checkpoint(RunFolder.open(tmp_path / "run")).state["simulations"]
    assert not found["arrays"]["episode_steps"].any()
    again = Stopped()
    resume(tmp_path / "run", env=again)
    # What the transition after the resume starts from is what the env gave, not what it gave before it was stopped.
    checkpoint = load_checkpoint(RunFolder.open(tmp_path / "run"))
    ring = checkpoint.read_replay(np.zeros((1, 300, 2 * 3 + 1 + 2), np.float32))
    starts, ends = ring.table[0, :, :3], ring.table[0, :, 3:6]
    angles = [np.arctan2(rows[:, 1], rows[:, 0]) for rows in (starts, ends)]
    turned = np.abs((angles[1] - angles[0] + np.pi) % (2 * np.pi) - np.pi)[: int(ring.size[0])]
    assert turned.max() <= 8 * 0.05 + 1e-3, "a step turns the pendulum by at most 8 dt"


def test_a_checkpoint_that_resets_envs_which_the_signal_stopped_is_written(tmp_path):
    # The reset that makes all episodes start anew for a checkpoint is the second call of it.
    env = Stopped(2, "reset", KeyboardInterrupt())
    with pytest.warns(ApbWarning, match="stopped as well"):
        stopped = run(tmp_path / "run", env)
    assert (stopped.stopped_by, stopped.total_timesteps) == ("SIGINT", 80)
    assert load_checkpoint(RunFolder.open(tmp_path / "run")).step == 80
    assert resume(tmp_path / "run", env=Stopped()).stopped_by == "budget"


def test_an_evaluation_whose_envs_a_signal_stops_is_made_by_the_resume(tmp_path):
    evaluated = Stopped(150, error=KeyboardInterrupt())
    with pytest.warns(ApbWarning, match="an evaluation under way is left to a resume"):
        stopped = run(
            tmp_path / "run", "Pendulum-v1", total_timesteps=200, eval_env=evaluated, eval_freq=60, n_eval_episodes=2
        )
    assert (stopped.stopped_by, stopped.total_timesteps) == ("SIGINT", 180)
    assert [record["timesteps"] for record in stopped.evaluations] == [0, 60, 120]
    result = resume(tmp_path / "run", eval_env=Stopped())
    assert [record["timesteps"] for record in result.evaluations] == [0, 60, 120, 180, 200]


def test_envs_that_fail_without_a_signal_or_at_a_second_one_end_the_run_as_before(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"the last good checkpoint is .*000000\d\d\d"):
        run(tmp_path / "unasked", Stopped(71, error=KeyboardInterrupt(), number=None))

    class Twice(Stopped):
        def step(self, actions):
            if self.left == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return super().step(actions)

    with pytest.raises(KeyboardInterrupt, match="second stop signal"):
        run(tmp_path / "twice", Twice(71, error=KeyboardInterrupt()))

    class Odd(CountingEnv):
        def step(self, action):
            if self.episode == 30:
                os.kill(os.getpid(), signal.SIGINT)
                raise KeyboardInterrupt
            return super().step(action)

    with pytest.raises(KeyboardInterrupt, match="the last good checkpoint is"):
        run(tmp_path / "alone", Odd, checkpoint_freq=20)


PROGRAM = """
import sys
import apb, gymnasium

class Watch(apb.Callback):
    def on_step(self, state):
        if state.timesteps == 150:
            print("stop me", flush=True)

if __name__ == "__main__":
    env = gymnasium.make_vec("Pendulum-v1", num_envs=2, vectorization_mode="async")
    options = {"total_timesteps": 10**6, "learning_starts": 64, "eval_freq": 0, "batch_size": 16, "num_threads": 1}
    result = apb.adapt(env, run_dir=sys.argv[1], checkpoint_freq=10**5, callback=Watch(), **options)
    print(result.stopped_by, result.total_timesteps)
"""


def test_ctrl_c_in_a_terminal_saves_a_run_whose_envs_are_processes(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path / "run")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        while (line := process.stdout.readline()) != "stop me\n":
            assert line, process.stderr.read()
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert out.startswith("SIGINT "), errors
    latest = Path(tmp_path / "run" / "checkpoints" / "LATEST").read_text()
    assert int(latest) == int(out.split()[1]) >= 150
