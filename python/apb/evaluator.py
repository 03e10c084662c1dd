"""`Evaluator`: evaluates the policies of a run as it goes, always in the same envs from the same starts."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.environments import EnvSource, Simulations
from apb.errors import InvalidEnvError
from apb.evaluation import NOBODY, EvalResult, Watcher, parallel_episodes, run_episodes
from apb.settings import LearningSettings


class Evaluator:
    """The evaluation envs of K lanes. They are made at once, so that what is wrong with them shows before hours of
    training.

    Args:
        source: Where evaluation envs are made.
        seeds: One per lane.
        settings: Of the run: `n_eval_episodes` and threads.
        training: The simulations that the run learns in, which evaluation must not move.

    Raises:
        InvalidEnvError: `source` gives the very env that is learned in.
    """

    def __init__(
        self, source: EnvSource, seeds: Sequence[int], settings: LearningSettings, training: Simulations
    ) -> None:
        self._episodes = settings.n_eval_episodes
        self._simulations = Simulations(
            source,
            len(seeds),
            parallel_episodes(source, self._episodes),
            seeds,
            rng.Stream.EVAL_EPISODE,
            settings.num_threads,
        )
        with ExitStack() as opened:
            opened.callback(self.close)
            if self._simulations.shares_env_with(training):
                raise InvalidEnvError(
                    f"evaluation was given the very env object that {training.source.name} learns in, and would move "
                    "it; expected another one: a function has to make a new env at each call, and an env object to "
                    "evaluate in must be another than the one to learn in"
                )
            self._simulations.reset()
            self._start = self._simulations.snapshot()
            opened.pop_all()

    def evaluate(
        self,
        act: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        stream: rng.Stream,
        watcher: Watcher = NOBODY,
    ) -> list[EvalResult]:
        """One result per lane, which depends on `act` alone.

        Args:
            act: Observations (K, S, obs) -> actions (K, S, act) in [-1, 1].
            stream: What the episodes' starts are drawn from, beside the lanes' seeds.
            watcher: See `run_episodes`.
        """
        # What wrappers such as NormalizeObservation gathered in earlier evaluations must not decide this one.
        self._simulations.restore(self._start)
        self._simulations.stream = stream
        returns, lengths = run_episodes(self._simulations, self._episodes, act, watcher)
        return [EvalResult(*pair) for pair in zip(returns, lengths, strict=True)]

    @property
    def lost(self) -> bool:
        """See `Simulations.lost`."""
        return self._simulations.lost

    def close(self) -> None:
        """Close the envs."""
        self._simulations.close()
