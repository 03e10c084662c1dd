"""`meta_train`: learn a backbone over many tasks, to be frozen and adapted to others."""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from apb.adaptation import resolve_backbone, spell_out
from apb.backbone import Backbone
from apb.environments import EnvLike
from apb.errors import ConfigError, require_path
from apb.jobs import CallbackLike, callbacks_of, resolve_device
from apb.meta_training.job import MetaJob, MetaResult
from apb.meta_training.lists import recorded
from apb.meta_training.settings import MetaSettings
from apb.meta_training.tasks import train_tasks
from apb.methods import with_method
from apb.resampling import require_resampling
from apb.several_envs import resolve_all
from apb.strategies import strategy_named
from apb.tasks import Split


def meta_train(
    tasks: str | Split | Sequence[EnvLike],
    backbone: Backbone | str | Path | None = None,
    *,
    method: str = "apb",
    run_dir: str | Path | None = None,
    callback: CallbackLike = None,
    **options: Any,
) -> MetaResult:
    """Learn a backbone over many tasks at once: each has an adapter, critics and a replay of its own, and the backbone
    follows the mean of their gradients (docs/meta-training.md has the losses).

    Args:
        tasks: A split by its name, "cheetah-vel/mier-hard", of which `n_tasks` train tasks are used, evenly spread over
            the list, or with `resample_tasks` so many at a time; a family's name stands for its first split. Or an
            `apb.tasks.Split`, or a list of tasks or names of tasks, all of which are used; a split in it stands for 20
            of its train tasks, as it does alone. The list may have any envs that `adapt` takes, such as ["Hopper-v5",
            "Walker2d-v5"]: they may observe and act in different numbers.
        backbone: What to begin with: see `adapt`. Default: a random one of reading B, drawn from `seed`.
        method: "apb", or "flap": the post-layer of each task is all that it has of its own (a head), and a network is
            trained that predicts it from transitions, for `adapt(..., method="flap")`. See docs/flap.md.
        run_dir: Folder for history, checkpoints and policies, new or empty. Default: nothing is written.
        callback: One `Callback` or several.
        **options: Fields of `MetaSettings`: total_timesteps, n_tasks, seed, device, eval_freq, ...

    Returns:
        A `MetaResult`: `result.backbone` is what `apb.adapt` takes.

    Raises:
        ApbError: in one of its kinds, as `adapt`; `ConfigError` for less than two tasks.
    """
    folder = None if run_dir is None else require_path("run_dir", run_dir).absolute()
    chosen_options = with_method(MetaSettings.job, method, resolve_device(options))
    settings = MetaSettings.from_options(chosen_options, inspect.signature(meta_train).parameters)
    strategy = strategy_named(settings.strategy)
    split, chosen = train_tasks(tasks, settings.n_tasks)
    if settings.resample_tasks:
        require_resampling(settings, split, len(chosen))
    source = resolve_all(chosen)
    settings = replace(settings, n_tasks=len(source.parts))
    least = len(source.parts) * strategy.slots(settings)
    if settings.total_timesteps < least:
        raise ConfigError(
            f"total_timesteps = {settings.total_timesteps} is less than one step of each simulation of "
            f"{len(source.parts)} tasks; expected at least {least}, or fewer tasks"
        )
    about = {"split": recorded(split)}
    initial = resolve_backbone(backbone, source.observation_space, settings.seed)
    result = MetaJob(source, None, initial, settings, callbacks_of(callback), about).run(folder)
    assert isinstance(result, MetaResult)  # noqa: S101
    return result


spell_out(meta_train, MetaSettings)
