"""`quiet`: MuJoCo simulates and does nothing beside it: it takes no times, and its remarks go to our log."""

import ctypes
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import mujoco

from apb import _native

_log = logging.getLogger(__name__)


class _Callback(NamedTuple):
    """One of MuJoCo's callbacks, None unless the user has set it, and what stands in for None: a C function, since a
    Python function that raises, be it for a Ctrl-C, would end the process."""

    get: Callable[[], Any]
    set: Callable[[Any], None]
    ours: Any


_CALLBACKS = (
    # In place of the screen and MUJOCO_LOG.TXT.
    _Callback(
        mujoco.get_mju_user_warning,
        mujoco.set_mju_user_warning,
        ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_native.keep_remark()),
    ),
    # Of a light model's step an eighth goes to reading the clock for `MjData.timer`.
    _Callback(mujoco.get_mjcb_time, mujoco.set_mjcb_time, ctypes.CFUNCTYPE(ctypes.c_double)(_native.stopped_clock())),
)


class _Quiet:
    """A context for any number of threads: callbacks are of the whole process, so the first sets and the last unsets
    them. What the user has set stays, and is called; a batch takes C functions only."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # A lock that another thread held at a fork is never released in the child.
        self._lock, self._inside = threading.RLock(), 0
        _native.forget_remarks()
        self._unset()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                for callback in _CALLBACKS:
                    if callback.get() is None:
                        callback.set(callback.ours)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            if self._inside:  # in a child that was forked within, it is 0
                self._inside -= 1
            if not self._inside:
                self._unset()
        for remark in _native.take_remarks():
            _log.debug("%s", remark)

    def _unset(self) -> None:
        for callback in _CALLBACKS:
            if callback.get() is callback.ours:
                callback.set(None)


quiet = _Quiet()
