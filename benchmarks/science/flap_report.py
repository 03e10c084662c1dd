"""`report`: the page, table and figure of the study of FLAP, from its raw files."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from apb.statistics import interquartile_mean, probability_of_improvement
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.science.flap import BUDGETS, EPISODE, EVAL_EPISODES, FOLDER, GRADIENT, LISTS, METHODS, TASKS
from benchmarks.science.report import COLORS, interval_text

Curves = dict[int, NDArray[np.float64]]
"""Timestep -> returns (K, M) of K seeds on M tasks."""
Found = dict[tuple[str, str], dict[str, Curves]]
"""(split, list) -> method -> its curves."""
CLAIM = 8.0
"""How many times faster than gradient adaptation FLAP is in its paper's abstract."""
TRAINED = {
    "cheetah-vel/mier-hard": (
        "apb meta-train cheetah-vel/mier-hard --method flap --total-timesteps 1000000 --learning-rate 1e-3 "
        "--batch-size 100 --learning-starts 2500 --run-dir runs/flap-cheetah-vel",
        "the backbone `cheetah-vel` of the package",
    ),
    "ant-dir/mier-ood": (
        "apb meta-train ant-dir/mier-ood --method flap --n-tasks 10 --total-timesteps 1000000 --learning-rate 1e-3 "
        "--batch-size 100 --learning-starts 2500 --run-dir runs/flap-ant-dir",
        "`apb meta-train ant-dir/mier-ood --n-tasks 10 --total-timesteps 1000000 --learning-rate 1e-3 --batch-size 100 "
        "--learning-starts 2500`",
    ),
}
"""What the models were made with: FLAP's, and APB's."""

ABOUT = f"""\
# FLAP against APB on new tasks

Made by `python -m benchmarks.science.flap run SPLIT --flap FOLDER --apb BACKBONE`, the same with `speed`, and
`python -m benchmarks.science.flap report`, from [raw](raw). Every method meets the same tasks, evenly spread over the
lists *test* (the train tasks' own distribution) and *ood*, with the same budgets: {EPISODE} transitions are an episode.
A number is the interquartile mean over seeds of the mean return on {TASKS} tasks, in {EVAL_EPISODES} episodes of the
noise-free policy from the same starts for all, and (its range over seeds); from five seeds on [its nominal 95 %
bootstrap interval]. **Seeds are of the adaptation**: each method has one meta-trained backbone, so nothing here tells
how other meta-trainings would come out.

*FLAP, no gradient* predicts from 1, 5 and 50 episodes of its mean head, each alone; at 0 it is the mean head. *Then
TD3* goes on from the head that 1 episode predicted. *From the nearest task's adapter* and *the same backbone with the
nearest train task's head* know the parameters of the task, which FLAP does not. Those that begin with layers that can
act have an actor's learning rate of 1e-4, and critics, at 1e-3, that learn for 2,500 updates before the policy moves;
the others learn at 1e-3 from the end of 1 episode of random actions on; batches of 100 for all. The former were chosen
from eight settings on four other tasks of the test list of cheetah-vel: at 1e-3 the first updates undo what the layers
could do, and 10,000 steps are too few to have it back. They were taken to ant-dir as they are. APB's backbone was
trained with a pre-layer of its own for each task, FLAP's without."""
LIKELY = """\
How likely a run of FLAP is ahead of one of another method, on a task picked at random, with its bootstrap interval over
seeds (`apb.statistics.probability_of_improvement`; it knows nothing of tasks that were not run):"""
TIMES = f"""\
Wall-clock seconds of FLAP's adaptation (making the env, 1 episode, prediction), and of gradient adaptation until the
first evaluation, one each episode, that is as good as what FLAP has; one after the other in one process on one thread,
one seed, evaluations not counted. A return that was reached once may be lost again. FLAP's abstract tells of at least
{CLAIM:g} times. No settings were searched for the gradient methods to be quick: those from new layers have the ones of
the other studies, and *from the nearest task's adapter* reaches the return before anything is learned or not before
2,500 updates, in which its policy stays as it is."""


