"""Makes the scales of scores, their page and figure: `python -m benchmarks.science.scales [--runs RUNS]`.

RUNS is the folder that `python -m benchmarks.science.run task-scales --runs RUNS` has filled: its policies are
evaluated, and their returns added to those that are committed. What is not finished is left out and named.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apb
import numpy as np
from apb import rng, tasks
from apb.runs import load_checkpoint
from apb.runs.folder import RunFolder
from apb.statistics import interquartile_mean
from apb.system_info import system_info
from apb.tasks.scale import FILE, SCALED_SPLITS, SCALED_TASKS
from apb.tasks.splits import LISTS
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.science.commands import commands
from benchmarks.science.report import COLORS, Curves, machine, read_curves
from benchmarks.science.run import RESULTS
from benchmarks.science.studies import STUDIES, Cell

STUDY = "task-scales"
METHOD = "td3-scale"
EPISODES = 100
LONGEST = 40
"""Characters of a task's values beside which a panel has room for its curves."""
RETURNS = RESULTS / STUDY / "returns.json"
Policy = Callable[[NDArray[Any]], NDArray[np.float64]]
Returns = dict[str, dict[str, list[float]]]
"""Returns of 100 episodes by task and policy."""


def zero_policy(size: int) -> Policy:
    """No action at all."""
    return lambda observations: np.zeros((len(observations), size))


def random_policy(size: int) -> Policy:
    """Uniform actions."""
    draws = rng.generator(0, rng.Stream.WARMUP_ACTION)
    return lambda observations: draws.uniform(-1, 1, (len(observations), size))


def returns_of(policy: Any, task: tasks.Task) -> list[float]:
    """Returns of 100 episodes, whose starts are the same for every policy."""
    return apb.evaluate(policy, task, EPISODES, seed=0).returns.tolist()


def learned_policy(runs: Path, name: str) -> apb.Policy | None:
    """The last policy of a finished run, or None."""
    cell = Cell(name, METHOD, 0, 0)
    folder = runs / STUDY / cell.name
    if not (folder / "result.json").is_file():
        return None
    return apb.Policy.from_pretrained(load_checkpoint(RunFolder.open(folder)).policy)


def measure(returns: Returns, runs: Path | None) -> None:
    """Add what is missing to `returns`: of the policies that learn nothing, and of those in `runs`."""
    for name in SCALED_TASKS:
        task, own = tasks.get(name), returns.setdefault(name, {})
        size = task.made_family.action_size
        for key, policy in (("zero", zero_policy(size)), ("random", random_policy(size))):
            if key not in own:
                own[key] = returns_of(policy, task)
        for key, source in (("td3", name), ("dense td3", name.removeprefix("sparse-"))):
            learned = None if runs is None or (key == "dense td3" and source == name) else learned_policy(runs, source)
            if learned is not None:
                own[key] = returns_of(learned, task)


def scales(returns: Returns, curves: Mapping[str, Curves]) -> dict[str, dict[str, Any]]:
    """What `apb.tasks.scales` has of the tasks that are finished."""
    found = {}
    for name, own in returns.items():
        sparse = name.startswith("sparse-")
        if name not in curves or "td3" not in own or (sparse and "dense td3" not in own):
            continue
        policies = {key: own[key] for key in ("zero", "random", "td3")}
        policies["top"] = own["dense td3"] if sparse else own["td3"]
        headers = curves[name].headers
        budget = {"timesteps": int(headers[0]["total_timesteps"]), "seeds": len(headers)}
        found[name] = {key: _measured(values) for key, values in policies.items()} | budget
    return found


def _measured(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "error": float(np.std(values, ddof=1) / np.sqrt(len(values)))}


def figure(curves: Mapping[str, Curves], returns: Returns) -> Figure:
    """Learning curves: a panel per family, a colour per list; dashed what no action at all earns."""
    columns = 4
    lines = -(-len(SCALED_SPLITS) // columns)
    picture = Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    axes = picture.subplots(lines, columns, squeeze=False).ravel()
    for panel in axes[len(SCALED_SPLITS) :]:
        panel.set_visible(False)
    for panel, (family, split) in zip(axes, SCALED_SPLITS.items(), strict=False):
        names = [name for name in SCALED_TASKS if name.startswith(f"{family}/{split}/")]
        for name in names:
            if name not in curves:
                continue
            curve, part = curves[name], name.split("/")[2].partition(":")[0]
            color = COLORS[LISTS.index(part)]
            values = ", ".join(f"{key} {_short(value)}" for key, value in tasks.get(name).values.items())
            label = f"{part}: {values}" if len(values) <= LONGEST else part
            panel.plot(curve.timesteps / 1_000, interquartile_mean(curve.returns), color=color, label=label)
            panel.axhline(np.mean(returns[name]["zero"]), color=color, linestyle="--", linewidth=0.8)
        panel.set_title(f"{family}/{split}", fontsize="medium")
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7, frameon=False)
    picture.supxlabel("environment steps (thousands)")
    picture.supylabel("return of the noise-free policy (mean of 10 episodes of at most 200 steps)")
    picture.suptitle("plain TD3 on one train, test and OOD task of every family; dashed: no action at all")
    return picture


