"""`Controls`: the runs that an adaptation is compared with, around a random backbone and plain TD3. Its folder keeps
which they are, so that `apb resume` goes on with them too."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from apb.backbone import Backbone, Reading
from apb.callbacks import Callback, RunState
from apb.cli.arguments import free_path
from apb.cli.outcome import Outcome
from apb.cli.summary import RunSummary
from apb.errors import FileFormatError, UnknownNameError
from apb.files import COUNT, TEXT, Kind, read_json, require_fields, table_of, write_json_atomic
from apb.runs import BUDGET, EXIT_STOPPED, RunFolder, read_evaluations, short_path
from apb.settings import AdaptSettings
from apb.statistics import interquartile_mean

if TYPE_CHECKING:
    from apb.environments import EnvSource

FILE = "controls.json"
PICTURE = "controls.png"
THIS_RUN = "this run"

CONTROLS: dict[str, dict[str, Any]] = {
    "random": {"trainable_backbone": False, "adapter_init": "scratch"},
    "td3": {"trainable_backbone": True, "adapter_init": "scratch", "learned_layers": "both"},
}
"""What a control is run with in place of the options of the run itself. A backbone of reading A that is trained is
plain TD3; one of reading B is what `adapt` draws without a backbone."""

EXPLORING_ALONE = "action_noise"
"""How a control explores where the run itself has a prior to explore by."""

READINGS: dict[str, Reading] = {"random": "B", "td3": "A"}
NAMES = {"random": "random backbone", "td3": "plain TD3"}

_FIELDS = {
    "name": TEXT,
    "settings": Kind("an object", lambda value: isinstance(value, dict)),
    "runs": table_of(TEXT),
}


@dataclass(frozen=True)
class Controls:
    """A run and its controls, one after the other.

    Attributes:
        run_dir: The run itself.
        name: What it is called beside its controls.
        settings: Its options, as `adapt` was given them: those of a control follow from them.
        runs: Keys of `CONTROLS`, and the names of their folders, which lie beside the run's.
    """

    run_dir: Path
    name: str
    settings: Mapping[str, Any]
    runs: Mapping[str, str]

    @classmethod
    def read(cls, run_dir: Path) -> "Controls | None":
        """Those that a run folder tells of, if it does.

        Raises:
            FileFormatError: its file is damaged.
        """
        path = run_dir / FILE
        if not path.exists():
            return None
        remedy = f"remove {FILE} to go on without controls, or put it back as it was"
        found = require_fields(read_json(path), _FIELDS, str(path), remedy)
        for control, name in found["runs"].items():
            if control not in CONTROLS or Path(name).name != name:
                raise FileFormatError(
                    f"{path} tells of a control {control!r} in {name!r}; expected {' or '.join(map(repr, CONTROLS))}"
                    f" in a folder beside the run's: {remedy}"
                )
        try:
            AdaptSettings.from_options(found["settings"])
        except (TypeError, ValueError, UnknownNameError) as error:
            raise FileFormatError(f"settings in {path}: {error}; {remedy}") from error
        return cls(run_dir, found["name"], found["settings"], found["runs"])

    @cached_property
    def folders(self) -> dict[str, Path]:
        """The folder of each run by its name, the run itself first."""
        return {THIS_RUN: self.run_dir, **{NAMES[each]: self._folder(each) for each in self.runs}}

    def _folder(self, control: str) -> Path:
        return self.run_dir.with_name(self.runs[control])

    @property
    def left(self) -> list[str]:
        """Those that have not come to their end."""
        return [control for control in self.runs if _result(self._folder(control))["stopped_by"] != BUDGET]

    def run(self, source: "EnvSource", **options: Any) -> str | None:
        """Run what is left, or go on with it.

        Args:
            source: The env of the run.
            **options: Of `resume`, for a control that has begun.

        Returns:
            The name of the control that a signal stopped, if one did.
        """
        from apb.adaptation import adapt
        from apb.progress import ProgressBarCallback
        from apb.resumption import resume

        for control in self.left:
            folder = self._folder(control)
            with ProgressBarCallback(f"{source.name}, {NAMES[control]}") as bar:
                if RunFolder.has_begun(folder):
                    result = resume(folder, env=source, callback=bar, **options)
                else:
                    backbone = _backbone(control, source, self.settings)
                    changed = control_settings(control, self.settings) | options
                    result = adapt(source, backbone, run_dir=folder, callback=bar, **changed)
            if result.stopped_by.startswith("SIG"):
                return control
        return None

    def draw(self) -> Path | None:
        """The picture of all that have been evaluated; None where none was."""
        from apb.plotting import plot_runs

        evaluated = {name: folder for name, folder in self.folders.items() if _returns(folder)}
        if not evaluated:
            return None
        labels = [self.name if name == THIS_RUN else name for name in evaluated]
        return plot_runs(list(evaluated.values()), self.run_dir / PICTURE, labels)


class PlannedControls(Callback):
    """Writes, as a run begins, which controls are to follow it.

    Args:
        run_dir, name, settings: See `Controls`.
        source: The env of the run.
    """

    def __init__(self, run_dir: Path, name: str, source: "EnvSource", settings: Mapping[str, Any]) -> None:
        self._run_dir, self._name, self._source, self._settings = run_dir, name, source, settings

    def on_start(self, state: RunState) -> None:
        """Write it."""
        run = RunFolder.open(self._run_dir)
        runs = {}
        for control in CONTROLS:
            same = control_settings(control, self._settings) == self._settings
            if same and _backbone(control, self._source, self._settings).hash == run.config.get("backbone_hash"):
                continue  # the run itself
            runs[control] = free_path(run.path.with_name(f"{run.path.name}-{control}")).name
        write_json_atomic(run.path / FILE, {"name": self._name, "settings": dict(self._settings), "runs": runs})
        if runs:
            print(f"then, as long each: {', '.join(NAMES[control] for control in runs)}", file=sys.stderr)


def with_controls(summary: RunSummary, words: list[str], source: "EnvSource | None", **options: Any) -> Outcome:
    """The outcome of a run that was adapted or resumed, once its controls, if it has any, have been run too.

    Args:
        summary: The run itself.
        words: What the commands that it names need after the run folder.
        source: Its env; None: as its folder tells.
        **options: See `Controls.run`.
    """
    outcome = summary.outcome(words)
    controls = Controls.read(summary.run_dir.absolute())
    if controls is None or not controls.runs:
        return outcome
    if not summary.finished:
        names = " and ".join(NAMES[control] for control in controls.left)
        return Outcome(outcome.data, [*outcome.shown, *([f"then {names} follow"] if names else [])], outcome.exit_code)
    stopped = None
    if controls.left:
        if source is None:
            from apb.several_envs import source_again

            source = source_again(None, summary.config["env_identity"])
        stopped = controls.run(source, **options)
    picture = controls.draw()
    told = {name: {"run_dir": str(short_path(folder)), **_told(folder)} for name, folder in controls.folders.items()}
    data = {"runs": told, "picture": None if picture is None else str(short_path(picture))}
    shown = ["beside its controls, drawn anew, with the same budget, options and seeds:", _table(told)]
    if picture is not None:
        shown.append(f"curves: {short_path(picture)}")
    if stopped is not None:
        go_on = shlex.join(["apb", "resume", str(summary.run_dir), *words])
        shown += [f"{NAMES[stopped]} was stopped before its end; to go on:", f"  {go_on}"]
    code = outcome.exit_code if stopped is None else EXIT_STOPPED
    return Outcome({**outcome.data, "controls": data}, [*outcome.shown, *shown], code)


def control_settings(control: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a control of a run with these options."""
    from apb.strategies import BehaviorTransfer  # this loads torch

    changed = {**settings, **CONTROLS[control]}
    if changed["strategy"] != BehaviorTransfer.name:
        return changed
    own = BehaviorTransfer.options
    return {name: value for name, value in changed.items() if name not in own} | {"strategy": EXPLORING_ALONE}


