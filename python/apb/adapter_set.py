"""`AdapterSet`: the adapters of the tasks that a backbone was meta-trained on, where an adaptation may begin."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb.adapter_shape import AdapterShape
from apb.errors import ConfigError, FileFormatError, MismatchError
from apb.files import TEXT, Kind, dump_json, list_of, object_with, require_fields

if TYPE_CHECKING:
    from apb.backbone import Backbone
    from apb.tasks import Task

TENSOR = "adapters"
"""The name of their parameters in the file of their backbone."""

_SAME = 1e-9
"""Deviation, in parts of the largest value, from which on values are taken to differ."""

_OBJECT = Kind("an object", lambda value: isinstance(value, dict))
_FIELDS = {"shape": list_of(Kind("a size", lambda value: type(value) is int and value > 0))}
_TASKS = {"tasks": list_of(object_with({"family": TEXT, "arguments": _OBJECT}))}


@dataclass(frozen=True, eq=False)
class AdapterSet:
    """K adapters of one shape, and the tasks that they were learned for.

    Attributes:
        shape: Their sizes.
        parameters: Flat vectors `[P, p, T, t]`, (K, n), float32, read-only.
        tasks: Family and arguments of each task: {"family": ..., "arguments": {...}}.

    Raises:
        MismatchError: the sizes, or the numbers of adapters and tasks, do not fit. ConfigError: a parameter is not
            finite.
    """

    shape: AdapterShape
    parameters: NDArray[np.float32]
    tasks: tuple[Mapping[str, Any], ...]

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ConfigError("there are no adapters; expected at least one")
        parameters = np.array(self.parameters, dtype=np.float32, order="C")
        expected = (len(self.tasks), self.shape.num_parameters)
        if parameters.shape != expected:
            raise MismatchError(f"parameters has shape {parameters.shape}; expected {expected}, a row for each task")
        if not np.isfinite(parameters).all():
            raise ConfigError("the adapters' parameters hold NaN or infinity; expected finite numbers")
        parameters.flags.writeable = False
        object.__setattr__(self, "parameters", parameters)

    @classmethod
    def of(cls, shape: AdapterShape, parameters: NDArray[np.float32], tasks: "Sequence[Task]") -> "AdapterSet":
        """The adapters (K, n) of K tasks."""
        return cls(shape, parameters, tuple({"family": task.family, "arguments": task.arguments} for task in tasks))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the parameters and tasks, hex."""
        told = dump_json(self.description(), sort_keys=True).encode()
        return hashlib.sha256(told + self.parameters.astype("<f4", copy=False).tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        return f"AdapterSet({len(self)} adapters of {self.shape.num_parameters:,} parameters)"

    def require_fit(self, shape: AdapterShape) -> None:
        """Raise `MismatchError` where an env of another shape is to be learned."""
        if shape != self.shape:
            own = f"{self.shape.observation_size} numbers and act in {self.shape.action_size}"
            raise MismatchError(
                f"the backbone's meta-trained adapters, of tasks of {self._families}, observe {own}; this env has "
                f"{shape.observation_size} and {shape.action_size}: expected a task of {self._families}, or a backbone "
                "that was meta-trained on tasks like this one"
            )

    @property
    def _families(self) -> str:
        return " and ".join(sorted({each["family"] for each in self.tasks}))

    def mean(self) -> NDArray[np.float32]:
        """The mean of the adapters, (n,)."""
        mean: NDArray[np.float32] = self.parameters.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def nearest(self, task: "Task") -> int:
        """Which of the adapters is that of the task nearest to `task`: by the Euclidean distance of the parameters'
        `coordinates`, those of each parameter in units of their deviation over the set's own tasks.

        Raises:
            MismatchError: `task` is of another family than all of them, or has other switches.
        """
        family = task.made_family
        own = self.of_family(task)
        among = list(own)

        def points(of: "Task", parameter: str) -> NDArray[np.float64]:
            return family.parameters[parameter].coordinates(family.rows(of.values, 1)[parameter])

        squares = np.zeros(len(among))
        for name in family.parameters:
            known = np.concatenate([points(each, name) for each in own.values()])
            variance = known.var(axis=0).sum()
            # What is the same in all tasks tells none of them from another; its deviation is no more than rounding.
            if variance > (_SAME * np.abs(known).max()) ** 2:
                squares += ((known - points(task, name)) ** 2).sum(axis=1) / variance
        return among[int(squares.argmin())]

    def of_family(self, task: "Task") -> "dict[int, Task]":
        """The set's own tasks of the family of `task`, with the same switches, by their numbers.

        Raises:
            MismatchError: there is none.
        """
        from apb.tasks import Task

        own = {
            number: Task(each["family"], each["arguments"])
            for number, each in enumerate(self.tasks)
            if each["family"] == task.family
        }
        found = {number: each for number, each in own.items() if each.made_family == task.made_family}
        if not found:
            other = f"is of another family ({task.family})" if not own else "has other switches"
            raise MismatchError(
                f"task {task} {other} than the tasks that the backbone was meta-trained on, which are of "
                f"{self._families}; expected a task like them, or a backbone that was meta-trained on tasks like this "
                "one"
            )
        return found

    def description(self) -> dict[str, Any]:
        """JSON values: with `parameters`, all that `from_description` needs."""
        return {"shape": list(astuple(self.shape)), "tasks": [dict(task) for task in self.tasks]}

    @classmethod
    def from_description(
        cls, description: Any, parameters: NDArray[Any], backbone: "Backbone", source: str
    ) -> "AdapterSet":
        """Rebuild a set for `backbone` from untrusted values; errors name `source`.

        Raises:
            FileFormatError: they do not fit each other or the backbone.
        """
        found = require_fields(description, {**_FIELDS, **_TASKS}, f"adapters in {source}", "write the folder anew")
        sizes = found["shape"]
        if len(sizes) != 4 or (sizes[1], sizes[2]) != (backbone.input_size, backbone.output_size):
            raise FileFormatError(
                f"adapters in {source} have the sizes {sizes!s:.100}; expected 4, of which the middle ones are the "
                f"backbone's {backbone.input_size} and {backbone.output_size}"
            )
        if parameters.dtype != np.float32:
            raise FileFormatError(f"adapters in {source} are {parameters.dtype}; expected float32")
        try:
            return cls(AdapterShape(*sizes), parameters, tuple(found["tasks"]))
        except (MismatchError, ConfigError) as error:
            raise FileFormatError(f"adapters in {source}: {error}") from error
