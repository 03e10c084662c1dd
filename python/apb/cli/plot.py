"""`apb plot`: learning curves of runs, as a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apb.cli.arguments import free_path
from apb.cli.outcome import Outcome
from apb.plotting import CURVE_FILE, plot_runs
from apb.runs import short_path
from apb.saved_policies import open_run


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw the learning curve of a run, or the curves of several runs in one picture with a panel for each env.

    A run of one seed shows the standard deviation over the episodes of each evaluation. A run of several seeds shows
    each seed thin, and their mean (interquartile mean from four seeds on) with its 95 % bootstrap interval or,
    of fewer than five seeds, their range.
    """

    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(required)")
    ]
    """Run folders, at least one."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Picture to write: .png, .svg or .pdf. Replaced if it exists. Default: curve.png in the run folder; for several
    runs, the first free of curve.png, curve-1.png, ... in the current one."""
    json: bool = False
    """Print one JSON object on standard output."""


def run(options: Options) -> Outcome:
    """Draw."""
    runs = [short_path(open_run(path).path) for path in options.runs]
    own = runs[0] / CURVE_FILE if len(runs) == 1 else free_path(Path(CURVE_FILE))
    path = plot_runs(runs, options.output or own)
    return Outcome({"picture": str(path), "runs": [str(run) for run in runs]}, [f"learning curve: {path}"])
