"""`Lane`: one learning problem of a run: a task and a seed."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apb.env_source import EnvSource
from apb.errors import ApbWarning, ConfigError
from apb.settings import MAX_LANES, LearningSettings
from apb.several_envs import in_words
from apb.tasks import Task


@dataclass(frozen=True)
class Lane:
    """One of the K learning problems of a run.

    Attributes:
        seed: Of everything random in it.
        source: Its env, of one task.
        task: What its task is called, or None where the run has only one.
        folder: Where its policy lies, in a folder with those of the other lanes.
    """

    seed: int
    source: EnvSource
    task: str | None
    folder: str

    @property
    def key(self) -> dict[str, int | str]:
        """What tells its records from those of other lanes."""
        return {"seed": self.seed} | ({} if self.task is None else {"task": self.task})

    @property
    def metadata(self) -> dict[str, Any]:
        """What its policy is saved with: the env and arguments that make it again, the name of its task, if it has one,
        and the seed."""
        identity = self.source.identity
        env = {"env_id": identity["id"], "env_kwargs": identity["kwargs"] if identity["recreatable"] else None}
        label = next((task.label for task in self.source.tasks), None)
        return env | ({} if label is None else {"task": label}) | self.key


def lanes_of(source: EnvSource, settings: LearningSettings) -> tuple[Lane, ...]:
    """Every task or env of the source with its seeds, those of one together.

    Raises:
        ConfigError: they are too many.
    """
    seeds = settings.lane_seeds(len(source.parts))
    count = sum(map(len, seeds))
    if count > MAX_LANES:
        raise ConfigError(
            f"{source.name} with {len(seeds[0])} seeds each are {count} learning problems; expected at most {MAX_LANES}"
        )
    if len(seeds) == 1:
        return tuple(Lane(seed, source, None, f"seed-{seed}") for seed in seeds[0])
    names = names_of([part.tasks[0] if part.tasks else in_words(part) for part in source.parts])
    return tuple(
        Lane(seed, part, name, f"task-{number}-seed-{seed}")
        for number, (part, name, own) in enumerate(zip(source.parts, names, seeds, strict=True))
        for seed in own
    )


def lane_budget(lanes: int, slots: int, settings: LearningSettings) -> int:
    """The timesteps of each of K lanes, which are stepped in S simulations at once.

    Raises:
        ConfigError: they are less than one step.
    """
    budget = settings.lane_timesteps(lanes)
    if budget < slots:
        raise ConfigError(
            f"{_budget_in_words(lanes, settings)} is less than one step of {slots} simulations per lane; expected at "
            f"least {slots} for each, or a smaller population_size"
        )
    return budget


def warn_of_idle(lanes: int, settings: LearningSettings) -> None:
    """Warn where the budget of K lanes ends before their policies learn."""
    budget, words = settings.lane_timesteps(lanes), _budget_in_words(lanes, settings)
    if settings.gradient_steps and budget <= settings.learning_starts:
        acting = "the mean layers act" if settings.adapter_init == "predicted" else "all actions are random"
        warnings.warn(
            f"{words} ends before learning_starts = {settings.learning_starts}: {acting} and "
            "nothing is learned; give a larger budget or a smaller learning_starts",
            ApbWarning,
            stacklevel=6,  # who called adapt
        )
    learning = budget - settings.learning_starts
    interval = settings.reset_interval or learning  # resets draw critics anew
    if 0 < settings.gradient_steps * min(learning, interval) <= (settings.policy_starts or 0):
        ended = f"reset_interval = {interval}" if interval < learning else words
        warnings.warn(
            f"{ended} ends before new critics have learned for policy_starts = {settings.policy_starts} updates: the "
            f"policy stays as it begins; give a larger {ended.partition(' ')[0]} or a smaller policy_starts",
            ApbWarning,
            stacklevel=6,  # who called adapt
        )


def _budget_in_words(lanes: int, settings: LearningSettings) -> str:
    budget, total = settings.lane_timesteps(lanes), settings.total_timesteps
    return f"total_timesteps = {total}" + ("" if budget == total else f" ({budget} for each of {lanes} tasks)")


def names_of(tasks: Sequence[Task | str]) -> list[str]:
    """Labels of tasks, or what other envs are called; of those that have none, or the same, their numbers with what
    they are in short. All have their numbers where a label is what another would be called so."""
    labels = [task if isinstance(task, str) else task.label for task in tasks]
    numbered = [f"task {number}: {task}" for number, task in enumerate(tasks)]
    names = [
        label if label is not None and labels.count(label) == 1 else name
        for label, name in zip(labels, numbered, strict=True)
    ]
    return names if len(set(names)) == len(names) else numbered
