"""Promises of `apb.runs.history`: records come back, a kill tears at most the last line, a resume cuts exactly."""

import importlib
import importlib.util
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from apb.errors import ApbWarning, ConfigError, FileFormatError, RunFolderError
from apb.runs import History, read_evaluations, read_history
from apb.runs import tensorboard as tensorboard_module


def evaluation(step: int) -> dict[str, Any]:
    return {
        "timesteps": step,
        "seed": 3,
        "eval/mean_reward": -3,
        "eval/std_reward": 0.5,
        "returns": [-3.5, -2.5],
        "lengths": [7, 8],
    }


def test_records_come_back_in_order_and_are_readable_while_the_run_goes_on(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert read_history(tmp_path) == []
    history.append({"timesteps": 10, "train/critic_loss": 0.5})
    history.append_evaluation(evaluation(10))
    history.append({"timesteps": 20, "rollout/ep_rew_mean": 1})
    assert read_history(tmp_path) == [
        {"timesteps": 10, "train/critic_loss": 0.5},
        {"timesteps": 20, "rollout/ep_rew_mean": 1},
    ]
    assert read_evaluations(tmp_path) == [evaluation(10)]


def test_truncation_keeps_the_bytes_of_all_records_up_to_the_step(tmp_path: Path) -> None:
    history = History(tmp_path)
    for step in (10, 20, 20, 30):
        history.append({"timesteps": step, "time/fps": step / 7})
        history.append_evaluation(evaluation(step + 5))
    whole = (tmp_path / "history.jsonl").read_bytes()
    history.truncate(20, 21)
    assert (tmp_path / "history.jsonl").read_bytes() == b"".join(whole.splitlines(keepends=True)[:3])
    assert [record["timesteps"] for record in read_evaluations(tmp_path)] == [15]
    history.append({"timesteps": 30, "time/fps": 30 / 7})
    assert (tmp_path / "history.jsonl").read_bytes() == whole


def test_every_torn_last_line_is_left_out_and_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    History(tmp_path).append({"timesteps": 1, "a": "x"})
    first = path.read_bytes()
    History(tmp_path).append({"timesteps": 2, "a": "y"})
    whole = path.read_bytes()
    for length in range(len(first), len(whole)):
        path.write_bytes(whole[:length])
        assert [record["timesteps"] for record in read_history(tmp_path)] == [1]
        History(tmp_path).append({"timesteps": 2, "a": "y"})
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line", [b'{"timesteps": 1', b"{}", b"[1]", b'{"timesteps": "1"}', b'{"timesteps": NaN}', b"\xff"]
)
def test_a_damaged_line_within_the_file_is_named_and_does_not_keep_a_run_from_going_on(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"timesteps": 0}\n' + line + b'\n{"timesteps": 2}\n')
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match="line 2"):
        read_history(tmp_path)
    (tmp_path / "history.jsonl.damaged-1").write_text("of an earlier time")
    with pytest.warns(ApbWarning, match=r"1 lines that are no records; .*damaged-2 has them"):
        History(tmp_path).append({"timesteps": 3})
    assert [record["timesteps"] for record in read_history(tmp_path)] == [0, 2, 3]
    assert (tmp_path / "history.jsonl.damaged-2").read_bytes() == before


def test_what_is_no_file_is_neither_waited_for_nor_written_to(tmp_path: Path) -> None:
    for name in ("history.jsonl", "evaluations.jsonl"):
        path = tmp_path / name
        path.mkdir()
        with pytest.raises(FileFormatError, match=f"{name} is not a regular file"):
            History(tmp_path)
        path.rmdir()
        os.mkfifo(path)
        with pytest.raises(FileFormatError, match=f"{name} is not a regular file"):
            History(tmp_path)
        path.unlink()
        (tmp_path / "mine").write_text("text")
        path.symlink_to("mine")
        with pytest.raises(RunFolderError, match=f"{name} is a link"):
            History(tmp_path)
        assert (tmp_path / "mine").read_text() == "text"
        path.unlink()
        with path.open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(FileFormatError, match=f"{name} has {2**40} bytes"):
            read_history(tmp_path), read_evaluations(tmp_path)
        with pytest.raises(FileFormatError, match=f"{name} has {2**40} bytes"):
            History(tmp_path)
        path.unlink()


