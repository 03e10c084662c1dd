"""`require_fields`: the fields of a JSON object that nobody has to trust, each of the kind that readers count on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from apb.errors import FileFormatError


@dataclass(frozen=True)
class Kind:
    """What a JSON value has to be: in words, and as a test that raises for no value."""

    name: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


COUNT = Kind("an integer in [0, 2^63)", lambda value: type(value) is int and 0 <= value < 2**63)
NUMBER = Kind("a number that a float64 holds", _is_number)
TEXT = Kind("text", lambda value: isinstance(value, str))


def list_of(kind: Kind) -> Kind:
    """A list, empty perhaps, of values of that kind."""
    return Kind(
        f"a list, each entry {kind.name}", lambda value: isinstance(value, list) and all(map(kind.holds, value))
    )


def table_of(kind: Kind) -> Kind:
    """An object with any names for values of that kind."""
    return Kind(
        f"an object, each value {kind.name}",
        lambda value: isinstance(value, dict) and all(map(kind.holds, value.values())),
    )


def object_with(fields: Mapping[str, Kind]) -> Kind:
    """An object with these fields at least."""
    return Kind(f"an object with {', '.join(fields)}", lambda value: not fields_fault(value, fields))


def fields_fault(value: Any, fields: Mapping[str, Kind]) -> str:
    """What keeps a JSON value from being an object with these fields, as the end of a sentence; "" if nothing does."""
    if not isinstance(value, dict):
        return "is not a JSON object"
    for name, kind in fields.items():
        if name not in value:
            return f"has no {name!r}; expected {kind.name}"
        if not kind.holds(value[name]):
            return f"has {name!r} = {value[name]!r:.80}; expected {kind.name}"
    return ""


def require_fields(value: Any, fields: Mapping[str, Kind], place: str, remedy: str) -> dict[str, Any]:
    """Return `value`, read from `place`, if it is an object with these fields; else raise `FileFormatError`, which
    names place, field, value and expectation, and ends with `remedy`."""
    fault = fields_fault(value, fields)
    if fault:
        raise FileFormatError(f"{place} {fault}: {remedy}")
    checked: dict[str, Any] = value
    return checked
