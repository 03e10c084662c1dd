"""A save that fails at any call leaves the last checkpoint and the best policy of before, and no debris."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apb import files
from apb.errors import RunFolderError
from apb.runs import RunFolder
from toy_run import assert_is_at, assert_no_debris, at, contents, save, saved


def inject(patch: pytest.MonkeyPatch, function: str, fail: Callable[[], None]) -> None:
    """Let `fail` run, and perhaps raise, before every call of one kind that writes."""
    if function == "fsync":
        original = os.fsync
        patch.setattr(os, "fsync", lambda descriptor: (fail(), original(descriptor)))
    elif function == "write":
        atomic_file = files.atomic_file

        def failing_file(path: Any) -> Any:
            context = atomic_file(path)
            enter = type(context).__enter__

            class Context:
                def __enter__(self) -> Any:
                    self.file = enter(context)
                    return self

                def __exit__(self, *error: Any) -> Any:
                    return context.__exit__(*error)

                def write(self, data: Any) -> int:
                    self.file.write(bytes(data)[: len(data) // 2])
                    fail()
                    return int(self.file.write(bytes(data)[len(data) // 2 :]))

            return Context()

        for module in ("json_files", "tensor_files"):
            patch.setattr(f"apb.files.{module}.atomic_file", failing_file)
        patch.setattr("apb.runs.checkpoint.atomic_file", failing_file)
    else:
        method = getattr(Path, function)
        patch.setattr(Path, function, lambda path, target: (fail(), method(path, target))[1])


@pytest.mark.parametrize("function", ["fsync", "replace", "rename", "write"])
def test_a_disk_that_fails_at_any_call_leaves_the_last_checkpoint_and_no_debris(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    writer, last = saved(run, 5), 5
    failed = 0
    for failing in range(1, 100):
        calls, hit = iter(range(1, 1000)), []

        def fail(failing: int = failing, calls: Iterator[int] = calls, hit: list[int] = hit) -> None:
            if next(calls) == failing:
                hit.append(failing)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            inject(patch, function, fail)
            try:
                save(writer, last + 5)
            except RunFolderError as error:
                message = str(error)
            else:
                assert not hit
                break
        failed += 1
        assert "No space left" in message
        latest = int((run.checkpoints / "LATEST").read_text())
        assert f"{latest:09d}" in message
        assert latest in (last, last + 5)  # the failing call may be the flush after all was written
        last = latest
        assert_is_at(run, last)
        assert_no_debris(run)
    assert failed >= {"fsync": 10, "replace": 6, "rename": 1, "write": 7}[function]
    assert_is_at(run, last + 5)


def test_a_failing_policy_writer_leaves_the_best_policy_of_before(run: RunFolder) -> None:
    writer = saved(run)
    writer.save_best(3, {"eval/mean_reward": 1.0}, at(3).write_policy)
    before = contents(run.best)
    with pytest.raises(ZeroDivisionError):
        writer.save_best(4, {}, lambda folder: 1 / 0)
    assert contents(run.best) == before
    writer.save_best(6, {"eval/mean_reward": 2.0}, at(6).write_policy)
    assert files.read_json(run.best / "evaluation.json") == {"timesteps": 6, "eval/mean_reward": 2.0}
    weights = files.read_tensors(run.best / "model.safetensors")["weights"]
    assert weights.tobytes() == at(6).weights.tobytes()
    assert [path.name for path in run.path.iterdir() if path.name.endswith(".tmp")] == []


def test_files_of_somebody_else_stay_in_the_folder_of_the_best_policy(run: RunFolder) -> None:
    writer = saved(run)
    writer.save_best(3, {}, at(3).write_policy)
    (run.best / "notes.txt").write_text("mine")
    (run.best / "photos").mkdir()
    (run.best / "photos" / "one.png").write_bytes(b"png")
    (run.best / "link").symlink_to("nowhere")
    os.mkfifo(run.best / "pipe")
    writer.save_best(6, {}, at(6).write_policy)
    assert files.read_json(run.best / "evaluation.json") == {"timesteps": 6}
    assert files.read_tensors(run.best / "model.safetensors")["weights"].tobytes() == at(6).weights.tobytes()
    assert (run.best / "notes.txt").read_text() == "mine"
    assert (run.best / "photos" / "one.png").read_bytes() == b"png"
    assert (run.best / "link").readlink() == Path("nowhere")
    assert (run.best / "pipe").is_fifo()
