"""`run_to_end`: drives a `LearningLoop` through its budget, with records, evaluations and checkpoints where they are
due."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from apb import rng
from apb.adapter import Adapter
from apb.callbacks import save_states
from apb.errors import ApbError, ApbWarning, SimulationError, raised
from apb.evaluation import EvalResult
from apb.files import dump_json
from apb.loop import LearningLoop
from apb.persistence import RunWriter, evaluation_records
from apb.policy import Policy
from apb.runs import BUDGET, StopRequested, StopSignals

MAX_WAIT = 10_000
"""Steps of all simulations for which a checkpoint waits for the end of an episode, where the state of the env cannot be
saved in the middle of one. Then the episodes under way are cut off. Ours: longer than the episodes of Gymnasium's own.
"""


@dataclass(frozen=True)
class AdaptResult:
    """What `adapt` returns.

    Attributes:
        lanes: What each lane is: its "seed", and its "task" where there are several, at the end of the run. Lanes are
            task by task, and seed by seed in each; so is all that has an entry per lane.
        policies: The final policy of each lane.
        history: Metrics at every `log_freq` timesteps, keyed as in SB3.
        evaluations: One record per evaluation and lane: timesteps, seed, "eval/mean_reward", returns, lengths.
        final: Final evaluation of each lane on episodes that no earlier evaluation used; empty if `eval_freq` is 0 or
            the run was stopped before that.
        total_timesteps: Environment transitions per lane that were made; fewer in one where simulations blew up.
        resets: Periodic resets that were made; see `reset_interval`.
        wall_time: Seconds from the making of the envs to the end, callbacks and files included, and those before a
            resume.
        profile: How they were spent: seconds by phase ("simulation", "forward", "sampling", "update", "evaluation",
            "checkpoint", and "rest" for all else).
        stopped_by: "budget", "callback", or the name of the signal.
        run_dir: The run folder, or None.
        beside: What was done beside TD3: "predicted_start" has of an adaptation by FLAP from how many "transitions" of
            each lane its layers were predicted, and the "seconds" that it took.
    """

    lanes: tuple[Mapping[str, int | str], ...]
    policies: tuple[Policy, ...]
    history: tuple[dict[str, Any], ...]
    evaluations: tuple[dict[str, Any], ...]
    final: tuple[EvalResult, ...]
    total_timesteps: int
    resets: int
    wall_time: float
    profile: Mapping[str, float]
    stopped_by: str
    run_dir: Path | None
    beside: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, result: "AdaptResult", **more: Any) -> Self:
        """A result of this kind: another one, with what this kind has beyond it."""
        return cls(**{field.name: getattr(result, field.name) for field in fields(AdaptResult)}, **more)

    def __repr__(self) -> str:
        final = ", ".join(map(str, self.final)) or "no final evaluation"
        spent = f"{self.total_timesteps:,} timesteps in {self.wall_time:.1f} s"
        return f"AdaptResult({final}; {spent}, stopped by {self.stopped_by}, run_dir {self.run_dir})"

    def to_json(self) -> dict[str, Any]:
        """The summary that a run folder keeps as `result.json`."""
        return {
            "timesteps": self.total_timesteps,
            "wall_time": self.wall_time,
            "stopped_by": self.stopped_by,
            "profile": dict(self.profile),
            "lanes": [dict(lane) for lane in self.lanes],
            "final": [result.to_json() for result in self.final],
            **self.beside,
        }

    @property
    def policy(self) -> Policy:
        """The policy of the first lane."""
        return self.policies[0]

    @property
    def adapter(self) -> Adapter:
        """The adapter of the first lane."""
        return self.policies[0].adapter


Finish = Callable[[LearningLoop, AdaptResult, Callable[[], object]], AdaptResult]
"""What follows the last step of a run; see `run_to_end`."""


class _Run:
    """The state of one call of `run_to_end`."""

    def __init__(self, loop: LearningLoop, writer: RunWriter | None, signals: StopSignals) -> None:
        self.loop = loop
        self.writer = writer
        self.signals = signals
        self.history: list[dict[str, Any]] = [] if writer is None else writer.earlier_history()
        self.evaluations: list[dict[str, Any]] = [] if writer is None else writer.earlier_evaluations()
        self.begun = writer is not None and writer.saved is not None
        self.save_wanted_at: int | None = None
        self.stop_wanted: str | None = None

    def to_end(self) -> str:
        """Run until the budget is spent or a stop is wanted and saved; returns why it ended."""
        loop, settings = self.loop, self.loop.settings
        self._heed(loop.emit("on_start"))
        if not self.begun:
            loop.start()
        if loop.evaluation_due:
            self._evaluate()
        ended = not loop.finished and self._rests()
        while not (ended or loop.finished):
            try:
                self._heed(loop.step())
                if loop.due(settings.log_freq):
                    self._record()
                if loop.evaluation_due:
                    self._evaluate()
            except (KeyboardInterrupt, SimulationError) as error:
                self._do_without_envs(error)
            ended = self._rests()
        if ended and self.stop_wanted is not None:
            return self.stop_wanted
        self._save()
        return BUDGET

    def _rests(self) -> bool:
        """Save if that is wanted and possible now; returns whether the run ends here."""
        loop, signal = self.loop, self.signals.requested
        if signal is not None and self.stop_wanted is None and not loop.can_save:
            self._say_what_is_waited_for(signal)
        self.stop_wanted = signal or self.stop_wanted
        if self.save_wanted_at is None and (self.stop_wanted or loop.due(loop.settings.checkpoint_freq)):
            self.save_wanted_at = loop.steps
        if self.save_wanted_at is None:
            return False
        if self.writer is not None and not loop.can_save and loop.steps - self.save_wanted_at < MAX_WAIT:
            return False
        self._save()
        self.stop_wanted = self.signals.requested or self.stop_wanted  # one that came while it was written
        return self.stop_wanted is not None

    def _say_what_is_waited_for(self, signal: str) -> None:
        if self.writer is not None:
            warnings.warn(
                f"{signal}: the state of env {self.loop.source.name} cannot be saved in the middle of an episode, so "
                f"the run goes on to the end of one, for at most {MAX_WAIT:,} steps; a second signal ends it at once, "
                f"and then {what_is_kept(self.writer)}",
                ApbWarning,
                stacklevel=2,
            )

    def _do_without_envs(self, error: KeyboardInterrupt | SimulationError) -> None:
        """After a signal, take it that envs in processes of their own were stopped by it too, as Ctrl-C in a terminal
        does: what was learned is saved without them. Else raise `error`."""
        signal = self.signals.requested
        if signal is None or self.signals.repeated or not self.loop.envs.lost:
            raise error
        warnings.warn(
            f"{signal}: an env was stopped as well ({raised(error)}), so the episodes under way are cut off, and an "
            "evaluation under way is left to a resume",
            ApbWarning,
            stacklevel=2,
        )

    def _heed(self, go_on: bool) -> None:
        if not go_on:
            self.stop_wanted = self.stop_wanted or "callback"

    def _record(self) -> None:
        self.loop.require_finite()
        record = self.loop.record()
        self.history.append(record)
        if self.writer is not None:
            self.writer.history.append(record)

    def _evaluate(self) -> None:
        self.loop.require_finite()
        # A signal ends it at once, and a resume makes it anew; where the run has to go on to the end of an episode
        # first, the policies would not be the same any more.
        stoppable = self.writer is None or self.loop.can_save
        try:
            results = self.loop.evaluate(before_step=self.signals.check) if stoppable else self.loop.evaluate()
        except StopRequested:
            return
        self.loop.evaluated()
        self.evaluations.extend(evaluation_records(self.loop, results))
        if self.writer is not None:
            self.writer.evaluation(results)
        self._heed(self.loop.emit("on_evaluation", results))

    def _save(self) -> None:
        self.loop.require_finite()
        self.save_wanted_at = None
        if self.writer is None or self.writer.holds_this_moment:
            return
        try:
            self.loop.prepare_to_save()
        except (KeyboardInterrupt, SimulationError) as error:
            self._do_without_envs(error)
            self.loop.prepare_to_save()
        before = dump_json(save_states(self.loop.callbacks))
        self._heed(self.loop.emit("on_checkpoint", self.writer.checkpoint()))
        if dump_json(save_states(self.loop.callbacks)) != before:
            self.writer.checkpoint()  # so that what the hook changed is not lost


def what_is_kept(writer: RunWriter | None) -> str:
    """The end of a message on a run that did not end well."""
    return "nothing was saved, since the run had no run_dir" if writer is None else writer.what_is_kept()


def run_to_end(
    loop: LearningLoop,
    writer: RunWriter | None,
    signals: StopSignals,
    finish: Finish = lambda loop, result, check: result,
    unseen: int = 0,
) -> AdaptResult:
    """Run `loop` through the rest of its budget, writing to `writer` if there is one, unless one of `signals` stops it.

    `finish` makes of the result what is returned, before it is written; it is given the loop, the result, and what
    raises where a stop is wanted. It evaluates on so many `unseen` tasks.

    Raises:
        SimulationError, DivergenceError, KeyboardInterrupt: with the place of the last good checkpoint in the message.
            Else as `adapt`. What other code raises goes through, with that place in a note.
    """
    run = _Run(loop, writer, signals)
    with _telling_what_is_kept(writer):
        result = _ended(run, finish, unseen)
    if writer is not None:
        writer.result(result.to_json())
    loop.emit("on_end")
    return result


@contextmanager
def _telling_what_is_kept(writer: RunWriter | None) -> Iterator[None]:
    """Add to the errors of a run where its last good checkpoint is."""
    try:
        yield
    except (ApbError, KeyboardInterrupt) as error:
        raise type(error)(f"{str(error) or 'interrupted'}; {what_is_kept(writer)}") from error
    except Exception as error:  # in a strategy, a callback or an objective of the user's own: kept with its traceback
        error.add_note(f"apb: {what_is_kept(writer)}")
        raise


def _ended(run: _Run, finish: Finish, unseen: int) -> AdaptResult:
    """Run to the end and evaluate; the result with all that `finish` makes of it, and how the time was spent."""
    loop, check = run.loop, run.signals.check
    final: tuple[EvalResult, ...] = ()
    try:
        stopped_by = run.to_end()
        if loop.settings.eval_freq and stopped_by == BUDGET:
            loop.emit("on_final_evaluation", len({lane.task for lane in loop.lanes}) + unseen)
            final = tuple(loop.evaluate(rng.Stream.FINAL_EPISODE, check))
    except StopRequested as request:
        stopped_by = str(request)  # all else is saved, and a resume makes this evaluation
    result = AdaptResult(
        tuple(lane.key for lane in loop.lanes),
        tuple(loop.policies()),
        tuple(run.history),
        tuple(run.evaluations),
        final,
        loop.timesteps,
        loop.learner.resets,
        loop.wall_time,
        {},
        stopped_by,
        loop.run_dir,
        {each.name: told for each in loop.learner.companions if (told := each.told())},
    )
    before = loop.wall_time
    result = finish(loop, result, check)
    wall_time = loop.wall_time
    loop.profile["evaluation"] += wall_time - before
    spent = loop.profile | {"rest": wall_time - sum(loop.profile.values())}
    return replace(result, wall_time=wall_time, profile=spent)
