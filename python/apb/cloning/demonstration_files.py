"""Demonstrations on the disk: `read_npz` and `write_npz` for NumPy's archives, `read_minari` for Minari's datasets."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from apb.env_source import EnvSource
from apb.errors import ApbError, ConfigError, FileFormatError, RunFolderError, nearest_path, raised, require_path
from apb.files import atomic_file

Arrays = Mapping[str, NDArray[Any]]

NEEDED = ("observations", "actions")
ENDS = ("dones", "terminals")
KNOWN = (*NEEDED, "episode_lengths", *ENDS, "timeouts", "action_low", "action_high", "returns", "rewards")
ENDING = ".npz"
KEYS = (
    "expected a .npz file with observations (N, ...), actions (N, ...) and episode_lengths (E,), or dones, or "
    "terminals and timeouts, (N,): numpy.savez(path, observations=..., actions=..., episode_lengths=...)"
)
MINARI = 'pip install "apb[minari]"'


def write_npz(path: str | Path, arrays: Arrays) -> Path:
    """Write `arrays` to a new file; raises `ConfigError` for another ending and `RunFolderError` if it cannot."""
    target = require_path("path", path)
    if target.suffix != ENDING:
        raise ConfigError(f"path = {str(target)!r}; expected a name that ends with {ENDING}")
    if target.exists() or target.is_symlink():
        raise RunFolderError(f"{target} exists; expected a new name: nothing is overwritten")
    try:
        with atomic_file(target) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise RunFolderError(f"{target} cannot be written: {error.strerror or error}; choose another place") from error
    return target


def read_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays that are known of a file, at least those that are `NEEDED`; see `Demonstrations.load`."""
    source = require_path("path", path)
    if not source.is_file():
        raise RunFolderError(f"{str(source)!r} is no file{nearest_path(source)}; {KEYS}")
    found: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(source):
            pass  # a single array in NumPy's other format, or a pickle, is no archive
        with np.load(source, allow_pickle=False) as archive:
            for name in KNOWN:
                if name in archive.files:
                    found[name] = archive[name]
    except (ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise FileFormatError(f"{source} cannot be read ({raised(error)}); {KEYS}") from error
    except OSError as error:
        raise RunFolderError(f"{source} cannot be read: {error.strerror or error}; choose another file") from error
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise FileFormatError(f"{source} has no array {' and no '.join(missing)}; {KEYS}")
    return found


def episode_lengths(arrays: Arrays, path: str | Path) -> NDArray[np.int64]:
    """How long the episodes are, from whichever array tells; raises `FileFormatError` if none does."""
    rows = len(np.atleast_1d(arrays["observations"]))
    if "episode_lengths" in arrays:
        return arrays["episode_lengths"]
    name = next((name for name in ENDS if name in arrays), None)
    if name is None:
        raise FileFormatError(f"{path} does not tell where episodes end; {KEYS}")
    ends = np.zeros(rows, np.bool_)
    for each in (name, "timeouts"):
        if each in arrays:
            ends |= _flags(each, arrays[each], rows, path)
    if not rows:
        return np.empty(0, np.int64)
    ends[-1] = True
    last = np.flatnonzero(ends)
    return np.diff(last, prepend=-1).astype(np.int64)


def _flags(name: str, values: NDArray[Any], rows: int, path: str | Path) -> NDArray[np.bool_]:
    if values.shape != (rows,) or values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise FileFormatError(
            f"{path}: {name} is {values.dtype} of shape {values.shape}; expected booleans of shape ({rows},), true in "
            "the last step of each episode"
        )
    return values.astype(np.bool_)


def returns(arrays: Arrays, lengths: NDArray[np.int64], path: str | Path) -> NDArray[np.float64] | None:
    """The returns (E,) of the episodes, if the file tells them."""
    if "returns" in arrays or "rewards" not in arrays:
        return arrays.get("returns")
    rewards = arrays["rewards"]
    rows = int(np.sum(lengths))
    if rewards.shape != (rows,) or rewards.dtype.kind not in "biuf":
        raise FileFormatError(
            f"{path}: rewards is {rewards.dtype} of shape {rewards.shape}; expected numbers ({rows},)"
        )
    return np.add.reduceat(rewards.astype(np.float64), np.cumsum(lengths) - lengths)


def action_space(arrays: Arrays, path: str | Path) -> Box | None:
    """The bounds of actions, if the file tells them."""
    low, high = (arrays.get(name) for name in ("action_low", "action_high"))
    if low is None and high is None:
        return None
    shape = arrays["actions"].shape[1:]
    for name, bound in (("action_low", low), ("action_high", high)):
        if bound is None or bound.shape != shape or bound.dtype.kind not in "fiu":
            found = "missing" if bound is None else f"{bound.dtype} of shape {bound.shape}"
            raise FileFormatError(f"{path}: {name} is {found}; expected numbers of shape {shape}, or neither bound")
    assert low is not None  # noqa: S101 - checked above
    assert high is not None  # noqa: S101
    dtype = low.dtype.type if low.dtype.kind == "f" else np.float32
    return Box(low.astype(dtype), high.astype(dtype), dtype=dtype)


def read_minari(
    dataset_id: str,
) -> tuple[
    NDArray[Any], NDArray[Any], NDArray[np.int64], Space[Any], Space[Any], NDArray[np.float64], EnvSource | None
]:
    """The fields of `Demonstrations` from a dataset of Minari; see `Demonstrations.from_minari`."""
    try:
        import minari
    except ImportError as error:
        raise ConfigError(
            f"the Minari dataset {dataset_id!r:.100} needs the package minari ({error}); install it with {MINARI}, or "
            f"give the demonstrations as a file: {KEYS}"
        ) from error
    try:
        dataset = minari.load_dataset(dataset_id, download=True)
        episodes = list(dataset.iterate_episodes())
    except Exception as error:
        raise ConfigError(
            f"Minari cannot load {dataset_id!r:.100} ({raised(error)}); expected the id of a dataset: `minari list "
            "local` shows those on this machine, `minari list remote` those that can be downloaded"
        ) from error
    if not episodes or not isinstance(dataset.action_space, Box) or not isinstance(dataset.observation_space, Box):
        raise ConfigError(
            f"the Minari dataset {dataset_id!r:.100} has {len(episodes)} episodes of observations "
            f"{dataset.observation_space} and actions {dataset.action_space}; expected at least one episode, of Box "
            "observations and actions"
        )
    lengths = np.array([len(episode.actions) for episode in episodes], np.int64)
    observations = [np.asarray(episode.observations)[: len(episode.actions)] for episode in episodes]
    actions = [np.asarray(episode.actions) for episode in episodes]
    returns = np.array([np.sum(episode.rewards, dtype=np.float64) for episode in episodes])
    spaces = dataset.observation_space, dataset.action_space
    source = _registered_env(dataset.env_spec)
    return np.concatenate(observations), np.concatenate(actions), lengths, *spaces, returns, source


def _registered_env(spec: Any) -> EnvSource | None:
    """The env of a dataset, by its id: what else its spec names would be imported, and a file must not ask for that."""
    if spec is None or spec.id not in gymnasium.registry:
        return None
    try:
        return EnvSource.resolve(spec.id, spec.kwargs)
    except ApbError:  # such as an older version, which needs another simulator
        return None
