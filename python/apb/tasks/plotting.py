"""`plot_split`: the training, test and OOD tasks of a split as a picture."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError
from apb.pictures import new_figure, require_picture, save_figure
from apb.tasks.parameter import Parameter
from apb.tasks.splits import LISTS, Split
from apb.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.gridspec import SubplotSpec
    from matplotlib.ticker import Locator

WIDTH = 8.0
"""Inches, as of a learning curve."""
MATRIX_HEIGHT = 5.0

SHOWN = {"train": "train", "test": "test", "ood": "OOD"}
COLORS = {"train": "#4c72b0", "test": "#55a868", "ood": "#c44e52"}
MARKERS = {"train": "s", "test": "o", "ood": "D"}
MARK: dict[str, Any] = {
    "marker": "o",
    "markersize": 14,
    "fillstyle": "none",
    "color": "black",
    "linestyle": "none",
    "markeredgewidth": 1.6,
    "zorder": 4,
}
"""A ring around the marked task."""
FEW = 40
"""Tasks that can have large marks."""
FEW_CELLS = 500
"""Cells of all matrices that can have lines between them."""

_UNIT = re.compile(r" in (m/s|m|rad)\b")

Lists = Mapping[str, NDArray[np.float64]]
"""Values of one parameter in the tasks of each list that is not empty, (n, *shape)."""


@dataclass(frozen=True)
class Drawn:
    """A parameter of a split.

    Attributes:
        name: Its name.
        parameter: What it may be.
        lists: Its values.
        marked: List and number of the task that is marked.
    """

    name: str
    parameter: Parameter
    lists: Lists
    marked: tuple[str, int] | None

    @property
    def label(self) -> str:
        """For an axis: name and meaning, with the unit."""
        return f"{self.name}: {self.parameter.description}"

    @property
    def extent(self) -> tuple[float, float]:
        """The least and the greatest of its values."""
        return min(values.min() for values in self.lists.values()), max(values.max() for values in self.lists.values())

    @property
    def is_array(self) -> bool:
        """Whether it is shown as rows of a matrix."""
        return self.parameter.shape not in ((), (2,))

    @property
    def is_angle(self) -> bool:
        """Whether it is a number that is a direction."""
        unit = _UNIT.search(self.parameter.description)
        return unit is not None and unit[1] == "rad" and not self.parameter.shape

    @property
    def height(self) -> float:
        """Of its panel, in inches."""
        return 5.5 if self.is_angle or self.parameter.shape else 2.2


def plot_split(split: Split, path: str | Path, *, marked: Task | None = None) -> Path:
    """Draw the tasks of a split into the picture `path`; returns it.

    A number is a mark on an axis, an angle one on a circle, two numbers a point of a plane. Arrays are the rows of a
    matrix, one for each task, those of a list one below the other; factors have a logarithmic colour scale.

    Args:
        split: The split.
        path: The picture, `.png`, `.svg` or `.pdf`; replaced if it exists.
        marked: One of the tasks, which is marked in black.

    Raises:
        ConfigError: another ending, or `marked` is of another split. RunFolderError: it cannot be written.
    """
    target = require_picture(path)
    drawn = _drawn(split, None if marked is None else _place(split, marked))
    single, arrays = [each for each in drawn if not each.is_array], [each for each in drawn if each.is_array]
    heights = [each.height for each in single] + [MATRIX_HEIGHT] * bool(arrays)
    figure = new_figure(WIDTH, sum(heights) + 0.8)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    for place, each in enumerate(single):
        if each.is_angle:
            _circle(figure.add_subplot(grid[place], projection="polar"), each)
        elif each.parameter.shape:
            _plane(figure.add_subplot(grid[place]), each)
        else:
            _strip(figure.add_subplot(grid[place]), each)
    if arrays:
        _matrices(grid[len(single)], arrays)
    sizes = ", ".join(f"{len(getattr(split, name))} {SHOWN[name]}" for name in LISTS)
    about = textwrap.fill(f"out of distribution: {split.about}", 120, break_on_hyphens=False)
    mark = "" if marked is None else f"\nin black: {marked}"
    figure.suptitle(f"{split}: {sizes} tasks\n{about}{mark}", fontsize=8.5)
    save_figure(figure, target)
    return target


def _place(split: Split, task: Task) -> tuple[str, int]:
    """List and number of a task."""
    for name in LISTS:
        for index, each in enumerate(getattr(split, name)):
            if (each, each.label) == (task, task.label):
                return name, index
    raise ConfigError(f"marked = {task}; expected a task of {split}")


def _drawn(split: Split, marked: tuple[str, int] | None) -> list[Drawn]:
    """Parameters by which the tasks differ, in the order of the family."""
    family = split.train[0].made_family
    rows = {
        name: [family.rows(task.values, 1) for task in getattr(split, name)] for name in LISTS if getattr(split, name)
    }
    return [
        Drawn(name, parameter, {part: np.concatenate([row[name] for row in rows[part]]) for part in rows}, marked)
        for name, parameter in family.parameters.items()
    ]


def _strip(axes: "Axes", drawn: Drawn) -> None:
    for line, (name, values) in enumerate(drawn.lists.items()):
        width = 1.0 if len(values) > FEW else 2.0
        axes.vlines(values, line - 0.35, line + 0.35, colors=COLORS[name], linewidth=width)
        for value in _marked(drawn, name):
            axes.plot(value, line, **MARK)
    axes.set_yticks(range(len(drawn.lists)), [_legend(name, values) for name, values in drawn.lists.items()])
    axes.set_ylim(len(drawn.lists) - 0.4, -0.6)
    if drawn.parameter.allowed:
        axes.set_xticks(drawn.parameter.allowed)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(drawn.label)
    axes.grid(axis="x", alpha=0.3)
    _open(axes, "top", "right", "left")


def _circle(axes: "Axes", drawn: Drawn) -> None:
    for ring, (name, values) in enumerate(drawn.lists.items()):
        radius = 1 + 0.15 * ring
        axes.plot(np.linspace(0, 2 * np.pi, 200), np.full(200, radius), color="lightgray", linewidth=0.6, zorder=1)
        axes.scatter(values, np.full(len(values), radius), label=_legend(name, values), **_marks(name, values))
        for value in _marked(drawn, name):
            axes.plot(value, radius, **MARK)
    eighths = ["0", "π/4", "π/2", "3π/4", "π", "5π/4", "3π/2", "7π/4"]
    axes.set_xticks(np.arange(8) * np.pi / 4, eighths)
    axes.set_ylim(0, 1.45)
    axes.set_yticks([])
    axes.set_xlabel(drawn.label)
    axes.grid(alpha=0.3)
    axes.spines["polar"].set_visible(False)
    axes.legend(loc="center", fontsize=9, framealpha=1, edgecolor="white")


def _plane(axes: "Axes", drawn: Drawn) -> None:
    for name, values in drawn.lists.items():
        axes.scatter(values[:, 0], values[:, 1], label=_legend(name, values), **_marks(name, values))
        for x, y in _marked(drawn, name):
            axes.plot(x, y, **MARK)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(drawn.label, fontsize=9)
    unit = _UNIT.search(drawn.parameter.description)
    axes.set_xlabel(f"{drawn.name}[0]{unit[0] if unit else ''}")
    axes.set_ylabel(f"{drawn.name}[1]{unit[0] if unit else ''}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    _open(axes, "top", "right")


@dataclass(frozen=True)
class _Scale:
    """What colours have which values, and what the bar beside them says."""

    norm: "Normalize"
    colors: "Colormap"
    label: str
    ticks: "Sequence[float] | Locator"


def _matrices(place: "SubplotSpec", arrays: Sequence[Drawn]) -> None:
    """A column for each parameter, a matrix in it for each list, in which a row is a task."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Rectangle

    sizes = {name: len(values) for name, values in arrays[0].lists.items()}
    widths = [max(math.prod(each.parameter.shape), 4) for each in arrays]
    # Heights grow with the root of the length, so that a short list can be seen beside a long one.
    grid = place.subgridspec(len(sizes), len(arrays), width_ratios=widths, height_ratios=np.sqrt([*sizes.values()]))
    panels = grid.subplots(squeeze=False)
    lined = sum(widths) * sum(sizes.values()) <= FEW_CELLS
    edges = {"edgecolors": "white", "linewidth": 0.5} if lined else {}
    of_scale: dict[int, tuple[_Scale, list[Axes]]] = {}
    for column, each, scale in zip(panels.T, arrays, _scales(arrays), strict=True):
        for axes, (name, values) in zip(column, each.lists.items(), strict=True):
            rows = values.reshape(len(values), -1)
            if each.marked is not None and each.marked[0] == name:
                outline = Rectangle((0, each.marked[1]), rows.shape[1], 1)
                outline.set(fill=False, edgecolor="black", linewidth=1.5, clip_on=False, zorder=4)
                axes.add_patch(outline)
            axes.pcolormesh(rows, norm=scale.norm, cmap=scale.colors, rasterized=True, **edges)
            axes.invert_yaxis()
            axes.set_xticks([])
            axes.set_yticks([])
            _open(axes, "top", "right", "left", "bottom")
        named = np.arange(0, math.prod(each.parameter.shape), max(1, round(sum(widths) / 9)))
        column[-1].set_xticks(named + 0.5, named)
        column[-1].set_xlabel(f"element of\n{each.name}", fontsize=8)
        of_scale.setdefault(id(scale), (scale, []))[1].extend(column)
    for axes, (name, values) in zip(panels[:, 0], arrays[0].lists.items(), strict=True):
        axes.set_ylabel(_legend(name, values), rotation=0, ha="right", va="center")
    for scale, sharing in of_scale.values():
        colors = ScalarMappable(scale.norm, scale.colors)
        bar = sharing[0].figure.colorbar(
            colors, ax=sharing, label=scale.label, ticks=scale.ticks, format="{x:g}", aspect=40
        )
        bar.minorticks_off()


