"""A tiny deterministic run with everything that a real one saves: state, replay that wraps, history, best policy.

As a script, `toy_run.py FOLDER TOTAL` starts or resumes the run in FOLDER and continues it to TOTAL steps.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from apb import files
from apb.runs import Checkpoint, CheckpointWriter, History, Ring, RunFolder, list_steps, load_checkpoint

IDENTITY = {"env": "Toy-v0", "backbone_hash": "b" * 64, "config_hash": "c" * 64}
LANES, CAPACITY, WIDTH = 2, 16, 3
CHECKPOINT_FREQ, EVAL_FREQ = 5, 3


class Toy:
    """The run in memory: what it is at step t follows from t alone, but only by way of all steps before."""

    def __init__(self) -> None:
        self.step = 0
        self.weights = np.zeros((LANES, 4), np.float32)
        self.best = -1.0
        self.ring = Ring(np.zeros((LANES, CAPACITY, WIDTH), np.float32), *(np.zeros(LANES, np.int64) for _ in range(3)))

    def advance(self) -> None:
        """One step: lane k adds k + 1 rows, and the weights learn from a row drawn from the ring."""
        random = np.random.Generator(np.random.Philox(key=[7, 0], counter=[0, self.step, 0, 0]))
        for lane in range(LANES):
            for _ in range(lane + 1):
                self.ring.table[lane, self.ring.position[lane]] = random.normal(size=WIDTH)
                self.ring.total_added[lane] += 1
                self.ring.position[lane] = self.ring.total_added[lane] % CAPACITY
                self.ring.size[lane] = min(self.ring.total_added[lane], CAPACITY)
            row = self.ring.table[lane, random.integers(self.ring.size[lane])]
            self.weights[lane] = np.float32(0.9) * self.weights[lane] + np.resize(row, 4)
        self.step += 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the ring."""
        return {"counters": {"step": self.step, "best": self.best}, "learner": {"weights": self.weights}}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what the checkpoint says."""
        self.step = checkpoint.state["counters"]["step"]
        self.best = checkpoint.state["counters"]["best"]
        self.weights = checkpoint.state["learner"]["weights"]
        self.ring = checkpoint.read_replay(np.zeros_like(self.ring.table))

    def write_policy(self, folder: Path) -> None:
        """Stand-in for `Policy.save_pretrained`."""
        with files.staged_folder(folder) as staging:
            files.write_tensors(staging / "model.safetensors", {"weights": self.weights})


def at(step: int) -> Toy:
    """The run as it must be at `step`."""
    toy = Toy()
    while toy.step < step:
        toy.advance()
    return toy


def continue_run(folder: Path, total: int) -> None:
    """Start or resume the run in `folder`, which exists."""
    run = RunFolder.open(folder)
    toy = Toy()
    with run.lock():
        parent = load_checkpoint(run, identity=IDENTITY) if list_steps(run) else None
        if parent is not None:
            toy.restore(parent)
        writer = CheckpointWriter(run, IDENTITY, parent=parent)
        history = History(run.path)
        history.truncate(toy.step if parent else -1, toy.step + 1 if parent else 0)
        while toy.step < total:
            toy.advance()
            score = float(toy.weights.sum())
            history.append({"timesteps": toy.step, "train/score": score})
            if toy.step % EVAL_FREQ == 0:
                measured = {"eval/mean_reward": score, "eval/std_reward": 0, "returns": [score], "lengths": [1]}
                history.append_evaluation({"timesteps": toy.step, "seed": 0, **measured})
                if score > toy.best:
                    toy.best = score
                    writer.save_best(toy.step, {"eval/mean_reward": score}, toy.write_policy)
            if toy.step % CHECKPOINT_FREQ == 0 or toy.step == total:
                writer.save(toy.step, toy.state(), toy.write_policy, toy.ring)


def saved(run: RunFolder, *steps: int, keep_last: int = 2) -> CheckpointWriter:
    """A writer that has saved checkpoints at `steps`."""
    writer = CheckpointWriter(run, IDENTITY, keep_last=keep_last)
    for step in steps:
        save(writer, step)
    return writer


def save(writer: CheckpointWriter, step: int) -> Path:
    """Save the run as it is at `step`."""
    toy = at(step)
    return writer.save(step, toy.state(), toy.write_policy, toy.ring)


def assert_loads(run: RunFolder, step: int) -> None:
    """The checkpoint that loads is the one of `step`, down to the last bit."""
    checkpoint, wanted = load_checkpoint(run, identity=IDENTITY), at(step)
    assert checkpoint.step == step
    found = Toy()
    found.restore(checkpoint)
    assert found.state()["counters"] == wanted.state()["counters"]
    assert found.weights.tobytes() == wanted.weights.tobytes()
    for name in ("table", "position", "size", "total_added"):
        assert getattr(found.ring, name).tobytes() == getattr(wanted.ring, name).tobytes(), name
    policy = files.read_tensors(checkpoint.policy / "model.safetensors")
    assert policy["weights"].tobytes() == wanted.weights.tobytes()


def assert_is_at(run: RunFolder, step: int) -> None:
    """The checkpoint of `step` loads, and nothing is wrong that would be worth a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_loads(run, step)


def opened_at(run: RunFolder, step: int) -> RunFolder:
    """The run, opened at one of its checkpoints."""
    return RunFolder.open(run.checkpoints / f"{step:09d}")


def assert_no_debris(run: RunFolder) -> None:
    """Every file belongs to a checkpoint, and every segment to a manifest."""
    assert not [path for path in run.path.rglob("*") if path.name.endswith((".tmp", ".previous"))]
    listed = {segment.name for step in list_steps(run) for segment in load_checkpoint(opened_at(run, step)).segments}
    assert {path.name for path in run.replay.iterdir()} == listed


def contents(folder: Path) -> dict[str, bytes]:
    """What of a finished run must not depend on how often it was killed."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "system_info.json")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


if __name__ == "__main__":
    sys.modules["tensorboard"] = None  # type: ignore[assignment]  # no events, which take time and have it in their names
    continue_run(Path(sys.argv[1]), int(sys.argv[2]))
