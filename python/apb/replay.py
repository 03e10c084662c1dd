"""`Replay`: the transitions of K lanes in one preallocated ring per lane, sampled natively into tensors, not copied."""

import logging
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from apb import _native, rng
from apb.errors import ConfigError, counted
from apb.memory import available_memory, require_room

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """A batch of transitions, K lanes of B rows: observation (K, B, obs), action (K, B, act), reward (K, B),
    next_observation, not_terminated (K, B).

    `not_terminated` is 1 where the next state has a value, also after a truncation, and 0 after a termination. A batch
    may also have `prior_action` (K, B, act), what a prior would do at `next_observation`.
    """

    observation: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    next_observation: torch.Tensor
    not_terminated: torch.Tensor
    prior_action: torch.Tensor | None = None

    def given(self) -> dict[str, torch.Tensor]:
        """The fields that are there, by name."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in fields.items() if value is not None}


class Replay:
    """Ring buffers of K lanes, written S rows at a time and sampled uniformly with replacement, (K, B) in one call.

    A row is `[observation | next_observation | action | reward | not_terminated]` in float32. Its state is plain
    arrays: `table` (K, capacity, width), `position` (K,) of the next write, `size` (K,) rows filled, `added` (K,) the
    number of the next row, by which rows are told apart on the disk: row r lies at index r mod capacity.

    Lanes are stepped together, so their rings fill alike; but one in which a simulation blew up has a row less for each
    such step. It could catch up only by steps that the others do not make.

    The bytes that the rings will take are logged (`apb.replay`, INFO) before they are allocated.

    Args:
        seeds: One seed per lane, K in all; sampling is a pure function of (seed, draw).
        capacity: Rows kept per lane.
        observation_size, action_size: Sizes of one observation and action.
        batch_size: B, rows drawn per lane and call.
        pool: Native threads for sampling; None uses the caller's thread.
        on_disk: Keep the rings in a file without a name in the folder of temporary files, which ends with the process,
            in place of memory; the system keeps in memory of it what there is room for.

    Raises:
        ConfigError: there is not that much memory, or room on the disk; or no file can be made there.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        capacity: int,
        observation_size: int,
        action_size: int,
        batch_size: int,
        pool: "_native.ThreadPool | None" = None,
        on_disk: bool = False,
    ) -> None:
        needed = self.required_bytes(len(seeds), capacity, observation_size, action_size)
        rings = f"{counted(len(seeds), 'lane')} with {capacity:,} transitions"
        folder = _temporary_folder() if on_disk else None
        free = available_memory() if folder is None else shutil.disk_usage(folder).free
        place = f"on the disk of {folder}" if on_disk else "of replay memory"
        other = "set TMPDIR to a folder with more room" if on_disk else "replay_on_disk=True"
        instead = f"a smaller buffer_size, or {other}"
        require_room(needed, free, f"buffer_size = {capacity}", f"{place} for {rings}", instead)
        lanes = len(seeds)
        size = f"{needed / 1e6:,.0f} MB" if needed >= 1e7 else f"{needed / 1e3:,.0f} kB"
        place = f" in a file in {folder}" if on_disk else ""
        _log.info(f"replay: {size} when full{place}, for {rings}")
        shape = (lanes, capacity, 2 * observation_size + action_size + 2)
        # Zero pages are only reserved here; they become resident as the ring fills.
        self.table = np.zeros(shape, dtype=np.float32) if folder is None else _zeros_on_disk(folder, shape)
        self.position = np.zeros(lanes, dtype=np.int64)
        self.size = np.zeros(lanes, dtype=np.int64)
        self.added = np.zeros(lanes, dtype=np.int64)
        self._keys = np.stack([rng.key(seed, rng.Stream.REPLAY) for seed in seeds])
        self._pool = pool

        def rows(*shape: int) -> NDArray[np.float32]:
            return np.zeros((lanes, batch_size, *shape), dtype=np.float32)

        self._arrays = (rows(observation_size), rows(action_size), rows(), rows(observation_size), rows())
        # Wrapping costs as much as a draw, so it is done once.
        self._tensors = tuple(torch.from_numpy(array) for array in self._arrays)

    @staticmethod
    def required_bytes(lanes: int, capacity: int, observation_size: int, action_size: int) -> int:
        """Bytes that the rings take when they are full, or batches of so many rows."""
        return lanes * capacity * (2 * observation_size + action_size + 2) * 4

    def add(
        self,
        observation: NDArray[np.float32],
        action: NDArray[np.float32],
        reward: NDArray[np.float32],
        next_observation: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        valid: NDArray[np.bool_],
    ) -> None:
        """Append the valid rows of (K, S, ...) arrays; the oldest rows of a full ring are overwritten."""
        _native.replay_add(
            self.table, self.position, self.size, observation, action, reward, next_observation, terminated, valid
        )
        self.added += valid.sum(axis=1)

    def clear(self) -> None:
        """Forget all rows. The next one lies at index 0, so its number is the next multiple of the capacity."""
        capacity = self.table.shape[1]
        self.added += -self.added % capacity
        self.position[:] = self.size[:] = 0

    def rows(self, lane: int) -> tuple[NDArray[np.float32], ...]:
        """Views of the n rows that a lane has: observation (n, obs), next_observation (n, obs), action (n, act), reward
        (n,), not_terminated (n,)."""
        observed, acted = (self._arrays[number].shape[2] for number in (0, 1))
        parts = np.split(self.table[lane, : self.size[lane]], np.cumsum([observed, observed, acted, 1]), axis=1)
        observation, following, action, reward, not_terminated = parts
        return observation, following, action, reward[:, 0], not_terminated[:, 0]

    def sample(self, draw: int) -> Batch:
        """Draw (K, B) transitions. The tensors share memory with the next call's: use them before it.

        Args:
            draw: Number of the draw, the position in each lane's random stream.
        """
        _native.replay_sample(self.table, self.size, self._keys, draw, *self._arrays, pool=self._pool)
        return Batch(*self._tensors)


def _temporary_folder() -> str:
    """The folder of temporary files. One that TMPDIR names must serve: `tempfile` would pass it over without a word."""
    named = os.environ.get("TMPDIR")
    try:
        folder = named or tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ConfigError(
            f"TMPDIR = {named!r}, where replay_on_disk keeps the replay: {error}; expected a folder that exists and "
            "that you may write to: make it, or set TMPDIR to another"
        ) from error


def _zeros_on_disk(folder: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros in a file that has no name any more, and goes when the array does."""
    count = math.prod(shape) * 4
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            # Taken at once: a disk that is full later would end the process, without a message.
            os.posix_fallocate(file.fileno(), 0, count)
        except OSError as error:
            raise ConfigError(
                f"no file of {count / 2**20:,.0f} MiB can be made for the replay in {folder}: {error}; set TMPDIR to a "
                "folder with more room"
            ) from error
        return np.asarray(np.memmap(file, np.float32, "r+", shape=shape))
