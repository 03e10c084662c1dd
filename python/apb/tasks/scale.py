"""`Scale`: what doing nothing and what plain TD3 earns in a task, by which returns in different tasks are compared."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mujoco

from apb.errors import ApbWarning, ConfigError, UnknownNameError, counted
from apb.files import COUNT, NUMBER, TEXT, object_with, read_json, require_fields, table_of
from apb.tasks.splits import Split, get, one_of
from apb.tasks.task import Task

SCALED_SPLITS = {
    "cheetah-vel": "mier-hard",
    "cheetah-dir": "apb-ood",
    "ant-dir": "mier-ood",
    "ant-goal": "ldm",
    "humanoid-dir": "apb-ood",
    "hopper-rand-params": "apb-ood",
    "walker-rand-params": "mier-ood",
    "cheetah-negated-joints": "mier",
    "cheetah-permuted-joints": "swaps",
    "ant-negated-joints": "mier",
    "hopper-mass": "tavt",
    "walker-mass": "tavt",
    "sparse-cheetah-vel": "mier-hard",
    "sparse-ant-goal": "ldm",
}
"""The split of each family of which tasks have a scale; permuted states are made of it too."""

_NOT_THE_FIRST = {
    # The first speed is 0.03 m/s, where standing still is best.
    "cheetah-vel/mier-hard/train": 3,
    "sparse-cheetah-vel/mier-hard/train": 3,
    # The first OOD direction is at the edge of the training directions.
    "ant-dir/mier-ood/ood": 5,
    "humanoid-dir/apb-ood/ood": 5,
    # The test tasks are the training tasks.
    "cheetah-negated-joints/mier/test": 1,
    "cheetah-permuted-joints/swaps/test": 1,
    "ant-negated-joints/mier/test": 1,
}
SCALED_TASKS = tuple(
    f"{name}:{_NOT_THE_FIRST.get(name, 0)}"
    for family, split in SCALED_SPLITS.items()
    for name in (f"{family}/{split}/{part}" for part in ("test", "ood", "train"))
    if name != "cheetah-dir/apb-ood/test"  # there are only two directions
)
"""One task of each list, the first of most."""

FILE = Path(__file__).parent / "data" / "scales" / "scales.json"
MEASURED = {name: object_with({"mean": NUMBER, "error": NUMBER}) for name in ("zero", "random", "td3", "top")}
FIELDS = object_with(MEASURED | {"timesteps": COUNT, "seeds": COUNT})
CLEARLY = 5.0
"""Standard errors by which the top of a scale must be above its zero. Ours."""


@dataclass(frozen=True)
class Measured:
    """A mean return over episodes, and its standard error."""

    mean: float
    error: float


@dataclass(frozen=True)
class Scale:
    """Returns of policies in a task, measured by `python -m benchmarks.science.scales` over 100 episodes each.

    Attributes:
        zero: Of no action at all.
        random: Of uniformly random actions.
        td3: Of plain TD3 at the end of its budget.
        top: What a score of 1 is: `td3`, or, where the reward is sparse, what TD3 earns that was given the dense one.
        timesteps: TD3's budget.
        seeds: With how many seeds it learned. Of one, it tells the order of what can be had, and no more.
    """

    zero: Measured
    random: Measured
    td3: Measured
    top: Measured
    timesteps: int
    seeds: int

    def score(self, mean_return: float) -> float:
        """(R - zero) / (top - zero): 0 is doing nothing, 1 is plain TD3 after its budget.

        Raises:
            ConfigError: TD3 was not clearly better than doing nothing, so that there is nothing to measure by.
        """
        zero, top = self.zero, self.top
        if top.mean - zero.mean < CLEARLY * math.hypot(zero.error, top.error):
            raise ConfigError(
                f"plain TD3 earned {top.mean:,.1f} ± {top.error:,.1f} in this task, and no action at all "
                f"{zero.mean:,.1f} ± {zero.error:,.1f}; expected a clear difference: compare returns here, not scores"
            )
        return (mean_return - zero.mean) / (top.mean - zero.mean)


def scale_of(task: Task | str) -> Scale:
    """The scale of a task or of its name, "cheetah-vel/mier-hard:3". A task whose state is permuted has that of its
    original, of which it is the same problem.

    Warns where MuJoCo has another version than the scales were measured with.

    Raises:
        UnknownNameError: it was not measured; names those that were. ConfigError: it is no task, or several.
    """
    found = get(task) if isinstance(task, str) else task
    if isinstance(found, Split) or (isinstance(task, str) and not isinstance(found, Task)):
        name = str(task)
        raise ConfigError(f"task = {name!r} has {counted(len(found), 'task')}; expected {one_of(name, found)}")
    if not isinstance(found, Task):
        raise ConfigError(f"task = {task!r:.100}; expected one apb.tasks.Task, or the name of one")
    original = Task(
        found.family.removesuffix("-permuted-state"),
        {name: value for name, value in found.arguments.items() if name != "permutation"},
    )
    for name, scale in scales().items():
        measured = get(name)
        if isinstance(measured, Task) and measured == original:
            measured_with = _content()["versions"].get("mujoco")
            if measured_with != mujoco.__version__:
                warnings.warn(
                    f"scales were measured with MuJoCo {measured_with}, and this is {mujoco.__version__}, which may "
                    "move robots differently",
                    ApbWarning,
                    stacklevel=2,
                )
            return scale
    switches = ", ".join(f"{name} = {value}" for name, value in found.made_family.switches.items())
    known = ", ".join(scales())
    raise UnknownNameError(f"no scale was measured of the task {found}, {switches}; expected one of {known}")


def scales() -> Mapping[str, Scale]:
    """All scales by the names of their tasks."""
    return {
        name: Scale(
            **{key: Measured(values[key]["mean"], values[key]["error"]) for key in MEASURED},
            timesteps=values["timesteps"],
            seeds=values["seeds"],
        )
        for name, values in _content()["scales"].items()
    }


@cache
def _content() -> Mapping[str, Any]:
    fields = {"versions": table_of(TEXT), "scales": table_of(FIELDS)}
    return require_fields(read_json(FILE), fields, str(FILE), "install the package anew")