def read_raw() -> tuple[Found, list[dict[str, Any]]]:
    """All finished cells, by split and list and method, and their headers."""
    by_seed: dict[tuple[str, str, str], list[dict[str, dict[str, float]]]] = {}
    headers = []
    for path in sorted((FOLDER / "raw").glob("*.json")):
        raw = json.loads(path.read_text())
        by_seed.setdefault((raw["split"], raw["list"], raw["method"]), []).append(raw["returns"])
        headers.append({name: value for name, value in raw.items() if name not in ("returns", "runs")})
    found: Found = {}
    for (split, part, method), seeds in by_seed.items():
        steps = sorted(map(int, next(iter(seeds[0].values()))))
        curves = {step: np.array([[of[str(step)] for of in seed.values()] for seed in seeds]) for step in steps}
        found.setdefault((split, part), {})[method] = curves
    return found, headers


def at(method: str, curves: Curves, budget: int) -> NDArray[np.float64] | None:
    """Returns (K, M) after so many transitions; where nothing is learned they are the same at each."""
    if method == "flap-nearest":
        return curves[min(curves)]
    return curves.get(budget)


def table(found: Found) -> list[str]:
    """Markdown: a row for each list and method."""
    heads = ["tasks", "method", "seeds", *(f"{budget:,}" for budget in BUDGETS)]
    rows = [heads, ["---"] * len(heads)]
    for (split, part), methods in ordered(found):
        for name in METHODS:
            if name in methods:
                values = [at(name, methods[name], budget) for budget in BUDGETS]
                cells = ["-" if value is None else interval_text(value.mean(axis=1)) for value in values]
                seeds = len(methods[name][min(methods[name])])
                rows.append([f"{split}, {part}", METHODS[name].label, str(seeds), *cells])
            else:
                rows.append([f"{split}, {part}", METHODS[name].label, "0", "not run", *["-"] * (len(BUDGETS) - 1)])
    return _markdown(rows)


def ordered(found: Found) -> list[tuple[tuple[str, str], dict[str, Curves]]]:
    """By split, the tasks of the train tasks' own distribution first."""
    return sorted(found.items(), key=lambda item: (item[0][0] != "cheetah-vel/mier-hard", LISTS.index(item[0][1])))


def improvements(found: Found) -> list[str]:
    """Markdown: how likely a run of FLAP is ahead of one of each gradient method, with its interval."""
    rows = [["tasks", "FLAP against", "FLAP is", *(f"{budget:,}" for budget in BUDGETS)]]
    rows.append(["---"] * len(rows[0]))
    for (split, part), methods in ordered(found):
        for other in GRADIENT:
            for own, words in (("flap", "alone"), ("flap-td3", "and then TD3")):
                if own not in methods or other not in methods:
                    continue
                cells = []
                for budget in BUDGETS:
                    pair = at(own, methods[own], budget), at(other, methods[other], budget)
                    if pair[0] is None or pair[1] is None:
                        cells.append("-")
                        continue
                    likely = probability_of_improvement(list(pair[0].T), list(pair[1].T))
                    cells.append("{:.2f} [{:.2f}, {:.2f}]".format(*likely))
                rows.append([f"{split}, {part}", METHODS[other].label, words, *cells])
    return _markdown(rows)


