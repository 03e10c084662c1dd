"""`Scale`: what doing nothing and what plain TD3 earns in a task, by which returns in different tasks are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apb.errors import ConfigError, UnknownNameError
from apb.files import COUNT, NUMBER, object_with, read_json, require_fields, table_of
from apb.tasks.splits import get
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
    # The test tasks are the training tasks.
    "cheetah-negated-joints/mier/test": 1,
    "cheetah-permuted-joints/swaps/test": 1,
    "ant-negated-joints/mier/test": 1,
}
SCALED_TASKS = tuple(
    f"{name}:{_NOT_THE_FIRST.get(name, 0)}"
    for family, split in SCALED_SPLITS.items()
    for name in (f"{family}/{split}/{part}" for part in ("test", "ood", "train"))
)
"""One task of each list, the first of most."""

FILE = Path(__file__).parent / "data" / "scales" / "scales.json"
FIELDS = object_with({"zero": NUMBER, "random": NUMBER, "td3": NUMBER, "timesteps": COUNT, "seeds": COUNT})


@dataclass(frozen=True)
class Scale:
    """Mean returns of three policies in a task, measured by `python -m benchmarks.science.scales`.

    Attributes:
        zero: Of no action at all, 100 episodes.
        random: Of uniformly random actions, 100 episodes.
        td3: Of plain TD3 at the end of its budget, mean over seeds of 10 new episodes each.
        timesteps: That budget.
        seeds: How many.
    """

    zero: float
    random: float
    td3: float
    timesteps: int
    seeds: int

    def score(self, mean_return: float) -> float:
        """(R - zero) / (td3 - zero): 0 is doing nothing, 1 is plain TD3 after its budget.

        Raises:
            ConfigError: TD3 was not better than doing nothing, so that there is nothing to measure by.
        """
        if self.td3 <= self.zero:
            raise ConfigError(
                f"plain TD3 reached {self.td3:,.1f} in this task, and no action at all {self.zero:,.1f}; expected more "
                "than that: compare returns here, not scores"
            )
        return (mean_return - self.zero) / (self.td3 - self.zero)


def scale_of(task: Task) -> Scale:
    """The scale of a task. One whose state is permuted has that of its original, of which it is the same problem.

    Raises:
        UnknownNameError: it was not measured; names those that were.
    """
    original = Task(
        task.family.removesuffix("-permuted-state"),
        {name: value for name, value in task.arguments.items() if name != "permutation"},
    )
    for name, scale in scales().items():
        if get(name) == original:
            return scale
    raise UnknownNameError(f"no scale was measured of the task {task}; expected one of {', '.join(scales())}")


@cache
def scales() -> Mapping[str, Scale]:
    """All scales by the names of their tasks."""
    found = require_fields(
        {"scales": read_json(FILE)}, {"scales": table_of(FIELDS)}, str(FILE), "install the package anew"
    )
    return {name: Scale(**values) for name, values in found["scales"].items()}
