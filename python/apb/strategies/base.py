"""`Strategy`: the base of exploration, how an agent acts while it adapts; one file per strategy beside this one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from apb.actors import LaneActors
from apb.adapter_shape import AdapterShape
from apb.learner import Learner

if TYPE_CHECKING:
    from apb import _native
    from apb.environments import Transition
    from apb.settings import LearningSettings


@dataclass(frozen=True)
class StrategyContext:
    """What a strategy is given: the run's settings, one seed per lane, S simulations per lane, adapter sizes, the
    learner, the native forward pass, native threads, and the prior, if one was given: actions (..., act)
    in [-1, 1] of observations (..., obs)."""

    settings: "LearningSettings"
    seeds: Sequence[int]
    slots: int
    shape: AdapterShape
    learner: Learner
    actors: LaneActors
    pool: "_native.ThreadPool | None"
    prior: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None


class Strategy(ABC):
    """How K lanes explore. Once per step of all simulations the loop calls `adapters`, `perturb` and `observe`, and in
    between the learner is updated.

    Everything random is a function of (seed, stream, counter); `state` holds the rest that an exact continuation needs.

    Args:
        context: What the strategy works with.

    Attributes:
        name: What `strategy` calls it.
        options: The fields of the settings that are for this strategy, perhaps among others: with one that does not
            name them they are refused.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __init__(self, context: StrategyContext) -> None: ...

    @staticmethod
    def slots(settings: "LearningSettings") -> int:
        """Simulations per lane that the strategy wants; the run uses 1 where the env cannot be made several times."""
        return 1

    @abstractmethod
    def adapters(self) -> NDArray[np.float32]:
        """The adapters to act with now, shape (K, M, n) with M = 1 or M = S."""

    def perturb(self, actions: NDArray[np.float32], observations: NDArray[np.float32], step: int) -> None:
        """Change the actions (K, S, act) in place, which were taken of observations (K, S, obs); `step` counts the
        steps of all simulations since the run began."""

    def observe(self, transition: "Transition") -> None:
        """See what the actions led to; during the warm-up they are random, and nobody has asked for `adapters`."""

    def restarted(self, rows: NDArray[np.bool_]) -> None:
        """The episodes of these rows (K, S) were cut short by the loop itself and say nothing about the adapters."""

    def reset(self) -> None:
        """The learner was reset: forget what was learned about the old adapters."""

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays and JSON values for an exact continuation."""
        return {}, {}

    def load_state(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """Continue from `state()`."""
