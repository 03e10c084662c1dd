"""`apb tasks`: the families of tasks, their splits, and what a task is."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from apb import tasks
from apb.cli.arguments import free_path
from apb.cli.outcome import Outcome
from apb.errors import ConfigError, UnknownNameError, counted, nearest
from apb.registration import NAMESPACE, ORIGINAL_NAMES, env_id
from apb.tasks.description import facts
from apb.tasks.splits import LISTS, split_named

TEXT_WIDTH = 78
"""Columns of what stands beside a heading at most, so that lines have at most 100."""
NAME_WIDTH = 46
"""Columns of a family in the list at most."""
MIN_WIDTH = 24
"""Columns of text at least, however narrow the terminal is: the longest names of families fit."""
MAX_SHOWN = 900
"""Characters of a list that stands among others; all of it is shown alone."""
MAX_ELEMENTS = 8
"""Elements of arrays that are shown of a task in a list."""

EXAMPLE = "apb tasks show cheetah-vel/mier-hard"
Rows = list[tuple[str, str]]
"""Headings and texts."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """List the families of tasks with their splits, or show one of them.

    Examples: `apb tasks` lists all; `apb tasks show cheetah-vel` shows a family; `apb tasks show cheetah-vel/mier-hard`
    a split, and with `--plot` draws it; `apb tasks show cheetah-vel/mier-hard/train` all tasks of a list;
    `apb tasks show cheetah-vel/mier-hard:3` one task, by the name that `apb adapt` takes.
    """

    words: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[show NAME]", help_behavior_hint="")
    ] = ()
    """What to show: FAMILY or its env id, FAMILY/SPLIT, FAMILY/SPLIT/LIST, where LIST is train, test or ood, or one
    task: FAMILY/SPLIT:NUMBER or FAMILY/SPLIT/LIST:NUMBER. Default: all families."""
    plot: Annotated[tuple[Path, ...] | None, tyro.conf.arg(metavar="[FILE]")] = None
    """Draw the tasks of the split into FILE, .png, .svg or .pdf, which is replaced if it exists; without FILE into the
    first free of tasks-FAMILY-SPLIT.png, tasks-FAMILY-SPLIT-1.png, ... One task is marked. Default: no picture."""
    json: bool = False
    """Print one JSON object on standard output."""


def run(options: Options) -> Outcome:
    """List or show."""
    words, file = _words_and_file(options)
    match words:
        case ():
            outcome, split, task = _list(), None, None
        case ("show", name):
            outcome, split, task = _show(name)
        case ("show", *_):
            raise ConfigError(
                f"apb tasks show takes one NAME, for example `{EXAMPLE}`; `apb tasks` lists what there is"
            )
        case (word, *_):
            meant = f"did you mean `apb tasks show {word}`?" if tasks.is_task_name(word) else nearest(word, ["show"])
            raise UnknownNameError(
                f"apb tasks does not know what {word!r} is for; {meant}; `apb tasks` alone lists all"
            )
    if options.plot is None:
        return outcome
    if split is None:
        raise ConfigError(f"--plot draws a split; name one, for example `{EXAMPLE} --plot`")
    path = file or free_path(Path(f"tasks-{split.family}-{split.name}.png"))
    picture = str(tasks.plot_split(split, path, marked=task))
    return Outcome({**outcome.data, "picture": picture}, [*outcome.shown, f"picture: {picture}"])


def _words_and_file(options: Options) -> tuple[tuple[str, ...], Path | None]:
    """What to show, and the FILE of `--plot`, which takes all words that follow it."""
    following = options.plot or ()
    named = following[:1] if following[:1] != (Path("show"),) else ()
    words = (*options.words, *map(str, following[len(named) :]))
    return words, next(iter(named), None)


# --- all families ----------------------------------------------------------------------------------------------------


def _list() -> Outcome:
    families = {name: {**facts(family()), "splits": _sizes(name)} for name, family in tasks.FAMILIES.items()}
    longest = max(len(split) for family in families.values() for split in family["splits"])
    sizes = sum(2 + len(part) for part in LISTS)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("family, and what tells its tasks apart", max_width=_width(2 + longest + sizes, NAME_WIDTH))
    table.add_column("split")
    for part in LISTS:
        table.add_column(part.replace("ood", "OOD"), justify="right")
    for name in ORIGINAL_NAMES:
        family = families[name]
        splits = family["splits"]
        table.add_row(
            Text.assemble((name, "bold"), f"\n{_parameters(family)}\n{_spaces(family)}"),
            "\n".join(splits),
            *("\n".join(str(splits[split][part]) for split in splits) for part in LISTS),
            end_section=True,
        )
    text = (
        "Each family has a variant with permuted observations, cheetah-vel-permuted-state and so on, with the split "
        f"theorem. `{EXAMPLE}` shows a split."
    )
    return Outcome({"families": list(families.values())}, [table, "", textwrap.fill(text, _width(0, 100))])


def _width(beside: int, most: int) -> int:
    """Columns that are left for a text beside what needs as many, `most` at most."""
    return max(MIN_WIDTH, min(most, Console().width - beside))


def _spaces(family: Mapping[str, Any]) -> str:
    return f"{family['observation_size']} observations, {family['action_size']} actions"


def _sizes(family: str) -> dict[str, Any]:
    splits = [split_named(family, name) for name in tasks.splits_of(family)]
    return {
        split.name: {**{part: len(getattr(split, part)) for part in LISTS}, "sha256": split.hash, "about": split.about}
        for split in splits
    }


def _parameters(family: Mapping[str, Any]) -> str:
    """Of one parameter what it is, of several their sizes."""
    found = family["parameters"]
    if len(found) == 1:
        return ", ".join(f"{name}: {each['about']}" for name, each in found.items())
    return ", ".join(name + (f" ({_shape(each['shape'])})" if each["shape"] else "") for name, each in found.items())


# --- one of them -----------------------------------------------------------------------------------------------------


def _show(name: str) -> tuple[Outcome, tasks.Split | None, tasks.Task | None]:
    """What is shown, its split if it has one, and the task if it is one."""
    by_id = {env_id(family): family for family in tasks.FAMILIES}
    if name.startswith(NAMESPACE) and name not in by_id:
        raise UnknownNameError(f"{name!r} is no env id of a family; {nearest(name, by_id)}")
    if name in by_id or name in tasks.FAMILIES:
        return _show_family(tasks.family_named(by_id.get(name, name))()), None, None
    found = tasks.get(name)
    family, split_name, *_ = str(found.label if isinstance(found, tasks.Task) else name).split("/")
    split = split_named(family, split_name)
    known = facts(split.tasks[0].made_family)
    own = split.to_json()
    rows: Rows = [("out of distribution", split.about), ("source", split.source)]
    checksum = f"SHA-256: {split.hash}"  # outside of the table, so that it stays in one piece
    shown: list[RenderableType]
    if isinstance(found, tasks.Split):
        parts = [
            (f"{part.replace('ood', 'OOD')} ({len(own[part])})", _in_short(getattr(split, part))) for part in LISTS
        ]
        shown = [str(split), _table([*rows, *parts, *_family_rows(known)]), checksum, "", _use(f"{split}:0")]
    elif isinstance(found, tasks.Task):
        own = {key: value for key, value in own.items() if key not in LISTS}
        own["task"] = {"name": found.label, "arguments": dict(found.arguments)}
        values = [(each, _full(value)) for each, value in found.arguments.items()]
        shown = [str(found), _table([*values, *rows, *_family_rows(known)]), checksum, "", _use(str(found))]
    else:
        part = name.split("/")[2]
        own = {key: value for key, value in own.items() if key not in LISTS or key == part}
        shown = [
            f"{name}: {counted(len(found), 'task')}",
            *(f"{index}: {_one(task)}" for index, task in enumerate(found)),
        ]
    task = found if isinstance(found, tasks.Task) else None
    return Outcome({**known, "split": {"name": str(split), **own}}, shown), split, task


def _show_family(family: tasks.Family) -> Outcome:
    about = facts(family)
    splits = _sizes(family.name)
    rows = [
        (name, f"{', '.join(f'{each[part]} {part}' for part in LISTS)}; out of distribution: {each['about']}")
        for name, each in splits.items()
    ]
    numbers = "".join(
        f", {name}={np.broadcast_to(parameter.default, parameter.shape).tolist()}"
        for name, parameter in family.parameters.items()
        if math.prod(parameter.shape) <= MAX_ELEMENTS
    )
    use = f"""use: gymnasium.make("{about["env_id"]}"{numbers})
     gymnasium.make_vec("{about["env_id"]}", num_envs=64{numbers})""" + "".join(
        f"\n     apb tasks show {family.name}/{split}" for split in list(splits)[:1]
    )
    return Outcome({**about, "splits": splits}, [family.name, _table([*_family_rows(about), *rows]), "", use])


def _family_rows(about: Mapping[str, Any]) -> Rows:
    size, step, timestep = about["observation_size"], about["step_seconds"], about["timestep_seconds"]
    made_of = f": {about['observation']}" if about["observation"] else ""
    before = ", or fewer where a task ends in a fall" if about["may_end_before"] else ""
    rows = [
        ("reward", about["reward"]),
        ("about", about["about"]),
        ("robot", about["robot"] or ""),
        ("observation", f"{size} numbers{made_of}"),
        ("action", f"{about['action_size']} numbers in [-1, 1]"),
        ("step", f"{step:g} s, {round(step / timestep)} timesteps of {timestep:g} s"),
        ("episode", f"{about['horizon']} steps, {about['horizon'] * step:g} s{before}"),
        *(
            ("parameter", f"{name}: {each['expected']}, {_short(each['default'], MAX_ELEMENTS)} by default")
            for name, each in about["parameters"].items()
        ),
        *(("switch", f"{name} = {each['default']}: {each['about']}") for name, each in about["switches"].items()),
        ("env id", about["env_id"]),
    ]
    return [(heading, text) for heading, text in rows if text]


def _table(rows: Sequence[tuple[str, str]]) -> Table:
    headings = max(len(heading) for heading, _ in rows)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(max_width=_width(headings + 1, TEXT_WIDTH), overflow="fold")
    for heading, text in rows:
        table.add_row(Text(heading, "bold"), Text(text))
    return table


def _use(task: str) -> str:
    return f"""use: apb adapt {task}
     apb.adapt("{task}", backbone)
     apb.tasks.get("{task}").make()  # a gymnasium.Env"""


