"""`Probe`: calls the methods of a family of tasks, and notes what is wrong with what they return."""

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from apb.errors import counted, nearest_name, raised
from apb.tasks.family import Family, Physics
from apb.tasks.hints import hint_on

Parts = dict[str, NDArray[Any]]
"""What a method returned: arrays by name, or the only one under ""."""

ROWS_ALONE = 8
NUMPY = str(Path(np.__file__).parent)

KEPT = ("observe", "position", "terminated", "reward_terms")
"""Methods whose results are kept, or written to, when the physics has moved on."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a family, or may be."""

    where: str
    found: str
    expected: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; expected {self.expected}. {self.advice}"


@dataclass
class Findings:
    """What a check has found so far: faults; doubts, which may be meant; and what could not be checked.

    With a `variant`, which is added to what is found, what was found in the same place before is not said again; but
    `wrong` counts all faults. Methods that are `unusable` are not called.
    """

    faults: list[Finding] = field(default_factory=list)
    doubts: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    variant: str = ""
    wrong: int = 0
    unusable: set[str] = field(default_factory=set)

    def fault(self, where: str, found: str, expected: str, advice: str) -> None:
        """Note what is wrong."""
        self.wrong += 1
        self._note(self.faults, Finding(where, found + self.variant, expected, advice))

    def doubt(self, where: str, found: str, expected: str, advice: str) -> None:
        """Note what may be meant."""
        self._note(self.doubts, Finding(where, found + self.variant, expected, advice))

    def guarded(self, where: str, function: Callable[[], Any], hint: Callable[[Exception], str] = lambda _: "") -> Any:
        """What the function returns; None, and a fault with a hint on the error, if it raises."""
        try:
            return function()
        except Exception as error:
            # The line that called NumPy, not one inside of it.
            frames = [each for each in traceback.extract_tb(error.__traceback__) if NUMPY not in each.filename]
            advice = f"See line {frames[-1].lineno} of {frames[-1].filename}.{hint(error)}"
            self.fault(where, f"raised {raised(error)}", "no error", advice)
            return None

    def lines(self) -> list[str]:
        """All findings as text, one each."""
        faults = [f"{number}. {finding}" for number, finding in enumerate(self.faults, 1)]
        doubts = [f"doubtful: {finding}" for finding in self.doubts]
        return [*faults, *doubts, *(f"not checked because of these: {what}" for what in dict.fromkeys(self.unchecked))]

    def _note(self, kind: list[Finding], finding: Finding) -> None:
        if not (self.variant and any(each.where == finding.where for each in kind)):
            kind.append(finding)


