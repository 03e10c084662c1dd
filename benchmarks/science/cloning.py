"""What linear layers around a frozen backbone can express: `python -m benchmarks.science.cloning --demonstrators RUNS`.

Plain TD3 has learned OOD tasks of cheetah-vel, in run folders in RUNS. Adapters around the meta-trained backbone and
around random ones are cloned from 1 to 50 of its episodes, by both methods, and compared on other episodes, and by
their return. One JSON file per demonstrator is written; those that exist are kept.
"""

import argparse
import json
import shlex
import sys
import textwrap
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import apb
import numpy as np
import torch
from apb.pictures import new_figure, save_figure
from apb.statistics import bootstrap_interval, interquartile_mean
from apb.system_info import system_info
from numpy.typing import NDArray

from benchmarks.science.commands import command_of
from benchmarks.science.run import RESULTS
from benchmarks.science.studies import STUDIES, Cell

EXPERT = "td3-scale"
COUNTS = (1, 2, 5, 10, 20, 50)
TEST_EPISODES, EVAL_EPISODES = 10, 20
TEST_SEED = 1_000_000
"""Of the demonstrator's episodes that errors are measured on, none of those that are cloned."""
BACKBONES = {"cheetah-vel": "meta-trained", "random": "random"}
METHODS = ("gradient", "ridge")
PAGE = RESULTS / "cloning"
RAW = RESULTS / "raw"
Found = dict[tuple[str, str], NDArray[np.float64]]
"""Backbone and method -> (demonstrators, counts)."""


def demonstrators() -> Iterator[Cell]:
    """The runs of plain TD3 whose policies are cloned."""
    yield from (cell for cell in STUDIES["meta-cheetah-vel"].cells() if cell.method == EXPERT)


def raw_file(cell: Cell) -> Path:
    """Where what was measured with a demonstrator is committed."""
    return RAW / f"cloning-{cell.name}.json"


def measure(cell: Cell, runs: Path) -> None:
    """Clone one demonstrator in all ways, and write what came of it."""
    torch.set_num_threads(1)
    expert = apb.Policy.from_pretrained(runs / cell.name / "best")
    task = apb.tasks.get(cell.env)
    shown = apb.Demonstrations.collect(expert, task, max(COUNTS), seed=cell.seed)
    test = apb.Demonstrations.collect(expert, task, TEST_EPISODES, seed=TEST_SEED + cell.seed)
    own = apb.evaluate(expert, task, EVAL_EPISODES, seed=cell.seed)
    clones = []
    for count in COUNTS:
        part = shown.episodes(np.arange(count))
        for backbone in BACKBONES:
            for method in METHODS:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", apb.ApbWarning)  # that one episode is not whole episodes held out
                    result = apb.clone(
                        part, backbone, method=method, seed=cell.seed, n_eval_episodes=EVAL_EPISODES, num_threads=1
                    )
                error = np.square(result.policy(test.observations) - test.actions).mean()
                about = {"episodes": count, "backbone": backbone, "method": method, "test_error": float(error)}
                measured = {key: getattr(result, key) for key in ("held_out_error", "train_error", "wall_time")}
                ended = {"steps": int(result.steps[-1]), "returns": result.evaluation.returns.tolist()}
                clones.append(about | measured | ended)
                print(cell.name, count, backbone, method, f"{error:.4f} {result.evaluation}", flush=True)
    record = {"env": cell.env, "seed": cell.seed, "demonstrator": own.to_json(), "system": system_info()}
    raw_file(cell).parent.mkdir(parents=True, exist_ok=True)
    raw_file(cell).write_text(json.dumps(record | {"clones": clones}) + "\n")


