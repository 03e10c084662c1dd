"""`apb backbones`: the meta-trained backbones of the package, and the card of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import RenderableType
from rich.table import Table

from apb.backbone import Backbone
from apb.backbone_card import backbone_card, example_task
from apb.cli.outcome import Outcome
from apb.errors import ConfigError
from apb.shipped import shipped


@dataclass(frozen=True, kw_only=True)
class Options:
    """List the meta-trained backbones that come with the package, or show the card of one.

    Examples: `apb backbones` lists all; `apb backbones show cheetah-vel` shows a card, also of a folder: what a
    backbone was trained on, its returns, and its limits.
    """

    words: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[show NAME]", help_behavior_hint="")
    ] = ()
    """What to show: the name of a backbone of the package, or the folder of a saved one. Default: a list."""
    json: bool = False
    """Print one JSON object on standard output."""


def run(options: Options) -> Outcome:
    """The list, or a card."""
    match options.words:
        case ():
            return _list()
        case ("show", name) | (name,) if name != "show":
            backbone = Backbone.from_pretrained(name)
            kept = {} if backbone.adapters is None else {"adapters": backbone.adapters.description()}
            if backbone.predictor is not None:
                kept["predictor"] = backbone.predictor.description()
            return Outcome(backbone.description() | kept, [backbone_card(backbone)])
        case _:
            raise ConfigError(
                f"apb backbones {' '.join(options.words)!r}: expected nothing, or `show` and one name or folder; the "
                f"package has {', '.join(shipped())}"
            )


def _list() -> Outcome:
    backbones = {name: Backbone.from_pretrained(str(folder)) for name, folder in shipped().items()}
    table = Table()
    for column in ("name", "trained on", "timesteps", "sizes", "returns (train, test, OOD)"):
        table.add_column(column)
    for name, backbone in backbones.items():
        told = backbone.metadata
        returns = ", ".join(f"{each['mean']:.1f}" for each in (told.get("returns") or {}).values())
        sizes = "-".join(map(str, backbone.layer_sizes))
        table.add_row(name, _trained_on(told), f"{told.get('total_timesteps', 0):,}", sizes, returns)
    following = ["apb backbones show NAME", *(adaptation(each, name) for name, each in backbones.items())]
    shown: list[RenderableType] = [table, "next:", *(f"  {command}" for command in following)]
    return Outcome({name: each.description() for name, each in backbones.items()}, shown)


def _trained_on(told: Mapping[str, Any]) -> str:
    """The number of all its train tasks, and their split; what the metadata call them, where they are of none."""
    split = told.get("split")
    number = len(told.get("task_names") or ()) or told.get("n_tasks")
    return f"{number} tasks of {split['name']}" if split else str(told.get("tasks"))


def adaptation(backbone: Backbone, name: str) -> str:
    """The command that adapts it to a task that it has not seen: by FLAP, if it has a predictor; else with controls,
    from the nearest task that it has seen."""
    start = "" if backbone.adapters is None else " --adapter-init nearest"
    how = f"{start} --controls" if backbone.predictor is None else " --method flap"
    return f"apb adapt {example_task(backbone) or 'ENV'} --backbone {name}{how}"
