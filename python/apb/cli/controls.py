"""`run_controls`: the runs that an adaptation is compared with: around a random backbone, and plain TD3."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from apb.backbone import Reading
from apb.cli.arguments import free_path
from apb.environments import EnvSource
from apb.runs import RunFolder, read_evaluations, short_path
from apb.statistics import interquartile_mean

PICTURE = "controls.png"

CONTROLS: dict[str, dict[str, Any]] = {
    "random": {"trainable_backbone": False, "adapter_init": "scratch"},
    "td3": {"trainable_backbone": True, "adapter_init": "scratch", "learned_layers": "both"},
}
"""What a control is run with in place of the options of the run itself. A backbone of reading A that is trained is
plain TD3; one of reading B is what `adapt` draws without a backbone."""

READINGS: dict[str, Reading] = {"random": "B", "td3": "A"}
NAMES = {"random": "random backbone", "td3": "plain TD3"}


@dataclass(frozen=True)
class Comparison:
    """A run beside its controls.

    Attributes:
        runs: What each is called, and its folder; the run itself first.
        picture: Their curves.
        stopped: Whether a signal stopped a control.
    """

    runs: dict[str, Path]
    picture: Path | None
    stopped: bool

    def to_json(self) -> dict[str, Any]:
        """Folder and returns of each, and the picture."""
        runs = {name: {"run_dir": str(short_path(folder)), **_returns(folder)} for name, folder in self.runs.items()}
        return {"runs": runs, "picture": None if self.picture is None else str(short_path(self.picture))}

    def shown(self) -> list[RenderableType]:
        """A table of the runs."""
        table = Table()
        for column in ("", "mean over the budget", "last evaluation", "run"):
            table.add_column(column, justify="right" if column.startswith(("mean", "last")) else "left")
        for name, folder in self.runs.items():
            found = _returns(folder)
            cells = [f"{found[key]:,.1f}" if found else "-" for key in ("mean_over_budget", "last")]
            table.add_row(name, *cells, str(short_path(folder)))
        lines: list[RenderableType] = [
            "beside its controls, drawn anew, with the same budget, options and seeds:",
            table,
        ]
        return lines if self.picture is None else [*lines, f"curves: {short_path(self.picture)}"]


def run_controls(run_dir: Path, source: EnvSource, settings: dict[str, Any]) -> Comparison:
    """Run the controls of the run in `run_dir`, each in a folder beside it, and draw all curves into one picture.

    Args:
        run_dir: A run that has ended.
        source: Its env.
        settings: Its options, as `adapt` takes them.
    """
    from apb.adaptation import adapt, random_backbone
    from apb.plotting import plot_runs
    from apb.progress import ProgressBarCallback

    runs, stopped = {"this run": run_dir}, False
    for control, changed in CONTROLS.items():
        backbone = random_backbone(source, settings["seed"], reading=READINGS[control])
        if settings | changed == settings and backbone.hash == RunFolder.open(run_dir).config.get("backbone_hash"):
            continue  # the run itself
        folder = free_path(run_dir.with_name(f"{run_dir.name}-{control}"))
        with ProgressBarCallback(f"{source.name}, {NAMES[control]}") as bar:
            result = adapt(source, backbone, run_dir=folder, callback=bar, **settings | changed)
        runs[NAMES[control]] = folder
        if result.stopped_by.startswith("SIG"):
            stopped = True
            break
    picture = run_dir / PICTURE if settings["eval_freq"] else None
    if picture is not None:
        plot_runs(list(runs.values()), picture)
    return Comparison(runs, picture, stopped)


def _returns(folder: Path) -> dict[str, float]:
    """The interquartile mean over lanes of the mean return over all evaluations, and of the last one."""
    by_lane: dict[tuple[Any, Any], list[float]] = {}
    for record in read_evaluations(RunFolder.open(folder).path):
        by_lane.setdefault((record.get("task"), record["seed"]), []).append(record["eval/mean_reward"])
    if not by_lane:
        return {}
    return {
        "mean_over_budget": float(interquartile_mean(np.array([np.mean(curve) for curve in by_lane.values()]))),
        "last": float(interquartile_mean(np.array([curve[-1] for curve in by_lane.values()]))),
    }
