"""Makes the page, table and figure of a study from its raw files: `python -m benchmarks.science.report STUDY`."""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from apb.statistics import bootstrap_interval, interquartile_mean
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.science.run import RESULTS, read_raw
from benchmarks.science.studies import EVAL_EPISODES, METHODS, STUDIES, Study

COLORS = ("#0072b2", "#009e73", "#d55e00", "#000000", "#8c8c8c", "#cc79a7")


@dataclass(frozen=True)
class Curves:
    """The evaluations of one method on one env: timesteps (T,), mean returns (K, T), a row per seed, and K headers."""

    timesteps: NDArray[np.int64]
    returns: NDArray[np.float64]
    headers: list[dict[str, Any]]

    def summary(self, timestep: int) -> str:
        """ "IQM [low, high]" over seeds at a timestep; "-" beyond the budget."""
        if timestep > self.timesteps[-1]:
            return "-"
        return interval_text(self.returns[:, int(np.searchsorted(self.timesteps, timestep))])

    @property
    def area(self) -> NDArray[np.float64]:
        """Mean return over the whole budget, one number per seed (K,): the area under the curve per timestep."""
        area: NDArray[np.float64] = np.trapezoid(self.returns, self.timesteps, axis=1) / self.timesteps[-1]
        return area


def interval_text(scores: NDArray[np.float64]) -> str:
    """Interquartile mean and 95 % bootstrap interval of scores (K,); no interval of fewer than three."""
    if len(scores) < 3:
        return f"{float(interquartile_mean(scores)):,.0f}"
    low, high = bootstrap_interval(scores)
    return f"{float(interquartile_mean(scores)):,.0f} [{float(low):,.0f}, {float(high):,.0f}]"


def read_curves(study_name: str) -> dict[tuple[str, str], Curves]:
    """The finished runs of a study by (env, method)."""
    found: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    for cell in STUDIES[study_name].cells():
        records = read_raw(cell)
        if records:
            found.setdefault((cell.env, cell.method), []).append(records)
    curves = {}
    for key, runs in found.items():
        timesteps = np.array([record["timesteps"] for record in runs[0][1:]], dtype=np.int64)
        returns = np.array([[record["eval/mean_reward"] for record in run[1:]] for run in runs])
        curves[key] = Curves(timesteps, returns, [run[0] for run in runs])
    return curves


def table(study: Study, curves: dict[tuple[str, str], Curves]) -> list[str]:
    """Markdown: one row per env and method."""
    columns = [f"{timestep:,}" for timestep in study.report_at]
    head = ["env", "method", "seeds", "learned", *columns, "mean over the budget", "steps/s"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for env in study.budgets:
        for method in study.methods:
            if (env, method) not in curves:
                lines.append(f"| {env} | {METHODS[method].label} | 0 | not run |" + " |" * (len(head) - 4))
                continue
            curve = curves[env, method]
            header = curve.headers[0]
            rate = np.median([h["total_timesteps"] / h["wall_time"] for h in curve.headers])
            learned = "all" if METHODS[method].peer != "apb" else f"{header['trained_parameters']:,}"
            if METHODS[method].options.get("trainable_backbone"):
                learned = "all"
            cells = [curve.summary(timestep) for timestep in study.report_at]
            row = [
                env,
                METHODS[method].label,
                str(len(curve.headers)),
                learned,
                *cells,
                interval_text(curve.area),
                f"{rate:.0f}",
            ]
            lines.append("| " + " | ".join(row) + " |")
    return lines


def figure(study: Study, curves: dict[tuple[str, str], Curves], path: Path) -> None:
    """Learning curves: one panel per env, interquartile mean with its interval, seeds thin."""
    envs = [env for env in study.budgets if any(key[0] == env for key in curves)]
    picture = Figure(figsize=(max(8.0, 5.2 * len(envs)), 5.0), layout="constrained")
    axes = picture.subplots(1, len(envs), squeeze=False)[0]
    for panel, env in zip(axes, envs, strict=True):
        for method, color in zip(study.methods, COLORS, strict=False):
            if (env, method) not in curves:
                continue
            curve = curves[env, method]
            x = curve.timesteps / 1_000
            panel.plot(
                x,
                interquartile_mean(curve.returns),
                color=color,
                label=f"{METHODS[method].label} ({len(curve.headers)})",
            )
            if len(curve.returns) >= 3:
                low, high = bootstrap_interval(curve.returns)
                panel.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
            panel.plot(x, curve.returns.T, color=color, alpha=0.25, linewidth=0.6)
        panel.set_title(env)
        panel.set_xlabel("environment steps (thousands)")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel(f"return of the noise-free policy\n(mean of {EVAL_EPISODES} episodes)")
    handles, labels = axes[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    picture.suptitle(f"{study.title}\ninterquartile mean over seeds (how many) and 95 % interval")
    picture.savefig(path, dpi=120)


def machine(curves: dict[tuple[str, str], Curves]) -> list[str]:
    """One line per distinct machine and set of versions that the raw files name."""
    facts = {
        json.dumps({key: value for key, value in header["system"].items() if key != "git_commit"}, sort_keys=True)
        for curve in curves.values()
        for header in curve.headers
    }
    return [f"    {fact}" for fact in sorted(facts)]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science.report", description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    name = parser.parse_args().study
    study = STUDIES[name]
    curves = read_curves(name)
    if not curves:
        parser.error(
            f"there are no raw files of it under {RESULTS / 'raw'}; run `python -m benchmarks.science.run {name}` first"
        )
    (RESULTS / name).mkdir(parents=True, exist_ok=True)
    figure(study, curves, RESULTS / name / "curves.png")
    cells = list(study.cells())
    absent = sum(not read_raw(cell) for cell in cells)
    missing = [f"**Not finished: {absent} of {len(cells)} runs are still to be made.**"] if absent else []
    page = [
        f"# {study.title}",
        "",
        f"Made by `python -m benchmarks.science.run {name}` and `python -m benchmarks.science.report {name}`",
        "from the raw evaluations in [raw](../raw). Every method has the same budget and evaluation:",
        f"{EVAL_EPISODES} episodes of the noise-free policy in separate envs, from the same starts.",
        "Numbers are the interquartile mean over seeds and its 95 % bootstrap interval (fewer than three: the mean).",
        *missing,
        "",
        "![learning curves](curves.png)",
        "",
        *table(study, curves),
        "",
        "Machines and versions:",
        "",
        *machine(curves),
        "",
    ]
    (RESULTS / name / "README.md").write_text("\n".join(page))
    print("\n".join(table(study, curves)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
