"""`RunSummary`: the result of a run as its folder tells it, for the tables at the end of `adapt`, `meta-train`,
`pretrain` and `resume`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from apb.backbone import Backbone
from apb.cli.backbones import adaptation
from apb.cli.coverage import COVERAGE, coverage_table
from apb.cli.outcome import Outcome
from apb.errors import ApbError, FileFormatError, counted
from apb.files import COUNT, NUMBER, TEXT, list_of, object_with, read_json, require_fields, table_of
from apb.lane_words import kind_of_lane, lane_names
from apb.meta_training.settings import MetaSettings
from apb.plotting import COVERAGE_FILE, CURVE_FILE
from apb.pretraining.settings import PretrainSettings
from apb.runs import (
    BUDGET,
    EXIT_STOPPED,
    RunFolder,
    load_checkpoint,
    read_evaluations,
    required_systems,
    short_path,
    told,
)
from apb.settings import FLAP

CONFIG = {"env": TEXT, "strategy": TEXT, "in_words": TEXT}
RESULT = {
    "timesteps": COUNT,
    "wall_time": NUMBER,
    "stopped_by": TEXT,
    "profile": table_of(NUMBER),
    "lanes": list_of(object_with({"seed": COUNT})),
    "final": list_of(object_with({"mean": NUMBER, "std": NUMBER, "returns": list_of(NUMBER)})),
}
PREDICTED = {"predicted_start": object_with({"transitions": list_of(COUNT), "seconds": NUMBER})}
ZERO_SHOT = {"zero_shot": table_of(object_with({"mean": NUMBER, "adapters": TEXT, "returns": list_of(NUMBER)}))}
"""What is shown of a run's files."""

Lane = tuple[str | None, int]
"""Task (None where there is only one) and seed."""