def read() -> list[dict[str, Any]]:
    """What was measured with each demonstrator."""
    files = [raw_file(cell) for cell in demonstrators()]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def tables(records: list[dict[str, Any]]) -> tuple[Found, Found]:
    """Errors on the test episodes, and returns less the demonstrator's."""
    errors, gaps = {}, {}
    for key in [(backbone, method) for backbone in BACKBONES for method in METHODS]:
        chosen = [
            [each for each in record["clones"] if (each["backbone"], each["method"]) == key] for record in records
        ]
        errors[key] = np.array([[each["test_error"] for each in row] for row in chosen])
        own = np.array([record["demonstrator"]["mean"] for record in records])
        gaps[key] = np.array([[np.mean(each["returns"]) for each in row] for row in chosen]) - own[:, None]
    return errors, gaps


def name(key: tuple[str, str]) -> str:
    """What tables and figures call a way to clone."""
    return f"{BACKBONES[key[0]]} backbone, {key[1]}"


def cells_of(values: NDArray[np.float64], digits: int) -> list[str]:
    """Interquartile mean over demonstrators, and its interval, for each count."""
    low, high = bootstrap_interval(values)
    middle = interquartile_mean(values)
    return [f"{m:,.{digits}f} [{a:,.{digits}f}, {b:,.{digits}f}]" for m, a, b in zip(middle, low, high, strict=True)]


