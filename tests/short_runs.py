"""What short runs do without, since it would take most of their time: a wait for the disk, events, pictures, git."""

import importlib
import os
import sys
from types import SimpleNamespace

import pytest
from apb import system_info
from apb.runs import tensorboard


def no_wait_for_the_disk(patch):
    """What is written outlives a process without it. What is flushed has to be an open file all the same."""
    patch.setattr(os, "fsync", os.fstat)


def no_events(patch):
    """Nothing is written for TensorBoard."""
    nothing_found = SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: None))
    patch.setattr(tensorboard, "importlib", nothing_found)


def no_curves(patch):
    """No picture is drawn at the end of a run."""
    if persistence := sys.modules.get("apb.persistence"):  # else nothing runs, and torch need not be loaded
        patch.setattr(persistence, "plot_runs", lambda runs, path: path)


def no_commit(patch):
    """Nobody asks git, a process of its own, for the commit of the current folder."""
    patch.setattr(system_info, "_git_commit", lambda folder: None)


def without_extras():
    """All of these, in a process that is a run."""
    importlib.import_module("apb.persistence")  # what `no_curves` changes
    patch = pytest.MonkeyPatch()
    for change in (no_wait_for_the_disk, no_events, no_curves, no_commit):
        change(patch)
