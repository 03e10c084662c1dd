"""`Outcome`: what a verb has to say: one JSON object, or text and tables for a person."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, RenderableType

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
                console.print(item)
