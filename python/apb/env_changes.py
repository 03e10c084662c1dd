"""`changed_since_made`: what a user changed in an env object after it was made, such as the gravity of its model."""

from typing import Any

import mujoco
import numpy as np

from apb.env_spaces import AnyEnv

MOST = 5
"""Changes that are named."""


def changed_since_made(env: AnyEnv, new: AnyEnv) -> list[str]:
    """Names of what differs between `env` and a new one of the same kind: "model.opt.gravity", "max_torque".

    Compared are a MuJoCo model in full, and public attributes that are numbers, texts or flags. An env that keeps its
    state in such attributes differs from a new one as soon as it has been stepped.
    """
    own, other = vars(env.unwrapped), vars(new.unwrapped)
    names: list[str] = []
    for name in sorted(own.keys() & other.keys()):
        if isinstance(own[name], mujoco.MjModel) and isinstance(other[name], mujoco.MjModel):
            names += [f"{name}.{field}" for field in _differing_fields(own[name], other[name])]
        elif not name.startswith("_") and _is_plain(own[name]) and _is_plain(other[name]) and own[name] != other[name]:
            names.append(name)
    return names if len(names) <= MOST else [*names[:MOST], f"and {len(names) - MOST} more"]


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str | np.number)


def _differing_fields(model: Any, other: Any, depth: int = 0) -> list[str]:
    """Fields of an MjModel, and of the structures in it, whose numbers differ."""
    names = []
    for name in dir(model):
        if name.startswith("_"):
            continue
        value, its = getattr(model, name), getattr(other, name)
        if isinstance(value, np.ndarray):
            if value.shape != its.shape or not np.array_equal(value, its):
                names.append(name)
        elif _is_plain(value):
            if value != its:
                names.append(name)
        elif depth == 0 and type(value).__module__.startswith("mujoco") and not callable(value):
            names += [f"{name}.{inner}" for inner in _differing_fields(value, its, depth + 1)]
    return names
