"""Makes the scales of scores, their page and figure from the raw files: `python -m benchmarks.science.scales`.

Run `python -m benchmarks.science.run task-scales` first; what is not finished is left out and named.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import apb
import numpy as np
from apb import rng, tasks
from apb.statistics import interquartile_mean
from apb.tasks.scales import FILE, SCALED_SPLITS, SCALED_TASKS
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.science.report import COLORS, Curves, machine, read_curves
from benchmarks.science.run import RESULTS
from benchmarks.science.studies import STUDIES

STUDY = "task-scales"
METHOD = "td3-scale"
EPISODES = 100
Policy = Callable[[NDArray[Any]], NDArray[np.float64]]


def zero_policy(size: int) -> Policy:
    """No action at all."""
    return lambda observations: np.zeros((len(observations), size))


def random_policy(size: int) -> Policy:
    """Uniform actions."""
    draws = rng.generator(0, rng.Stream.WARMUP_ACTION)
    return lambda observations: draws.uniform(-1, 1, (len(observations), size))


def controls(name: str) -> dict[str, float]:
    """Mean returns of the two policies that learn nothing."""
    task = tasks.get(name)
    size = task.made_family.action_size
    policies = {"zero": zero_policy(size), "random": random_policy(size)}
    return {key: apb.evaluate(policy, task, EPISODES, seed=0).mean for key, policy in policies.items()}


def learned(curve: Curves) -> dict[str, float | int]:
    """What TD3 came to, at which budget, with how many seeds."""
    td3 = float(np.mean([np.mean(header["final_returns"]) for header in curve.headers]))
    return {"td3": td3, "timesteps": int(curve.headers[0]["total_timesteps"]), "seeds": len(curve.headers)}


def figure(curves: dict[str, Curves], scales: dict[str, dict[str, float | int]]) -> Figure:
    """Learning curves: a panel per family, a colour per list; dashed what no action at all earns."""
    columns = 4
    lines = -(-len(SCALED_SPLITS) // columns)
    picture = Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    axes = picture.subplots(lines, columns, squeeze=False).ravel()
    for panel in axes[len(SCALED_SPLITS) :]:
        panel.set_visible(False)
    for panel, (family, name) in zip(axes, SCALED_SPLITS.items(), strict=False):
        split = f"{family}/{name}"
        for color, name in zip(COLORS, (name for name in SCALED_TASKS if name.startswith(f"{split}/")), strict=False):
            if name not in curves:
                continue
            curve, part = curves[name], name.split("/")[2].partition(":")[0]
            x = curve.timesteps / 1_000
            values = ", ".join(f"{key} {_short(value)}" for key, value in tasks.get(name).values.items())
            panel.plot(x, interquartile_mean(curve.returns), color=color, label=f"{part}: {values}")
            panel.axhline(scales[name]["zero"], color=color, linestyle="--", linewidth=0.8)
        panel.set_title(split, fontsize="medium")
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7, frameon=False)
    picture.supxlabel("environment steps (thousands)")
    picture.supylabel("return of the noise-free policy (mean of 10 episodes of 200 steps)")
    picture.suptitle("plain TD3 on one train, test and OOD task of every family; dashed: no action at all")
    return picture


def _short(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:.3g}"
    flat = np.ravel(value)
    return f"({', '.join(f'{each:.3g}' for each in flat)})" if flat.size <= 8 else f"{flat.size} numbers"


def table(scales: dict[str, dict[str, float | int]]) -> list[str]:
    """Markdown: one row per task."""
    rows = [["task", "no action", "random actions", "plain TD3", "timesteps", "seeds"], ["---"] * 6]
    for name, values in scales.items():
        numbers = [f"{values[key]:,.1f}" if key in values else "not run" for key in ("zero", "random", "td3")]
        rows.append([name, *numbers, f"{values.get('timesteps', 0):,}", str(values.get("seeds", 0))])
    return ["| " + " | ".join(row) + " |" for row in rows]


def main() -> int:
    """Write data, page and figure."""
    by_cell = read_curves(STUDY)
    names = list(SCALED_TASKS)
    curves = {name: by_cell[name, METHOD] for name in names if (name, METHOD) in by_cell}
    if not curves:
        print(f"there are no raw files; run `python -m benchmarks.science.run {STUDY}` first", file=sys.stderr)
        return 1
    scales = {name: controls(name) | (learned(curves[name]) if name in curves else {}) for name in names}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({name: scales[name] for name in curves}, indent=1) + "\n")
    folder = RESULTS / STUDY
    folder.mkdir(parents=True, exist_ok=True)
    figure(curves, scales).savefig(folder / "curves.png", dpi=90)
    absent = [name for name in names if name not in curves]
    page = [
        f"# {STUDIES[STUDY].title}",
        "",
        f"Made by `python -m benchmarks.science.run {STUDY}` and `python -m benchmarks.science.scales` from the raw",
        "evaluations in [raw](../raw). It is the scale by which scores are normalised, (R - zero) / (TD3 - zero):",
        "`apb.tasks.scale_of(task).score(mean_return)`. *No action* and *random actions*: mean of 100 episodes.",
        "*Plain TD3* (reading A trained in full, learning rate 1e-3, batch 100, 2,500 random steps, else the",
        "package's defaults): mean of ten new episodes of the final policy. One seed each, so a small difference from",
        "it says nothing. Tasks in permuted states have the scale of their originals, of which they are the same",
        "problem.",
        *([f"**Not finished: TD3 in {len(absent)} of {len(names)} tasks.**"] if absent else []),
        "",
        "![learning curves](curves.png)",
        "",
        "Episodes of some of the policies, drawn by `python -m benchmarks.science.film_strips --runs RUNS`:",
        "",
        "![eight pictures of an episode, a row for each task](film-strips.png)",
        "",
        *table(scales),
        "",
        "Machines and versions:",
        "",
        *machine({(name, METHOD): curve for name, curve in curves.items()}),
        "",
    ]
    (folder / "README.md").write_text("\n".join(page))
    print("\n".join(table(scales)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
