"""`Split`: a fixed list of tasks under a name, "cheetah-vel/mier-hard"; `get` finds splits and their tasks by name.

The tasks are numbers in `data/<family>.json`, with a checksum for each split: a published split never changes, and a
change of it is another split under another name. `recipes` is how the numbers were drawn.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import gymnasium

from apb.errors import ConfigError, FileFormatError, UnknownNameError, counted, nearest, nearest_name
from apb.files import TEXT, Kind, dump_json, list_of, read_json, require_fields, table_of
from apb.tasks.registry import FAMILIES, family_named
from apb.tasks.task import Task

LISTS = ("train", "test", "ood")
"""The lists of a split."""

DATA = Path(__file__).parent / "data"


class UnknownTaskError(UnknownNameError, IndexError):
    """There is no task of that number; an `IndexError` too, by which Python knows the end of a sequence."""


@dataclass(frozen=True)
class Split:
    """Lists of tasks of one family: `split[3]`, `len(split)` and iteration are over `tasks`.

    Attributes:
        family: Name of the family.
        name: Name of the split, "mier-hard".
        train: What is meant for meta-training.
        test: Further tasks of the same distribution, or, where that has only a few, the same tasks.
        ood: Tasks out of this distribution; empty where its source has none.
        about: What is out of distribution about `ood`, in a line.
        source: Where the definition comes from, and what in it is ours.
    """

    family: str
    name: str
    train: tuple[Task, ...]
    test: tuple[Task, ...]
    ood: tuple[Task, ...]
    about: str = ""
    source: str = ""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is to be adapted to: `ood`, or `test` where that is empty."""
        return self.ood or self.test

    @cached_property
    def hash(self) -> str:
        """SHA-256, in hexadecimal, of the family, the name, and the arguments of all tasks, switches included."""
        return hash_of(self.family, self.name, {name: _arguments(getattr(self, name)) for name in LISTS})

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Task, ...]: ...
    def __getitem__(self, index: int | slice) -> Task | tuple[Task, ...]:
        """Raises `UnknownTaskError`: no task has this number. ConfigError: no number, nor a slice of them."""
        try:
            return self.tasks[index]
        except IndexError as error:
            raise UnknownTaskError(self._no_task(index)) from error
        except (TypeError, ValueError) as error:
            raise ConfigError(self._no_task(index)) from error

    def _no_task(self, index: object) -> str:
        """The message on what is no number of a task."""
        meant = nearest_name(index, LISTS) if isinstance(index, str) else None
        hint = ":" if meant is None else f": did you mean split.{meant}?"
        own, most = "ood" if self.ood else "test", len(self)
        expected = f"a number in [{-most}, {most - 1}] or a slice" if most else "another list, since this one is empty"
        sizes = ", ".join(f"split.{name} ({len(getattr(self, name))})" for name in LISTS)
        return (
            f"split[{index!r:.100}]{hint} {self} has {counted(most, 'task')} to adapt to, those of its list {own}; "
            f"expected {expected}. Its lists are {sizes}"
        )

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __str__(self) -> str:
        return f"{self.family}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """What a data file has of it."""
        lists = {name: _arguments(getattr(self, name)) for name in LISTS}
        return {"about": self.about, "source": self.source, "sha256": self.hash, **lists}


def get(name: str, /, **switches: Any) -> Split | Task | tuple[Task, ...]:
    """A split or some of its tasks.

    Args:
        name: "cheetah-vel/mier-hard" is the split, "cheetah-vel/mier-hard/train" one of its lists (train, test, ood).
            With a number, from 0, it is one task: "cheetah-vel/mier-hard/train:3" of that list and
            "cheetah-vel/mier-hard:3" of the tasks to adapt to, `Split.tasks`.
        switches: Of the family, given to every task: `include_torso_position=False`.

    Raises:
        UnknownNameError: no such family, split, list, number or switch. ConfigError: the name has another form, or a
            switch a value of another kind. FileFormatError: the numbers of the split are not those that were published.
    """
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ConfigError(f"task = {name!r:.100}; expected FAMILY/SPLIT[/LIST][:NUMBER], for example {_EXAMPLE!r}")
    second = match["split"]
    if match["family"] not in FAMILIES and (second is None or nearest_name(second, LISTS) is not None):
        _require_family(name, match["family"])
    family, part = family_named(match["family"]).name, match["list"]
    if match["split"] is None:
        known = splits_of(family)
        hint = f"one of {', '.join(known)}" if known else "but this family has none"
        raise ConfigError(f"task = {name!r:.100} names no split; expected {family}/SPLIT, {hint}")
    split = split_named(family, match["split"], **switches)
    if part is not None and part not in LISTS:
        raise UnknownNameError(f"{split} has no list {part!r:.100}; {nearest(part, LISTS)}")
    tasks: tuple[Task, ...] = split.tasks if part is None else getattr(split, part)
    index = match["index"]
    if index is None:
        return split if part is None else tasks
    if not (index.isascii() and index.isdigit() and len(index) < 10 and int(index) < len(tasks)):
        place = str(split) if part is None else f"{split}/{part}"
        numbers = f"a number from 0 to {len(tasks) - 1}" if tasks else "another list, since this one is empty"
        raise UnknownTaskError(f"task = {name!r:.100}: {place} has {counted(len(tasks), 'task')}; expected {numbers}")
    return tasks[int(index)]


def split_named(family: str, name: str, /, **switches: Any) -> Split:
    """The split `name` of a family; see `get`."""
    own = [field.name for field in fields(family_named(family))]
    for switch, value in switches.items():
        if switch not in own:
            hint = f"{nearest(switch, own)}; the split gives values to all else" if own else "it has none"
            raise UnknownNameError(f"{switch:.100} = {value!r:.100} is no switch of {family}; {hint}")
    splits = _read(family)
    if name not in splits:
        raise UnknownNameError(
            f"{family} has no split {name!r:.100}; {nearest(name, splits) if splits else 'it has none'}"
        )
    found = require_fields(splits[name], _FIELDS, f"split {family}/{name} in {_path(family)}", _REMEDY)
    lists = {part: found[part] for part in LISTS}
    if hash_of(family, name, lists) != found["sha256"]:
        raise FileFormatError(
            f"the tasks of split {family}/{name} in {_path(family)} are not those that its checksum is of; {_REMEDY}"
        )
    tasks = {part: _labelled(f"{family}/{name}/{part}", lists[part], switches) for part in LISTS}
    return Split(family, name, **tasks, about=found["about"], source=found["source"])


def splits_of(family: str) -> tuple[str, ...]:
    """Names of a family's splits; none for a family of your own. Raises `UnknownNameError`: no such family."""
    return tuple(_read(family_named(family).name))