def _short(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:.3g}"
    flat = np.ravel(value)
    return f"({', '.join(f'{each:.3g}' for each in flat)})" if flat.size <= 8 else f"{flat.size} numbers"


def table(returns: Returns, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown: one row per task."""
    keys = ("zero", "random", "td3", "dense td3")
    rows = [["task", "no action", "random actions", "plain TD3", "TD3 with the dense reward", "timesteps", "seeds"]]
    rows.append(["---"] * len(rows[0]))
    for name, own in returns.items():
        missing = {"dense td3": "not run" if name.startswith("sparse-") else ""}
        cells = [_cell(own[key]) if key in own else missing.get(key, "not run") for key in keys]
        done = found.get(name, {})
        rows.append([name, *cells, f"{done['timesteps']:,}" if done else "", str(done.get("seeds", ""))])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _cell(values: list[float]) -> str:
    measured = _measured(values)
    return f"{measured['mean']:,.1f} ± {measured['error']:,.1f}"


def main() -> int:
    """Write data, page and figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science.scales", description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder of the run folders, to evaluate their policies")
    runs = parser.parse_args().runs
    by_cell = read_curves(STUDY)
    curves = {name: by_cell[name, METHOD] for name in SCALED_TASKS if (name, METHOD) in by_cell}
    known: Returns = json.loads(RETURNS.read_text()) if RETURNS.exists() else {}
    returns: Returns = {name: known.get(name, {}) for name in SCALED_TASKS}
    measure(returns, runs)
    folder = RETURNS.parent
    folder.mkdir(parents=True, exist_ok=True)
    RETURNS.write_text(json.dumps(returns) + "\n")
    found = scales(returns, curves)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({"versions": system_info()["packages"], "scales": found}, indent=1) + "\n")
    figure(curves, returns).savefig(folder / "curves.png", dpi=90)
    absent = len(SCALED_TASKS) - len(found)
    page = [
        f"# {STUDIES[STUDY].title}",
        "",
        f"Made by `python -m benchmarks.science.run {STUDY} --runs RUNS` and",
        "`python -m benchmarks.science.scales --runs RUNS`; learning curves are in [raw](../raw), the returns of the",
        "table in [returns.json](returns.json). It is the scale by which scores are normalised:",
        "`apb.tasks.scale_of(task).score(mean_return)` is (R - zero) / (TD3 - zero). Each number is the mean of 100",
        "episodes ± its standard error, from the same starts for all policies. *Plain TD3*: reading A trained in full,",
        "learning rate 1e-3, batch 100, 2,500 random steps, else the package's defaults. Where the reward is sparse, 1",
        "is what TD3 earns that was given the dense reward of the same task.",
        "",
        "TD3 learned with **one seed**, for a budget that solves few of these tasks. So a score tells the order of",
        "what can be had: compare methods on the same task by it, not tasks with each other. Where TD3 is not clearly",
        "better than no action, there is no score, and `score` says so. Tasks in permuted states have the scale of",
        "their originals, of which they are the same problem.",
        *([f"**Not finished: {absent} of {len(SCALED_TASKS)} tasks.**"] if absent else []),
        "",
        *commands(STUDIES[STUDY]),
        "![learning curves](curves.png)",
        "",
        "Episodes of some of the policies, drawn by `python -m benchmarks.science.film_strips --runs RUNS`:",
        "",
        "![eight pictures of an episode, a row for each task](film-strips.png)",
        "",
        *table(returns, found),
        "",
        "Machines and versions:",
        "",
        *machine({(name, METHOD): curve for name, curve in curves.items()}),
        "",
    ]
    (folder / "README.md").write_text("\n".join(page))
    print("\n".join(table(returns, found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
