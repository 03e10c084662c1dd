"""A process that has adapted can be forked, as `multiprocessing` does on Linux, and its children can adapt too."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import apb, torch
import numpy as np

# Then torch fills what it allocates.
torch.use_deterministic_algorithms(True)

def learn():
    {call}

learn()
child = os.fork()
if child == 0:
    learn()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


SHORT = "total_timesteps=60, learning_starts=20, num_threads=2"


@pytest.mark.parametrize(
    "call",
    [
        f'apb.adapt("Pendulum-v1", {SHORT}, eval_freq=0, n_seeds=2)',
        # Adapters, observations and batches for the critics of a size that torch spreads over threads.
        f'apb.adapt("Humanoid-v5", {SHORT}, eval_freq=0, n_seeds=2, strategy="param_noise", population_size=4, '
        "segment_length=5, reset_interval=30)",
        f'apb.pretrain("cheetah", {SHORT}, eval_freq=60, n_eval_episodes=2)',
        f'apb.meta_train("cheetah-vel", {SHORT}, method="flap", eval_freq=0, n_tasks=2)',
        "apb.clone(apb.Demonstrations(np.ones((6000, 17)), np.zeros((6000, 6)), [200] * 30), method='ridge')",
    ],
    ids=["action_noise", "param_noise", "pretrain", "flap", "ridge"],
)
def test_a_child_forked_after_a_run_can_run_too(call):
    # The defaults of a user, not those of a machine for tests: torch with threads of its own.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(call=call)]
    # A child that hangs has to be stopped by somebody: the time is far more than it needs.
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.communicate(timeout=120)[0] == "7\n"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
