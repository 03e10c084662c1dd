"""The promises of `python -m benchmarks` that need no benchmark to be run."""

import subprocess
import sys

from documentation import ROOT


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_misspelt_benchmark_is_answered_with_the_nearest_name():
    ran = run("-m", "benchmarks", "forwrd")
    assert ran.returncode == 2
    assert "there is no benchmark 'forwrd'; did you mean 'forward'?" in ran.stderr


def test_the_table_tells_in_full_how_to_install_a_peer():
    code = (
        "from benchmarks.__main__ import _show; from benchmarks.harness import compare;"
        "_show([compare('a', 'b', ('ours', [1.0]), ('SB3', None), 's', higher_is_better=True)], {})"
    )
    assert 'pip install ".[bench]"' in run("-c", code).stdout


def test_the_bare_batch_does_the_physics_that_it_is_compared_with():
    code = """
import mujoco.batch, numpy as np
from benchmarks.simulation import ROWS, staggered, step_bare, step_ours
env, actions = staggered("humanoid-dir", 2)
_, states = step_ours(env, actions[:3])
moved = ~(env.state()["steps"] == 0)
bare = mujoco.batch.Batch(env.family.model, ROWS, 1)
controls = [env.family.control(action.astype(np.float64), env.parameters) for action in actions[:3]]
step_bare(bare, states, controls, env.family.frame_skip)
assert np.array_equal(bare.state[moved], env.state()["physics"][moved])
print(moved.sum())
"""
    ran = run("-c", code)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 32


def test_rows_that_never_fall_are_measured_at_different_steps_of_their_episodes():
    code = """
import numpy as np
from benchmarks.simulation import ROWS, staggered
env, _ = staggered("cheetah-vel", 2)
print(len(np.unique(env.state()["steps"])) == ROWS)
"""
    assert run("-c", code).stdout == "True\n"


def test_peers_make_as_many_steps_as_the_simulation_whatever_their_number_of_rows():
    code = """
import numpy as np
from types import SimpleNamespace
from gymnasium.spaces import Box
from benchmarks.simulation import stepping
for rows in (1, 4, 64):
    steps = []
    stepping(SimpleNamespace(step=steps.append, action_space=Box(-1, 1, (3,), np.float64)), rows)()
    assert {action.shape for action in steps} == {(rows, 3)}
    print(rows * len(steps))
"""
    assert len(set(run("-c", code).stdout.split())) == 1
