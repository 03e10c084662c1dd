"""`draw_coverage`: a picture of what a pre-trained policy visits, beside what random actions visit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apb.intrinsic.coverage import Coverage, Visited
from apb.pictures import new_figure, printed, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


PANELS = {"random": "random actions", "noisy": "pre-trained policy, with noise"}


def draw_coverage(found: Mapping[str, Coverage], title: str, path: Path) -> None:
    """Draw the episodes of one lane into `path`: the robot's way over the ground, or how far it came over time, where
    the env is a task of `apb.tasks`; of other envs the states in the plane of their first two principal components.

    Raises:
        RunFolderError: the picture cannot be written.
    """
    figure = new_figure(11, 5.2)
    figure.suptitle(printed(title, 110))
    lines, labels = _lines({way: found[way].episodes for way in PANELS})
    first: Axes | None = None
    for number, (way, name) in enumerate(PANELS.items(), start=1):
        axes = figure.add_subplot(1, 2, number, sharex=first, sharey=first)
        first = first or axes
        for line in lines[way]:
            axes.plot(*line.T, linewidth=1, alpha=0.8)
            axes.plot(*line[0], "k.", markersize=5)
            axes.plot(*line[-1], "k", marker="x", markersize=5)
        distance = found[way].distance
        told = "" if distance is None else f", {distance:.1f} m from the start"
        axes.set_title(f"{name}\ncoverage {found[way].entropy:.2f}{told}")
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.grid(alpha=0.3)
        if labels[0] == _GROUND[0]:
            axes.set_aspect("equal", adjustable="box")
    save_figure(figure, path)


_GROUND = ("x in m (dot: start, cross: end of an episode)", "y in m")
_TIME = ("step of the episode (dot: start, cross: end)", "x in m")
_COMPONENTS = ("first principal component of the states", "second principal component")


def _lines(
    episodes: Mapping[str, Sequence[Visited]],
) -> tuple[dict[str, list[NDArray[np.float64]]], tuple[str, str]]:
    """Of each way to act the points (n, 2) of each episode, and what the axes are."""
    paths = {way: [each.path for each in of if each.path is not None] for way, of in episodes.items()}
    sizes = {path.shape[1] for of in paths.values() for path in of}
    if sizes == {1}:
        return {
            way: [np.column_stack([np.arange(len(path)), path[:, 0]]) for path in of] for way, of in paths.items()
        }, _TIME
    if sizes and min(sizes) >= 2:
        return {way: [path[:, :2] for path in of] for way, of in paths.items()}, _GROUND
    states = np.concatenate([each.states for of in episodes.values() for each in of]).astype(np.float64)
    mean, deviation = states.mean(axis=0), states.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    components = np.linalg.svd((states - mean) / scale, full_matrices=False)[2][:2].T
    if components.shape[1] < 2:  # a single number, or a single state
        components = np.pad(components, ((0, 0), (0, 2 - components.shape[1])))
    return {
        way: [(each.states - mean) / scale @ components for each in of] for way, of in episodes.items()
    }, _COMPONENTS
