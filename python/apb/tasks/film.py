"""`Camera`: pictures of simulations, also on a machine without a screen; `grid` puts several side by side."""

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError

Picture = NDArray[np.uint8]
"""Red, green and blue, uint8 (height, width, 3)."""


class Camera:
    """Draws simulations of one model; the view follows the robot where the model has a camera `track`.

    Args:
        model: The model. Its off-screen buffer is widened if it is too small.
        width, height: Of a picture, in pixels.
    """

    def __init__(self, model: mujoco.MjModel, width: int = 480, height: int = 480) -> None:
        self._model = model
        self._size = height, width
        self._renderer: mujoco.Renderer | None = None

    def picture(self, data: mujoco.MjData) -> Picture:
        """A simulation whose kinematics are those of now."""
        if self._renderer is None:
            buffer = self._model.vis.global_
            buffer.offheight = max(buffer.offheight, self._size[0])
            buffer.offwidth = max(buffer.offwidth, self._size[1])
            self._renderer = mujoco.Renderer(self._model, *self._size)
        self._renderer.update_scene(data, camera=mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, "track"))
        picture: Picture = self._renderer.render()
        return picture

    def close(self) -> None:
        """Free the renderer; a later picture makes it again."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def grid(pictures: Sequence[Picture], columns: int | None = None) -> Picture:
    """Pictures of one size in rows of `columns`, by default as near to a square as possible; what is left is black.

    Raises:
        ConfigError: there are none.
    """
    if not pictures:
        raise ConfigError("grid() was given no pictures; expected at least one, of one size")
    columns = columns or int(np.ceil(np.sqrt(len(pictures))))
    lines = -(-len(pictures) // columns)
    height, width, colours = pictures[0].shape
    canvas = np.zeros((lines * height, columns * width, colours), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        line, column = divmod(number, columns)
        canvas[line * height : (line + 1) * height, column * width : (column + 1) * width] = picture
    return canvas
