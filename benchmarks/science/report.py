"""Makes the page, table and figure of a study from its raw files: `python -m benchmarks.science.report STUDY`."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from apb.statistics import MIN_SEEDS, interquartile_mean, probability_of_improvement, seed_band
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.science.commands import commands
from benchmarks.science.methods import METHODS
from benchmarks.science.run import RESULTS, read_raw
from benchmarks.science.studies import EVAL_EPISODES, STUDIES, Study

COLORS = ("#0072b2", "#009e73", "#d55e00", "#000000", "#8c8c8c", "#cc79a7", "#e69f00", "#56b4e9")
PUBLISHED_NOTE = (
    "*Published*: mean (lowest, highest) of the ten seeds that TD3's authors give in `learning_curves/` of their\n"
    "repository. They took an older env, 10,000 random steps on HalfCheetah, networks of (400, 300), batches of\n"
    "100 and a learning rate of 1e-3, and learned during the random steps too, at the end of each episode; here\n"
    "learning begins after them. Our defaults are those of the authors' current code."
)


@dataclass(frozen=True)
class Curves:
    """The evaluations of one method on one env: timesteps (T,), mean returns (K, T), a row per seed, and K headers."""

    timesteps: NDArray[np.int64]
    returns: NDArray[np.float64]
    headers: list[dict[str, Any]]

    def summary(self, timestep: int) -> str:
        """`interval_text` of the seeds at a timestep; "-" beyond the budget."""
        return interval_text(self.at(timestep)) if timestep <= self.timesteps[-1] else "-"

    def at(self, timestep: int) -> NDArray[np.float64]:
        """Return at a timestep of the budget, one number per seed (K,)."""
        return self.returns[:, int(np.searchsorted(self.timesteps, timestep))]

    @property
    def area(self) -> NDArray[np.float64]:
        """Mean return over the whole budget, one number per seed (K,): the area under the curve per timestep."""
        area: NDArray[np.float64] = np.trapezoid(self.returns, self.timesteps, axis=1) / self.timesteps[-1]
        return area

    @property
    def late(self) -> NDArray[np.float64]:
        """Mean return of the last five evaluations, one number per seed (K,)."""
        late: NDArray[np.float64] = self.returns[:, -5:].mean(axis=1)
        return late

    def final(self, budget: int) -> str:
        """The final policies on episodes that nothing else used; "-" if some of the runs went on beyond the budget."""
        scores = [np.mean(h["final_returns"]) for h in self.headers if h["total_timesteps"] == budget]
        return interval_text(np.array(scores)) if len(scores) == len(self.headers) else "-"


def interval_text(scores: NDArray[np.float64]) -> str:
    """Interquartile mean of scores (K,) with its band: an interval in [], or the range of a few seeds in ()."""
    if len(scores) == 1:
        return f"{scores[0]:z,.0f}"
    low, high, name = seed_band(scores)
    left, right = "()" if name == "range" else "[]"
    return f"{float(interquartile_mean(scores)):z,.0f} {left}{float(low):z,.0f}, {float(high):z,.0f}{right}"


def permutation_p(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """How often a difference of means at least as large comes of dealing the scores (K,) and (J,) out at random: the
    exact two-sided permutation test."""
    scores = np.concatenate([one, other])
    first = np.array(list(combinations(range(len(scores)), len(one))))
    means = scores[first].mean(axis=1)
    differences = np.abs(means - (scores.sum() - means * len(one)) / len(other))
    observed = abs(one.mean() - other.mean())
    return float(np.mean(differences >= observed - 1e-9 * max(1.0, observed)))


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
    """Markdown: one row per env and method, and what is published of the env."""
    columns = [f"{timestep:,}" for timestep in study.report_at]
    head = ["env", "method", "seeds", "learned parameters", *columns, "mean over the budget", "p", "last five", "p"]
    rows = [[*head, "new episodes"]]
    for env, budget in study.budgets.items():
        for method in study.methods:
            if (env, method) not in curves:
                rows.append([env, METHODS[method].label, "0", "not run", *[""] * (len(head) - 3)])
                continue
            curve = curves[env, method]
            control = curves.get((env, study.control)) if method != study.control else None
            rows.append(
                [
                    env,
                    METHODS[method].label,
                    str(len(curve.headers)),
                    _learned(curve, method),
                    *[curve.summary(timestep) for timestep in study.report_at],
                    interval_text(curve.area),
                    _p(curve, control, "area"),
                    interval_text(curve.late),
                    _p(curve, control, "late"),
                    curve.final(budget),
                ]
            )
        if env in study.published:
            published = study.published[env]
            found = [published.returns.get(timestep) for timestep in study.report_at if timestep <= budget]
            cells = ["-" if three is None else "{1:,} ({0:,}, {2:,})".format(*three) for three in found]
            label = f"published: {published.env}, {published.learning_starts:,} random steps"
            cells += ["-"] * (len(columns) - len(cells))
            rows.append([env, label, "10", "all", *cells, *["-"] * 5])
    rows.insert(1, ["---"] * len(rows[0]))
    return ["| " + " | ".join(row) + " |" for row in rows]


def _learned(curve: Curves, method: str) -> str:
    if METHODS[method].peer != "apb" or METHODS[method].options.get("trainable_backbone"):
        return "all"
    return f"{curve.headers[0]['trained_parameters']:,}"


def _p(curve: Curves, control: Curves | None, scores: str) -> str:
    return "-" if control is None else f"{permutation_p(getattr(curve, scores), getattr(control, scores)):.3f}"


def improvements(study: Study, curves: dict[tuple[str, str], Curves]) -> list[str]:
    """Markdown: how likely each method is ahead of the control, over all envs; nothing for a study of one method."""
    rows = [["method", "envs", *map("{:,}".format, study.report_at), "mean over the budget", "last five"]]
    for method in study.methods:
        both = [env for env in study.budgets if (env, method) in curves and (env, study.control) in curves]
        if method == study.control or not both:
            continue
        scores: list[tuple[Callable[[Curves], NDArray[np.float64]], list[str]]] = [
            (partial(Curves.at, timestep=timestep), [env for env in both if timestep <= study.budgets[env]])
            for timestep in study.report_at
        ]
        scores += [(attrgetter("area"), both), (attrgetter("late"), both)]
        shown = []
        for score, envs in scores:
            own, others = ([score(curves[env, each]) for env in envs] for each in (method, study.control))
            likely = probability_of_improvement(own, others) if envs else None
            shown.append("{:.2f} [{:.2f}, {:.2f}]".format(*likely) if likely else "-")
        rows.append([METHODS[method].label, str(len(both)), *shown])
    if len(rows) == 1:
        return []
    rows.insert(1, ["---"] * len(rows[0]))
    return [
        f'How likely a run is ahead of one of "{METHODS[study.control].label}", on an env picked at random, with',
        "its bootstrap interval over seeds (`apb.statistics.probability_of_improvement`):",
        "",
        *["| " + " | ".join(row) + " |" for row in rows],
        "",
    ]


def seeds(study: Study, curves: dict[tuple[str, str], Curves]) -> list[str]:
    """Markdown: the last return of each seed."""
    rows = [["env", "method", *[f"seed {seed}" for seed in study.seeds]], ["---"] * (2 + len(study.seeds))]
    for (env, method), curve in curves.items():
        by_seed = {
            header["seed"]: f"{last:z,.0f}" for header, last in zip(curve.headers, curve.returns[:, -1], strict=True)
        }
        rows.append([env, METHODS[method].label, *[by_seed.get(seed, "-") for seed in study.seeds]])
    return ["| " + " | ".join(row) + " |" for row in rows]


def figure(study: Study, curves: dict[tuple[str, str], Curves], path: Path) -> None:
    """Learning curves, one panel per env: colours tell what learns, line styles the random steps that come first."""
    envs = [env for env in study.budgets if any(key[0] == env for key in curves)]
    styles = _styles(study)
    picture = Figure(figsize=(max(9.0, 5.2 * len(envs)), 6.5), layout="constrained")
    axes = picture.subplots(1, len(envs), squeeze=False)[0]
    handles: dict[str, Any] = {}
    for panel, env in zip(axes, envs, strict=True):
        for method in study.methods:
            if (env, method) not in curves:
                continue
            curve = curves[env, method]
            x = curve.timesteps / 1_000
            handles[method] = panel.plot(x, interquartile_mean(curve.returns), **styles[method])[0]
            if len(curve.returns) >= MIN_SEEDS:
                color = styles[method]["color"]
                panel.fill_between(x, *seed_band(curve.returns)[:2], color=color, alpha=0.12, linewidth=0)
            panel.plot(x, curve.returns.T, **styles[method], alpha=0.3, linewidth=0.5)
        if env in study.published:
            points = {t: r for t, r in study.published[env].returns.items() if t <= study.budgets[env]}
            low, mean, high = np.array(list(points.values())).T
            handles["published"] = panel.errorbar(
                np.array(list(points)) / 1_000,
                mean,
                [mean - low, high - mean],
                fmt="kd",
                markersize=4,
                linewidth=0.8,
                capsize=3,
            )
        panel.set_title(env)
        panel.set_xlabel("environment steps (thousands)")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel(f"return of the noise-free policy\n(mean of {EVAL_EPISODES} episodes)")
    counts = {method: [len(curves[env, method].headers) if (env, method) in curves else 0 for env in envs]
              for method in handles}  # fmt: skip
    names = [_legend(method, counts[method]) for method in handles]
    picture.legend(
        handles.values(), names, loc="outside lower center", ncols=2, frameon=False, fontsize="small", handlelength=4
    )
    picture.suptitle(
        f"{study.title}\ninterquartile mean over seeds, single seeds thin, 95 % interval from {MIN_SEEDS} seeds on"
    )
    picture.savefig(path, dpi=120)


def _styles(study: Study) -> dict[str, dict[str, Any]]:
    families: dict[str, str] = {}
    warmups = sorted({METHODS[method].options.get("learning_starts", 1_000) for method in study.methods})
    styles = {}
    for method in study.methods:
        options = dict(METHODS[method].options)
        line = ("-", "--", ":")[warmups.index(options.pop("learning_starts", 1_000))]
        family = json.dumps([METHODS[method].backbone, options, METHODS[method].peer])
        styles[method] = {"color": families.setdefault(family, COLORS[len(families)]), "linestyle": line}
    return styles


def _legend(method: str, seeds_per_env: list[int]) -> str:
    if method == "published":
        return "published for TD3 on older versions (mean, range of 10 seeds)"
    counts = "/".join(map(str, seeds_per_env if len(set(seeds_per_env)) > 1 else seeds_per_env[:1]))
    return f"{METHODS[method].label} ({counts} seed{'' if counts == '1' else 's'})"


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
        f"{MIN_SEEDS} seeds, (their range). With five seeds the interval covers about 75 to 90 %",
        "(`pytest tests/test_statistics.py -k nominal`). *New episodes*: ten of the final policy, from starts that no",
        'other evaluation used; "-" where some runs went on beyond the budget. *Mean over the budget*: the area under',
        "the curve. *Last five*: the mean of the last five evaluations. *p*: exact two-sided permutation test, on the",
        f'plain mean over seeds, of the number before it against "{METHODS[study.control].label}"; with three seeds on',
        "both sides it cannot be less than 0.100, with five 0.008, and it is not corrected for the number of tests on",
        "this page. Random steps count in the budget.",
        *([PUBLISHED_NOTE] if study.published else []),
        *([study.note] if study.note else []),
        *missing,
        "",
        *commands(study),
        "![learning curves](curves.png)",
        "",
        *table(study, curves),
        "",
        *improvements(study, curves),
        "The last return of each seed:",
        "",
        *seeds(study, curves),
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
