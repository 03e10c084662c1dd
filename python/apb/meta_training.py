"""`meta_train`: learn a backbone over many tasks, to be frozen and adapted to others."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from apb.adaptation import resolve_backbone, spell_out
from apb.adapter import Adapter
from apb.backbone import Backbone
from apb.callbacks import mean_over_lanes
from apb.environments import EnvSource
from apb.errors import ConfigError, counted, require_path
from apb.jobs import CallbackLike, Job, callbacks_of, resolve_device
from apb.meta_settings import MetaSettings
from apb.runner import AdaptResult
from apb.strategies import strategy_named
from apb.tasks import Split, Task, get, is_task_name
from apb.tasks.splits import splits_of

N_TASKS = 20
"""Train tasks of a split that are used, where `n_tasks` does not tell. Ours: the paper does not tell its number."""


@dataclass(frozen=True, repr=False)
class MetaResult(AdaptResult):
    """What `meta_train` returns: an `AdaptResult` whose lanes are the train tasks, and what they learned together."""

    def __repr__(self) -> str:
        mean = f"mean return of {len(self.lanes)} tasks {mean_over_lanes(self.final):.1f}, " if self.final else ""
        spent = f"{len(self.lanes) * self.total_timesteps:,} timesteps in {self.wall_time:.1f} s"
        return f"MetaResult({self.backbone!r}, {mean}{spent}, stopped by {self.stopped_by}, run_dir {self.run_dir})"

    @property
    def backbone(self) -> Backbone:
        """The meta-trained psi."""
        return self.policies[0].backbone

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The adapter of each train task."""
        return tuple(policy.adapter for policy in self.policies)


def meta_train(
    tasks: str | Split | Sequence[str | Task],
    backbone: Backbone | str | Path | None = None,
    *,
    run_dir: str | Path | None = None,
    callback: CallbackLike = None,
    **options: Any,
) -> MetaResult:
    """Learn a backbone over many tasks at once: each has an adapter, critics and a replay of its own, and the backbone
    follows the mean of their gradients (docs/algorithm.md has the losses).

    Args:
        tasks: A split by its name, "cheetah-vel/mier-hard", of which the first `n_tasks` train tasks are used; a
            family's name stands for its first split. Or an `apb.tasks.Split`, or several tasks or names of tasks of one
            family, all of which are used.
        backbone: What to begin with: see `adapt`. Default: a random one of reading B, drawn from `seed`.
        run_dir: Folder for history, checkpoints and policies, new or empty. Default: nothing is written.
        callback: One `Callback` or several.
        **options: Fields of `MetaSettings`: total_timesteps, n_tasks, seed, device, eval_freq, ...

    Returns:
        A `MetaResult`: `result.backbone` is what `apb.adapt` takes.

    Raises:
        ApbError: in one of its kinds, as `adapt`; `ConfigError` for less than two tasks.
    """
    folder = None if run_dir is None else require_path("run_dir", run_dir).absolute()
    settings = MetaSettings.from_options(resolve_device(options), inspect.signature(meta_train).parameters)
    strategy_named(settings.strategy)
    split, chosen = _train_tasks(tasks, settings.n_tasks)
    source = EnvSource.resolve(list(chosen))
    settings = replace(settings, n_tasks=len(source.tasks))
    job = Job(
        source,
        None,
        resolve_backbone(backbone, source, settings.seed),
        settings,
        callbacks_of(callback),
        {"split": None if split is None else {"name": str(split), "sha256": split.hash}},
    )
    return finish_meta_training(job.run(folder), job)


def finish_meta_training(result: AdaptResult, job: Job) -> MetaResult:
    """What follows the last step of a meta-training."""
    return MetaResult(**{field.name: getattr(result, field.name) for field in fields(AdaptResult)})


def _train_tasks(
    given: str | Split | Sequence[str | Task], n_tasks: int | None
) -> tuple[Split | None, Sequence[str | Task]]:
    """The split that was given, if it was one, and the tasks to train on."""
    found: Any = given
    if isinstance(given, str) and is_task_name(given):
        found = get(given if "/" in given else f"{given}/{splits_of(given)[0]}")
    if isinstance(found, Split):
        wanted = N_TASKS if n_tasks is None else n_tasks
        if n_tasks is not None and n_tasks > len(found.train):
            raise ConfigError(f"n_tasks = {n_tasks}, but {found} has {counted(len(found.train), 'train task')}")
        split, chosen = found, found.train[:wanted]
    elif isinstance(found, str | Task) or not isinstance(found, Sequence):
        raise ConfigError(
            f"tasks = {given!r:.100}; expected a split such as 'cheetah-vel/mier-hard', or a list of tasks: a backbone "
            "is meta-trained over several"
        )
    else:
        split, chosen = None, tuple(found)
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


spell_out(meta_train, MetaSettings)
