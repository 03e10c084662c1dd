"""Save and load the state of one env in full, so that a resumed run continues with the same bits.

Only envs and wrappers that are known completely are trusted: single tasks of this package, Gymnasium's own MuJoCo envs
and Pendulum, inside Gymnasium's own wrappers. A state is applied on top of `env.reset(seed=...)`, which brings back
everything else.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import wrappers
from gymnasium.envs.classic_control import PendulumEnv
from numpy.typing import NDArray

from apb.env_spaces import AnyEnv
from apb.errors import FileFormatError, MismatchError
from apb.tasks.single import TaskEnv


@dataclasses.dataclass(slots=True)
class EnvState:
    """The state of one env: `arrays` by name, and `values` that JSON can hold."""

    arrays: dict[str, NDArray[Any]]
    values: dict[str, Any]


_ATTRIBUTES: Mapping[type[object], tuple[str, ...]] = {
    # Wrappers that keep nothing which observations, rewards or ends of episodes depend on.
    wrappers.ClipReward: (),
    wrappers.DtypeObservation: (),
    wrappers.FlattenObservation: (),
    wrappers.OrderEnforcing: (),
    wrappers.PassiveEnvChecker: (),
    wrappers.RecordEpisodeStatistics: (),
    wrappers.RescaleAction: (),
    wrappers.RescaleObservation: (),
    wrappers.ReshapeObservation: (),
    # Wrappers that do.
    wrappers.TimeLimit: ("_elapsed_steps",),
    wrappers.TimeAwareObservation: ("timesteps",),
    wrappers.NormalizeObservation: ("obs_rms.mean", "obs_rms.var", "obs_rms.count"),
    wrappers.NormalizeReward: ("return_rms.mean", "return_rms.var", "return_rms.count", "discounted_reward"),
    # Envs.
    PendulumEnv: ("state",),
}

_INTEGRATION_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)

# fmt: off
_READINGS = (
    "xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis", "geom_xpos", "geom_xmat", "site_xpos",
    "site_xmat", "subtree_com", "subtree_linvel", "subtree_angmom", "cdof", "cinert", "crb", "cvel", "cacc",
    "cfrc_int", "cfrc_ext", "qacc", "qfrc_bias", "qfrc_passive", "qfrc_actuator", "qfrc_smooth",
    "qfrc_constraint", "qfrc_inverse", "actuator_length", "actuator_velocity", "actuator_force", "ten_length",
    "ten_velocity", "sensordata", "energy",
)
# fmt: on
"""Quantities derived from the state that an env may read between two steps.

