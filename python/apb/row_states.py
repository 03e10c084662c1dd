"""The saved state of a batched env: `digest`, which tells whose it is, and `load`, which checks all of it first."""

import hashlib
import json
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.errors import FileFormatError, MismatchError
from apb.state_arrays import LARGEST
from apb.tasks.bounds import bounded
from apb.tasks.family import Family
from apb.tasks.parameter import Parameters

State = Mapping[str, NDArray[Any]]

_OF_MODEL = tuple(
    attrgetter(name)
    for name in (
        *("body_parentid", "body_pos", "body_quat", "body_mass", "body_inertia", "body_ipos", "body_iquat"),
        *("body_gravcomp", "qpos0", "qpos_spring", "jnt_type", "jnt_axis", "jnt_pos", "jnt_limited", "jnt_range"),
        *("jnt_margin", "jnt_stiffness", "jnt_solref", "jnt_solimp", "dof_armature", "dof_damping"),
        *("dof_frictionloss", "geom_type", "geom_size", "geom_pos", "geom_quat", "geom_contype", "geom_conaffinity"),
        *("geom_condim", "geom_priority", "geom_friction", "geom_margin", "geom_gap", "geom_solmix", "geom_solref"),
        *("geom_solimp", "actuator_trntype", "actuator_trnid", "actuator_dyntype", "actuator_gaintype"),
        *("actuator_biastype", "actuator_dynprm", "actuator_gainprm", "actuator_biasprm", "actuator_gear"),
        *("actuator_ctrllimited", "actuator_ctrlrange", "actuator_forcelimited", "actuator_forcerange"),
        *("opt.timestep", "opt.gravity", "opt.wind", "opt.integrator", "opt.density", "opt.viscosity", "opt.cone"),
        *("opt.impratio", "opt.solver", "opt.iterations", "opt.tolerance", "opt.disableflags", "opt.enableflags"),
        # Of these the robots of the package have none, or few.
        *("exclude_signature", "pair_signature", "eq_type", "eq_obj1id", "eq_obj2id", "eq_data", "eq_solref"),
        *("eq_solimp", "wrap_type", "wrap_objid", "wrap_prm", "tendon_range", "tendon_stiffness", "tendon_damping"),
        *("tendon_frictionloss", "tendon_lengthspring"),
    )
)
"""Numbers of a model that its motion depends on, as every version of MuJoCo that simulates batches has them."""


def digest(family: Family, parameters: Parameters) -> NDArray[np.uint8]:
    """SHA-256, 32 bytes, of what tells tasks from others: family, reward, switches, model, and parameters of rows."""
    named = [family.name, family.formula, family.frame_skip, family.switches]
    found = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
    for number in _OF_MODEL:
        # Rounded, and without the sign of 0: what is compiled on another machine may differ in the last bit.
        found.update((np.round(np.asarray(number(family.model), np.float64), 9) + 0.0).tobytes())
    for name, values in sorted(parameters.items()):
        found.update(name.encode() + values.tobytes())
    return np.frombuffer(found.digest(), dtype=np.uint8).copy()


def load(own: State, found: State, *, horizon: int, moving: slice, expected: str) -> None:
    """Write `found` over the arrays of `own`, all of them, or none if something is wrong.

    Args:
        own: What an env has, by the names of `BatchedEnv.state`.
        found: What was saved.
        horizon: Steps of the longest episode.
        moving: Where in a row of physics positions and velocities are.
        expected: Whose it should be, in words.

    Raises:
        MismatchError: it is of another env. FileFormatError: no simulation has such numbers.
    """
    for name, array in own.items():
        value = found.get(name)
        if not isinstance(value, np.ndarray) or (value.shape, value.dtype) != (array.shape, array.dtype):
            described = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.100}"
            raise MismatchError(
                f"saved simulations: {name} is {described}; expected {array.dtype} {array.shape}. They are those "
                "of another family, another number of rows, or another version of MuJoCo"
            )
    if not np.array_equal(found["tasks"], own["tasks"]):
        raise MismatchError(
            "saved simulations are those of another family, of other tasks of it or other switches, or its reward or "
            "model was changed since they were saved, or another version of apb saved them; expected "
            f"{expected} with the tasks that they were saved with: resume with that version, or begin a new run"
        )
    _require_possible(found, horizon, moving)
    for name, array in own.items():
        array[...] = found[name]


def _require_possible(found: State, horizon: int, moving: slice) -> None:
    physics, steps, episodes = found["physics"], found["steps"], found["episodes"]
    for name in ("physics", "observations", "positions"):
        _require(np.isfinite(found[name]), found, name, "finite numbers")
    for name, values in (("physics", physics[:, moving]), ("positions", found["positions"])):
        good = np.array([bounded(row[None]) for row in values])
        _require(good, found, name, "numbers that a simulation goes on from")
    _require(found["seeds"] <= rng.MAX_SEED, found, "seeds", f"integers in [0, {rng.MAX_SEED}]")
    _require((steps >= 0) & (steps <= horizon), found, "steps", f"integers in [0, {horizon}]")
    _require((episodes >= 0) & (episodes < LARGEST), found, "episodes", "counts")
    _require((episodes >= 1) | found["ended"], found, "episodes", "at least 1 where an episode is under way")


def _require(good: NDArray[np.bool_], found: State, name: str, expected: str) -> None:
    if not good.all():
        row = int(np.argwhere(~good)[0][0])
        text = " ".join(f"{found[name][row]!s}".split())
        raise FileFormatError(
            f"saved simulations: {name} of row {row} is {text:.80}; expected {expected}; use an older checkpoint"
        )
