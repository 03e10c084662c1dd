"""`plot_runs`: learning curves of run folders as a picture."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, RunFolderError, counted
from apb.files import TEXT, require_fields
from apb.pictures import new_figure, printed, require_picture, save_figure
from apb.pretraining.settings import PretrainSettings
from apb.runs import RunFolder, read_evaluations
from apb.statistics import interquartile_mean, seed_band

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_FILE = "curve.png"
COVERAGE_FILE = "coverage.png"
MAX_MARKED_POINTS = 25
MAX_LABEL = 80
"""Characters in a line of a title or a legend, which would else be cut, or take the width from its panel."""
MOST_PANELS = 6
"""Panels one below the other; more of them stand in several columns."""

MOST_ENVS = 20
"""Envs or tasks of which there are panels, as many as a meta-training has by default; of more, evenly spread ones."""

CONFIG = {"env": TEXT, "in_words": TEXT}
"""What a curve needs of a run's configuration."""


@dataclass(frozen=True)
class LearningCurve:
    """Evaluation returns of one run.

    Attributes:
        run: The run folder, absolute and without links: what tells it from every other.
        env: Env id, or task.
        strategy: How it explored, "FLAP", or the job in words.
        seeds: The K seeds.
        timesteps: int64 (T,), ascending.
        returns: Mean return of each seed's evaluation, float64 (T, K).
        spreads: Standard deviation of the returns over the episodes of each evaluation, float64 (T, K).
        episodes: Episodes per evaluation.
    """

    run: Path
    env: str
    strategy: str
    seeds: tuple[int, ...]
    timesteps: NDArray[np.int64]
    returns: NDArray[np.float64]
    spreads: NDArray[np.float64]
    episodes: int

    @classmethod
    def read(cls, run_dir: str | Path) -> "list[LearningCurve]":
        """Read the evaluations of a run folder: one curve, or one for each of several tasks, and for each time that the
        lanes had it where they took other tasks in between.

        Raises:
            RunFolderError: there is no run, or it has no evaluation yet. FileFormatError: its files are damaged.
        """
        run = RunFolder.open(run_dir)
        config = require_fields(run.config, CONFIG, str(run.path / "config.json"), "put the file back as it was")
        records = read_evaluations(run.path)
        if not records:
            raise RunFolderError(
                f"{run.path} has no evaluation to plot; wait for the first one, or run with eval_freq above 0"
            )
        curves: dict[tuple[int, str], list[dict[str, Any]]] = {}
        for number, record in _numbered(records):
            curves.setdefault((number, str(record.get("task", config["env"]))), []).append(record)
        how = config["in_words"]
        if config.get("job") == PretrainSettings.job:
            how += ": the env's own reward, not learned from"
        return [cls._of(run, task, how, those) for (_, task), those in curves.items()]

    @classmethod
    def _of(cls, run: RunFolder, env: str, strategy: str, records: list[dict[str, Any]]) -> "LearningCurve":
        by_timestep: dict[int, dict[int, Mapping[str, Any]]] = {}
        for record in records:
            by_timestep.setdefault(record["timesteps"], {})[record["seed"]] = record
        seeds = tuple(sorted(by_timestep[min(by_timestep)]))
        # A kill between two lanes' lines leaves an evaluation that only some seeds have.
        timesteps = sorted(step for step, lanes in by_timestep.items() if set(lanes) == set(seeds))
        rows = [[by_timestep[step][seed] for seed in seeds] for step in timesteps]
        return cls(
            run.path.resolve(),
            env,
            strategy,
            seeds,
            np.array(timesteps, dtype=np.int64),
            np.array([[lane["eval/mean_reward"] for lane in row] for row in rows], dtype=np.float64),
            np.array([[lane["eval/std_reward"] for lane in row] for row in rows], dtype=np.float64),
            len(rows[0][0]["returns"]),
        )


