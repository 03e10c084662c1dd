"""`recorded`, `lists_of`: the split of a meta-training, whose tasks it learns and is evaluated on, as its run folder
keeps it."""

from collections.abc import Mapping
from typing import Any

from apb.errors import ConfigError, FileFormatError, UnknownNameError
from apb.files import TEXT, Kind, list_of, object_with, require_fields
from apb.tasks import Split, Task, get
from apb.tasks.splits import LISTS

EVALUATED = ("test", "ood")
"""The lists of a split that nothing is trained on."""

_OBJECT = Kind("an object", lambda value: isinstance(value, dict))
_NAME = Kind("text or null", lambda value: value is None or isinstance(value, str))
_TASKS = list_of(object_with({"family": TEXT, "arguments": _OBJECT, "label": _NAME}))


def recorded(split: Split | None) -> dict[str, Any] | None:
    """A split as `config.json` keeps it: its name, the hash of the published split that it is, or None if it is one of
    your own, and the tasks of its lists."""
    if split is None:
        return None
    lists = {
        name: [
            {"family": task.family, "arguments": task.arguments, "label": task.label} for task in getattr(split, name)
        ]
        for name in LISTS
    }
    return {"name": str(split), "sha256": _published_hash(split), **lists}


def lists_of(split: Any, source: str) -> dict[str, tuple[Task, ...]]:
    """The tasks of what `recorded` returned, or of what a file has in its place, which errors call `source`.

    Raises:
        FileFormatError: it is no such record, or its tasks cannot be made here.
    """
    if split is None:
        return {}
    remedy = "put the file back as it was"
    found = require_fields({"split": split}, {"split": _OBJECT}, source, remedy)["split"]
    fields = {"name": TEXT, "sha256": _NAME, **dict.fromkeys(LISTS, _TASKS)}
    found = require_fields(found, fields, f"split in {source}", remedy)
    try:
        return {name: tuple(_task(each) for each in found[name]) for name in LISTS}
    except (ConfigError, UnknownNameError) as error:
        raise FileFormatError(f"a task of split in {source} cannot be made: {error}; {remedy}") from error


def _task(told: Mapping[str, Any]) -> Task:
    return Task(told["family"], told["arguments"], told["label"])


def _published_hash(split: Split) -> str | None:
    """The hash of the package's split that this is, whatever switches its tasks have; None if it is another one."""
    if not split.train:
        return None
    try:
        known, published = get(str(split), **split.train[0].made_family.switches), get(str(split))
    except UnknownNameError:
        return None
    same = isinstance(known, Split) and all(getattr(known, name) == getattr(split, name) for name in LISTS)
    return published.hash if same and isinstance(published, Split) else None
