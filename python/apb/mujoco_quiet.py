"""`quiet`: MuJoCo simulates and does nothing beside it: it takes no times, and its remarks go to our log."""

import logging
import os
from pathlib import Path

import mujoco

from apb._native import Quiet


def _made() -> Quiet:
    users = mujoco.get_mjcb_time()
    mujoco.set_mjcb_time(None)
    made = Quiet(logging.getLogger(__name__).debug, str(Path(mujoco.__file__).parent))
    mujoco.set_mjcb_time(users)
    os.register_at_fork(after_in_child=made.begin_anew)
    return made


quiet = _made()
"""Within, MuJoCo's remarks do not go to the screen and to MUJOCO_LOG.TXT, and no time goes to `MjData.timer`, which
takes an eighth of a light model's step. What the user has set by `mujoco.set_mju_user_warning` and
`mujoco.set_mjcb_time` stays; a batch takes C functions only."""
