"""`Range`: the numbers that an option may have, in its type: the check and the help are made from this one place."""

from dataclasses import Field, dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from apb.errors import require_flag, require_integer, require_name, require_number, require_range
from apb.threads import MAX_THREADS, require_threads


@dataclass(frozen=True, repr=False)
class Range:
    """[low, high], or (low, high] if `low_open`: of integers in `Annotated[int, Range(1, 9)]`, else of real numbers."""

    low: int
    high: int
    low_open: bool = False

    def __repr__(self) -> str:
        return f"{'(' if self.low_open else '['}{_short(self.low)}, {_short(self.high)}]"

    def check(self, name: str, value: Any, kind: type) -> float:
        """Return `value` as a number of `kind`, int or float; raise `ConfigError` if it is none in this range."""
        if kind is int:
            return require_integer(name, value, self.low, self.high)
        number = require_number(name, value)
        require_range(name, value, self.low, self.high, low_open=self.low_open)
        return number


class ThreadRange(Range):
    """As many threads as this machine is given; see `require_threads`."""

    def __repr__(self) -> str:
        return "[1, 4 times the cores]"

    def check(self, name: str, value: Any, kind: type) -> int:
        """See `Range`."""
        return require_threads(name, value)


THREADS = ThreadRange(1, MAX_THREADS)


def range_of(field: "Field[Any]") -> Range | None:
    """The range in the type of a dataclass field, if there is one."""
    return next((mark for mark in get_args(field.type) if isinstance(mark, Range)), None)


def checked(field: "Field[Any]", value: Any) -> Any:
    """`value` as the field's type says, in plain Python: a flag, one of some words, a number in its range, or None
    where that is a value.

    Text is returned as it is: which names there are is known where they are looked up. Raises `ConfigError`, and
    `UnknownNameError`, and `TypeError` for a field that is neither bool nor str nor has words or a range.
    """
    if field.type is str:
        return value
    if field.type is bool:
        return require_flag(field.name, value)
    if get_origin(field.type) is Literal:
        return require_name(field.name, value, get_args(field.type))
    allowed = range_of(field)
    if allowed is None:
        raise TypeError(f"{field.name}: {field.type} has no range; expected Annotated[{field.type}, Range(low, high)]")
    kinds = get_args(get_args(field.type)[0]) or get_args(field.type)[:1]
    if value is None and NoneType in kinds:
        return None
    return allowed.check(field.name, value, kinds[0])


def _short(bound: int) -> str:
    """1 as 1, 4096 as 4,096, 1000000 as 10^6, 9223372036854775807 as 2^63 - 1."""
    zeros = len(str(bound)) - 1
    if zeros > 4 and bound == 10**zeros:
        return f"10^{zeros}"
    if bound > 2**32 and bound + 1 == 2 ** bound.bit_length():
        return f"2^{bound.bit_length()} - 1"
    return f"{bound:,}"
