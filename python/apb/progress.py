"""`ProgressBarCallback`: shows how far a run is: timesteps, rate, time left, latest return and evaluation."""

import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from apb.callbacks import Callback, RunState, mean_over_lanes
from apb.runs import short_path

if TYPE_CHECKING:
    from apb.environments import Episode
    from apb.evaluation import EvalResult

LINES = 10
"""Lines that a run prints where there is no terminal: one per tenth of its budget."""

MOST_NAMED = 5
"""Seeds in a row that are named one by one."""

WINDOW = 30.0
"""Seconds over which the rate is taken. Ours."""


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
        self._pace = _Pace()
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
        where = "" if state.run_dir is None else f", run folder {short_path(state.run_dir)}"
        lanes = len(state.seeds)
        steps = f", {lanes * state.total_timesteps:,} steps in all" if lanes > 1 else ""
        self._console.print(f"{self._description}, {lanes_in_words(state.seeds)}{steps}{where}", markup=False)
        self._pace = _Pace()
        self._pace.reach(state)
        self._tenths = LINES * state.timesteps // state.total_timesteps
        if self._console.is_terminal:
            self.close()
            self._bar = Progress(
                BarColumn(bar_width=None),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
                TextColumn("{task.fields[pace]}", table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[latest]}"),
                console=self._console,
                refresh_per_second=4,
                expand=True,
            )
            total, done = state.total_timesteps, state.timesteps
            self._task = self._bar.add_task("", total=total, completed=done, pace="", latest="")
            self._bar.start()

    def on_episode_end(self, state: RunState, episode: "Episode") -> None:
        """Remember the return."""
        self._latest = f"return {episode.return_:,.0f}"

    def on_evaluation(self, state: RunState, results: "list[EvalResult]") -> None:
        """Remember the mean over lanes; of several, print each in a line."""
        self._evaluation = f"eval {mean_over_lanes(results):,.0f}"
        if len(results) > 1:
            each = ", ".join(f"{result.mean:,.0f}" for result in results)
            self._console.print(f"{state.timesteps:,} steps: {self._evaluation}, each {each}", markup=False)
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
        self._pace.reach(state)
        if self._bar is not None:
            self._bar.update(self._task, completed=state.timesteps, pace=self._pace.shown(" "), latest=words)
            return
        tenths = LINES * state.timesteps // state.total_timesteps
        if not self._console.is_terminal and tenths > self._tenths:
            self._tenths = tenths
            steps = f"{self._description}: {state.timesteps:,}/{state.total_timesteps:,} steps"
            parts = [steps, self._pace.shown(", "), words]
            self._console.print(", ".join(part for part in parts if part), markup=False)


def lanes_in_words(seeds: Sequence[int]) -> str:
    """The seeds of all lanes, "seeds 3, 4"; of several tasks, which all have the same, "seeds 3, 4 in each task"."""
    own = list(dict.fromkeys(seeds))
    in_a_row = len(own) > MOST_NAMED and own == list(range(own[0], own[0] + len(own)))
    numbers = f"{own[0]} to {own[-1]}" if in_a_row else ", ".join(map(str, own))
    named = f"seed{'s' if len(own) > 1 else ''} {numbers}"
    return named if len(own) == len(seeds) else f"{named} in each task"


class _Pace:
    """Timesteps (of one seed) per second over the last `WINDOW`, and the time that is left at that rate.

    What came before the first update tells nothing of the rest: a warm-up of random actions is many times faster.
    """

    def __init__(self) -> None:
        self._times: deque[tuple[float, int]] = deque()
        self._left = 0
        self._updates = 0

    def reach(self, state: RunState) -> None:
        """Note how far the run is now."""
        if state.updates and not self._updates:
            self._times.clear()
        self._updates, self._left = state.updates, state.total_timesteps - state.timesteps
        now = time.monotonic()
        while len(self._times) > 1 and now - self._times[1][0] >= WINDOW:
            self._times.popleft()
        # The last entry is now; those that stay are some time apart, so that they are few.
        if len(self._times) > 1 and self._times[-1][0] - self._times[-2][0] < WINDOW / 100:
            self._times.pop()
        self._times.append((now, state.timesteps))

    def shown(self, separator: str) -> str:
        """Rate and time left; dots for what is not known yet."""
        (begin, first), (now, last) = self._times[0], self._times[-1]
        if last == first or now <= begin:
            return f"… steps/s{separator}… left"
        rate = (last - first) / (now - begin)
        left = timedelta(seconds=round(self._left / rate)) if self._updates else "…"
        return f"{rate:,.0f} steps/s{separator}{left} left"