def _backbone(control: str, source: "EnvSource", settings: Mapping[str, Any]) -> Backbone:
    from apb.adaptation import random_backbone

    return random_backbone(source.observation_space, settings["seed"], reading=READINGS[control])


def _table(told: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    table = Table()
    for column in ("", "steps", "mean over the budget", "last evaluation", "run"):
        table.add_column(column, justify="left" if column in ("", "run") else "right")
    for name, found in told.items():
        returns = [f"{found[key]:,.1f}" if key in found else "-" for key in ("mean_over_budget", "last")]
        table.add_row(name, f"{found['timesteps']:,}", *returns, found["run_dir"])
    return table


def _result(folder: Path) -> dict[str, Any]:
    """What the run in the folder came to; no steps where it has not begun, or was killed."""
    path = RunFolder(folder).result
    if not path.is_file():
        return {"timesteps": 0, "stopped_by": None}
    return require_fields(
        read_json(path),
        {"timesteps": COUNT, "stopped_by": TEXT},
        str(path),
        f"move it away, and `apb resume {short_path(folder)}` writes it again",
    )


def _told(folder: Path) -> dict[str, Any]:
    """How far a run is, and its returns."""
    return {"timesteps": _result(folder)["timesteps"], **_returns(folder)}


def _returns(folder: Path) -> dict[str, float]:
    """The interquartile mean over lanes of the mean return over all evaluations, and of the last one; empty where there
    is none."""
    by_lane: dict[tuple[Any, Any], list[float]] = {}
    for record in read_evaluations(folder):
        by_lane.setdefault((record.get("task"), record["seed"]), []).append(record["eval/mean_reward"])
    if not by_lane:
        return {}
    return {
        "mean_over_budget": float(interquartile_mean(np.array([np.mean(curve) for curve in by_lane.values()]))),
        "last": float(interquartile_mean(np.array([curve[-1] for curve in by_lane.values()]))),
    }
