"""Runs of the command line inside a test, run folders made by hand, and a tiny env that draws itself and can stop."""

import json
import os
import signal
from dataclasses import dataclass

import gymnasium
import numpy as np
from apb.cli import main
from gymnasium.spaces import Box

ENV = "apb-tests/Point-v0"
FAST = ["--learning-starts=60", "--batch-size=8", "--num-threads=1", "--eval-freq=40", "--n-eval-episodes=2"]
"""Options that make a run of about a hundred timesteps take a fraction of a second."""
TWO_SEEDS = ("adapt", ENV, "--total-timesteps", 120, "--n-seeds", 2, "--seed", 3, "--backbone", "random", *FAST)


class PointEnv(gymnasium.Env):
    """A point that is pushed to the origin; an episode has 20 steps. Draws itself as a grey level that grows with time.

    The step with number `PointEnv.stop_at`, counted over all such envs of the process, sends SIGTERM to the process.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012
    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)
    stop_at = None
    steps_of_all = 0

    def __init__(self, render_mode=None, size=(33, 21), push=0.1):
        self.render_mode, self.size, self.push = render_mode, size, push

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.position = 0, self.np_random.uniform(-1, 1)
        return self._observe(), {}

    def step(self, action):
        PointEnv.steps_of_all += 1
        if PointEnv.steps_of_all == PointEnv.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        self.time += 1
        self.position += self.push * float(action[0])
        return self._observe(), -(self.position**2), False, self.time == 20, {}

    def render(self):
        return np.full((*self.size, 3), 10 * self.time, np.uint8)

    def _observe(self):
        return np.array([self.position, self.time / 20], np.float32)


def register_env():
    if ENV not in gymnasium.registry:
        gymnasium.register(ENV, PointEnv)


@dataclass(frozen=True)
class Called:
    """Exit code and what stood on the two streams."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        (line,) = self.out.splitlines()
        return json.loads(line)


def call(capsys, *arguments):
    """Run `apb` with the arguments, in this process."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    return Called(code, streams.out, streams.err)


def write_run(folder, returns, *, seeds=(0,), env="Env-v0", strategy="action_noise", every=1000):
    """A run folder that has only evaluations: returns (T, K, E) of T evaluations, K seeds, E episodes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps({"job": "adapt", "env": env, "strategy": strategy, "in_words": strategy})
    )
    with (folder / "evaluations.jsonl").open("w") as file:
        for number, lanes in enumerate(np.asarray(returns, dtype=float)):
            for seed, episodes in zip(seeds, lanes, strict=True):
                record = {
                    "timesteps": number * every,
                    "seed": seed,
                    "eval/mean_reward": episodes.mean(),
                    "eval/std_reward": episodes.std(),
                    "returns": episodes.tolist(),
                    "lengths": [20] * len(episodes),
                }
                file.write(json.dumps(record) + "\n")
    return folder
