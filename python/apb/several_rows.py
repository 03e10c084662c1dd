"""`SeveralRows`: rows of different envs as rows of one, which observes and acts in as many numbers as the largest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from apb.env_rows import RowError, Rows, RowStep
from apb.env_spaces import ActionBounds, AnyEnv, AnyVectorEnv, flat_size
from apb.snapshots import EnvState


@dataclass(frozen=True)
class Block:
    """Rows of envs that have the same spaces.

    Attributes:
        name: What messages call them.
        rows: What is stepped, with rows numbered 0 to n - 1.
        places: The numbers of these rows among all, int64 (n,).
        observation_space, action_space: Of each.
    """

    name: str
    rows: Rows
    places: NDArray[np.int64]
    observation_space: Box
    action_space: Box


class SeveralRows:
    """The rows of all `blocks`, which number them from 0 to R - 1.

    Observations are padded with zeros. Actions are in [-1, 1]; each env is given the first numbers of its own, scaled
    to its own bounds.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = tuple(blocks)
        self._count = sum(len(block.places) for block in blocks)
        self._sizes = [flat_size(block.observation_space) for block in blocks]
        self._bounds = [ActionBounds(block.action_space) for block in blocks]
        self.can_save = all(block.rows.can_save for block in blocks)
        self.num_states = sum(block.rows.num_states for block in blocks)
        self.restartable = all(block.rows.restartable for block in blocks)
        self.horizons = np.zeros(self._count, np.int64)
        for block in blocks:
            self.horizons[block.places] = block.rows.horizons

    @property
    def envs(self) -> tuple[AnyEnv | AnyVectorEnv, ...]:
        """See `Rows`."""
        return tuple(env for block in self._blocks for env in block.rows.envs)

    @property
    def lost(self) -> bool:
        """See `Rows`."""
        return any(block.rows.lost for block in self._blocks)

    def reset(self, seeds: Sequence[int]) -> NDArray[np.float64]:
        """See `Rows`."""
        observations = np.zeros((self._count, max(self._sizes)))
        for block, size in zip(self._blocks, self._sizes, strict=True):
            with _told(block):
                observations[block.places, :size] = block.rows.reset([seeds[place] for place in block.places])
        return observations

    def step(self, actions: NDArray[np.floating]) -> RowStep:
        """See `Rows`."""
        result = RowStep.empty(self._count, max(self._sizes))
        result.observations[:] = 0
        for block, size, bounds in zip(self._blocks, self._sizes, self._bounds, strict=True):
            own = actions[block.places, : bounds.size].astype(np.float32, copy=False)
            with _told(block):
                stepped = block.rows.step(bounds.to_env(own))
            result.observations[block.places, :size] = stepped.observations
            for field in fields(RowStep):
                if field.name != "observations":
                    getattr(result, field.name)[block.places] = getattr(stepped, field.name)
        return result

    def restart(self, seeds: dict[int, int], observations: NDArray[np.float64]) -> None:
        """See `Rows`."""
        for block, size in zip(self._blocks, self._sizes, strict=True):
            own_seeds = {row: seeds[int(place)] for row, place in enumerate(block.places) if int(place) in seeds}
            if own_seeds:
                own = observations[block.places, :size]
                with _told(block):
                    block.rows.restart(own_seeds, own)
                observations[block.places, :size] = own

    def save(self) -> list[EnvState]:
        """See `Rows`."""
        return [state for block in self._blocks for state in block.rows.save()]

    def load(self, states: Sequence[EnvState]) -> None:
        """See `Rows`."""
        start = 0
        for block in self._blocks:
            block.rows.load(states[start : start + block.rows.num_states])
            start += block.rows.num_states

    def close(self) -> None:
        """See `Rows`."""
        for block in self._blocks:
            block.rows.close()


@contextmanager
def _told(block: Block) -> Iterator[None]:
    """Tell of a row by its number among all, and of what has none by the name of its env."""
    try:
        yield
    except RowError as error:
        if error.row is None:
            raise RowError(None, f"{block.name}: {error.what}") from error.__cause__
        raise RowError(int(block.places[error.row]), error.what) from error.__cause__