@dataclass(frozen=True)
class RunSummary:
    """What a run that has ended, or was stopped, came to.

    Attributes:
        run_dir: The run folder.
        config: Its `config.json`.
        lanes: Task and seed of each lane.
        result: Its `result.json`.
        policy: Folder of the latest policy; of several lanes it holds a folder of each.
        untrained: Evaluation before learning, per lane.
        latest: Latest evaluation while learning, per lane.
    """

    run_dir: Path
    config: Mapping[str, Any]
    lanes: tuple[Lane, ...]
    result: Mapping[str, Any]
    policy: Path
    untrained: Mapping[Lane, Mapping[str, Any]]
    latest: Mapping[Lane, Mapping[str, Any]]

    @classmethod
    def read(cls, run: RunFolder) -> "RunSummary":
        """Read the folder of a run that has written its result.

        Raises:
            RunFolderError: it has no checkpoint. FileFormatError: a file is damaged.
        """
        evaluations = read_evaluations(run.path)
        last = max((record["timesteps"] for record in evaluations), default=0)
        latest, untrained = (
            {_lane_of(record): record for record in evaluations if record["timesteps"] == step} for step in (last, 0)
        )
        again = f"move it away, and `apb resume {run.path}` writes it again"
        result = {"systems": [], "zero_shot": {}, "coverage": []} | require_fields(
            read_json(run.result), RESULT, str(run.result), again
        )
        require_fields(result, ZERO_SHOT | COVERAGE, str(run.result), again)
        if "predicted_start" in result:
            require_fields(result, PREDICTED, str(run.result), again)
        required_systems(result, str(run.result), again)
        config = require_fields(run.config, CONFIG, str(run.path / "config.json"), "put the file back as it was")
        lanes = tuple(map(_lane_of, result["lanes"]))
        count = len(result["final"])
        if not lanes or count not in (0, len(lanes)):
            raise FileFormatError(
                f"{run.result} has {count} final evaluations of {counted(len(lanes), 'lane')}; expected one of each: "
                f"{again}"
            )
        policy = short_path(load_checkpoint(run).policy)
        return cls(short_path(run.path), config, lanes, result, policy, untrained, latest)

    @property
    def finished(self) -> bool:
        """Whether the budget was spent, and what a meta-training or pre-training makes of it is there."""
        made = self.config.get("job") not in (MetaSettings.job, PretrainSettings.job) or self._backbone is not None
        return bool(self.result["stopped_by"] == BUDGET) and made

    @property
    def _without_reward(self) -> bool:
        return bool(self.config.get("job") == PretrainSettings.job)

    @property
    def _pretrained(self) -> Path:
        return short_path(RunFolder(self.run_dir).pretrained)

    @cached_property
    def _backbone(self) -> Backbone | None:
        return saved_backbone(self._pretrained)

    @property
    def exit_code(self) -> int:
        """EXIT_STOPPED after a signal, else 0."""
        return EXIT_STOPPED if str(self.result["stopped_by"]).startswith("SIG") else 0

    @property
    def steps(self) -> str:
        """The environment steps that were made, in words: of each lane, and of all together."""
        steps, lanes = int(self.result["timesteps"]), len(self.lanes)
        each = f"{steps:,} steps per {kind_of_lane([task for task, _ in self.lanes])}"
        return each if lanes == 1 else f"{each}, {lanes * steps:,} in all"

    @property
    def timesteps_per_second(self) -> float:
        """Environment steps of all lanes per second of wall time."""
        return len(self.lanes) * float(self.result["timesteps"]) / max(float(self.result["wall_time"]), 1e-9)

    def outcome(self, words: Sequence[str] = ()) -> Outcome:
        """The summary for `Outcome.print`; `words` are what its commands need after the run folder."""
        return Outcome(self.to_json(), self.shown(words), self.exit_code)

    def to_json(self) -> dict[str, Any]:
        """JSON values: what ran, returns per seed, time, and where the files are."""
        curve = self.run_dir / CURVE_FILE
        return {
            "env": self.config["env"],
            "strategy": self.config["strategy"],
            "seeds": [seed for _, seed in self.lanes],
            **({"tasks": [task for task, _ in self.lanes]} if self._several_tasks else {}),
            "untrained": [_mean_std(self.untrained.get(lane)) for lane in self.lanes],
            **self.result,
            "timesteps_per_second": self.timesteps_per_second,
            "run_dir": str(self.run_dir),
            "policy": str(self.policy),
            **({"backbone": str(self._pretrained)} if self._backbone else {}),
            "curve": str(curve) if curve.exists() else None,
        }

    def shown(self, words: Sequence[str]) -> list[RenderableType]:
        """A table of returns, where the time went, the files, and the commands that may come next."""
        wall_time = float(self.result["wall_time"])
        curve, picture = self.run_dir / CURVE_FILE, self.run_dir / COVERAGE_FILE
        run = shlex.join([str(self.run_dir), *words])
        if self.finished and self._without_reward:
            seeds = [seed for _, seed in self.lanes]
            one = self.run_dir if len(seeds) == 1 else self.policy / f"seed-{seeds[0]}"  # a prior is one policy
            prior = shlex.quote(str(one))
            following = [f"apb adapt TASK --strategy behavior_transfer --prior {prior}", f"apb render {run}"]
        elif self.finished and self._backbone is not None:
            shown = shlex.quote(str(self._pretrained))
            following = [f"apb backbones show {shown}", adaptation(self._backbone, shown)]
        elif self.finished:
            following = [f"apb render {run}", f"apb eval {run} --n-eval-episodes 100"]
        else:
            following = [f"apb resume {run}", f"apb eval {run}"]
        title = "return per episode, mean ± standard deviation" if self.latest else "not evaluated (eval_freq 0)"
        if self._without_reward and self.latest:
            title += ", of the env's own reward, which nothing has learned from"
        coverage = coverage_table(self.result["coverage"], lane_names(*zip(*self.lanes, strict=True)))
        if coverage:  # of the same episodes, and with their returns
            title = "what the policy visits without having learned from any reward"
        return [
            f"{self.config['env']}, {self.config['in_words']}: {title}",
            *([self._table()] if self.latest and not coverage else []),
            *self._zero_shot(),
            *self._prediction(),
            *coverage,
            f"{self.steps}: {wall_time:,.1f} s, {self.timesteps_per_second:,.0f} steps/s; time went to"
            f" {self._profile()}",
            *told(self.result["systems"]),
            *([] if self.finished else [f"stopped by {self.result['stopped_by']} before its end"]),
            f"policy: {self.policy}",
            *([f"backbone: {self._pretrained}"] if self._without_reward and self._backbone else []),
            *([f"learning curve: {curve}"] if curve.exists() else []),
            *([f"picture of the coverage: {picture}"] if self.result["coverage"] and picture.exists() else []),
            "next:",
            *(f"  {command}" for command in following),
        ]

    def _prediction(self) -> list[str]:
        """From how many transitions layers were predicted, and how long that took, if they were."""
        found = self.result.get("predicted_start")
        if not (found and any(found["transitions"])):
            return []
        low, high = min(found["transitions"]), max(found["transitions"])
        count = counted(high, "transition") if low == high else f"{low:,} to {high:,} transitions"
        count += "" if len(self.lanes) == 1 else f" per {kind_of_lane([task for task, _ in self.lanes])}"
        gradient = ", no gradient" if self.config["in_words"].startswith(FLAP) else ""  # a prior's name may follow
        return [f"layers predicted from {count} in {1_000 * found['seconds']:.2g} ms{gradient}"]

    def _zero_shot(self) -> list[RenderableType]:
        """Returns of a meta-training on the lists of its split."""
        found = self.result["zero_shot"]
        if not found:
            return []
        table = Table()
        for column in ("tasks", "number", "mean return", "adapters"):
            table.add_column(column, justify="left" if column in ("tasks", "adapters") else "right")
        whose = {
            "own": "each task's own",
            "nearest": "the nearest train task's, nothing learned",
            "predicted": "predicted from one rollout",
        }
        for name, each in found.items():
            row = (name, str(len(each["returns"])), f"{each['mean']:,.1f}", whose.get(each["adapters"], ""))
            table.add_row(*row)
        return [table]

    @property
    def _several_tasks(self) -> bool:
        return self.lanes[0][0] is not None

    def _table(self) -> Table:
        table = Table()
        columns = {"task": [str(task) for task, _ in self.lanes]} if self._several_tasks else {}
        if not self._several_tasks or len(set(columns["task"])) < len(self.lanes):
            columns["seed"] = [str(seed) for _, seed in self.lanes]
        columns["before learning"] = [_text(self.untrained.get(lane)) for lane in self.lanes]
        if self.result["final"]:
            episodes = len(self.result["final"][0]["returns"])
            columns[f"final, {counted(episodes, 'new episode')}"] = [_text(final) for final in self.result["final"]]
        else:
            steps = max(record["timesteps"] for record in self.latest.values())
            columns[f"after {steps:,} steps"] = [_text(self.latest.get(lane)) for lane in self.lanes]
        for name in columns:
            table.add_column(name, justify="right")
        for row in zip(*columns.values(), strict=True):
            table.add_row(*row)
        return table

    def _profile(self) -> str:
        profile = {name: float(seconds) for name, seconds in self.result["profile"].items()}
        total = max(sum(profile.values()), 1e-9)
        ordered = sorted(profile.items(), key=lambda item: -item[1])
        return ", ".join(
            f"{name} {100 * seconds / total:.0f} %" for name, seconds in ordered if seconds > 0.005 * total
        )


def _lane_of(record: Mapping[str, Any]) -> Lane:
    """Whose record it is."""
    task = record.get("task")
    return None if task is None else str(task), record["seed"]


def _mean_std(record: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Mean and standard deviation of an evaluation record or of a final evaluation."""
    if record is None:
        return None
    prefix, suffix = ("eval/", "_reward") if "eval/mean_reward" in record else ("", "")
    return {name: float(record[f"{prefix}{name}{suffix}"]) for name in ("mean", "std")}


def _text(record: Mapping[str, Any] | None) -> str:
    values = _mean_std(record)
    return "-" if values is None else f"{values['mean']:,.1f} ± {values['std']:,.1f}"


def saved_backbone(folder: Path) -> Backbone | None:
    """The backbone in the folder, if there is a whole one."""
    if not folder.exists():
        return None
    try:
        return Backbone.from_pretrained(folder)
    except ApbError:
        return None