class Probe:
    """Calls methods of a family with copies of what they are given: all rows together, again, and rows alone.

    Args:
        family: The family.
        findings: Where to note what is wrong.
    """

    def __init__(self, family: Family, findings: Findings) -> None:
        self._family, self._findings = family, findings
        self._hint = partial(hint_on, family=family)

    def __call__(self, method: str, *arguments: Any) -> Parts | None:
        """What the method returns; None if it is of no use. All arguments have an axis of rows in front."""
        if method in self._findings.unusable:
            self._findings.wrong += 1
            return None
        names = list(inspect.signature(getattr(Family, method)).parameters)[1:]
        given = mapped(arguments, np.copy)
        model = _bytes_of(self._family.model)
        parts = self._called(method, given)
        if _bytes_of(self._family.model) != model:
            self._findings.fault(method, "changed self.model", "a model left as it is", "Work on copies of its arrays.")
        if parts is None:
            return None
        for (name, array), (_, original) in zip(_named(given, names), _named(arguments, names), strict=True):
            if array.tobytes() != original.tobytes():
                self._findings.fault(method, f"wrote to {name}", "arguments left as they are", "Work on a copy of it.")
            self._check_views(method, name, array, parts)
        again = self._called(method, mapped(arguments, np.copy))
        if again is not None and self._check_repeated(method, parts, again):
            self._check_rows_alone(method, arguments, parts)
        return parts

    def _called(self, method: str, given: tuple[Any, ...]) -> Parts | None:
        """What the method returns; None, and faults, if it is not what it should be."""
        count = len(next(_named(given, [""] * len(given)))[1])
        wrong = self._findings.wrong
        result = self._findings.guarded(method, lambda: getattr(self._family, method)(*given), self._hint)
        if self._findings.wrong > wrong:
            return None
        parts, expected = _parts(method, result)
        if parts is None:
            found = f"returned {_described(result)} for {counted(count, 'row')}"
            self._findings.fault(method, found, expected, f"See `Family.{method}`.")
            return None
        for name, array in parts.items():
            self._check_array(method, name, array, count)
        return parts if self._findings.wrong == wrong else None

    def _check_array(self, method: str, name: str, array: Any, count: int) -> None:
        where = _where(method, name)
        shape = self._shape(method, name)
        dtype = np.dtype(np.bool_ if method == "terminated" else np.float64)
        if shape is None:
            self._findings.fault(
                where, "is no array of MjModel that can differ between rows", "one that can", near(name, self._fields)
            )
        elif not (
            isinstance(array, np.ndarray)
            and array.dtype == dtype
            and array.ndim == len(shape) + 1
            and all(found == wanted for found, wanted in zip(array.shape, (count, *shape), strict=True) if wanted != -1)
        ):
            sizes = ", ".join("n" if size == -1 else str(size) for size in (count, *shape))
            self._findings.fault(
                where,
                f"returned {_described(array)} for {counted(count, 'row')}",
                f"an array of {dtype} ({sizes}{',' * (not shape)})",
                "The axis of rows comes first and stays, for one row too: reduce over the others, and do not squeeze.",
            )
        elif not np.isfinite(array).all():
            index = tuple(int(each) for each in np.argwhere(~np.isfinite(array))[0])
            self._findings.fault(
                where,
                f"element {index} is {array[index]}",
                "finite numbers, for the bounds of all parameters too",
                "Look for a division, a root or a logarithm, or narrow the bounds.",
            )

    @property
    def _fields(self) -> list[str]:
        """Arrays of MjModel that can differ between rows."""
        from mujoco.batch import MODEL_FIELDS  # here, since an older MuJoCo has no batches

        return [name for name in MODEL_FIELDS if isinstance(getattr(self._family.model, name, None), np.ndarray)]

    def _shape(self, method: str, name: str) -> tuple[int, ...] | None:
        """What follows the axis of rows, -1 for any size; None for what does not exist."""
        model = self._family.model
        match method:
            case "observe" | "position":
                return (-1,)
            case "control":
                return (int(model.nu),)
            case "start":
                return (int(model.nq if name == "positions" else model.nv),)
            case "model_fields":
                return tuple(getattr(model, name).shape) if name in self._fields else None
        return ()

    def _check_views(self, method: str, given: str, array: NDArray[Any], parts: Parts) -> None:
        if method in KEPT and given.startswith(("physics", "parameters")):
            for name, part in parts.items():
                if np.shares_memory(part, array):
                    self._findings.fault(
                        _where(method, name), f"is a view of {given}", "an array of its own", "Return a copy."
                    )

    def _check_repeated(self, method: str, parts: Parts, again: Parts) -> bool:
        if parts.keys() != again.keys() or any(parts[name].tobytes() != again[name].tobytes() for name in parts):
            names = [name for name in parts if name in again and parts[name].tobytes() != again[name].tobytes()]
            self._findings.fault(
                _where(method, names[0] if names else ""),
                "gave something else when called again with the same arguments",
                "the same bits",
                "Draw nothing at random and remember nothing; starts differ by what `start` is given.",
            )
            return False
        if method in KEPT and any(np.shares_memory(parts[name], again[name]) for name in parts):
            self._findings.fault(method, "returned the same array again", "a new one for each call", "Return a copy.")
        return True

    def _check_rows_alone(self, method: str, arguments: tuple[Any, ...], parts: Parts) -> None:
        count = len(next(iter(parts.values()), []))
        for row in range(0, count, max(1, count // ROWS_ALONE)):
            cut = mapped(arguments, itemgetter(slice(row, row + 1)))
            alone = self._called(method, mapped(cut, np.copy))
            if alone is None:
                return
            for name, part in parts.items():
                if name not in alone or alone[name][0].tobytes() != part[row].tobytes():
                    self._findings.fault(
                        _where(method, name),
                        f"row {row} alone differs from itself among {count} rows, {_apart(alone.get(name), part[row])}",
                        "the same bits",
                        "Compute each row from itself: with an axis in sums and means, and without matrix products, "
                        "which round as the number of rows has it.",
                    )
                    return


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """The same structure of physics, mappings and tuples, with the function applied to each array in it."""
    if isinstance(value, Physics):
        return Physics(function(value.qpos), function(value.qvel), mapped(value.outputs, function))
    if isinstance(value, Mapping):
        return {name: function(array) for name, array in value.items()}
    return tuple(mapped(each, function) for each in value) if isinstance(value, tuple) else function(value)


def _named(arguments: tuple[Any, ...], names: list[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    for value, name in zip(arguments, names, strict=True):
        if isinstance(value, Physics):
            yield f"{name}.qpos", value.qpos
            yield f"{name}.qvel", value.qvel
            yield from _named((value.outputs,), [f"{name}.outputs"])
        elif isinstance(value, Mapping):
            yield from ((f"{name}[{key!r}]", array) for key, array in value.items())
        else:
            yield name, value


def _parts(method: str, result: Any) -> tuple[Parts | None, str]:
    """The arrays in what a method returned, None if it is of another type; and what was expected."""
    if method == "start":
        pair = isinstance(result, tuple) and len(result) == 2
        return dict(zip(("positions", "velocities"), result, strict=True)) if pair else None, "two arrays"
    if method in ("reward_terms", "model_fields"):
        good = isinstance(result, dict) and all(isinstance(name, str) for name in result)
        empty = good and not result and method == "reward_terms"
        return result if good and not empty else None, "arrays in a dict, by the name of the term or field"
    return {"": result}, "an array"


def _where(method: str, name: str) -> str:
    return f"{method}[{name!r}]" if name else method


def near(name: str, known: Iterable[str]) -> str:
    """Advice on a name that is not among the known ones."""
    meant = nearest_name(name, known)
    return "Look it up in MuJoCo's reference." if meant is None else f"Did you mean {meant!r}?"


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.60}"


def _apart(found: NDArray[Any] | None, wanted: NDArray[Any]) -> str:
    return "where it is missing" if found is None else f"by {np.abs(found[0] * 1.0 - wanted).max():.3g} at most"


def _bytes_of(model: mujoco.MjModel) -> bytes:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()
