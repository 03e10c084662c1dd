"""`apb plot`: learning curves of runs, as a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from apb.cli.outcome import Outcome
from apb.plotting import CURVE_FILE, plot_runs
from apb.runs import RunFolder


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw the learning curve of a run, or the curves of several runs in one picture.

    A run of several seeds shows each seed thin, and their mean (interquartile mean from four seeds on) with its 95 %
    bootstrap interval.
    """

    runs: Positional[tuple[Path, ...]]
    """Run folders, at least one."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Picture to write: .png, .svg or .pdf. Default: curve.png in the run folder, or in the current one
    for several runs."""
    json: bool = False
    """Print one JSON object on standard output."""


def run(options: Options) -> Outcome:
    """Draw."""
    default = Path(CURVE_FILE) if len(options.runs) != 1 else RunFolder.open(options.runs[0]).path / CURVE_FILE
    path = plot_runs(options.runs, options.output or default)
    return Outcome({"picture": str(path), "runs": [str(run) for run in options.runs]}, [f"learning curve: {path}"])