def one_of(name: str, found: Split | tuple[Task, ...]) -> str:
    """How to name one of the tasks that `get(name)` found, in words."""
    if not found:
        return "another list, since this one is empty"
    return f"one of {name}:0 to {name}:{len(found) - 1}" if len(found) > 1 else f"{name}:0"


def is_task_name(text: object) -> bool:
    """Whether `text` is meant as a name for `get`, right or misspelt, and not as an id of Gymnasium's.

    Ids are "HalfCheetah-v5", "apb/CheetahVel-v0" and "module:Id-v0": none has a "/" before a ":", or only a number
    after it. Where that does not tell, a name begins with a family or ends with a list. Or it has neither a namespace
    of ids nor a version, and begins with what is spelled like a family; or it is a list or what is spelled like a
    split, or like a split before a list.
    """
    if not isinstance(text, str) or text in gymnasium.registry:
        return False
    head, colon, number = text.partition(":")
    family, slash, rest = head.partition("/")
    if family in FAMILIES:
        return True
    if colon:
        return bool(slash) or re.fullmatch(r"-?\d+", number) is not None
    if rest.endswith(tuple(f"/{name}" for name in LISTS)):
        return True
    namespaces = {spec.namespace for spec in gymnasium.registry.values()}
    if family in namespaces or re.search(r"-v\d+$", head):
        return False
    if slash and nearest_name(family, FAMILIES) is not None:
        return True
    # Names of splits are written small, and those of envs are not.
    before_a_list = family.islower() and (not slash or nearest_name(rest, LISTS) is not None)
    return head in LISTS or (before_a_list and nearest_name(family, _families_by_split()) is not None)


def hash_of(family: str, name: str, lists: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """SHA-256 of a split: of its family, its name and the arguments of the tasks of its lists, as JSON."""
    text = dump_json({"family": family, "name": name, **{each: lists[each] for each in LISTS}}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


_NAME = re.compile(r"(?P<family>[^/:]+)(?:/(?P<split>[^/:]+)(?:/(?P<list>[^/:]+))?)?(?::(?P<index>.*))?")
_EXAMPLE = "cheetah-vel/mier-hard:3"

_REMEDY = "install the package again"
_TASKS = list_of(Kind("an object", lambda value: isinstance(value, dict)))
_CONTENT = {"splits": table_of(Kind("any value", lambda value: True))}
_FIELDS = {"about": TEXT, "source": TEXT, "sha256": TEXT, "train": _TASKS, "test": _TASKS, "ood": _TASKS}


def _families_by_split() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for family in FAMILIES:
        for split in splits_of(family):
            found.setdefault(split, []).append(family)
    return found


def _require_family(name: str, first: str) -> None:
    """Raise `UnknownNameError` if `name` begins with `first`, a split or list, right or misspelt, and not with a
    family."""
    if first in LISTS:
        raise UnknownNameError(
            f"task = {name!r:.100} has no family and split before its list; expected FAMILY/SPLIT/{first}, for example "
            f"'{_EXAMPLE.partition(':')[0]}/{name:.100}'"
        )
    known = _families_by_split()
    split = nearest_name(first, [*FAMILIES, *known])
    if split in known:
        families = known[split]
        raise UnknownNameError(
            f"task = {name!r:.100} has no family before its split; did you mean "
            f"'{families[0]}/{split}{name.removeprefix(first):.100}'? families with a split {split}: "
            f"{', '.join(families)}"
        )


def _arguments(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    return [dict(task.arguments) for task in tasks]


def _labelled(label: str, tasks: Sequence[Mapping[str, Any]], switches: Mapping[str, Any]) -> tuple[Task, ...]:
    family = label.partition("/")[0]
    try:
        return tuple(Task(family, {**task, **switches}, f"{label}:{index}") for index, task in enumerate(tasks))
    except ConfigError as error:
        error.add_note(f"This is about {label} with {switches!r:.200}.")
        raise


def _path(family: str) -> Path:
    return DATA / f"{family}.json"


def _read(family: str) -> dict[str, Any]:
    """The splits of a family as they are in its file: name -> object. Read anew each time, so that nobody shares it."""
    path = _path(family)
    if not path.exists():
        return {}
    content = require_fields(read_json(path), _CONTENT, str(path), _REMEDY)
    return dict(content["splits"])
