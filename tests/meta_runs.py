"""Short runs of `meta_train`, for the tests of what they do, return, refuse and continue.

As a script, `meta_runs.py FOLDER OPTIONS` makes such a run in FOLDER, with options as JSON.
"""

import json
import sys
from pathlib import Path

import short_runs
from apb import meta_train
from learning import SMALL, small_backbone

SPLIT = "cheetah-vel/mier-hard"
FALLING = ["hopper-mass/tavt/train:0", "hopper-mass/tavt/train:1", "hopper-mass/tavt/train:2"]
"""Tasks whose episodes end after some ten steps."""


def meta_run(tasks=SPLIT, backbone=None, **options):
    """`meta_train` for 100 timesteps of each of three tasks with a small backbone, unless others are given."""
    backbone = small_backbone() if backbone is None else backbone
    return meta_train(tasks, backbone, **{**SMALL, "total_timesteps": 300, "n_tasks": 3, **options})


if __name__ == "__main__":
    short_runs.without_extras()
    meta_run(FALLING, run_dir=Path(sys.argv[1]), **json.loads(sys.argv[2]))
