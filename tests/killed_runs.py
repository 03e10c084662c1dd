"""Run adaptations that are killed with SIGKILL at random moments and resumed, until a last resume ends each.

Usage: killed_runs.py JOBS, a JSON list of objects: "run_dir"; "kills", their number; "seed" of the moments;
"first_after", the file in the run folder for which the first kill waits; and "options" with "env", "env_kwargs" and
those of `adapt`. Each part of a run is a fork of this process, so that a kill costs no import. Prints for each run how
many parts were killed while they worked.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import apb
import short_runs
from learning import small_backbone


def part(run_dir, options):
    if (run_dir / "backbone" / "config.json").is_file():
        return apb.resume(run_dir)
    return apb.adapt(options.pop("env"), small_backbone(), run_dir=run_dir, **options)


def start(run_dir, options):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            part(run_dir, options)
            status = 0
        finally:
            os._exit(status)
    return child


def run_with_kills(run_dir, options, kills, seed, first_after):
    """Returns how many parts were killed while they worked."""
    run_dir, moments, killed = Path(run_dir), random.Random(seed), 0
    for number in range(kills):
        child = start(run_dir, options)
        while number == 0 and not (run_dir / first_after).is_file():
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.7))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            break
        killed += 1
    _, status = os.waitpid(start(run_dir, options), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return killed


if __name__ == "__main__":
    short_runs.without_extras()
    for job in json.loads(sys.argv[1]):
        print(run_with_kills(**job))
