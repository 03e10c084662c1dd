"""`check_signatures` and `check_names`: whether a family says what it says under the names that it is asked for."""

import difflib
import inspect
from collections.abc import Callable, Collection
from typing import Any

from apb.tasks.family import Family
from apb.tasks.probing import Findings

METHODS = tuple(name for name, value in vars(Family).items() if inspect.isfunction(value) and name[0] != "_")
"""Methods that a family may have of its own."""

ALIKE = 0.8
"""How much alike two names are (as difflib has it) of which one is taken for a slip, where nothing is missing. Ours."""


def check_signatures(cls: type[Family], findings: Findings) -> None:
    """Note the methods that cannot be called as those of `Family` are; they are `unusable`."""
    if inspect.isfunction(inspect.getattr_static(cls, "parameters")):
        findings.fault("parameters", "is a method", "a property", "Decorate it with @property.")
        findings.unusable.add("parameters")
    for name in METHODS:
        wrong, expected = findings.wrong, inspect.signature(getattr(Family, name))
        own, method = inspect.getattr_static(cls, name), getattr(cls, name)
        if isinstance(own, property) or not callable(method):
            kind = "is a property" if isinstance(own, property) else f"is {own!r:.80}"
            findings.fault(name, kind, f"a method {_plain(expected)}", f"See `Family.{name}`.")
        else:
            has_self = hasattr(own, "__get__") and not isinstance(own, staticmethod | classmethod)
            found = _signature(method)
            if found is not None:
                _check_signature(name, found, has_self, expected, findings)
        if findings.wrong > wrong:
            findings.unusable.add(name)


def _signature(method: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(method)
    except Exception:  # a function in C may have none, and an object one that is none
        return None


def _check_signature(
    name: str, found: inspect.Signature, has_self: bool, expected: inspect.Signature, findings: Findings
) -> None:
    given = list(expected.parameters)[0 if has_self else 1 :]
    try:
        taken = found.bind(*given).arguments
    except TypeError:
        advice = _difference(list(found.parameters), given)
        findings.fault(name, f"takes {_plain(found)}", _plain(expected), advice)
        return
    if any(each in given and each != value for each, value in taken.items()):
        advice = "They are given by their places, so what has the name of one would be another."
        findings.fault(name, f"takes {_plain(found)}", f"the order {_plain(expected)}", advice)


def _difference(found: list[str], wanted: list[str]) -> str:
    """What to change in the names of arguments; of two that are much alike one is the other, misspelt."""
    missing, surplus = [each for each in wanted if each not in found], [each for each in found if each not in wanted]
    for name in [*surplus]:
        if close := difflib.get_close_matches(name, missing, 1):
            surplus.remove(name)
            missing.remove(close[0])
    parts = [f"{what} {', '.join(names)}." for what, names in (("Add", missing), ("Leave out", surplus)) if names]
    return " ".join(parts) or "Let all of them be given by their places."


def check_names(cls: type[Family], known: Collection[str], findings: Findings) -> None:
    """Note what a family has under a name that is almost one of `known`, and leaves what that is as it was."""
    for each in _own_classes(cls):
        for name in _own_names(each):
            for meant in [] if name in known else difflib.get_close_matches(name, known, 1, ALIKE):
                if meant not in vars(each) and hasattr(cls, meant) and meant not in cls.__abstractmethods__:
                    advice = f"Rename it, if {meant!r} is meant."
                    findings.doubt(name, "is nothing that a family is asked for", "a name of `Family`", advice)


def instead_of(cls: type[Family], missing: str) -> str:
    """More advice on a name that a family lacks: what it has under one that is like it, or nothing."""
    own = [name for each in _own_classes(cls) for name in _own_names(each)]
    close = difflib.get_close_matches(missing, own, 1)
    return f" Or rename {close[0]!r}, if that is meant." if close else ""


def _own_classes(cls: type[Family]) -> list[type[Family]]:
    return [each for each in cls.__mro__ if issubclass(each, Family) and each is not Family]


def _own_names(cls: type[Family]) -> list[str]:
    """Public names that a class has, and `Family` has not."""
    return [name for name in vars(cls) if name[0] != "_" and not hasattr(Family, name)]


def _plain(signature: inspect.Signature) -> str:
    """The arguments without their types: "(self, physics, parameters)"."""
    empty = inspect.Parameter.empty
    return str(inspect.Signature([each.replace(annotation=empty) for each in signature.parameters.values()]))
