"""`SizedEnv`: an env of any shapes; `ENVS`: envs that have little in common."""

from functools import partial

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class SizedEnv(gymnasium.Env):
    """Observes and acts in arrays of any shape; what it observes depends on all that was done. Its seed decides how
    long an episode is, up to 12 steps."""

    def __init__(self, observed=(3,), acted=(1,), low=-1.0, high=1.0):
        self.observation_space = Box(-np.inf, np.inf, observed, np.float64)
        self.action_space = Box(low, high, acted, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 13))
        self.observation = self.np_random.normal(size=self.observation_space.shape)
        return self.observation, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        weights = np.cos(np.arange(action.size) + self.left)
        self.observation = np.roll(np.tanh(self.observation + float(weights @ action.ravel())), 1)
        return self.observation, float(np.square(action).sum()), self.left == 0, False, {}


ENVS = [
    "Pendulum-v1",
    "hopper-mass/tavt/train:1",
    partial(SizedEnv, (2, 3), (2, 1), -3.0, 1.0),
    "cheetah-vel/mier-hard/train:0",
    "hopper-mass/tavt/train:2",
    partial(SizedEnv, (30,), (9,)),
]
"""Rank 1 and 2, bounds that are not -1 and 1, two tasks of one family, episodes that end early and late."""
