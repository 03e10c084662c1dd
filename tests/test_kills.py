"""Promise of runs: killed with SIGKILL at any moment, they continue and end with the bytes of one that never was."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from apb import files
from apb.runs import RunFolder
from toy_run import at, contents

TESTS = Path(__file__).parent

KILLED_AT_EVERY_CALL = """
import itertools, os, sys, warnings
sys.path.insert(0, sys.argv[2])
import toy_run
from apb.runs import CheckpointWriter, RunFolder, load_checkpoint
warnings.simplefilter("error")
run = RunFolder.create(sys.argv[1], {"env": "Toy-v0"})
keep_last = int(sys.argv[3])
with run.lock():
    toy_run.saved(run, 5, 10, keep_last=keep_last)
last = 10
for deadline in itertools.count(1):
    child = os.fork()
    if child == 0:
        # Not on to the disk, which takes seconds: what is written outlives a process without it.
        os.fsync = lambda descriptor: sys.audit("test.fsync")
        with run.lock():
            writer = CheckpointWriter(run, toy_run.IDENTITY, parent=load_checkpoint(run), keep_last=keep_last)
            calls = itertools.count(1)
            def guard(event, arguments):
                if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "test.fsync"):
                    if next(calls) == deadline:
                        os._exit(9)
            sys.addaudithook(guard)
            toy_run.save(writer, last + 5)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    latest = int((run.checkpoints / "LATEST").read_text())
    assert latest in (last, last + 5), deadline
    last = latest
    toy_run.assert_is_at(run, last)
    if status == 0:
        break
toy_run.assert_no_debris(run)
print(deadline, last)
"""


@pytest.mark.parametrize("keep_last", [1, 2])
def test_a_kill_at_any_call_of_a_save_leaves_a_checkpoint_that_loads_without_a_warning(
    tmp_path: Path, keep_last: int
) -> None:
    command = [sys.executable, "-c", KILLED_AT_EVERY_CALL, str(tmp_path / "run"), str(TESTS), str(keep_last)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    calls, last = map(int, result.stdout.split())
    assert calls > 50  # the kills really happened at many places, and some saves got through
    assert last > 15


def test_a_run_killed_at_random_moments_ends_with_the_bytes_of_one_that_never_was(tmp_path: Path) -> None:
    total, moments = 40, random.Random(20)
    for name in ("killed", "unharmed"):
        RunFolder.create(tmp_path / name, {"env": "Toy-v0"})
    script = str(TESTS / "toy_run.py")
    subprocess.run([sys.executable, script, str(tmp_path / "unharmed"), str(total)], check=True)
    latest = tmp_path / "killed" / "checkpoints" / "LATEST"
    kills = 0
    while True:
        before = latest.read_text() if latest.exists() else ""
        with subprocess.Popen([sys.executable, script, str(tmp_path / "killed"), str(total)]) as process:
            # A little after another checkpoint, so that every process gets on and none gets to the end at once.
            while process.poll() is None and (not latest.exists() or latest.read_text() == before):
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.05))
            if process.poll() is None:
                process.kill()
                kills += 1
        if process.returncode >= 0:
            break
    assert process.returncode == 0
    assert kills >= 1
    weights = files.read_tensors(tmp_path / f"killed/checkpoints/{total:09d}/policy/model.safetensors")["weights"]
    assert weights.tobytes() == at(total).weights.tobytes()
    assert contents(tmp_path / "killed") == contents(tmp_path / "unharmed")
