"""`Task`: one draw of a family, all that is needed to simulate it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, require_arguments
from apb.registration import env_id as id_of
from apb.tasks.family import Family, values_in, with_switches
from apb.tasks.registry import FAMILIES, family_named

MAX_LABEL = 200
"""Characters of a task's label, which stands in tables and files."""


class _Arguments:
    """The attribute `arguments`: kept as nothing can change it, and given as a copy with plain lists."""

    def __set__(self, task: "Task", arguments: Mapping[str, Any]) -> None:
        given = require_arguments("arguments", arguments)
        task.__dict__["_arguments"] = {name: _frozen(value) for name, value in given.items()}

    def __get__(self, task: "Task | None", owner: type) -> dict[str, Any]:
        if task is None:
            raise AttributeError("arguments")  # so that it has no default
        return {name: _plain(value) for name, value in task.__dict__["_arguments"].items()}


@dataclass(frozen=True, eq=False)
class Task:
    """A task: its family, the values of the family's parameters, and its place in a split.

    Tasks are equal if they are one problem, however it was said: with a default left out, for one.

    Attributes:
        family: Name of the family, "cheetah-vel".
        arguments: Values of parameters and switches, numbers and (nested) lists of them; the others have defaults. A
            copy: what is done to it changes no task.
        label: "cheetah-vel/mier-hard/ood:3", or None if it belongs to no split. Not a part of what a task is.

    Raises:
        UnknownNameError: no such family, parameter or switch. ConfigError: a value is out of range, or the label is no
            printable text of 1 to 200 characters.
    """

    family: str
    arguments: _Arguments = _Arguments()
    label: str | None = None

    def __post_init__(self) -> None:
        if not (self.label is None or is_label(self.label)):
            raise ConfigError(
                f"label = {self.label!r:.100}; expected printable text of 1 to {MAX_LABEL} characters, or None"
            )
        hash(self)  # which looks at all values

    @property
    def made_family(self) -> Family:
        """The family with the task's switches; one object for all tasks that have these."""
        return self._parts[0]

    @property
    def values(self) -> dict[str, Any]:
        """Values of the family's parameters alone."""
        return values_in(self.made_family, self.arguments)

    @cached_property
    def _parts(self) -> tuple[Family, tuple[bytes, ...]]:
        """The family, and the bits of the values of all its parameters."""
        arguments = self.arguments
        family = _shared(with_switches(family_named(self.family), arguments))
        rows = family.rows(values_in(family, arguments), 1)
        return family, tuple((values + 0.0).tobytes() for values in rows.values())  # -0.0 is 0.0

    def __eq__(self, other: object) -> bool:
        return self._parts == other._parts if isinstance(other, Task) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Task, (self.family, self.arguments, self.label)

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


def task_in(family: Family, parameters: Mapping[str, NDArray[np.float64]], row: int) -> Task:
    """The task of one row of `parameters`, with the values of all of them and of all switches."""
    return Task(family.name, family.switches | {name: values[row].tolist() for name, values in parameters.items()})


def is_label(value: object) -> bool:
    """Whether a task may be called so."""
    return isinstance(value, str) and value.isprintable() and 1 <= len(value) <= MAX_LABEL


def described(values: Mapping[str, Any]) -> str:
    """Values in short: `velocity = 2.75`."""
    return ", ".join(f"{name} = {_short(value)}" for name, value in values.items()) or "its defaults"


def _frozen(value: Any) -> Any:
    """Arrays, lists and scalars of NumPy as tuples and numbers."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(_frozen(each) for each in value) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    """Tuples as the lists that a file can hold."""
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, int | float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