def figure(found: Found) -> Figure:
    """A panel per list: returns over transitions, the middle over seeds and each seed."""
    panels = ordered(found)
    picture = Figure(figsize=(5.2 * len(panels), 6.0), layout="constrained")
    axes = picture.subplots(1, len(panels), squeeze=False)[0]
    handles: dict[str, Any] = {}
    for panel, ((split, part), methods) in zip(axes, panels, strict=True):
        for name, color in zip(METHODS, COLORS, strict=False):
            if name not in methods:
                continue
            steps = sorted(methods[name])
            scores = np.array([methods[name][step].mean(axis=1) for step in steps])
            style: dict[str, Any] = {"color": color}
            style |= {"marker": "o", "linestyle": "--"} if name == "flap" else {}
            if name == "flap-nearest":
                handles[name] = panel.axhline(scores.mean(), color=color, linestyle=":")
                continue
            handles[name] = panel.plot(steps, interquartile_mean(scores.T), **style)[0]
            panel.plot(steps, scores, color=color, alpha=0.3, linewidth=0.5)
        panel.set_xscale("symlog", linthresh=EPISODE)
        panel.set_xticks(BUDGETS, [f"{budget:,}" for budget in BUDGETS])
        panel.set_title(f"{split}, {part}")
        panel.set_xlabel("transitions of each task")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel(f"return, mean of {TASKS} tasks and {EVAL_EPISODES} episodes")
    labels = [METHODS[name].label for name in handles]
    picture.legend(handles.values(), labels, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    picture.suptitle("FLAP and APB on new tasks: interquartile mean over seeds, single seeds thin")
    return picture


def speeds(measured: Mapping[str, Any]) -> list[str]:
    """Markdown: seconds of FLAP's adaptation and of gradient adaptation to the same return."""
    rows = [["task", "return", "FLAP, s", *(METHODS[name].label for name in GRADIENT)]]
    rows.append(["---"] * len(rows[0]))
    for row in measured["tasks"]:
        cells = []
        for name in GRADIENT:
            steps, seconds = row[name]["steps"], row[name]["seconds"]
            ratio = seconds / row["flap"]
            if steps is None:
                cells.append(f"not reached (best {row[name]['best']:,.0f}): > {seconds:.2f} s, > {ratio:.1f} times")
            elif steps == 0:
                cells.append("reached before anything is learned")
            else:
                cells.append(f"{steps:,} steps, {seconds:.2f} s, {ratio:.1f} times")
        rows.append([row["task"], f"{row['return']:,.0f}", f"{row['flap']:.3f}", *cells])
    return _markdown(rows)


def verdict(measured: Mapping[str, Any]) -> list[str]:
    """Markdown: on how many tasks FLAP was at least so many times faster as its paper says."""
    lines = []
    for name in GRADIENT:
        rows = [(row[name]["steps"], row[name]["seconds"] / row["flap"]) for row in measured["tasks"]]
        reached = [ratio for steps, ratio in rows if steps is None or steps > 0]
        at_once, never = sum(steps == 0 for steps, _ in rows), sum(steps is None for steps, _ in rows)
        fast = sum(ratio >= CLAIM for ratio in reached)
        lines.append(
            f"- {METHODS[name].label}: at least {CLAIM:g} times on {fast} of {len(rows)} tasks; not reached within the "
            f"budget on {never} (their ratio is a lower bound), reached before anything was learned on {at_once}."
        )
    return lines


def _markdown(rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in rows]


def page(found: Found, headers: list[dict[str, Any]]) -> list[str]:
    """The lines of the page."""
    lines = [
        *ABOUT.splitlines(),
        "",
        "The models:",
        "",
    ]
    for split in dict.fromkeys(split for (split, _), _ in ordered(found)):
        flap, own = TRAINED.get(split, ("not told", "not told"))
        lines += [f"- {split}: FLAP by `{flap}`; APB by {own}."]
    lines += ["", "![returns over transitions](curves.png)", "", *table(found), ""]
    lines += [
        *LIKELY.splitlines(),
        "",
        *improvements(found),
        "",
    ]
    for path in sorted(FOLDER.glob("speed-*.json")):
        measured = json.loads(path.read_text())
        lines += [
            f"## Time, {measured['split']}, test tasks",
            "",
            *TIMES.splitlines(),
            "",
            *speeds(measured),
            "",
            *verdict(measured),
            "",
        ]
    tried = sorted({header["scale"] for header in headers} - {1.0})
    lines += [f"**Budgets were cut to {tried} of these, to try the script: no result.**", ""] if tried else []
    facts = sorted({json.dumps({n: h[n] for n in ("commit", "package", "system")}, sort_keys=True) for h in headers})
    return [*lines, "Machines and versions:", "", *(f"    {fact}" for fact in facts), ""]


def report() -> int:
    """Write page and figure, and print the table."""
    found, headers = read_raw()
    if not found:
        raise SystemExit(f"there are no raw files under {FOLDER / 'raw'}; run `python -m benchmarks.science.flap run`")
    figure(found).savefig(FOLDER / "curves.png", dpi=120)
    (FOLDER / "README.md").write_text("\n".join(page(found, headers)))
    print("\n".join(table(found)))
    return 0
