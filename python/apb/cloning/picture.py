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


def draw_clone(result: CloneResult, path: str | Path) -> Path:
    """Draw demonstrated against cloned actions in [-1, 1], a panel for each dimension, and the error against steps.

    Args:
        result: What `clone` returned.
        path: Picture to write: .png, .svg or .pdf; replaced if it exists.

    Raises:
        ConfigError: another ending. RunFolderError: it cannot be written.
    """
    target = require_picture(path)
    held_out = result.held_out
    demonstrated = held_out.unit_actions
    observations = held_out.observations.reshape(-1, *held_out.spaces[0].shape)
    policy = result.policy
    acted = (policy(observations).reshape(len(held_out), -1) - policy.offset) / policy.scale
    rows = np.arange(0, len(held_out), -(-len(held_out) // MOST_POINTS))
    count = min(demonstrated.shape[1], MOST_DIMENSIONS)
    lines = -(-(count + 1) // COLUMNS)
    figure = new_figure(3 * COLUMNS, 3 * lines, dpi=110)
    steps = f"{counted(len(held_out), 'step')} of {counted(held_out.num_episodes, 'episode')}"
    figure.suptitle(f"mean squared error {result.held_out_error:.4f} on {steps}, held out")
    for dimension in range(count):
        axes = figure.add_subplot(lines, COLUMNS, dimension + 1)
        axes.plot([-1, 1], [-1, 1], color="gray", linewidth=0.8)
        axes.plot(demonstrated[rows, dimension], acted[rows, dimension], ".", markersize=3, alpha=0.4)
        error = np.square(acted[:, dimension] - demonstrated[:, dimension]).mean()
        axes.set_title(f"action {dimension}: {error:.4f}", fontsize=9)
        axes.set_xlabel("demonstrated", fontsize=8)
        axes.set_ylabel("cloned", fontsize=8)
        axes.set_aspect("equal")
    axes = figure.add_subplot(lines, COLUMNS, count + 1)
    axes.plot(result.steps, result.errors, marker="o" if len(result.steps) < 10 else None)
    if (result.errors > 0).all():
        axes.set_yscale("log")
    axes.set_title("held-out error", fontsize=9)
    axes.set_xlabel("steps", fontsize=8)
    axes.grid(alpha=0.3)
    save_figure(figure, target)
    return target