def draw(errors: Found, gaps: Found) -> None:
    """Error and return against the number of demonstrations."""
    figure = new_figure(11, 4.5)
    for panel, (found, label) in enumerate(
        ((errors, "mean squared error of actions"), (gaps, "return less the demonstrator's"))
    ):
        axes = figure.add_subplot(1, 2, panel + 1)
        for number, (key, values) in enumerate(found.items()):
            low, high = bootstrap_interval(values)
            style = "-" if key[1] == "gradient" else "--"
            axes.plot(COUNTS, interquartile_mean(values), style, color=f"C{number // 2}", marker="o", label=name(key))
            axes.fill_between(COUNTS, low, high, color=f"C{number // 2}", alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axes.set_xlabel("demonstrated episodes of 200 steps")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        if panel == 0:
            axes.set_yscale("log")
            axes.legend(fontsize=8)
        else:
            axes.axhline(0, color="black", linewidth=0.8)
    save_figure(figure, PAGE / "curves.png")


def filled(text: str) -> list[str]:
    """The paragraph in lines of 120 columns."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False).splitlines()


def write_page(records: list[dict[str, Any]]) -> None:
    """Write the page and its figure."""
    errors, gaps = tables(records)
    PAGE.mkdir(parents=True, exist_ok=True)
    draw(errors, gaps)
    head = ["| " + " | ".join(["clone", *map(str, COUNTS)]) + " |", "| --- |" + " --- |" * len(COUNTS)]
    pairs = {
        "meta-trained against random backbone, gradient": (("cheetah-vel", "gradient"), ("random", "gradient")),
        "meta-trained against random backbone, ridge": (("cheetah-vel", "ridge"), ("random", "ridge")),
        "gradient against ridge, random backbone": (("random", "gradient"), ("random", "ridge")),
        "gradient against ridge, meta-trained backbone": (("cheetah-vel", "gradient"), ("cheetah-vel", "ridge")),
    }
    page = [
        "# Cloning: what two linear layers around a frozen backbone can express",
        "",
        *filled(
            "Made by `python -m benchmarks.science.cloning --demonstrators RUNS`. Demonstrators are the best policies "
            f"of {len(records)} runs of plain TD3 on OOD tasks of `cheetah-vel/mier-hard`. A random backbone is drawn "
            f"from the seed of the run, so that there are {len({r['seed'] for r in records})} of them, and one "
            "meta-trained backbone. From a clean clone of the repository, these commands make them, and "
            "what is above then measures:"
        ),
        "",
        "```sh",
        *(
            f"{shlex.join(command_of(cell))} --run-dir RUNS/{cell.name}"
            for cell in demonstrators()
            if raw_file(cell).exists()
        ),
        "```",
        "",
        *filled(
            "Each clone has all defaults of `apb clone`, but for the method and the number of episodes that evaluate "
            f"it. Errors are mean squared ones of the actions, in [-1, 1], on {TEST_EPISODES} other episodes of the "
            f"demonstrator; returns are of {EVAL_EPISODES} episodes, from the same starts for clone and demonstrator. "
            "Numbers are interquartile means over demonstrators, with [the nominal 95 % bootstrap interval], which "
            "with as few as five covers about 75 to 90 %. Of a single episode the last tenth is held out. The clip of "
            "targets at 0.97 and the number of Gauss-Newton steps of the closed form were chosen on three policies of "
            "these tasks."
        ),
        "",
        "![error and return against the number of demonstrations](curves.png)",
        "",
        "Error of the actions, by the number of demonstrated episodes:",
        "",
        *head,
        *(f"| {name(key)} | {' | '.join(cells_of(values, 3))} |" for key, values in errors.items()),
        "",
        "Return less the demonstrator's:",
        "",
        *head,
        *(f"| {name(key)} | {' | '.join(cells_of(values, 0))} |" for key, values in gaps.items()),
        "",
        *filled(
            "Clones of one demonstrator have the same episodes, so they are compared in pairs: the mean over "
            "demonstrators of the error of the first less that of the second, with its bootstrap interval, and on how "
            "many demonstrators the first has the lower error:"
        ),
        "",
        *head,
        *(
            f"| {words} | {' | '.join(paired(errors[one], errors[other], 3))} |"
            for words, (one, other) in pairs.items()
        ),
        "",
        "The same of returns, and on how many the first has the higher return:",
        "",
        *head,
        *(f"| {words} | {' | '.join(paired(gaps[one], gaps[other], 0))} |" for words, (one, other) in pairs.items()),
        "",
        f"Each clone of {COUNTS[-1]} episodes, error and return:",
        "",
        "| " + " | ".join(["demonstrator", "its return", *map(name, errors)]) + " |",
        "| --- |" + " --- |" * (1 + len(errors)),
        *(f"| {' | '.join(row)} |" for row in singles(records, errors, gaps)),
        "",
        "Machines and versions:",
        "",
        *(f"    {system}" for system in sorted({json.dumps(record["system"], sort_keys=True) for record in records})),
        "",
    ]
    text = PAGE / "README.md"
    kept = text.read_text().partition(READING)[2] if text.exists() else ""
    text.write_text("\n".join(page) + (READING + kept if kept else ""))


READING = "\n## What it says\n"
"""What follows this heading was written by hand, and is kept."""


def paired(one: NDArray[np.float64], other: NDArray[np.float64], digits: int) -> list[str]:
    """For each count, of (demonstrators, counts): the mean difference, its interval, and how often the first is better:
    lower of errors, higher of returns."""
    less = one - other
    low, high = bootstrap_interval(less, lambda scores: scores.mean(axis=0))
    better = (less < 0 if digits else less > 0).sum(axis=0)
    rows = zip(less.mean(axis=0), low, high, better, strict=True)
    return [f"{m:+,.{digits}f} [{a:+,.{digits}f}, {b:+,.{digits}f}], {n} of {len(less)}" for m, a, b, n in rows]


def singles(records: list[dict[str, Any]], errors: Found, gaps: Found) -> Iterator[list[str]]:
    """A row for each demonstrator."""
    for number, record in enumerate(records):
        own = record["demonstrator"]["mean"]
        clones = [f"{errors[key][number, -1]:.3f}, {own + gaps[key][number, -1]:,.0f}" for key in errors]
        yield [f"{record['env']}, seed {record['seed']}", f"{own:,.0f}", *clones]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science.cloning", description=__doc__)
    parser.add_argument(
        "--demonstrators", type=Path, help="folder of the run folders; without it only the page is made"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--envs", nargs="*", help="only these tasks")
    options = parser.parse_args()
    runs, envs = options.demonstrators, options.envs
    if runs is not None:
        wanted = [cell for cell in demonstrators() if not envs or cell.env in envs]
        todo = [cell for cell in wanted if (runs / cell.name / "result.json").exists() and not raw_file(cell).exists()]
        with ProcessPoolExecutor(options.workers) as pool:
            list(pool.map(measure, todo, [runs] * len(todo)))
    write_page(read())
    return 0


if __name__ == "__main__":
    sys.exit(main())