# --- numbers ---------------------------------------------------------------------------------------------------------


def _in_short(listed: Sequence[tasks.Task]) -> str:
    """Tasks as long as they fit, and how many more there are."""
    texts = [_one(task) for task in listed]
    ends = np.cumsum([len(text) for text in texts])
    fitting = int((ends <= MAX_SHOWN).sum())
    apart = ", " if len(listed) and len(listed[0].arguments) == 1 else "\n"
    more = [f"and {len(texts) - fitting} more"] if fitting < len(texts) else []
    return apart.join([*texts[:fitting], *more]) or "none"


def _one(task: tasks.Task) -> str:
    """The values of a task: without its name if there is only one."""
    texts = {name: _short(value, MAX_ELEMENTS // len(task.values)) for name, value in task.values.items()}
    return next(iter(texts.values())) if len(texts) == 1 else ", ".join(f"{name} {texts[name]}" for name in texts)


def _short(value: Any, most: int) -> str:
    """A number, an array as [1,2,3], or some elements of one that has more than `most`, or the range of a matrix."""
    array = np.asarray(value)
    if array.ndim > 1:
        return f"{_shape(array.shape)} in [{array.min():.4g},{array.max():.4g}]"
    if array.size > most:
        return f"{_full(value[:most])[:-1]},…,{_full(value[-1])}]"
    return _full(value)


def _full(value: Any) -> str:
    if isinstance(value, list):
        nested = any(isinstance(each, list) for each in value)
        return f"[{(', ' if nested or len(value) > MAX_ELEMENTS else ',').join(map(_full, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
