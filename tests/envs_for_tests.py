"""Small envs whose behaviour is known exactly, for the tests of what runs envs."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class CountingEnv(gymnasium.Env[Any, Any]):
    """Observes (name, episode, step) and writes down every transition that really happened.

    Episode e has `lengths[e % len(lengths)]` steps; even episodes terminate, odd ones are truncated.
    """

    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self, lengths: tuple[int, ...] = (3,), name: int = 0) -> None:
        self.lengths = lengths
        self.name = name
        self.episode = -1
        self.steps = 0
        self.closed = False
        self.seeds: list[int | None] = []
        self.journal: list[tuple[Any, ...]] = []

    def _observe(self) -> Any:
        return np.array([self.name, self.episode, self.steps], np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.episode += 1
        self.steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        before = self._observe()
        self.steps += 1
        reward = 100.0 * self.episode + self.steps
        ended = self.steps == self.lengths[self.episode % len(self.lengths)]
        terminated, truncated = ended and self.episode % 2 == 0, ended and self.episode % 2 == 1
        after = self._observe()
        self.journal.append((*before, float(action[0]), reward, *after, terminated, truncated))
        return after, reward, terminated, truncated, {}

    def close(self) -> None:
        self.closed = True


class UnevenEnv(gymnasium.Env[Any, Any]):
    """Its seed alone decides how long an episode is, 1 to 12 steps, and what the observations are; a reward is the
    product of what was observed and done."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self) -> None:
        self.total_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 13))
        self.observation = self.np_random.normal(size=3).astype(np.float32)
        return self.observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(self.observation[0] * action[0])
        self.total_steps += 1
        self.left -= 1
        self.observation = self.np_random.normal(size=3).astype(np.float32)
        return self.observation, reward, self.left == 0, False, {}


class CountedPendulum(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Writes down what happens to it. The fixture `made` gives the list of all that were made."""

    made: ClassVar[list["CountedPendulum"]] = []

    def __init__(self) -> None:
        super().__init__(gymnasium.make("Pendulum-v1"))
        CountedPendulum.made.append(self)
        self.actions: list[float] = []
        self.seeds: list[int | None] = []
        self.log: list[tuple[Any, ...]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.seeds.append(seed)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.actions.append(float(action[0]))
        result = super().step(action)
        self.log.append(result)
        return result


class ScriptedEnv(gymnasium.Env[Any, Any]):
    """Returns what the script says: item t is the result (observation, reward) of step t, or an exception to raise;
    terminated and truncated may follow.

    `start` is what `reset` returns or raises. An episode lasts as long as the script.
    """

    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, script: list[Any], start: Any = (0.0, 0.0)) -> None:
        self.script = script
        self.start = start
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._result(self.start), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, *ends = self._result(self.script[self.steps])
        self.steps += 1
        ends += [False, self.steps == len(self.script)][len(ends) :]
        return observation, reward, *ends, {}

    def _result(self, item: Any) -> Any:
        if isinstance(item, BaseException):
            raise item
        return item
