"""`train_tasks`: what a meta-training was given, as the split and the tasks that it trains on."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium

from apb.environments import EnvLike
from apb.errors import ApbWarning, ConfigError, counted
from apb.tasks import FAMILIES, Split, Task, get, is_task_name
from apb.tasks.splits import splits_of

N_TASKS = 20
"""Train tasks of a split that are used, where `n_tasks` does not tell. Ours: the paper does not tell its number."""


def train_tasks(given: str | Split | Sequence[EnvLike], n_tasks: int | None) -> tuple[Split | None, Sequence[EnvLike]]:
    """The split that was given, if it was one, and the tasks to train on: of a split evenly spread over its list. In a
    list each split stands for as many of its tasks as alone without `n_tasks`.

    Raises:
        ConfigError, UnknownNameError: there are none, or less than two, or less than `n_tasks`.
    """
    found: Any = given
    split: Split | None = None
    chosen: Sequence[EnvLike]
    if isinstance(given, str) and given not in gymnasium.registry:
        found = _meant(given)
    if isinstance(found, Split):
        most = len(found.train)
        if n_tasks is not None and not 2 <= n_tasks <= max(2, most):
            raise ConfigError(f"n_tasks = {n_tasks}; expected 2 to {most}, as many as {found} has train tasks")
        split, chosen = found, _spread(found, n_tasks)
    elif isinstance(found, str | Task) or not isinstance(found, Sequence):
        raise ConfigError(
            f"tasks = {given!r:.100}; expected a split such as 'cheetah-vel/mier-hard', or a list of tasks: a backbone "
            "is meta-trained over several"
        )
    else:
        chosen = [one for each in found for one in _named(each)]
        _tell_of_kept(chosen)
        if n_tasks is not None and n_tasks != len(chosen):
            raise ConfigError(
                f"n_tasks = {n_tasks}, but the list has {counted(len(chosen), 'task')}; leave n_tasks out"
            )
    if len(chosen) < 2:
        raise ConfigError(
            f"tasks = {given!s:.100} has {counted(len(chosen), 'train task')}; expected at least 2: a backbone is "
            "meta-trained over several (`apb adapt` learns one task)"
        )
    return split, chosen


def _meant(name: str) -> Split | Task | tuple[Task, ...]:
    """What a name stands for: see `apb.tasks.get`; a family alone for its first split."""
    if "," in name:
        raise ConfigError(
            f"tasks = {name!r:.100} is one name; expected several as a list, or in a shell with spaces between them: "
            f"{' '.join(name.replace(',', ' ').split()):.100}"
        )
    splits = splits_of(name) if name in FAMILIES else ()
    return get(f"{name}/{splits[0]}" if splits else name)


def _spread(split: Split, n_tasks: int | None = None) -> tuple[Task, ...]:
    """So many of its train tasks, evenly spread, since some lists are ordered."""
    most = len(split.train)
    wanted = min(N_TASKS, most) if n_tasks is None else n_tasks
    return tuple(split.train[number * most // wanted] for number in range(wanted))


def _named(given: EnvLike) -> Sequence[EnvLike]:
    """What an entry of a list stands for."""
    found: Any = _meant(given) if isinstance(given, str) and ("," in given or is_task_name(given)) else given
    if isinstance(found, Split):
        return _spread(found)
    return found if isinstance(found, tuple) else (found,)


def _tell_of_kept(chosen: Sequence[EnvLike]) -> None:
    """Warn of tasks that their splits keep to be tested on."""
    kept = [str(each) for each in chosen if isinstance(each, Task) and re.search(r"/(test|ood):", each.label or "")]
    if kept:
        split = kept[0].rsplit("/", 1)[0]
        warnings.warn(
            f"meta-training on {kept[0]}{' and others' if len(kept) > 1 else ''}, which a split keeps to be tested on: "
            f"what a backbone was trained on tells nothing of unseen tasks. Expected tasks of the list train, such as "
            f"{split}/train:0",
            ApbWarning,
            stacklevel=4,
        )
