"""Run an adaptation that is killed with SIGKILL at random moments and resumed, until a last resume ends it.

Usage: killed_runs.py RUN_DIR KILLS SEED FILE OPTIONS, options as JSON with "env", "env_kwargs" and those of `adapt`.
Each part is a fork of this process, so that a kill costs no import. The first kill waits until FILE is in the run
folder. Prints how many parts were killed while they worked.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import apb
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


def main():
    # Not on to the disk, which takes seconds: what is written outlives a process without it.
    os.fsync = lambda descriptor: None
    run_dir, kills, moments = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    first_after, options = run_dir / sys.argv[4], json.loads(sys.argv[5])
    killed = 0
    for number in range(kills):
        child = start(run_dir, options)
        while number == 0 and not first_after.is_file():
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.7))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            break
        killed += 1
    _, status = os.waitpid(start(run_dir, options), 0)
    print(killed)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
