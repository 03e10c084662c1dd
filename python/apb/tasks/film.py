"""`Camera`: pictures of simulations, also on a machine without a screen; `grid` puts several side by side."""

import copy
import os
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError, SimulationError, require_integer

Picture = NDArray[np.uint8]
"""Red, green and blue, uint8 (height, width, 3)."""

MAX_PIXELS = 8192
GROUND = 5.0
"""How many times as wide as in Gymnasium's models the ground is drawn: 200 m to each side, where these have 40."""


def require_render_mode(render_mode: object) -> str | None:
    """Return the render mode of an env, None or "rgb_array"; raise `ConfigError` for any other."""
    if render_mode is not None and render_mode != "rgb_array":
        raise ConfigError(f"render_mode = {render_mode!r:.100}; expected 'rgb_array' or None")
    return "rgb_array" if render_mode else None


class Camera:
    """Draws simulations of one model; the view follows the robot where the model has a camera `track`.

    Args:
        model: The model; never changed.
        width, height: Of a picture, in pixels, in [1, 8192].

    Raises:
        ConfigError: a size is out of range.
    """

    _drawn_in: ClassVar[int | None] = None
    """The process that has drawn. OpenGL does not come with a fork: what it is asked there may wait for ever."""

    def __init__(self, model: mujoco.MjModel, width: int = 480, height: int = 480) -> None:
        self._model = model
        self._size = require_integer("width", width, 1, MAX_PIXELS), require_integer("height", height, 1, MAX_PIXELS)
        self._viewer: Any = None
        self._thread = 0

    def picture(self, data: mujoco.MjData) -> Picture:
        """A simulation whose kinematics are those of now.

        Raises:
            SimulationError: the process is a fork of one that has drawn, or the thread is not the first picture's.
        """
        if Camera._drawn_in not in (None, os.getpid()):
            raise SimulationError(
                "this process is a fork of one that has drawn pictures, and OpenGL cannot go on in it; draw in the "
                "first process, or start others by `spawn`"
            )
        if self._viewer is None:
            Camera._drawn_in, self._thread = os.getpid(), threading.get_ident()
            self._viewer = self._new_viewer(data)
        elif self._thread != threading.get_ident():
            raise SimulationError(
                "this env was drawn in another thread, which OpenGL belongs to; draw there, or close() it first"
            )
        self._viewer.data = data
        # Another camera may have drawn in the meantime.
        self._viewer.make_context_current()
        track = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
        return np.ascontiguousarray(self._viewer.render("rgb_array", camera_id=track))

    def close(self) -> None:
        """Free the renderer; a later picture makes it again."""
        if self._viewer is not None:
            self._viewer.free()
            self._viewer = None

    def _new_viewer(self, data: mujoco.MjData) -> Any:
        # Gymnasium's own, which asks for MUJOCO_GL now; MuJoCo's Renderer goes by what it was at the import of mujoco.
        from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

        from apb.rendering import choose_opengl

        choose_opengl()
        width, height = self._size
        drawn = copy.copy(self._model)
        buffer = drawn.vis.global_
        buffer.offwidth, buffer.offheight = max(buffer.offwidth, width), max(buffer.offheight, height)
        # The ground is endless, but it is drawn for some 40 m only, which a fast robot leaves.
        planes = drawn.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        drawn.geom_size[planes, :2] *= GROUND
        materials = drawn.geom_matid[planes]
        drawn.mat_texrepeat[materials[materials >= 0]] *= GROUND
        return OffScreenViewer(drawn, data, width, height)


def grid(pictures: Sequence[Picture], columns: int | None = None) -> Picture:
    """Pictures of one size in rows of `columns`, by default as near to a square as possible; what is left is black.

    Raises:
        ConfigError: there are none, or of several sizes; or `columns` is not in [1, 8192].
    """
    if not pictures:
        raise ConfigError("grid() was given no pictures; expected at least one, of one size")
    if columns is None:
        columns = int(np.ceil(np.sqrt(len(pictures))))
    columns = require_integer("columns", columns, 1, MAX_PIXELS)
    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1:
        raise ConfigError(f"grid() was given pictures of the shapes {sorted(shapes)}; expected one size")
    lines = -(-len(pictures) // columns)
    height, width, colours = pictures[0].shape
    canvas = np.zeros((lines * height, columns * width, colours), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        line, column = divmod(number, columns)
        canvas[line * height : (line + 1) * height, column * width : (column + 1) * width] = picture
    return canvas
