"""What a batched simulation promises to a forked process and after it was closed: an error, and never a wait."""

import os
import subprocess
import sys

import numpy as np
import pytest
from apb.errors import SimulationError
from gymnasium.vector import AutoresetMode
from task_rig import batched

PROGRAM = """
import gc, os, sys
import numpy as np
from apb.errors import SimulationError
from apb.simulation import BatchedEnv

def say(*words):
    print(*words, flush=True)

env = BatchedEnv("cheetah-vel", 4, num_threads=2)
other = BatchedEnv("ant-dir", 4, num_threads=2)
actions = np.zeros((4, 6))
env.reset(seed=0)
expected = env.step(actions)[0].tobytes()
child = os.fork()
if child == 0:
    for use in (lambda: env.step(actions), lambda: env.reset(seed=0), lambda: env.picture(0)):
        try:
            use()
        except SimulationError as error:
            say(error)
    other.close()
    del other
    gc.collect()
    env = BatchedEnv("cheetah-vel", 4, num_threads=2)
    env.reset(seed=0)
    say(env.step(actions)[0].tobytes() == expected)
    sys.exit(7)  # with all that Python frees at its end
say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
env.reset(seed=0)
say(env.step(actions)[0].tobytes() == expected)
"""


def test_a_forked_process_is_told_so_makes_envs_of_its_own_and_ends():
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    # A child that hangs has to be stopped by somebody: the time is far more than it needs.
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        told = process.communicate(timeout=120)[0].splitlines()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
    assert [line.partition(", whose")[0] for line in told[:3]] == [
        "this env of cheetah-vel was made in another process"
    ] * 3
    assert told[3:] == ["True", "7", "True"]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_closed_env_says_that_it_is_closed(mode):
    env = batched("cheetah-vel", 2, autoreset_mode=mode)
    env.reset(seed=0)
    env.close()
    for use in (lambda: env.step(np.zeros((2, 6))), lambda: env.reset(seed=0)):
        with pytest.raises(SimulationError, match="this env of cheetah-vel was closed; make a new one"):
            use()
