"""`Outcome`: what a verb has to say: one JSON object, or text and tables for a person."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, RenderableType
from rich.measure import Measurement

from apb.files import dump_json


@dataclass(frozen=True)
class Outcome:
    """The end of a verb.

    Attributes:
        data: JSON values, for programs.
        shown: Lines and rich tables, for a person.
        exit_code: 0, or EXIT_STOPPED.
    """

    data: dict[str, Any]
    shown: Sequence[RenderableType] = field(default_factory=tuple)
    exit_code: int = 0

    def print(self, *, as_json: bool) -> None:
        """Print to standard output."""
        if as_json:
            print(dump_json(self.data))
            return
        console = Console(highlight=False)
        for item in self.shown:
            if isinstance(item, str):
                # A path or a command must stay in one piece, to be copied.
                console.print(item, markup=False, soft_wrap=True)
            else:
                # A number must not be cut: a table is as wide as it needs, and a narrow terminal wraps it.
                needed = Measurement.get(console, console.options.update(max_width=10_000), item).maximum
                Console(highlight=False, width=max(console.width, needed)).print(item)
