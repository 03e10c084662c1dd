"""`quiet`: MuJoCo's remarks go to the log of this package in place of the screen and MUJOCO_LOG.TXT."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import mujoco

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_inside = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Take MuJoCo's remarks to the log, unless the user has set a handler of their own, which goes on to get them.

    The handler is one for the whole process: of several threads the first one sets it and the last one unsets it.
    """
    global _inside
    with _lock:
        if _inside or mujoco.get_mju_user_warning() is None:
            _inside += 1
            mujoco.set_mju_user_warning(_log.debug)
            ours = True
        else:
            ours = False
    try:
        yield
    finally:
        if ours:
            with _lock:
                _inside -= 1
                if not _inside:
                    mujoco.set_mju_user_warning(None)
