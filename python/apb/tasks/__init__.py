"""Families of tasks with fixed splits: what is to be solved."""

from apb.registration import ARGUMENTS_OF_MAKE
from apb.tasks.checking import check_family
from apb.tasks.families.permuted_state import permuted_state
from apb.tasks.family import Family, Outcome, Physics
from apb.tasks.parameter import Parameter
from apb.tasks.plotting import plot_split
from apb.tasks.registry import FAMILIES, family_named, register
from apb.tasks.scale import Scale, scale_of, scales
from apb.tasks.splits import Split, get, is_task_name, splits_of
from apb.tasks.task import Task, task_of

__all__ = [
    "ARGUMENTS_OF_MAKE",
    "FAMILIES",
    "Family",
    "Outcome",
    "Parameter",
    "Physics",
    "Scale",
    "Split",
    "Task",
    "check_family",
    "family_named",
    "get",
    "is_task_name",
    "permuted_state",
    "plot_split",
    "register",
    "scale_of",
    "scales",
    "splits_of",
    "task_of",
]