`mj_step` computes them before it integrates, so they belong to the state one substep earlier, and `mj_forward` on the
saved state would give other values: they are saved as they are. (Ant's reward starts from `xpos`, Humanoid's from
`xipos`.)
"""


def can_save(env: AnyEnv) -> bool:
    """Whether every layer of `env` is known, so that `save_env` leaves nothing out."""
    return all(_is_mujoco(layer) or type(layer) in _ATTRIBUTES for layer in _layers(env))


def save_env(env: AnyEnv) -> EnvState:
    """Copy the state of all layers that are known; the others are assumed to start anew in every `reset`."""
    state = EnvState({}, {})
    for depth, layer in enumerate(_layers_with_state(env)):
        for path in _ATTRIBUTES.get(type(layer), ()):
            value = _get(layer, path)
            if type(value) in (int, float):
                state.values[f"{depth}.{path}"] = value
            else:  # Scalars of NumPy too: what starts as an array of rank 0 may become one.
                state.arrays[f"{depth}.{path}"] = np.array(value)
        if _is_mujoco(layer):
            size = mujoco.mj_stateSize(layer.model, _INTEGRATION_STATE)
            integration = np.empty(size)
            mujoco.mj_getState(layer.model, layer.data, integration, _INTEGRATION_STATE)
            state.arrays[f"{depth}.integration_state"] = integration
            state.arrays[f"{depth}.readings"] = np.concatenate([view.ravel() for view in _readings(layer)])
            state.values[f"{depth}.np_random"] = layer.np_random.bit_generator.state
    return state


def load_env(env: AnyEnv, state: EnvState) -> None:
    """Apply what `save_env` returned to an env that has just been reset.

    Raises:
        MismatchError: The state is one of another env.
        FileFormatError: A value cannot be a state.
    """
    expected = save_env(env)
    _require_same_names("arrays", expected.arrays, state.arrays)
    _require_same_names("values", expected.values, state.values)
    for name, array in expected.arrays.items():
        if state.arrays[name].shape != array.shape or state.arrays[name].dtype.kind != "f":
            raise MismatchError(
                f"saved env state {name!r} has shape {state.arrays[name].shape} and dtype {state.arrays[name].dtype}; "
                f"expected {array.shape} of floats. The checkpoint belongs to another env or version of it"
            )
        if not np.isfinite(state.arrays[name]).all():
            raise FileFormatError(f"saved env state {name!r} is not finite; use an older checkpoint")
    for depth, layer in enumerate(_layers_with_state(env)):
        for path in _ATTRIBUTES.get(type(layer), ()):
            name = f"{depth}.{path}"
            if name in state.arrays:
                _set(layer, path, state.arrays[name].copy())
            else:
                _set(layer, path, _checked(name, state.values[name], expected.values[name]))
        if _is_mujoco(layer):
            _load_mujoco(layer, state.arrays[f"{depth}.integration_state"], state.arrays[f"{depth}.readings"])
            try:
                layer.np_random.bit_generator.state = state.values[f"{depth}.np_random"]
            except (TypeError, ValueError, LookupError, OverflowError, AttributeError) as error:
                raise FileFormatError(f"saved env state '{depth}.np_random' is malformed: {error}") from error


def _load_mujoco(env: Any, integration: NDArray[np.float64], readings: NDArray[np.float64]) -> None:
    model, data = env.model, env.data
    mujoco.mj_setState(model, data, integration, _INTEGRATION_STATE)
    # Contacts and constraints stay those of the reset: the next `mj_step` computes them before anything reads them.
    start = 0
    for view in _readings(env):
        view[...] = readings[start : start + view.size].reshape(view.shape)
        start += view.size


def _readings(env: Any) -> list[NDArray[np.float64]]:
    """Views of the derived quantities in MuJoCo's own memory; older versions lack some."""
    return [getattr(env.data, name) for name in _READINGS if hasattr(env.data, name)]


def _layers(env: AnyEnv) -> list[Any]:
    """The wrappers of `env` from the outermost one inwards, and last the env itself."""
    layers: list[Any] = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _layers_with_state(env: AnyEnv) -> list[Any]:
    """The layers whose state is saved, by whose order it is named: one that only checks may come or go."""
    return [layer for layer in _layers(env) if _ATTRIBUTES.get(type(layer)) or _is_mujoco(layer)]


def _is_mujoco(layer: object) -> bool:
    # By the module that defines the class: a subclass elsewhere may keep state of its own.
    gymnasiums = type(layer).__module__.startswith("gymnasium.envs.mujoco.") and hasattr(layer, "data")
    return gymnasiums or type(layer) is TaskEnv


def _get(layer: object, path: str) -> Any:
    for name in path.split("."):
        layer = getattr(layer, name)
    return layer


def _set(layer: object, path: str, value: object) -> None:
    parent, _, name = path.rpartition(".")
    setattr(_get(layer, parent) if parent else layer, name, value)


def _checked(name: str, value: object, own: object) -> int | float:
    """`value` if it is a number like the env's own: a count where that is an integer."""
    if type(value) is int and 0 <= value < 2**62:
        return value
    if type(own) is float and type(value) is float and abs(value) < 1e300:
        return value
    raise FileFormatError(f"saved env state {name!r} = {value!r:.100}; expected a number like {own!r}")


def _require_same_names(kind: str, expected: Mapping[str, object], found: Mapping[str, object]) -> None:
    if expected.keys() != found.keys():
        raise MismatchError(
            f"the saved env state has the {kind} {sorted(found)}; this env has {sorted(expected)}. The checkpoint "
            "belongs to another env or other wrappers"
        )
