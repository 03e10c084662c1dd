"""What the identity of an env in a file says, read without making or importing anything: see `EnvSource.identity`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from apb import tasks
from apb.errors import ApbError, InvalidEnvError
from apb.tasks.task import is_label


def recorded_env(identity: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Id and arguments that rebuild an env; raises `InvalidEnvError` if the identity has none."""
    env_id, kwargs = identity.get("id"), identity.get("kwargs")
    if identity.get("recreatable") is True and isinstance(env_id, str) and isinstance(kwargs, dict):
        return env_id, kwargs
    raise InvalidEnvError(
        f"the recorded env (id = {env_id!r}) cannot be rebuilt from its description: it was given as an object or a "
        "factory; pass the env again"
    )


def is_own_id(env: str, identity: Mapping[str, Any]) -> bool:
    """Whether `env` is the id of an env that can be rebuilt, or "module:Id-v0" with it, which says where that is
    registered."""
    return env.rpartition(":")[2] == identity.get("id") and identity.get("recreatable") is True


def arguments_of_each(identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arguments of each task, or those of the env if it is none of several tasks; else as `recorded_tasks`."""
    env_id, kwargs = recorded_env(identity)
    if not isinstance(identity.get("labels"), list) or "tasks" not in kwargs:
        return [kwargs]
    several = kwargs["tasks"]
    if isinstance(several, list) and several and all(isinstance(each, dict) for each in several):
        return several
    raise _malformed(env_id, kwargs)


def recorded_tasks(identity: Mapping[str, Any]) -> list[tasks.Task]:
    """The tasks of an env that is a batch of them, with their labels; none of any other env.

    Raises:
        InvalidEnvError: they are malformed.
    """
    (env_id, kwargs), labels, several = recorded_env(identity), identity.get("labels"), arguments_of_each(identity)
    if not isinstance(labels, list):
        return []
    found = [tasks.task_of(env_id, each) for each in several]
    if len(labels) == 1 and found == [None]:
        return []
    named = [
        replace(task, label=_label_of(task, label))
        for task, label in zip(found, labels, strict=False)
        if task is not None and (label is None or is_label(label))
    ]
    if not len(named) == len(several) == len(labels):
        raise _malformed(env_id, kwargs)
    return named


def recorded_form(given: Sequence[tasks.Task], identity: Mapping[str, Any]) -> list[tasks.Task]:
    """The tasks of an identity if they equal those given, which may have other labels and say defaults; else none."""
    try:
        recorded = recorded_tasks(identity)
    except ApbError:  # what is given counts
        return []
    return recorded if recorded == list(given) else []


def _malformed(env_id: str, kwargs: object) -> InvalidEnvError:
    return InvalidEnvError(f"the recorded tasks of env {env_id!r} are {kwargs!r:.100}; pass the env again")


def _label_of(task: tasks.Task, label: str | None) -> str | None:
    """The label; None if it is the name of another task, since the arguments may have been changed."""
    place, _, number = (label or "").rpartition(":")
    try:
        named = _published(place, tuple(task.made_family.switches.items()))[int(number)]
    except (ApbError, ValueError, IndexError):  # of no split of the package
        return label
    return label if named == task else None


@lru_cache(maxsize=8)
def _published(name: str, switches: Sequence[tuple[str, Any]]) -> tuple[tasks.Task, ...]:
    found = tasks.get(name, **dict(switches))
    return (found,) if isinstance(found, tasks.Task) else tuple(found)
