"""`ProgressBarCallback`: shows how far a run is: timesteps, rate, time left, latest return and evaluation."""

import sys
import time
from collections import deque
from datetime import timedelta
from types import TracebackType
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from apb.callbacks import Callback, RunState, mean_over_lanes
from apb.errors import counted
from apb.lane_words import kind_of_lane, lane_names, seeds_in_words
from apb.runs import short_path

if TYPE_CHECKING:
    from apb.environments import Episode
    from apb.evaluation import EvalResult

LINES = 10
"""Lines that a run prints where there is no terminal: one per tenth of its budget."""

MOST_LETTERS = 400
"""Of a line with the return of each lane: more than the 20 tasks that a meta-training has by default need. Of an
evaluation for which it would be longer, the lowest and the highest are named."""

WINDOW = 30.0
"""Seconds over which the rate is taken. Ours."""


class ProgressBarCallback(Callback):
    """A bar on a terminal; elsewhere (a log file, a pipe) one plain line for each tenth of the budget. Named as in SB3.

    Steps and steps per second are those of all lanes together. An evaluation of several lanes is a line of its own,
    with the return of each by the name of its task or seed.

    Use it as a context manager, so that the terminal is left in order when the run fails.

    Args:
        description: What runs; printed at the start. Default: `RunState.title`.
        file: Where it is written. Default: `sys.stderr`, so that standard output stays free for results.
    """

    def __init__(self, description: str | None = None, file: IO[str] | None = None) -> None:
        self._description = description
        self._console = Console(file=file or sys.stderr, soft_wrap=True, highlight=False)
        self._latest = ""
        self._evaluation = ""
        self._doing = ""
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
        lanes, total = len(state.seeds), state.total_timesteps
        steps = f"{total:,} steps per {kind_of_lane(state.tasks)}, {lanes * total:,} in all" if lanes > 1 else ""
        where = "" if state.run_dir is None else f"run folder {short_path(state.run_dir)}"
        parts = [self._title(state), seeds_in_words(state.tasks, state.seeds), steps, where]
        self._print(", ".join(part for part in parts if part))
        self._doing = ""
        self._pace = _Pace()
        self._pace.reach(state)
        self._tenths = LINES * state.timesteps // total
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
            done = lanes * state.timesteps
            self._task = self._bar.add_task("", total=lanes * total, completed=done, pace="", latest="")
            self._bar.start()

    def on_episode_end(self, state: RunState, episode: "Episode") -> None:
        """Remember the return."""
        self._latest = f"return {episode.return_:,.0f}"

    def on_evaluation(self, state: RunState, results: "list[EvalResult]") -> None:
        """Remember the mean over lanes; of several, print each in a line."""
        self._evaluation = f"eval {mean_over_lanes(results):,.0f}"
        if len(results) > 1:
            names = lane_names(state.tasks, state.seeds)
            each = [f"{name} {result.mean:,.0f}" for name, result in zip(names, results, strict=True)]
            line = ", ".join(each)
            if len(line) > MOST_LETTERS:
                order = sorted(range(len(each)), key=lambda lane: results[lane].mean)
                line = f"lowest {each[order[0]]}, highest {each[order[-1]]}"
            steps = f"{state.timesteps:,} steps per {kind_of_lane(state.tasks)}"
            self._print(f"{steps}: {self._evaluation} ({line})")
        self._show(state)

    def on_step(self, state: RunState) -> None:
        """Move on."""
        self._show(state)

    def on_final_evaluation(self, state: RunState, tasks: int) -> None:
        """Say so: no step follows, and it may take a while."""
        self._doing = f"final evaluation on {counted(tasks, 'task')}"
        if self._console.is_terminal:
            self._show(state)
        else:
            self._print(f"{self._title(state)}: {self._doing}")

    def on_end(self, state: RunState) -> None:
        """Stop drawing."""
        self._doing = ""
        self._show(state)
        self.close()

    def _title(self, state: RunState) -> str:
        return state.title if self._description is None else self._description

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False)

    def _show(self, state: RunState) -> None:
        words = "  ".join(word for word in (self._latest, self._evaluation) if word)
        self._pace.reach(state)
        lanes = len(state.seeds)
        if self._bar is not None:
            pace = self._pace.shown(" ", self._doing)
            self._bar.update(self._task, completed=lanes * state.timesteps, pace=pace, latest=words)
            return
        tenths = LINES * state.timesteps // state.total_timesteps
        if not self._console.is_terminal and tenths > self._tenths:
            self._tenths = tenths
            steps = f"{lanes * state.timesteps:,}/{lanes * state.total_timesteps:,} steps"
            parts = [f"{self._title(state)}: {steps}", self._pace.shown(", "), words]
            self._print(", ".join(part for part in parts if part))


class _Pace:
    """Timesteps of all lanes per second over the last `WINDOW` before the last step, and the time left at that rate.

    What came before the first update tells nothing of the rest: a warm-up of random actions is many times faster.
    """

    def __init__(self) -> None:
        self._times: deque[tuple[float, int]] = deque()
        self._left = 0
        self._updates = 0

    def reach(self, state: RunState) -> None:
        """Note how far the run is now, if it has made a step."""
        if state.updates and not self._updates:
            self._times.clear()
        lanes = len(state.seeds)
        done = lanes * state.timesteps
        self._updates, self._left = state.updates, lanes * state.total_timesteps - done
        if self._times and self._times[-1][1] == done:
            return
        now = time.monotonic()
        while len(self._times) > 1 and now - self._times[1][0] >= WINDOW:
            self._times.popleft()
        # The last entry is now; those that stay are some time apart, so that they are few.
        if len(self._times) > 1 and self._times[-1][0] - self._times[-2][0] < WINDOW / 100:
            self._times.pop()
        self._times.append((now, done))

    def shown(self, separator: str, doing: str = "") -> str:
        """Rate, and what is being done or the time left; dots for what is not known yet."""
        (begin, first), (now, last) = self._times[0], self._times[-1]
        if last == first or now <= begin:
            return f"… steps/s{separator}{doing or '… left'}"
        rate = (last - first) / (now - begin)
        left = timedelta(seconds=round(self._left / rate)) if self._updates else "…"
        return f"{rate:,.0f} steps/s{separator}{doing or f'{left} left'}"
