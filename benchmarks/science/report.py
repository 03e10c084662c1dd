"""Makes the page, table and figure of a study from its raw files: `python -m benchmarks.science.report STUDY`."""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from apb.statistics import MIN_SEEDS, interquartile_mean, seed_band
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.science.run import RESULTS, read_raw
from benchmarks.science.studies import EVAL_EPISODES, METHODS, STUDIES, Study

COLORS = ("#0072b2", "#009e73", "#d55e00", "#000000", "#8c8c8c", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Curves:
    """The evaluations of one method on one env: timesteps (T,), mean returns (K, T), a row per seed, and K headers."""

    timesteps: NDArray[np.int64]
    returns: NDArray[np.float64]
    headers: list[dict[str, Any]]

    def summary(self, timestep: int) -> str:
        """`interval_text` of the seeds at a timestep; "-" beyond the budget."""
        if timestep > self.timesteps[-1]:
            return "-"
        return interval_text(self.returns[:, int(np.searchsorted(self.timesteps, timestep))])

    @property
    def area(self) -> NDArray[np.float64]:
        """Mean return over the whole budget, one number per seed (K,): the area under the curve per timestep."""
        area: NDArray[np.float64] = np.trapezoid(self.returns, self.timesteps, axis=1) / self.timesteps[-1]
        return area

    def final(self, budget: int) -> str:
        """The same of the final policies, on episodes that nothing else used; "-" if the runs went on beyond it."""
        scores = [np.mean(h["final_returns"]) for h in self.headers if h["total_timesteps"] == budget]
        return interval_text(np.array(scores)) if len(scores) == len(self.headers) else "-"


def interval_text(scores: NDArray[np.float64]) -> str:
    """Interquartile mean of scores (K,) with its band: an interval in [], or the range of a few seeds in ()."""
    low, high, name = seed_band(scores)
    left, right = "()" if name == "range" else "[]"
    return f"{float(interquartile_mean(scores)):,.0f} {left}{float(low):,.0f}, {float(high):,.0f}{right}"


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
    head = ["env", "method", "seeds", "learned", *columns, "new episodes", "mean over the budget", "steps/s"]
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
                curve.final(study.budgets[env]),
                interval_text(curve.area),
                f"{rate:.0f}",
            ]
            lines.append("| " + " | ".join(row) + " |")
    return lines


def figure(study: Study, curves: dict[tuple[str, str], Curves], path: Path) -> None:
    """Learning curves: one panel per env, interquartile mean with its interval from five seeds on, seeds thin."""
    envs = [env for env in study.budgets if any(key[0] == env for key in curves)]
    picture = Figure(figsize=(max(9.0, 5.2 * len(envs)), 5.5), layout="constrained")
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
                label=METHODS[method].label,
            )
            if len(curve.returns) >= MIN_SEEDS:
                panel.fill_between(x, *seed_band(curve.returns)[:2], color=color, alpha=0.15, linewidth=0)
            panel.plot(x, curve.returns.T, color=color, alpha=0.25, linewidth=0.6)
        counts = sorted({len(curve.headers) for (name, _), curve in curves.items() if name == env})
        panel.set_title(f"{env}, seeds per method: {' to '.join(map(str, [counts[0], *counts[-1:]][: len(counts)]))}")
        panel.set_xlabel("environment steps (thousands)")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel(f"return of the noise-free policy\n(mean of {EVAL_EPISODES} episodes)")
    handles, labels = axes[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    picture.suptitle(
        f"{study.title}\ninterquartile mean over seeds, single seeds thin, 95 % interval from {MIN_SEEDS} seeds on"
    )
    picture.savefig(path, dpi=120)


def machine(curves: dict[tuple[str, str], Curves]) -> list[str]:
    """One line per distinct machine, set of versions and commit that the raw files name, with the runs made so."""
    runs: dict[str, list[str]] = {}
    for (env, method), curve in curves.items():
        for header in curve.headers:
            facts = header["system"] | {"commit": header.get("commit") or header["system"].get("git_commit")}
            facts |= {"stable-baselines3": header["peer_version"]} if "peer_version" in header else {}
            facts.pop("git_commit", None)
            runs.setdefault(json.dumps(facts, sort_keys=True), []).append(f"{env}-{method}-{header['seed']}")
    return [line for facts, names in sorted(runs.items()) for line in (f"    {facts}", f"    {', '.join(names)}", "")]


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
        "Numbers are the interquartile mean over seeds with [its nominal 95 % bootstrap interval] or, of fewer than",
        f"{MIN_SEEDS} seeds, (their range). With five seeds the interval covers about 75 to 90 %. *New episodes*: ten",
        "of the final policy, from starts that no other evaluation used. *Mean over the budget*: the area under the",
        "curve. Random steps count in the budget.",
        *[f"{env}: {text}." for env, text in study.published.items()],
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
