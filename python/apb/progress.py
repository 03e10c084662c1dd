"""`ProgressBarCallback`: shows how far a run is: timesteps, rate, time left, latest return and evaluation."""

import sys
import time
from types import TracebackType
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from apb.callbacks import Callback, RunState, mean_over_lanes

if TYPE_CHECKING:
    from apb.environments import Episode
    from apb.evaluation import EvalResult

LINES = 10
"""Lines that a run prints where there is no terminal: one per tenth of its budget."""


class ProgressBarCallback(Callback):
    """A bar on a terminal; elsewhere (a log file, a pipe) one plain line for each tenth of the budget. Named as in SB3.

    Use it as a context manager, so that the terminal is left in order when the run fails.

    Args:
        description: What runs; printed at the start.
        file: Where it is written. Default: `sys.stderr`, so that standard output stays free for results.
    """

    def __init__(self, description: str = "adapt", file: IO[str] | None = None) -> None:
        self._description = description
        self._console = Console(file=file or sys.stderr, soft_wrap=True, highlight=False)
        self._latest = ""
        self._evaluation = ""
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._start = 0, time.monotonic()
        self._tenths = 0

    def __enter__(self) -> "ProgressBarCallback":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop drawing; the last state stays on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_start(self, state: RunState) -> None:
        """Begin to draw, from where a resumed run goes on."""
        where = "" if state.run_dir is None else f", run folder {state.run_dir}"
        seeds = f"seed{'s' if len(state.seeds) > 1 else ''} {', '.join(map(str, state.seeds))}"
        self._console.print(f"{self._description}, {seeds}{where}", markup=False)
        self._start = state.timesteps, time.monotonic()
        self._tenths = LINES * state.timesteps // state.total_timesteps
        if self._console.is_terminal:
            self.close()
            self._bar = Progress(
                BarColumn(bar_width=None),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
                _RateColumn(Column(no_wrap=True)),
                TimeRemainingColumn(),
                TextColumn("left"),
                TextColumn("{task.fields[latest]}"),
                console=self._console,
                refresh_per_second=4,
                expand=True,
            )
            self._task = self._bar.add_task("", total=state.total_timesteps, completed=state.timesteps, latest="")
            self._bar.start()

    def on_episode_end(self, state: RunState, episode: "Episode") -> None:
        """Remember the return."""
        self._latest = f"return {episode.return_:,.0f}"

    def on_evaluation(self, state: RunState, results: "list[EvalResult]") -> None:
        """Remember the mean over lanes."""
        self._evaluation = f"eval {mean_over_lanes(results):,.0f}"
        self._show(state)

    def on_step(self, state: RunState) -> None:
        """Move on."""
        self._show(state)

    def on_end(self, state: RunState) -> None:
        """Stop drawing."""
        self._show(state)
        self.close()

    def _show(self, state: RunState) -> None:
        words = "  ".join(word for word in (self._latest, self._evaluation) if word)
        if self._bar is not None:
            self._bar.update(self._task, completed=state.timesteps, latest=words)
            return
        tenths = LINES * state.timesteps // state.total_timesteps
        if not self._console.is_terminal and tenths > self._tenths:
            self._tenths = tenths
            rate = (state.timesteps - self._start[0]) / max(time.monotonic() - self._start[1], 1e-9)
            parts = [
                f"{self._description}: {state.timesteps:,}/{state.total_timesteps:,} steps",
                f"{rate:,.0f} steps/s",
                f"{(state.total_timesteps - state.timesteps) / max(rate, 1e-9):,.0f} s left",
                words,
            ]
            self._console.print(", ".join(part for part in parts if part), markup=False)


class _RateColumn(ProgressColumn):
    """Timesteps (of one seed) per second over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text("… steps/s" if speed is None else f"{speed:,.0f} steps/s")
