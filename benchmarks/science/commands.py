"""`command_of`: the shell command that makes a run of a study; `commands`: those of its methods, for its page."""

import shlex
from dataclasses import fields
from typing import Any

from apb.cli.adapt import Options

from benchmarks.science.methods import METHODS
from benchmarks.science.studies import Cell, Study

NOTE = (
    "The methods as commands, on the first env with the first seed. What is not given is a default of `apb adapt`. In\n"
    "Python they are options of `apb.adapt`, but for `--reading` and `--init`, which are `apb.Backbone.random`'s."
)
PEER = "no command of apb, but benchmarks/science/cell.py"


def command_of(cell: Cell) -> list[str]:
    """The words of the command, with the options that differ from the defaults of `apb adapt`; nothing for a peer."""
    method = METHODS[cell.method]
    if method.peer != "apb":
        return []
    backbone = method.backbone if cell.pretrained is None else {"backbone": cell.pretrained}
    options = backbone | cell.options | {"total_timesteps": cell.total_timesteps, "seed": cell.seed}
    defaults = {field.name: field.default for field in fields(Options)}
    told = {name: value for name, value in options.items() if value != defaults[name]}
    return ["apb", "adapt", cell.env, *(word for option in told.items() for word in _words(*option))]


def _words(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    return [option] if value is True else [option, str(value)]


def commands(study: Study) -> list[str]:
    """Markdown: what to type for each method."""
    env, budget = next(iter(study.budgets.items()))
    lines = [NOTE, "", "```sh", *(["# first", *study.before] if study.before else [])]
    for method in study.methods:
        label, options = METHODS[method].label, METHODS[method].options
        words = command_of(Cell(env, method, study.seeds[0], budget))
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        lines += [f"# {label}", shlex.join(words)] if words else [f"# {label}: {PEER}, with {given}"]
    return [*lines, "```", ""]
