"""`PlaneEnv`, a point in the plane, and short runs of `pretrain`, for the tests of what they do, return and refuse."""

import gymnasium
import numpy as np
from apb import pretrain
from apb.pretraining.settings import PretrainSettings
from gymnasium.spaces import Box
from learning import SMALL, small_backbone

CONTINUED = {"total_timesteps": 180, "checkpoint_freq": 50, "eval_freq": 60, "n_eval_episodes": 2, "log_freq": 30}
"""Options of a run that is cut, with checkpoints, evaluations and records in it."""


class PlaneEnv(gymnasium.Env):
    """A point that steps by 0.1 of the action, from near the origin, for 50 steps; the reward is x, `scale` times.

    It may observe nothing that changes (`shown` = 0).
    """

    action_space = Box(-1.0, 1.0, (2,), np.float32)
    observation_space = Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, scale=1.0, shown=1.0):
        self.scale, self.shown = scale, shown

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, self.np_random.uniform(-0.05, 0.05, 2)
        return self._observed(), {}

    def step(self, action):
        self.steps += 1
        self.place = self.place + 0.1 * action
        return self._observed(), float(self.scale * self.place[0]), False, self.steps == 50, {}

    def _observed(self):
        return (self.shown * self.place).astype(np.float32)


def pretrain_run(env=PlaneEnv, backbone=None, **options):
    """`pretrain` for 150 timesteps with a small backbone and small networks, unless others are given."""
    backbone = small_backbone() if backbone is None else backbone
    small = {} if options.get("objective", "rnd") != "rnd" else {"rnd_width": 16, "rnd_features": 8}
    return pretrain(env, backbone, **{**SMALL, "total_timesteps": 150, **small, **options})


def pretrain_settings(**changes):
    """Settings of batches of 16 and small networks, unless others are given."""
    small = {"batch_size": 16, "knn_neighbors": 3, "rnd_width": 12, "rnd_features": 5}
    return PretrainSettings.from_options({**small, **changes})
