"""`new_batch`: a batch of MuJoCo's simulations, where MuJoCo has batches; a forked process leaves it alone."""

import gc
import os
import weakref
from typing import Any

import mujoco

from apb.errors import InvalidEnvError

_batches: "weakref.WeakSet[Any]" = weakref.WeakSet()


def require_batches() -> Any:
    """`mujoco.batch.Batch`; raises `InvalidEnvError` where MuJoCo is too old to have it."""
    try:
        from mujoco.batch import Batch
    except ImportError as error:
        raise InvalidEnvError(
            f"MuJoCo {mujoco.__version__} cannot simulate in batches; install mujoco>=3.17 (single envs work with it)"
        ) from error
    return Batch


def new_batch(model: mujoco.MjModel, rows: int, threads: int) -> Any:
    """A `mujoco.batch.Batch` of `rows` simulations on at most so many threads; see `require_batches`."""
    batch = require_batches()(model, rows, threads)
    _batches.add(batch)
    return batch


def _keep_forever() -> None:
    """A forked process has no threads but its first, and a batch would wait for its own when it is freed."""
    kept: list[Any] = list(_batches)
    if kept:
        # A cycle that is not collected even when Python ends, as what modules have is.
        kept.append(kept)
        gc.freeze()


os.register_at_fork(after_in_child=_keep_forever)
