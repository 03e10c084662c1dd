"""Short runs of `meta_train`, for the tests of what they do, return, refuse and continue.

As a script, `meta_runs.py FOLDER OPTIONS` makes such a run in FOLDER, with options as JSON.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from apb import meta_train
from apb.runs import RunFolder, load_checkpoint, read_evaluations, read_history
from learning import SMALL, small_backbone
from run_files import without_times

SPLIT = "cheetah-vel/mier-hard"
FALLING = ["hopper-mass/tavt/train:0", "hopper-mass/tavt/train:1", "hopper-mass/tavt/train:2"]
"""Tasks whose episodes end after some ten steps."""


def meta_run(tasks=SPLIT, backbone=None, **options):
    """`meta_train` for 100 timesteps of each of three tasks with a small backbone, unless others are given."""
    backbone = small_backbone() if backbone is None else backbone
    return meta_train(tasks, backbone, **{**SMALL, "total_timesteps": 300, "n_tasks": 3, **options})


def meta_outcome(run_dir):
    """What a finished run left on the disk, apart from times: name -> bytes or JSON values."""
    run = RunFolder.open(run_dir)
    checkpoint, settings = load_checkpoint(run), run.config["settings"]
    tensors = {path.relative_to(run.path).as_posix(): path for path in run.path.rglob("*.safetensors")}
    # Segments of the replay end where checkpoints were saved: what they hold is compared, below.
    found = {name: path.read_bytes() for name, path in tensors.items() if not name.startswith("replay/")}
    state = json.loads((checkpoint.path / "training_state" / "state.json").read_text())
    found["counters"] = {name: value for name, value in state["counters"].items() if name != "wall_time"}
    identity, lanes = run.config["env_identity"], settings["n_tasks"]
    width = 2 * identity["observation_size"] + identity["action_size"] + 2
    ring = checkpoint.read_replay(np.zeros((lanes, settings["total_timesteps"] // lanes, width), dtype=np.float32))
    found["replay"] = ring.table.tobytes(), ring.position.tolist(), ring.size.tolist(), ring.total_added.tolist()
    found["history"] = [without_times(record) for record in read_history(run_dir)]
    found["evaluations"] = read_evaluations(run_dir)
    result = json.loads(run.result.read_text())
    found["result"] = {name: result[name] for name in result if name not in ("wall_time", "profile", "systems")}
    return found


if __name__ == "__main__":
    sys.modules["tensorboard"] = None  # type: ignore[assignment]  # no events, which take time
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # likewise: it outlives a process without it
    meta_run(FALLING, run_dir=Path(sys.argv[1]), **json.loads(sys.argv[2]))
