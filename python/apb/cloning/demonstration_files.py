"""Demonstrations on the disk: `read_npz` and `write_npz` for NumPy's archives, `read_minari` for Minari's datasets."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from apb.env_source import EnvSource
from apb.errors import ApbError, ConfigError, FileFormatError, RunFolderError, nearest_path, raised, require_path
from apb.files import atomic_file
from apb.memory import available_memory, require_room

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
    try:
        file = source.open("rb") if source.is_file() else None  # a pipe would be waited for
    except OSError as error:
        raise RunFolderError(
            f"the demonstrations {str(source)!r:.100} cannot be read: {error.strerror or error}; choose another file"
        ) from error
    if file is None:
        raise RunFolderError(f"demonstrations: {str(source)!r} is no file{nearest_path(source, ending=ENDING)}; {KEYS}")
    with file:
        found = _known_arrays(file, source)
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise FileFormatError(f"{source} has no array {' and no '.join(missing)}; {KEYS}")
    return found


def _known_arrays(file: IO[bytes], source: Path) -> dict[str, NDArray[Any]]:
    """Those of `KNOWN` that the archive has, if there is room for all of them."""
    with _reading(str(source)), zipfile.ZipFile(file) as members:  # NumPy's other format, or a pickle, is no archive
        sizes = {member.filename.removesuffix(".npy"): member.file_size for member in members.infolist()}
    needed = sum(size for name, size in sizes.items() if name in KNOWN)
    use = "of memory for what its arrays are without compression"
    require_room(needed, available_memory(), str(source), use, "a file of fewer episodes")
    found: dict[str, NDArray[Any]] = {}
    with _reading(str(source)), np.load(file, allow_pickle=False) as archive:
        for name in KNOWN:
            if name not in archive.files:
                continue
            with _reading(f"{source}: {name}"):
                array = archive[name]
            if not isinstance(array, np.ndarray):  # but the bytes of a member that begins otherwise
                raise FileFormatError(f"{source}: {name} is no array in NumPy's format; {KEYS}")
            found[name] = array
    return found


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn whatever `zipfile`, the decompressors and NumPy raise for bytes that they cannot read, which is of a dozen
    classes, into a `FileFormatError`."""
    try:
        yield
    except FileFormatError:
        raise
    except Exception as error:
        raise FileFormatError(f"{what} cannot be read ({raised(error)}); {KEYS}") from error


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


def summed(rewards: NDArray[Any], lengths: NDArray[np.int64], path: str | Path) -> NDArray[np.float64]:
    """The returns (E,) of episodes of these lengths: sums of the rewards (N,) of their steps."""
    rows = int(np.sum(lengths))
    if rewards.shape != (rows,) or rewards.dtype.kind not in "biuf":
        raise FileFormatError(
            f"{path}: rewards is {rewards.dtype} of shape {rewards.shape}; expected real numbers, shape ({rows},)"
        )
    wrong = np.flatnonzero(~np.isfinite(rewards))
    if len(wrong):
        raise FileFormatError(
            f"{path}: rewards[{wrong[0]}] = {rewards[wrong[0]]}; expected finite numbers: leave that episode out, or "
            "save the file without rewards"
        )
    with np.errstate(over="ignore"):  # of which `Demonstrations` tells
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
    wrong = np.argwhere(~(np.isfinite(low) & np.isfinite(high) & (low < high)))  # NaN is not less than anything
    if len(wrong):
        index = tuple(int(i) for i in wrong[0])
        raise FileFormatError(
            f"{path}: action_low{list(index)} = {low[index]} and action_high{list(index)} = {high[index]}; expected "
            "finite numbers, the first less than the second"
        )
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