def _scales(arrays: Sequence[Drawn]) -> list[_Scale]:
    """Of each parameter. Factors share a logarithmic one with 1 in the middle."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import MaxNLocator

    factors = [each for each in arrays if each.parameter.low > 0]
    farthest = max((max(1 / each.extent[0], each.extent[1]) for each in factors), default=2.0)
    of_factors = _Scale(
        LogNorm(1 / farthest, farthest),
        colormaps["RdBu_r"],
        "factor (logarithmic scale)",
        [2.0**power for power in range(-10, 11) if 1 / farthest <= 2.0**power <= farthest],
    )
    scales = []
    for each in arrays:
        known = each.parameter.allowed
        colors = colormaps["coolwarm"].resampled(len(known)) if known else colormaps["viridis"]
        ticks = known or MaxNLocator(integer=each.parameter.permutation)
        scales.append(of_factors if each in factors else _Scale(Normalize(*each.extent), colors, each.label, ticks))
    return scales


def _legend(name: str, values: NDArray[np.float64]) -> str:
    return f"{SHOWN[name]} ({len(values)})"


def _marked(drawn: Drawn, name: str) -> NDArray[np.float64]:
    """The value of the marked task if it is in the list `name`, (1, *shape), else none, (0, *shape)."""
    if drawn.marked is None or drawn.marked[0] != name:
        return drawn.lists[name][:0]
    index = drawn.marked[1]
    return drawn.lists[name][index : index + 1]


def _marks(name: str, values: NDArray[np.float64]) -> dict[str, Any]:
    # Test tasks may lie on training tasks, and both are to be seen.
    hollow = {"facecolors": "none", "edgecolors": COLORS[name]} if name == "test" else {"color": COLORS[name]}
    size = 45 if len(values) <= FEW else 12
    return {"marker": MARKERS[name], "s": size, "linewidths": 1.2, "zorder": 3, **hollow}


def _open(axes: "Axes", *sides: str) -> None:
    for side in sides:
        axes.spines[side].set_visible(False)
