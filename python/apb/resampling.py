"""`tasks_of_reset`: the train tasks that the lanes of a meta-training take at a reset, with `resample_tasks`."""

import warnings
from collections.abc import Sequence

from apb import rng
from apb.environments import EnvSource
from apb.errors import ApbWarning, ConfigError
from apb.meta_training.settings import MetaSettings
from apb.tasks import Split, Task


def tasks_of_reset(reset: int, pool: Sequence[Task], count: int, seed: int) -> tuple[Task, ...]:
    """`count` tasks of the pool, drawn without replacement: a function of the arguments, whatever was drawn before.

    Args:
        reset: Number of the reset, from 1.
        pool: All train tasks.
        count: Of the lanes.
        seed: Of the run.
    """
    order = rng.generator(seed, rng.Stream.RESAMPLED_TASKS, reset).random(len(pool)).argsort(kind="stable")
    return tuple(pool[number] for number in order[:count])


def require_resampling(settings: MetaSettings, split: Split | None, lanes: int) -> None:
    """Check that lanes can take other tasks at each reset; warns where the last ones are not learned.

    Args:
        settings: With `resample_tasks`.
        split: What the tasks are from, if it is a split.
        lanes: As many as tasks at a time.

    Raises:
        ConfigError: there are no other tasks, no resets, or nothing would be learned between them.
    """
    interval, random_steps, budget = settings.reset_interval, settings.learning_starts, settings.lane_timesteps(lanes)
    if interval is None:
        raise ConfigError(
            "resample_tasks = True without reset_interval, and lanes take other tasks at resets; expected "
            "reset_interval, the timesteps of each task between them"
        )
    if split is None:
        raise ConfigError(
            "resample_tasks = True with a list of tasks, all of which are trained on; expected a split such as "
            "'cheetah-vel/mier-hard', from whose train tasks others are drawn, or resample_tasks=False"
        )
    if len(split.train) <= lanes:
        raise ConfigError(
            f"resample_tasks = True, but n_tasks = {lanes} are all train tasks of {split}; expected a smaller n_tasks, "
            "so that there are others to draw, or resample_tasks=False"
        )
    if interval <= random_steps:
        raise ConfigError(
            f"reset_interval = {interval} is not more than learning_starts = {random_steps}, the random steps in each "
            "of the resampled tasks, so that nothing would be learned; expected more"
        )
    part = f"total_timesteps = {settings.total_timesteps} ({budget} for each of {lanes} tasks)"
    if budget <= interval:
        raise ConfigError(
            f"{part} ends before reset_interval = {interval}, at which tasks are resampled; expected a larger budget, "
            "a smaller reset_interval, or resample_tasks=False"
        )
    if (last := budget % interval or interval) <= random_steps:
        warnings.warn(
            f"{part} leaves {last} timesteps for the last of the tasks that are resampled every {interval}, not more "
            f"than learning_starts = {random_steps}: their adapters, which the backbone keeps, stay as they are drawn; "
            "expected a budget that is a multiple of reset_interval for each task",
            ApbWarning,
            stacklevel=3,
        )
    EnvSource.resolve(split.train)  # of one family and none twice, in whatever draw
