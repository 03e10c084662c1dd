"""`plot_runs`: learning curves of run folders as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, FileFormatError, RunFolderError
from apb.files import atomic_file
from apb.runs import RunFolder, read_evaluations
from apb.statistics import bootstrap_interval, interquartile_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_FILE = "curve.png"
FORMATS = ("png", "svg", "pdf")
MAX_MARKED_POINTS = 25


@dataclass(frozen=True)
class LearningCurve:
    """Evaluation returns of one run.

    Attributes:
        run: Name of the run folder.
        env: Env id.
        strategy: How it explored.
        seeds: The K seeds.
        timesteps: int64 (T,), ascending.
        returns: Mean return of each seed's evaluation, float64 (T, K).
        spreads: Standard deviation of the returns over the episodes of each evaluation, float64 (T, K).
        episodes: Episodes per evaluation.
    """

    run: str
    env: str
    strategy: str
    seeds: tuple[int, ...]
    timesteps: NDArray[np.int64]
    returns: NDArray[np.float64]
    spreads: NDArray[np.float64]
    episodes: int

    @classmethod
    def read(cls, run_dir: str | Path) -> "LearningCurve":
        """Read the evaluations of a run folder.

        Raises:
            RunFolderError: there is no run, or it has no evaluation yet. FileFormatError: its files are damaged.
        """
        run = RunFolder.open(run_dir)
        config = run.config
        records = read_evaluations(run.path)
        if not records:
            raise RunFolderError(
                f"{run.path} has no evaluation to plot; wait for the first one, or run with eval_freq above 0"
            )
        try:
            by_timestep: dict[int, dict[int, Mapping[str, Any]]] = {}
            for record in records:
                by_timestep.setdefault(record["timesteps"], {})[record["seed"]] = record
            seeds = tuple(sorted(by_timestep[min(by_timestep)]))
            # A kill between two lanes' lines leaves an evaluation that only some seeds have.
            timesteps = sorted(step for step, lanes in by_timestep.items() if set(lanes) == set(seeds))
            rows = [[by_timestep[step][seed] for seed in seeds] for step in timesteps]
            return cls(
                run.path.resolve().name,
                str(config["env"]),
                str(config["strategy"]),
                seeds,
                np.array(timesteps, dtype=np.int64),
                np.array([[lane["eval/mean_reward"] for lane in row] for row in rows], dtype=np.float64),
                np.array([[lane["eval/std_reward"] for lane in row] for row in rows], dtype=np.float64),
                len(rows[0][0]["returns"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{run.path} holds no valid evaluations: {error!r}") from error


def plot_runs(run_dirs: Sequence[str | Path], path: str | Path) -> Path:
    """Draw the learning curves of one run or of several, one colour each, into the picture `path`; returns it.

    A run of one seed is a line with a band of one standard deviation over the evaluation's episodes. A run of several
    shows each seed as a thin line, and their mean (interquartile mean from four seeds on) with its 95 % bootstrap
    interval.

    Args:
        run_dirs: Run folders, at least one.
        path: The picture, `.png`, `.svg` or `.pdf`; replaced if it exists.

    Raises:
        RunFolderError: a folder is no run or has no evaluation, or the picture cannot be written. ConfigError: no
            folder, or another ending. FileFormatError: a run's files are damaged.
    """
    target = Path(path)
    if not run_dirs:
        raise ConfigError("no run to plot; expected at least one run folder")
    if target.suffix.lower().removeprefix(".") not in FORMATS:
        raise ConfigError(f"{str(target)!r} is not a picture; expected a name that ends with .{', .'.join(FORMATS)}")
    curves = [LearningCurve.read(run_dir) for run_dir in run_dirs]
    # The object interface: pyplot keeps figures in a global list and may open a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        _draw(axes, curve, f"C{number % 10}", _label(curve, curves), name_seeds=len(curves) == 1)
    _decorate(axes, curves)
    try:
        with atomic_file(target) as file:
            figure.savefig(file, format=target.suffix[1:].lower())
    except OSError as error:
        raise RunFolderError(f"{target} cannot be written: {error.strerror or error}; choose another place") from error
    return target


def _draw(axes: "Axes", curve: LearningCurve, color: str, label: str, name_seeds: bool) -> None:
    if len(curve.seeds) == 1:
        middle = curve.returns[:, 0]
        low, high = middle - curve.spreads[:, 0], middle + curve.spreads[:, 0]
    else:
        middle = interquartile_mean(curve.returns.T)
        low, high = bootstrap_interval(curve.returns.T)
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


def _decorate(axes: "Axes", curves: Sequence[LearningCurve]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shared = [values.pop() for values in ({c.env for c in curves}, {c.strategy for c in curves}) if len(values) == 1]
    axes.set_title(", ".join(shared) or "Learning curves")
    axes.set_xlabel("environment steps per seed (timesteps)")
    axes.set_ylabel("return per episode (undiscounted sum of rewards)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    handles = axes.get_legend_handles_labels()[0]
    if any(len(curve.seeds) > 1 for curve in curves):
        handles.append(Line2D([], [], color="gray", linewidth=0.8, label="single seeds"))
        handles.append(Patch(color="gray", alpha=0.3, linewidth=0, label="95 % bootstrap interval over seeds"))
    if any(len(curve.seeds) == 1 for curve in curves):
        episodes = _range([curve.episodes for curve in curves if len(curve.seeds) == 1])
        label = f"± 1 standard deviation over {episodes} episodes"
        handles.append(Patch(color="gray", alpha=0.3, linewidth=0, label=label))
    axes.legend(handles=handles, fontsize=8, frameon=False, loc="best")


def _label(curve: LearningCurve, curves: Sequence[LearningCurve]) -> str:
    """What the legend calls a curve: its seeds; the run, and what else tells it apart, where there are several."""
    count = len(curve.seeds)
    statistic = "mean" if count < 4 else "interquartile mean"
    parts = [f"seed {curve.seeds[0]}" if count == 1 else f"{statistic} of {count} seeds"]
    for own, all_values in ((curve.strategy, {c.strategy for c in curves}), (curve.env, {c.env for c in curves})):
        if len(all_values) > 1:
            parts.insert(0, own)
    return ", ".join(parts if len(curves) == 1 else [curve.run, *parts])


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
