"""`Task`: one draw of a family, all that is needed to simulate it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any

import gymnasium
import numpy as np

from apb.registration import env_id as id_of
from apb.tasks.family import Family, values_in, with_switches
from apb.tasks.registry import FAMILIES, family_named


@dataclass(frozen=True)
class Task:
    """A task: its family, the values of the family's parameters, and its place in a split.

    Attributes:
        family: Name of the family, "cheetah-vel".
        arguments: Values of parameters and switches, numbers and (nested) lists of them; the others have defaults.
        label: "cheetah-vel/mier-hard/ood:3", or None if it belongs to no split. Not a part of what a task is.

    Raises:
        UnknownNameError: no such family, parameter or switch. ConfigError: a value is out of range.
    """

    family: str
    arguments: Mapping[str, Any]
    label: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", {name: _plain(value) for name, value in self.arguments.items()})
        family, values = self._parts
        family.rows(values, 1)

    @property
    def made_family(self) -> Family:
        """The family with the task's switches; one object for all tasks that have these."""
        return self._parts[0]

    @property
    def values(self) -> dict[str, Any]:
        """Values of the family's parameters alone."""
        return self._parts[1]

    @cached_property
    def _parts(self) -> tuple[Family, dict[str, Any]]:
        family = _shared(with_switches(family_named(self.family), self.arguments))
        return family, values_in(family, self.arguments)

    def is_same(self, other: "Task") -> bool:
        """Whether both are one problem, however it was said: with a default left out, for one."""
        if self.made_family != other.made_family:
            return False
        own, others = (task.made_family.rows(task.values, 1) for task in (self, other))
        return all(np.array_equal(own[name], others[name]) for name in own)

    @property
    def env_id(self) -> str:
        """Gymnasium's id: `gymnasium.make(task.env_id, **task.arguments)` is the task."""
        return id_of(self.family)

    def make(self, **kwargs: Any) -> gymnasium.Env[Any, Any]:
        """A `gymnasium.Env` of the task; `kwargs` such as `render_mode` go to `gymnasium.make`."""
        return gymnasium.make(self.env_id, **self.arguments, **kwargs)

    def __str__(self) -> str:
        return self.label or f"{self.family} with {described(self.values)}"


def task_of(env_id: str, kwargs: Mapping[str, Any]) -> Task | None:
    """The task that `gymnasium.make(env_id, **kwargs)` makes, or None if that is another env, or one that is asked for
    with more than a task has, such as a render mode."""
    for name, family in FAMILIES.items():
        if env_id == id_of(name):
            # Only a family's instance knows all of its parameters.
            switches = {field.name for field in fields(family)}
            known = {*switches, *_shared(family()).parameters}
            return Task(name, kwargs) if known >= kwargs.keys() else None
    return None


@cache
def _shared(family: Family) -> Family:
    """The first of all equal families: what its parameters are may need its model, which is then compiled once."""
    return family


def described(values: Mapping[str, Any]) -> str:
    """Values in short: `velocity = 2.75`."""
    return ", ".join(f"{name} = {_short(value)}" for name, value in values.items()) or "its defaults"


def _plain(value: Any) -> Any:
    """Arrays and scalars of NumPy as the lists and numbers that a file can hold."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, int | float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
