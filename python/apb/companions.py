"""`Companion`: what takes part in learning beside TD3: it sees the batches and may change them, or learns from them."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from apb.replay import Batch, Replay


class Companion(ABC):
    """One more thing that K lanes do or learn with each update. A hook that is not overridden does nothing.

    Attributes:
        name: What its state is saved under.
        acts_in_warmup: Whether the policies act before learning starts, in place of random actions.
        seconds: What it took so far, for `told`; saved beside `state`, which no clock has a part in.
    """

    name: ClassVar[str]
    acts_in_warmup: ClassVar[bool] = False
    seconds: float = 0.0

    def warmed_up(self, replay: Replay) -> None:
        """Called when the steps before learning, or all steps, are over, with what they led to; and again where a reset
        has brought other tasks, whose steps begin anew."""

    def prepare(self, batch: Batch) -> None:
        """Change a batch (K, B, ...) before the update; it is on the CPU, as the replay has it."""

    def learn(self, batch: Batch, moved: bool) -> None:
        """Learn from the batch after the update; it is where the learner is, normalised as the policies see it.

        Args:
            batch: What TD3 has learned from.
            moved: Whether the policies moved.
        """

    def losses(self) -> Mapping[str, NDArray[np.float32]]:
        """The last losses of every lane, each (K,), or (1,) of what lanes share: recorded, and watched for NaN."""
        return {}

    def reset(self) -> None:
        """The learner was reset: adapters and critics are new ones."""

    def state(self) -> dict[str, NDArray[Any]]:
        """All arrays that an exact continuation needs."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from `state()`."""

    def told(self) -> dict[str, Any]:
        """JSON values for the result of the run."""
        return {}
