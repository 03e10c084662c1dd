"""`quiet`: MuJoCo simulates and does nothing beside it: it takes no times, and its remarks go to our log."""

import ctypes
import logging
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import mujoco

from apb import _native


class _Callback(NamedTuple):
    """One of MuJoCo's callbacks, None unless the user has set it, and what stands in for None."""

    get: Callable[[], Any]
    set: Callable[[Any], None]
    ours: Any


# In place of the screen and MUJOCO_LOG.TXT.
_REMARKS = _Callback(mujoco.get_mju_user_warning, mujoco.set_mju_user_warning, logging.getLogger(__name__).debug)
# Of a light model's step an eighth goes to reading the clock for `MjData.timer`. The time is always 0 in place of no
# callback, which another thread might be about to call.
_TIMES = _Callback(
    mujoco.get_mjcb_time, mujoco.set_mjcb_time, ctypes.CFUNCTYPE(ctypes.c_double)(_native.stopped_clock())
)


class _Quiet:
    """A context for any number of threads: callbacks are of the whole process, so the first sets and the last unsets
    them. What the user has set goes on to be called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                for callback in (_REMARKS, _TIMES):
                    if callback.get() is None:
                        callback.set(callback.ours)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for callback in (_REMARKS, _TIMES):
                    if callback.get() is callback.ours:
                        callback.set(None)


quiet = _Quiet()
