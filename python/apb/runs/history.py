"""`History`: what a run measured, one JSON record per line, readable while it runs and exact after a resume."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apb.errors import ConfigError, FileFormatError, RunFolderError
from apb.files import append_jsonl, atomic_file, parse_json
from apb.runs.folder import last_good_checkpoint
from apb.runs.tensorboard import TensorBoard

HISTORY = "history.jsonl"
EVALUATIONS = "evaluations.jsonl"


class History:
    """Appends records to `history.jsonl` and `evaluations.jsonl` of a run folder, and to TensorBoard if installed.

    Keys of metrics are Stable-Baselines3's: `rollout/ep_rew_mean`, `rollout/ep_len_mean`, `train/actor_loss`,
    `train/critic_loss`, `time/fps`, `eval/mean_reward`. Append the records of a step before the checkpoint of that
    step is saved: on resume, `truncate(step)` keeps the records up to and including `step`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        for name in (HISTORY, EVALUATIONS):
            _cut_torn_line(self.folder / name)
        self._board = TensorBoard(self.folder / "tensorboard")

    def append(self, record: Mapping[str, Any]) -> None:
        """Append a record, with its integer "timesteps", to `history.jsonl`; numbers also go to TensorBoard.

        Raises `ConfigError` for a value that JSON has not (NaN, for one), `RunFolderError` when the disk is full.
        """
        self._append(HISTORY, record)

    def append_evaluation(self, record: Mapping[str, Any]) -> None:
        """Append a record, with its integer "timesteps", to `evaluations.jsonl`, as `append` does."""
        self._append(EVALUATIONS, record)

    def truncate(self, step: int) -> None:
        """Drop all records after timestep `step`, each file in one step; the others keep their bytes."""
        for name in (HISTORY, EVALUATIONS):
            path = self.folder / name
            if not path.exists():
                continue
            lines = _complete_lines(path)
            kept = [line for number, line in enumerate(lines, 1) if _parse(line, path, number)["timesteps"] <= step]
            if len(kept) < len(lines):
                with atomic_file(path) as file:
                    file.writelines(kept)
        self._board.purge(step + 1)

    def close(self) -> None:
        """Close TensorBoard; the two files are not kept open."""
        self._board.close()

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        step = record.get("timesteps")
        if type(step) is not int or step < 0:
            raise ConfigError(f"record['timesteps'] = {step!r}; expected the timestep, an integer >= 0")
        try:
            append_jsonl(self.folder / name, record)
        except OSError as error:
            where = last_good_checkpoint(self.folder)
            raise RunFolderError(f"{self.folder / name} cannot be written: {error.strerror}; {where}") from error
        self._board.write(step, record)


def read_history(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of `history.jsonl`, oldest first; a last line that is still being written is left out.

    Raises `FileFormatError` naming the line that is not a record. A run without the file has no records.
    """
    return _read(Path(folder) / HISTORY)


def read_evaluations(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of `evaluations.jsonl`, as `read_history` reads them."""
    return _read(Path(folder) / EVALUATIONS)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [_parse(line, path, number) for number, line in enumerate(_complete_lines(path), 1)]


def _complete_lines(path: Path) -> list[bytes]:
    return [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]]


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    record = parse_json(line, f"{path}, line {number},")
    if not isinstance(record, dict) or type(record.get("timesteps")) is not int:
        raise FileFormatError(
            f"{path}, line {number}, is not a record with integer 'timesteps'; mend or remove the line"
        )
    return record


def _cut_torn_line(path: Path) -> None:
    """Remove a last line that a kill cut short, so that the next record does not continue it."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)
