"""`run_to_end`: drives an `AdaptationLoop` through its budget, with records, evaluations and checkpoints where they are
due."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apb import rng
from apb.adapter import Adapter
from apb.errors import DivergenceError, SimulationError
from apb.evaluation import EvalResult
from apb.loop import AdaptationLoop
from apb.persistence import RunWriter, evaluation_records
from apb.policy import Policy
from apb.runs import StopSignals, last_good_checkpoint


@dataclass(frozen=True)
class AdaptResult:
    """What `adapt` returns.

    Attributes:
        policies: The final policy of each lane.
        history: Metrics at every `log_freq` timesteps, keyed as in SB3.
        evaluations: One record per evaluation and lane: timesteps, seed, "eval/mean_reward", returns, lengths.
        final: Final evaluation of each lane on episodes that no earlier evaluation used; empty if `eval_freq` is 0 or
            the run was stopped before its budget was spent.
        total_timesteps: Environment transitions per lane that were made.
        wall_time: Seconds, those before a resume included.
        profile: Seconds per phase ("simulation", "forward", "sampling", "update", "evaluation", "checkpoint", "rest").
        stopped_by: "budget", "callback", or the name of the signal.
        run_dir: The run folder, or None.
    """

    policies: tuple[Policy, ...]
    history: tuple[dict[str, Any], ...]
    evaluations: tuple[dict[str, Any], ...]
    final: tuple[EvalResult, ...]
    total_timesteps: int
    wall_time: float
    profile: Mapping[str, float]
    stopped_by: str
    run_dir: Path | None

    def to_json(self) -> dict[str, Any]:
        """The summary that a run folder keeps as `result.json`."""
        return {
            "timesteps": self.total_timesteps,
            "wall_time": self.wall_time,
            "stopped_by": self.stopped_by,
            "profile": dict(self.profile),
            "final": [
                {
                    "mean": result.mean,
                    "std": result.std,
                    "returns": result.returns.tolist(),
                    "lengths": result.lengths.tolist(),
                }
                for result in self.final
            ],
        }

    @property
    def policy(self) -> Policy:
        """The policy of the first lane."""
        return self.policies[0]

    @property
    def adapter(self) -> Adapter:
        """The adapter of the first lane."""
        return self.policies[0].adapter


class _Run:
    """The state of one call of `run_to_end`."""

    def __init__(self, loop: AdaptationLoop, writer: RunWriter | None) -> None:
        self.loop = loop
        self.writer = writer
        self.history: list[dict[str, Any]] = [] if writer is None else writer.earlier_history()
        self.evaluations: list[dict[str, Any]] = [] if writer is None else writer.earlier_evaluations()
        self.save_wanted = False
        self.stop_wanted: str | None = None

    def to_end(self) -> str:
        """Run until the budget is spent or a stop is wanted and saved; returns why it ended."""
        loop, settings = self.loop, self.loop.settings
        self._heed(loop.emit("on_start"))
        with StopSignals() as signals:
            if loop.steps == 0:
                loop.start()
                if settings.eval_freq:
                    self._evaluate()
            while not loop.finished:
                self._heed(loop.step())
                if loop.due(settings.log_freq):
                    self._record()
                if loop.due(settings.eval_freq):
                    self._evaluate()
                self.stop_wanted = signals.requested or self.stop_wanted
                self.save_wanted |= loop.due(settings.checkpoint_freq) or self.stop_wanted is not None
                if self.save_wanted and (self.writer is None or loop.can_save):
                    self._save()
                    if self.stop_wanted is not None:
                        return self.stop_wanted
            if self.writer is not None and self.writer.saved_at != loop.timesteps:
                self._save()
        return "budget"

    def _heed(self, go_on: bool) -> None:
        if not go_on:
            self.stop_wanted = self.stop_wanted or "callback"

    def _record(self) -> None:
        record = self.loop.record()
        self.history.append(record)
        if self.writer is not None:
            self.writer.history.append(record)

    def _evaluate(self) -> None:
        results = self.loop.evaluate()
        self.evaluations.extend(evaluation_records(self.loop, results))
        if self.writer is not None:
            self.writer.evaluation(results)
        self._heed(self.loop.emit("on_evaluation", results))

    def _save(self) -> None:
        self.save_wanted = False
        if self.writer is not None:
            self.loop.prepare_to_save()
            self._heed(self.loop.emit("on_checkpoint", self.writer.checkpoint()))


def run_to_end(loop: AdaptationLoop, writer: RunWriter | None) -> AdaptResult:
    """Run `loop` through the rest of its budget, writing to `writer` if there is one.

    Raises:
        SimulationError, DivergenceError: with the place of the last good checkpoint in the message. Else as `adapt`.
    """
    run = _Run(loop, writer)
    try:
        stopped_by = run.to_end()
        final = (
            tuple(loop.evaluate(rng.Stream.FINAL_EPISODE)) if loop.settings.eval_freq and stopped_by == "budget" else ()
        )
    except (SimulationError, DivergenceError) as error:
        if loop.run_dir is None:
            where = "nothing was saved, since the run had no run_dir"
        else:
            where = f"{last_good_checkpoint(loop.run_dir)}; `apb resume {loop.run_dir}` continues from it"
        raise type(error)(f"{error}; {where}") from error
    result = AdaptResult(
        tuple(loop.policies()),
        tuple(run.history),
        tuple(run.evaluations),
        final,
        loop.timesteps,
        loop.wall_time,
        loop.profile | {"rest": max(0.0, loop.wall_time - sum(loop.profile.values()))},
        stopped_by,
        loop.run_dir,
    )
    if writer is not None:
        writer.result(result.to_json())
    loop.emit("on_end")
    return result
