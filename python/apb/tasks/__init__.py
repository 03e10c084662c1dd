"""Families of tasks with fixed splits: what is to be solved."""

from apb.tasks.family import Family, Outcome, Physics
from apb.tasks.parameter import Parameter
from apb.tasks.registry import FAMILIES, family_named, register
from apb.tasks.task import Task, task_of

__all__ = ["FAMILIES", "Family", "Outcome", "Parameter", "Physics", "Task", "family_named", "register", "task_of"]
