"""`draw_clone`: what a clone does beside what was demonstrated, on held-out episodes, and how its error fell."""

from pathlib import Path

import numpy as np

from apb.cloning.clone import CloneResult
from apb.errors import counted
from apb.pictures import new_figure, require_picture, save_figure

MOST_DIMENSIONS = 11
"""Dimensions of the action that have a panel; of more, the first."""
MOST_POINTS = 2_000
"""Points in a panel; of more, evenly spread ones."""
COLUMNS = 4
STEPS = {"gradient": "steps of Adam", "ridge": "Gauss-Newton steps after the regression"}
"""By method, what is counted on the way."""


def draw_clone(result: CloneResult, path: str | Path) -> Path:
    """Draw demonstrated against cloned actions in [-1, 1], a panel for each dimension, and the error against steps.

    Args:
        result: What `clone` returned.
        path: Picture to write: .png, .svg or .pdf; replaced if it exists.

    Raises:
        ConfigError: another ending. RunFolderError: it cannot be written.
    """
    from matplotlib.ticker import MaxNLocator  # here, since the fit needs no picture

    target = require_picture(path)
    held_out = result.held_out
    demonstrated = held_out.unit_actions
    observations = held_out.observations.reshape(-1, *held_out.spaces[0].shape)
    policy = result.policy
    acted = (policy(observations).reshape(len(held_out), -1) - policy.offset) / policy.scale
    rows = np.arange(0, len(held_out), -(-len(held_out) // MOST_POINTS))
    dimensions = demonstrated.shape[1]
    count = min(dimensions, MOST_DIMENSIONS)
    columns = min(count + 1, COLUMNS)
    lines = -(-(count + 1) // columns)
    figure = new_figure(max(3 * columns, 7), 3 * lines + 0.5, dpi=110)
    steps = f"{counted(len(held_out), 'step')} of {counted(held_out.num_episodes, 'episode')}"
    shown = "" if count == dimensions else f"; the first {count} of {dimensions} are drawn"
    figure.suptitle(
        f"actions scaled to [-1, 1] on {steps}, held out{shown}\nmean squared error {result.held_out_error:.3g}",
        fontsize=10,
    )
    for dimension in range(count):
        axes = figure.add_subplot(lines, columns, dimension + 1)
        axes.plot([-1, 1], [-1, 1], color="gray", linewidth=0.8)
        axes.plot(demonstrated[rows, dimension], acted[rows, dimension], ".", markersize=3, alpha=0.4)
        error = np.square(acted[:, dimension] - demonstrated[:, dimension]).mean()
        axes.set_title(f"action {dimension}: error {error:.3g}", fontsize=9)
        axes.set_xlabel("demonstrated", fontsize=8)
        axes.set_ylabel("cloned", fontsize=8)
        axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xticks=(-1, 0, 1), yticks=(-1, 0, 1), aspect="equal")
        axes.tick_params(labelsize=8)
    axes = figure.add_subplot(lines, columns, count + 1)
    axes.plot(result.steps, result.errors, marker="." if len(result.steps) < 10 else None)
    best = int(np.argmin(result.errors))
    axes.plot(result.steps[best], result.errors[best], "o", markersize=7, fillstyle="none", label="kept")
    if (result.errors > 0).all():
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("held-out error on the way", fontsize=9)
    axes.set_xlabel(STEPS[policy.metadata["method"]], fontsize=8)
    axes.set_ylabel("mean squared error", fontsize=8)
    axes.tick_params(which="both", labelsize=8)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    save_figure(figure, target)
    return target
