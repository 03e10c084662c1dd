"""`History`: what a run measured, one JSON record per line, readable while it runs and exact after a resume."""

import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apb.errors import ApbWarning, ConfigError, FileFormatError, RunFolderError
from apb.files import (
    COUNT,
    NUMBER,
    Kind,
    append_jsonl,
    atomic_file,
    free_name,
    list_of,
    open_regular,
    parse_json,
    require_fields,
)
from apb.runs.folder import writing
from apb.runs.tensorboard import TensorBoard

HISTORY = "history.jsonl"
EVALUATIONS = "evaluations.jsonl"
MAX_BYTES = 2**30

RECORD: dict[str, Kind] = {"timesteps": COUNT}
EVALUATION: dict[str, Kind] = RECORD | {
    "seed": COUNT,
    "eval/mean_reward": NUMBER,
    "eval/std_reward": NUMBER,
    "returns": list_of(NUMBER),
    "lengths": list_of(COUNT),
}
FIELDS = {HISTORY: RECORD, EVALUATIONS: EVALUATION}
"""What each line of a file has at least."""


class History:
    """Appends records to `history.jsonl` and `evaluations.jsonl` of a run folder, and to TensorBoard if installed.

    Keys of metrics are Stable-Baselines3's: `rollout/ep_rew_mean`, `rollout/ep_len_mean`, `train/actor_loss`,
    `train/critic_loss`, `time/fps`, `eval/mean_reward`. Append the records of a step before the checkpoint of that
    step is saved: on resume, `truncate(step)` keeps the records up to and including `step`.

    Lines that are no records are taken out with an `ApbWarning`; the file as it was is kept as `<name>.damaged-<n>`.
    Raises `RunFolderError` for a file that is a link, or cannot be read or written, and `FileFormatError` for one that
    is no file or has more than 1 GiB.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.repair()
        self._board = TensorBoard(self.folder / "tensorboard")

    def repair(self) -> None:
        """Take out of both files what is no record; see the class."""
        for name in FIELDS:
            with writing(self.folder, self.folder / name):
                _repair(self.folder / name)

    def append(self, record: Mapping[str, Any]) -> None:
        """Append a record, with its integer "timesteps", to `history.jsonl`; numbers also go to TensorBoard.

        Raises `ConfigError` for a value that JSON has not (NaN, for one), `RunFolderError` when the disk is full.
        """
        self._append(HISTORY, record)

    def append_evaluation(self, record: Mapping[str, Any]) -> None:
        """Append a record, with its integer "timesteps", to `evaluations.jsonl`, as `append` does."""
        self._append(EVALUATIONS, record)

    def truncate(self, step: int, evaluated_to: int) -> None:
        """Drop all records after timestep `step`, and the evaluations from `evaluated_to` on, each file in one step;
        the others keep their bytes."""
        for name, end in {HISTORY: step + 1, EVALUATIONS: evaluated_to}.items():
            path = self.folder / name
            lines = _complete_lines(path)
            kept = [line for number, line in enumerate(lines, 1) if _parse(line, path, number)["timesteps"] < end]
            if len(kept) < len(lines):
                with writing(self.folder, path), atomic_file(path) as file:
                    file.writelines(kept)
        self._board.purge(step + 1)

    def close(self) -> None:
        """Close TensorBoard; the two files are not kept open."""
        self._board.close()

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        step = record.get("timesteps")
        if type(step) is not int or step < 0:
            raise ConfigError(f"record['timesteps'] = {step!r}; expected the timestep, an integer >= 0")
        with writing(self.folder, self.folder / name):
            append_jsonl(self.folder / name, record)
        with writing(self.folder, self.folder / "tensorboard"):
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
    return [_parse(line, path, number) for number, line in enumerate(_complete_lines(path), 1)]


def _complete_lines(path: Path) -> list[bytes]:
    """The lines of `path`, without a last one that is still being written, or that a kill cut short."""
    if not os.path.lexists(path):
        return []
    with open_regular(path) as (file, size):
        if size > MAX_BYTES:
            raise FileFormatError(f"{path} has {size} bytes; expected at most {MAX_BYTES}: move it away")
        return [line + b"\n" for line in file.read(MAX_BYTES).split(b"\n")[:-1]]


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    place = f"{path}, line {number},"
    return require_fields(parse_json(line, place), FIELDS[path.name], place, "mend or remove the line")


def _repair(path: Path) -> None:
    """Remove a last line that a kill cut short, so that the next record does not continue it, and lines that are no
    records."""
    if path.is_symlink():
        raise RunFolderError(f"{path} is a link, and what it leads to is not written to; put a file in its place")
    lines = _complete_lines(path)
    good = [line for line in lines if _is_record(line, path)]
    if len(good) < len(lines):
        aside = free_name(path.with_name(f"{path.name}.damaged"))
        shutil.copy2(path, aside)
        with atomic_file(path) as file:
            file.writelines(good)
        warnings.warn(
            f"{path} had {len(lines) - len(good)} lines that are no records; they were taken out, and {aside} has them",
            ApbWarning,
            stacklevel=4,
        )
    elif path.exists() and path.stat().st_size > sum(map(len, lines)):
        os.truncate(path, sum(map(len, lines)))


def _is_record(line: bytes, path: Path) -> bool:
    try:
        _parse(line, path, 0)
    except FileFormatError:
        return False
    return True
