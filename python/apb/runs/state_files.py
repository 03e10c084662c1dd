"""Everything that a run needs to continue, as two files: arrays in `state.safetensors`, all else in `state.json`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, FileFormatError
from apb.files import read_json, read_tensors, write_json_atomic, write_tensors

TrainingState = dict[str, Any]
"""Nested dicts with text keys (without '/'), whose leaves are NumPy arrays or JSON values.

Arrays may be float64, float32, int64, uint64, int32, uint8 or bool. NaN and infinity are refused: a checkpoint of a
diverged run must not replace a good one.
"""


def write_state(folder: Path, state: TrainingState) -> None:
    """Write `state` to `folder`, which is made. Raises `ConfigError`, naming the leaf, for what cannot be written."""
    tensors: dict[str, NDArray[Any]] = {}
    values = _split(state, "", tensors)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "state.safetensors", tensors)
    write_json_atomic(folder / "state.json", values)


def read_state(folder: Path) -> TrainingState:
    """Read what `write_state` wrote: equal dicts, arrays of the same dtype, shape and bytes, each its own memory.

    Raises `FileFormatError` when a file is missing or damaged, or the two do not belong together.
    """
    state = read_json(folder / "state.json")
    if not isinstance(state, dict):
        raise FileFormatError(f"{folder / 'state.json'} is not a JSON object")
    for name, array in read_tensors(folder / "state.safetensors").items():
        *parents, leaf = name.split("/")
        place: Any = state
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or leaf in place:
            raise FileFormatError(
                f"{folder}: array {name!r} of state.safetensors has no place of its own in state.json"
            )
        place[leaf] = array
    return state


def _split(state: TrainingState, prefix: str, tensors: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Move the arrays of `state` to `tensors`; return the rest, with every dict, so that arrays find their place."""
    values: dict[str, Any] = {}
    for key, value in state.items():
        if not isinstance(key, str) or "/" in key:
            raise ConfigError(f"state has the key {key!r} under {prefix or 'the top'!r}; expected text without '/'")
        if isinstance(value, np.ndarray):
            tensors[prefix + key] = value
        elif isinstance(value, dict):
            values[key] = _split(value, f"{prefix}{key}/", tensors)
        else:
            values[key] = value
    return values
