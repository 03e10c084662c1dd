"""`Comparison`: simulates tasks of a family, and compares what should be the same, or should differ."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from apb.errors import counted
from apb.tasks.family import Family, Physics, Rows
from apb.tasks.parameter import Parameters
from apb.tasks.probing import Findings, mapped
from apb.tasks.registry import FAMILIES
from apb.tasks.single import TaskEnv


def drawn(family: Family, count: int, generator: np.random.Generator) -> dict[str, Rows]:
    """Random parameters for `count` rows, at most half as far from their defaults as the nearer bound is."""
    values = dict(family.rows({}, count))
    for name, parameter in family.parameters.items():
        default = values[name]
        if parameter.permutation:
            values[name] = generator.permuted(default, axis=1)
        elif parameter.allowed:
            values[name] = generator.choice(parameter.allowed, default.shape)
        else:
            below, above = default - parameter.low, parameter.high - default
            near, far = np.minimum(below, above), np.maximum(below, above)
            reach = np.where(near > 0, near, far)  # of a default at a bound, half of the range
            shift = np.where(np.isfinite(reach), reach, 1.0) / 2 * generator.uniform(-1, 1, default.shape)
            values[name] = np.clip(default + shift, parameter.low, parameter.high)
    return values


def reserved_names() -> set[str]:
    """Arguments of all that makes envs, which would take the value of a parameter of the same name."""
    makers = (TaskEnv, _batched_env(), gymnasium.make, gymnasium.make_vec)
    return {name for maker in makers for name in inspect.signature(maker).parameters}


class Comparison:
    """Simulates tasks of a family with some of its switches turned, `rows` of them, for `steps` steps."""

    def __init__(
        self,
        cls: type[Family],
        switches: Mapping[str, Any],
        findings: Findings,
        rows: int,
        steps: int,
        generator: np.random.Generator,
    ) -> None:
        self._cls, self._switches, self._findings = cls, switches, findings
        self._rows, self._steps, self._generator = rows, steps, generator

    def check_envs(self) -> None:
        """Note whether the batched env is not, bit for bit, the envs of its rows' tasks."""
        values = drawn(self._cls(**self._switches), self._rows, self._generator)
        batch = self._batched(values, AutoresetMode.DISABLED)
        with _registered(self._cls) as name:
            singles = [TaskEnv(name, **self._switches, **mapped(values, itemgetter(row))) for row in range(self._rows)]
        observations, _ = batch.reset(seed=0)
        starts = [single.reset(seed=row)[0] for row, single in enumerate(singles)]
        if not self._same(batch, 0, observations, starts):
            return
        for step in range(1, self._steps + 1):
            actions = self._generator.uniform(-1, 1, batch.action_space.shape)
            observations, rewards, ended, _, info = batch.step(actions)
            if "simulation_error" in info:
                text = next(text for text in info["simulation_error"] if text is not None)
                self._findings.doubt("model", f"blew up: {text}", "tasks that can be simulated", "Narrow the bounds.")
                return
            told = [single.step(action) for single, action in zip(singles, actions, strict=True)]
            terms = [*told[0][4]]
            found = np.column_stack([observations, rewards, ended, *(info[term] for term in terms)])
            expected = [[*each[0], each[1], each[2], *(each[4][term] for term in terms)] for each in told]
            if not self._same(batch, step, found, expected):
                return
            if ended.any():
                batch.reset(options={"reset_mask": ended})
                for row in np.flatnonzero(ended):
                    singles[row].reset()

    def check_effects(self, family: Family, physics: Physics, actions: Rows) -> None:
        """Note parameters that change neither what methods return, for states around these, nor the motion."""
        count = len(actions)
        spread = Physics(
            physics.qpos + self._generator.uniform(-3, 3, physics.qpos.shape),
            physics.qvel + self._generator.uniform(-5, 5, physics.qvel.shape),
            physics.outputs,
        )
        velocity = self._generator.uniform(-5, 5, family.position(spread).shape)

        def told(values: Parameters) -> Iterator[bytes]:
            yield family.observe(spread, values).tobytes()
            yield family.control(actions, values).tobytes()
            yield from (term.tobytes() for term in family.reward_terms(spread, velocity, actions, values).values())

        defaults, values = family.rows({}, count), drawn(family, count, self._generator)
        idle = [name for name in values if [*told(defaults)] == [*told({**defaults, name: values[name]})]]
        for name in idle:
            if self._motion({}) == self._motion({name: values[name][: self._rows]}):
                self._findings.doubt(
                    f"parameters[{name!r}]",
                    "changes neither observations nor rewards nor motion",
                    "tasks that differ",
                    "Use it, or leave it out.",
                )

    def _motion(self, values: Mapping[str, Any]) -> list[bytes]:
        """What is observed at each step, always from the same starts and with the same actions."""
        env = self._batched(values, AutoresetMode.NEXT_STEP)
        env.reset(seed=0)
        env.action_space.seed(0)
        return [env.step(env.action_space.sample())[0].tobytes() for _ in range(self._steps)]

    def _batched(self, values: Mapping[str, Any], mode: AutoresetMode) -> Any:
        with _registered(self._cls) as name:
            return _batched_env()(
                name,
                self._rows,
                max_episode_steps=self._steps + 1,
                autoreset_mode=mode,
                num_threads=1,
                **self._switches,
                **values,
            )

    def _same(self, batch: Any, step: int, found: Any, expected: Any) -> bool:
        for row, (one, other) in enumerate(zip(found, np.asarray(expected, np.float64), strict=True)):
            if one.tobytes() != other.tobytes():
                self._findings.fault(
                    "the batched env",
                    f"{batch.describe(row)} differs from the env of its task after {counted(step, 'step')}",
                    "the same bits",
                    "Let instances differ in nothing but switches: no random numbers in `spec`, for one.",
                )
                return False
        return True


def _batched_env() -> Any:
    from apb.simulation import BatchedEnv  # here, since it is itself made of what is in this folder

    return BatchedEnv


@contextmanager
def _registered(cls: type[Family]) -> Iterator[str]:
    """A name of the family for as long as it is looked up: its own may be wrong, or not registered."""
    name = "(being checked)"
    FAMILIES[name] = cls
    try:
        yield name
    finally:
        del FAMILIES[name]
