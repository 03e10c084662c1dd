"""Runs on the disk: folder, checkpoints, history, and how a run is asked to stop."""

from apb.runs.checkpoint import Checkpoint, CheckpointWriter, list_steps, load_checkpoint, require_unbegun
from apb.runs.folder import (
    RunFolder,
    json_hash,
    last_good_checkpoint,
    latest_name,
    numbered_folder,
    require_new_folder,
    short_path,
    writing,
)
from apb.runs.history import History, read_evaluations, read_history
from apb.runs.replay_log import Ring
from apb.runs.signals import BUDGET, EXIT_STOPPED, StopRequested, StopSignals
from apb.runs.state_files import TrainingState
from apb.runs.systems import continued, required_systems, systems_at_start, told

__all__ = [
    "BUDGET",
    "EXIT_STOPPED",
    "Checkpoint",
    "CheckpointWriter",
    "History",
    "Ring",
    "RunFolder",
    "StopRequested",
    "StopSignals",
    "TrainingState",
    "continued",
    "json_hash",
    "last_good_checkpoint",
    "latest_name",
    "list_steps",
    "load_checkpoint",
    "numbered_folder",
    "read_evaluations",
    "read_history",
    "require_new_folder",
    "require_unbegun",
    "required_systems",
    "short_path",
    "systems_at_start",
    "told",
    "writing",
]