@pytest.mark.parametrize("record", [{}, {"timesteps": 1.0}, {"timesteps": -1}, {"timesteps": True}])
def test_a_record_without_its_timestep_is_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="timesteps"):
        History(tmp_path).append(record)


def test_nan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train/critic_loss = nan"):
        History(tmp_path).append({"timesteps": 1, "train/critic_loss": math.nan})
    assert read_history(tmp_path) == []


def test_a_full_disk_is_reported_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").symlink_to("/dev/full")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "LATEST").write_text("000000500\n")
    script = "import sys; from apb.runs import History; History.__init__ = lambda s, f: None\n"
    script += "from pathlib import Path; h = History(0); h.folder = Path(sys.argv[1]); h.append({'timesteps': 1})"
    result = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    message = result.stderr.splitlines()[-1]
    for part in (RunFolderError.__name__, "No space left", "000000500"):
        assert part in message


# --- TensorBoard -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard_module, "importlib", importlib)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder of events: tag -> (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.usefixtures("_tensorboard")
def test_tensorboard_shows_every_number_of_the_history_and_each_seed_as_a_run_of_its_own(tmp_path: Path) -> None:
    history = History(tmp_path)
    for step in (10, 20):
        history.append({"timesteps": step, "rollout/ep_rew_mean": step / 4, "train/updates": 7, "note": "text"})
        for seed in (3, 4):
            history.append_evaluation({"timesteps": step, "seed": seed, "eval/mean_reward": seed + 0.5, "returns": [1]})
    assert scalars(tmp_path / "tensorboard")["train/updates"] == [(10, 7.0), (20, 7.0)], "while the run goes on"
    history.close()
    shown = scalars(tmp_path / "tensorboard")
    assert shown == {"rollout/ep_rew_mean": [(10, 2.5), (20, 5.0)], "train/updates": [(10, 7.0), (20, 7.0)]}
    for seed in (3, 4):
        shown = scalars(tmp_path / "tensorboard" / f"seed-{seed}")
        assert shown == {"eval/mean_reward": [(10, seed + 0.5), (20, seed + 0.5)]}


@pytest.mark.usefixtures("_tensorboard")
def test_tensorboard_shows_once_what_a_resumed_run_repeats(tmp_path: Path) -> None:
    for first, sign in ((10, 1), (30, -1)):
        time.sleep(1 if first > 10 else 0)  # TensorBoard orders files by the second in which they were begun
        history = History(tmp_path)
        history.truncate(first - 1, first)
        for step in range(first, 50, 10):
            history.append({"timesteps": step, "train/loss": sign * step})
            evaluated = {"eval/mean_reward": sign * step, "eval/std_reward": 0.0, "returns": [1.0], "lengths": [1]}
            history.append_evaluation({"timesteps": step, "seed": 3, **evaluated})
        history.close()
    values = [(10, 10.0), (20, 20.0), (30, -30.0), (40, -40.0)]
    assert scalars(tmp_path / "tensorboard") == {"train/loss": values}
    assert scalars(tmp_path / "tensorboard" / "seed-3")["eval/mean_reward"] == values


@pytest.mark.usefixtures("_tensorboard")
def test_what_tensorboard_cannot_write_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("not a folder")
    with pytest.raises(RunFolderError, match="tensorboard cannot be written: File exists; there is no checkpoint yet"):
        History(tmp_path).append({"timesteps": 1, "train/loss": 1.0})


def test_without_tensorboard_nothing_else_is_written(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.append({"timesteps": 1})
    history.close()
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]
