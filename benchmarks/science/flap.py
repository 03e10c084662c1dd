"""FLAP against APB: `python -m benchmarks.science.flap run SPLIT --flap FOLDER --apb BACKBONE`, then the same with
`speed` for `run`, and `python -m benchmarks.science.flap report`.

A cell is a method, a list of the split and a seed: five tasks side by side, each as it would be alone, on one thread.
Cells run several at a time; a finished one is kept in docs/results/flap/raw, and one that was interrupted is resumed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apb
import numpy as np
from apb.runs import list_steps
from apb.runs.folder import RunFolder
from apb.system_info import system_info
from apb.tasks import Task

from benchmarks.science.cell import commit, package_hash
from benchmarks.science.run import RESULTS, run_modules

FOLDER = RESULTS / "flap"
EPISODE = 200
BUDGETS = (0, EPISODE, 5 * EPISODE, 50 * EPISODE)
"""Transitions that a method may take of a task: nothing, and 1, 5 and 50 episodes."""
EVAL_EPISODES = 5
TASKS = 5
LISTS = ("test", "ood")
SEEDS = (0, 1, 2)
FAST: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 100}
"""As in the other studies of meta-trained backbones."""
GENTLE: dict[str, Any] = FAST | {"learning_rate": 1e-4, "critic_learning_rate": 1e-3, "policy_starts": 2_500}
"""Where learning begins with layers that can act. Chosen from eight settings on tasks 4, 11, 18 and 26 of the test list
of cheetah-vel/mier-hard, which the study does not run: those of the others undo what such layers could do."""


@dataclass(frozen=True)
class Method:
    """A way to a new task.

    Attributes:
        label: What tables and figures call it.
        backbone: "flap" or "apb", the folders of the command line, or "random".
        options: Of `apb.adapt`.
        budgets: That it is run for: each alone, where nothing but the budget tells what is done at its end.
    """

    label: str
    backbone: str
    options: dict[str, Any] = field(default_factory=dict)
    budgets: tuple[int, ...] = BUDGETS[-1:]


METHODS = {
    "flap": Method("FLAP, no gradient", "flap", {"method": "flap"}, BUDGETS[1:]),
    "flap-nearest": Method(
        "the same backbone with the nearest train task's head, nothing learned",
        "flap",
        {"adapter_init": "nearest", "gradient_steps": 0},
        (1,),
    ),
    "flap-td3": Method(
        "FLAP's head from 1 episode, then TD3",
        "flap",
        GENTLE | {"adapter_init": "predicted", "learning_starts": EPISODE},
    ),
    "nearest": Method(
        "APB, meta-trained backbone, from the nearest task's adapter",
        "apb",
        GENTLE | {"adapter_init": "nearest", "learning_starts": 0},
    ),
    "scratch": Method("APB, meta-trained backbone, drawn anew", "apb", FAST | {"learning_starts": EPISODE}),
    "random": Method("APB, random backbone", "random", FAST | {"learning_starts": EPISODE}),
}
GRADIENT = ("nearest", "scratch", "random")
"""What FLAP is compared with."""


@dataclass(frozen=True)
class Cell:
    """One process's work."""

    split: str
    part: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Of its raw file and run folder."""
        return "-".join([self.split.replace("/", "-"), self.part, self.method, str(self.seed)])

    @property
    def file(self) -> Path:
        """Where its result is committed."""
        return FOLDER / "raw" / f"{self.name}.json"

    @property
    def tasks(self) -> list[Task]:
        """Evenly spread over the list."""
        tasks = getattr(apb.tasks.get(self.split), self.part)
        return [tasks[int(number)] for number in np.linspace(0, len(tasks) - 1, min(TASKS, len(tasks))).round()]


def cells(split: str, seeds: Iterable[int]) -> list[Cell]:
    """All of a split, the longest first."""
    order = ("flap-td3", *GRADIENT, "flap", "flap-nearest")
    return [Cell(split, part, method, seed) for method in order for seed in seeds for part in LISTS]


def run_cell(cell: Cell, models: dict[str, str], runs: Path, scale: float) -> None:
    """Run or resume a cell, and write its raw file."""
    method = METHODS[cell.method]
    returns: dict[str, dict[int, list[float]]] = {str(task): {} for task in cell.tasks}
    told: list[Any] = []
    for full in method.budgets:
        budget = max(1, round(full * scale))
        folder = runs / f"{cell.name}-{budget}"
        if folder.exists() and list_steps(RunFolder(folder)):
            result = apb.resume(folder)
        else:
            if folder.exists():
                folder.rename(folder.with_name(f"{folder.name}.without-checkpoint-{time.time_ns()}"))
            often = budget if method.budgets != BUDGETS[-1:] else min(EPISODE, budget)
            options = {"eval_freq": often, "n_eval_episodes": EVAL_EPISODES, "num_threads": 1}
            options |= {"checkpoint_freq": 2_500, "seed": cell.seed, "total_timesteps": budget, "run_dir": folder}
            result = apb.adapt(cell.tasks, models.get(method.backbone, "random"), **options, **method.options)
        if result.stopped_by != "budget":
            raise SystemExit(f"{cell.name} was stopped by {result.stopped_by}; start the same command again to go on")
        for record in result.evaluations:
            returns[record["task"]][record["timesteps"]] = record["eval/mean_reward"]
        told.append({"budget": budget, "wall_time": result.wall_time, "profile": dict(result.profile), **result.beside})
    header = {"split": cell.split, "list": cell.part, "method": cell.method, "seed": cell.seed, "scale": scale}
    backbone = result.policy.backbone
    header |= {"commit": commit(), "package": package_hash(), "system": system_info(), "backbone_hash": backbone.hash}
    cell.file.parent.mkdir(parents=True, exist_ok=True)
    temporary = cell.file.with_suffix(".tmp")
    temporary.write_text(json.dumps(header | {"returns": returns, "runs": told}) + "\n")
    temporary.replace(cell.file)


def run_cells(split: str, models: list[str], workers: int, runs: Path, seeds: Iterable[int], scale: float) -> int:
    """Run what is missing; returns the number of cells that failed."""
    missing = [cell for cell in cells(split, seeds) if not cell.file.exists()]
    common = ["--runs", str(runs), "--scale", str(scale), *models]
    words = ["benchmarks.science.flap", "cell", split]
    return run_modules({c.name: [*words, c.part, c.method, str(c.seed), *common] for c in missing}, workers)


class UntilReached(apb.Callback):
    """Stops a run at the first evaluation that is as good as another, and notes the time without evaluations."""

    def __init__(self, wanted: float) -> None:
        self.wanted, self.steps = wanted, None

    def on_evaluation(self, state: Any, results: Any) -> bool:
        """See `Callback`."""
        if results[0].mean >= self.wanted:
            self.steps = state.timesteps
        return self.steps is None


def speed(split: str, models: dict[str, str], scale: float) -> None:
    """On test tasks, one after the other on one thread: seconds of FLAP's adaptation, and seconds until the first
    evaluation of gradient adaptation, one each episode, that is as good; evaluations are not counted."""
    found = []
    common: dict[str, Any] = {"n_eval_episodes": EVAL_EPISODES, "num_threads": 1, "seed": 0, "eval_freq": EPISODE}
    for task in Cell(split, "test", "flap", 0).tasks:
        flap = apb.adapt(task, models["flap"], method="flap", **common)
        wanted = flap.evaluations[-1]["eval/mean_reward"]
        row: dict[str, Any] = {"task": str(task), "return": wanted, "flap": _seconds(flap)}
        row |= {"prediction": flap.beside["predicted_start"]["seconds"]}
        for name in GRADIENT:
            method, reached = METHODS[name], UntilReached(wanted)
            budget = max(EPISODE, round(BUDGETS[-1] * scale))
            options = method.options | common | {"total_timesteps": budget, "callback": reached}
            result = apb.adapt(task, models.get(method.backbone, "random"), **options)
            best = max(record["eval/mean_reward"] for record in result.evaluations)
            row[name] = {"steps": reached.steps, "seconds": _seconds(result), "best": best}
        found.append(row)
        print(json.dumps(row), flush=True)
    told = {"split": split, "scale": scale, "commit": commit(), "package": package_hash(), "system": system_info()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"speed-{split.replace('/', '-')}.json").write_text(json.dumps(told | {"tasks": found}, indent=1) + "\n")


def _seconds(result: apb.AdaptResult) -> float:
    return result.wall_time - result.profile["evaluation"]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.science.flap", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("run", "cell", "speed"):
        verb = verbs.add_parser(name)
        verb.add_argument("split")
        if name == "cell":
            verb.add_argument("part", choices=LISTS)
            verb.add_argument("method", choices=METHODS)
            verb.add_argument("seed", type=int)
        verb.add_argument("--flap", required=True, help="folder of the backbone that FLAP adapts")
        verb.add_argument("--apb", required=True, help="name or folder of the backbone that APB adapts")
        verb.add_argument(
            "--runs", type=Path, default=Path("runs/flap-study"), help="for run folders; keep it to resume"
        )
        verb.add_argument("--scale", type=float, default=1.0, help="part of the budgets, to try the script")
        if name == "run":
            verb.add_argument("--workers", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
            verb.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    verbs.add_parser("report")
    options = parser.parse_args()
    if options.verb == "report":
        from benchmarks.science.flap_report import report

        return report()
    models = {"flap": options.flap, "apb": options.apb}
    if options.verb == "run":
        words = ["--flap", options.flap, "--apb", options.apb]
        return run_cells(options.split, words, options.workers, options.runs, options.seeds, options.scale)
    if options.verb == "speed":
        speed(options.split, models, options.scale)
    else:
        cell = Cell(options.split, options.part, options.method, options.seed)
        run_cell(cell, models, options.runs, options.scale)
    return 0


if __name__ == "__main__":
    sys.exit(main())