def _numbered(records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each evaluation record with the number of times that the lanes have taken other tasks before."""
    number, lanes = 0, set[tuple[Any, int]]()
    for _, lines in groupby(records, key=itemgetter("timesteps")):
        evaluation = {(record.get("task"), record["seed"]): record for record in lines}
        if not lanes >= evaluation.keys():
            number, lanes = number + 1, set(evaluation)
        yield from ((number, record) for record in evaluation.values())


def plot_runs(run_dirs: Sequence[str | Path], path: str | Path, labels: Sequence[str] | None = None) -> Path:
    """Draw the learning curves of one run or of several, one colour each, into the picture `path`; returns it.

    Each env or task has a panel of its own, since returns in different ones cannot be compared; of more than 20, as
    many that are evenly spread over them have one, and a title tells of how many. A run of one seed is a line with a
    band of one standard deviation over the evaluation's episodes. A run of several shows each seed as a thin line, and
    their mean (interquartile mean from four seeds on) with its 95 % bootstrap interval or, of fewer than five, their
    range.

    Args:
        run_dirs: Run folders, at least one. One that is given twice is drawn once.
        path: The picture, `.png`, `.svg` or `.pdf`; replaced if it exists.
        labels: What the legend calls each of them. Default: the ends of their paths, where there are several.

    Raises:
        RunFolderError: a folder is no run or has no evaluation, or the picture cannot be written. ConfigError: no
            folder, another number of labels, or another ending. FileFormatError: a run's files are damaged.
    """
    if not run_dirs:
        raise ConfigError("no run to plot; expected at least one run folder")
    if labels is not None and len(labels) != len(run_dirs):
        raise ConfigError(f"there are {len(labels)} labels of {len(run_dirs)} runs; expected one of each")
    target = require_picture(path)
    read = [LearningCurve.read(run_dir) for run_dir in run_dirs]
    curves = list({(curve.run, curve.env, curve.timesteps[0]): curve for of_run in read for curve in of_run}.values())
    names = _names({curve.run for curve in curves})
    if labels is not None:
        names |= {curve.run: label for of_run, label in zip(read, labels, strict=True) for curve in of_run}
    common = _in_common(curves)
    envs = list(dict.fromkeys(curve.env for curve in curves))
    count = min(len(envs), MOST_ENVS)
    columns = -(-count // MOST_PANELS)
    lines = -(-count // columns)
    figure = new_figure(8 * columns, 5 * lines, dpi=150 if columns == 1 else 80)
    if count < len(envs):
        figure.suptitle(f"{count} of {len(envs)} tasks, evenly spread")
    for panel in range(1, count + 1):
        env = envs[(panel - 1) * len(envs) // count]
        axes = figure.add_subplot(lines, columns, panel)
        together = [curve for curve in curves if curve.env == env]
        for number, curve in enumerate(together):
            label = _label(curve, together, names[curve.run], common)
            _draw(axes, curve, f"C{number % 10}", label, name_seeds=len(together) == 1)
        _decorate(axes, together, common)
    save_figure(figure, target)
    return target


def _draw(axes: "Axes", curve: LearningCurve, color: str, label: str, name_seeds: bool) -> None:
    if len(curve.seeds) == 1:
        middle = curve.returns[:, 0]
        low, high = middle - curve.spreads[:, 0], middle + curve.spreads[:, 0]
    else:
        middle = interquartile_mean(curve.returns.T)
        low, high, _ = seed_band(curve.returns.T)
        axes.plot(curve.timesteps, curve.returns, color=color, linewidth=0.8, alpha=0.5)
        for lane in range(len(curve.seeds) if name_seeds else 0):
            axes.annotate(
                f"seed {curve.seeds[lane]}",
                (curve.timesteps[-1], curve.returns[-1, lane]),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=6,
                color=color,
            )
    marker = "o" if len(curve.timesteps) <= MAX_MARKED_POINTS else None
    axes.plot(curve.timesteps, middle, color=color, linewidth=2, marker=marker, markersize=4, label=label)
    axes.fill_between(curve.timesteps, low, high, color=color, alpha=0.18, linewidth=0)


def _decorate(axes: "Axes", curves: Sequence[LearningCurve], legend_title: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    strategies = {curve.strategy for curve in curves}
    axes.set_title(printed(", ".join([curves[0].env, *(strategies if len(strategies) == 1 else ())]), MAX_LABEL))
    axes.set_xlabel("environment steps per seed (timesteps)")
    axes.set_ylabel("return per episode (undiscounted sum of rewards)")
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    handles = axes.get_legend_handles_labels()[0]
    if any(len(curve.seeds) > 1 for curve in curves):
        handles.append(Line2D([], [], color="gray", linewidth=0.8, label="single seeds"))
    legend = axes.legend(handles=handles, fontsize=8, title=legend_title, title_fontsize=8, framealpha=0.8, loc="best")
    legend.get_frame().set_linewidth(0)


def _label(curve: LearningCurve, together: Sequence[LearningCurve], name: str, common: str) -> str:
    """What the legend of a panel calls a curve: the run and strategy where there are several, and what is not said of
    all; in lines that leave the panel its width."""
    strategy = [curve.strategy] if len({other.strategy for other in together}) > 1 else []
    drawn = [] if common else [_drawn(curve)]
    text = ", ".join([*filter(None, [name]), *strategy, *drawn])
    return printed(text, MAX_LABEL)


def _in_common(curves: Sequence[LearningCurve]) -> str:
    """What is drawn of each run, where that is the same of several; else nothing."""
    drawn = {_drawn(curve) for curve in curves}
    return drawn.pop() if len(drawn) == 1 and len({curve.run for curve in curves}) > 1 else ""


def _drawn(curve: LearningCurve) -> str:
    """Of which seeds the line is, and what its band is."""
    count = len(curve.seeds)
    if count == 1:
        return f"seed {curve.seeds[0]} ± standard deviation over {counted(curve.episodes, 'episode')}"
    return f"{'mean' if count < 4 else 'interquartile mean'} of {count} seeds, {seed_band(curve.returns.T)[2]}"


def _names(runs: Collection[Path]) -> dict[Path, str]:
    """The shortest end of the path of each run that no other one has; nothing where there is only one."""
    return {run: _name(run, runs) if len(runs) > 1 else "" for run in runs}


def _name(run: Path, runs: Collection[Path]) -> str:
    count = 1
    while sum(other.parts[-count:] == run.parts[-count:] for other in runs) > 1:
        count += 1
    return str(Path(*run.parts[-count:]))
