"""`LaneEnvs`: what the lanes of a run are, and the envs they learn and are evaluated in; both change with the tasks."""

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.environments import EnvSource, Simulations
from apb.errors import ConfigError
from apb.evaluation import NOBODY, EvalResult, Watcher
from apb.evaluator import Evaluator
from apb.lanes import lanes_of
from apb.settings import LearningSettings

Resampled = Callable[[int], EnvSource | None]
"""The tasks, as many and of the same sizes, that the lanes take at the reset of a number, 1, 2, ...; None where they
keep theirs."""


class LaneEnvs:
    """The K lanes of a run, and their envs once they are opened.

    Args:
        source: The env to learn in, until other tasks are taken.
        eval_source: Where evaluation envs are made; None if there is no evaluation.
        settings: All options.
        resampled: Of a run whose lanes take other tasks.

    Attributes:
        lanes: What each lane is now.
        since: The timestep from which on the lanes have these tasks.
        simulations: To learn in, K lanes of S; `start` them.

    Raises:
        ConfigError: the lanes are too many.
    """

    simulations: Simulations
    _evaluator: Evaluator | None

    def __init__(
        self, source: EnvSource, eval_source: EnvSource | None, settings: LearningSettings, resampled: Resampled
    ) -> None:
        self.lanes = lanes_of(source, settings)
        self.since = 0
        self._sources = source, eval_source
        self._settings = settings
        self._resampled = resampled

    def open(self, slots: int) -> None:
        """Make the envs, `slots` simulations per lane to learn in.

        Raises:
            InvalidEnvError, SimulationError: they cannot be made, or misbehave; none is left open.
        """
        source, eval_source = self._sources
        seeds = tuple(lane.seed for lane in self.lanes)
        with ExitStack() as opened:
            simulations = Simulations(
                source, len(seeds), slots, seeds, rng.Stream.TRAIN_EPISODE, self._settings.num_threads
            )
            opened.callback(simulations.close)
            evaluator = None if eval_source is None else Evaluator(eval_source, seeds, self._settings, simulations)
            opened.pop_all()
        self.simulations, self._evaluator = simulations, evaluator

    def take_tasks(self, reset: int) -> bool:
        """Take the tasks of this reset, and open their envs in place of the ones at hand; False where lanes keep
        theirs."""
        source = self._resampled(reset)
        if source is None:
            return False
        self.close()
        self._sources = source, None if self._evaluator is None else source.separate()
        self.lanes = lanes_of(source, self._settings)
        # The timestep at which the reset was due: of one by several simulations later a resumed run would not know.
        self.since = reset * (self._settings.reset_interval or 0)
        self.open(self.simulations.slots)
        return True

    def start(self) -> None:
        """Begin the first episodes to learn in."""
        self.simulations.reset()

    def evaluate(
        self,
        act: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        stream: rng.Stream,
        watcher: Watcher = NOBODY,
    ) -> list[EvalResult]:
        """See `Evaluator`.

        Raises:
            ConfigError: the run has no evaluation.
        """
        if self._evaluator is None:
            raise ConfigError("this run has no evaluation env; expected eval_freq > 0")
        return self._evaluator.evaluate(act, stream, watcher)

    @property
    def lost(self) -> bool:
        """Whether envs to learn or to evaluate in were interrupted in the middle of a call, or failed in it."""
        return self.simulations.lost or (self._evaluator is not None and self._evaluator.lost)

    def close(self) -> None:
        """Close the envs."""
        self.simulations.close()
        if self._evaluator is not None:
            self._evaluator.close()
