"""How new envs are made: by id, from a spec, or by a user's function, with errors that say what to do."""

import copy
import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from apb import mujoco_quiet
from apb.env_spaces import AnyEnv, AnyVectorEnv
from apb.errors import InvalidEnvError, UnknownNameError, raised
from apb.simulation import BatchedEnv


def make_by_id(env_id: str, kwargs: Mapping[str, Any]) -> Callable[[], AnyEnv]:
    """What makes new envs of a registered id; see `EnvSource.resolve`."""

    def make() -> AnyEnv:
        try:
            return _gymnasium_make(env_id, **kwargs)
        except gymnasium.error.UnregisteredEnv as error:
            other = "" if ":" in env_id else "; an env of another package: `module:Id-v0` imports it first"
            raise UnknownNameError(
                f"env = {env_id!r} is not registered{nearest_ids(env_id)}{other}; {error}"
            ) from error
        except (Exception, SystemExit) as error:
            where = _WHERE_MODULES_ARE if ":" in env_id and isinstance(error, ModuleNotFoundError) else ""
            raise InvalidEnvError(
                f"env = {env_id!r} with env_kwargs = {kwargs!r} cannot be made: {raised(error)}{where}"
            ) from error

    return make


def make_from(spec: EnvSpec) -> Callable[[], AnyEnv]:
    """What makes new envs like the one that a spec is of."""

    def make() -> AnyEnv:
        try:
            return _gymnasium_make(spec)
        except (Exception, SystemExit) as error:
            raise InvalidEnvError(
                f"no new env can be made from the spec of env {spec.id!r}: {raised(error)}; pass an "
                "id or a factory (a function that returns a new env)"
            ) from error

    return make


def called(argument: str, factory: Callable[[], AnyEnv]) -> AnyEnv:
    """The env that a user's function returns."""
    try:
        env = factory()
    except (Exception, SystemExit) as error:
        raise InvalidEnvError(
            f"{argument} = {factory!r} is a factory, and calling it raised {raised(error)}; expected a "
            "function without arguments that returns a new gymnasium.Env"
        ) from error
    if not isinstance(env, gymnasium.Env):
        raise InvalidEnvError(
            f"{argument} = {factory!r} is a factory that returned a {type(env).__name__}; expected one gymnasium.Env "
            "(the package makes as many as it needs, and steps them side by side)"
        )
    return env


def _gymnasium_make(env: str | EnvSpec, **kwargs: Any) -> AnyEnv:
    """`gymnasium.make` without its passive checker: simulations check every step themselves.

    MuJoCo's remarks about an env's own model file go to the log; by default they come once for each env that is made.
    """
    with mujoco_quiet.quiet:
        return gymnasium.make(env, disable_env_checker=True, **kwargs)


_WHERE_MODULES_ARE = (
    " Expected a module that is installed, or whose folder is on Python's path: `python -m apb` in place of `apb`, or "
    "PYTHONPATH=. before it, adds the current folder"
)


def spec_of_single(env: AnyEnv | AnyVectorEnv) -> EnvSpec | None:
    """The spec that makes one env like this one, or like one row of a `VectorEnv` from `gymnasium.make_vec`; None if
    there is none, or its rows have several tasks."""
    spec = env.spec
    if isinstance(env.unwrapped, BatchedEnv):
        return _spec_of_batch(env.unwrapped)
    if spec is None or not isinstance(env, VectorEnv):
        return spec
    if spec.entry_point is None:
        return None
    single = EnvSpec(**{field: getattr(spec, field) for field in ("id", "entry_point", "max_episode_steps")})
    single.order_enforce = spec.order_enforce
    single.kwargs = {name: value for name, value in spec.kwargs.items() if name not in _VECTOR_KWARGS}
    single.additional_wrappers = spec.additional_wrappers
    return single


def _spec_of_batch(env: BatchedEnv) -> EnvSpec | None:
    first = env.task(0)
    if any(env.task(row) != first for row in range(1, env.num_envs)):
        return None
    spec = copy.deepcopy(gymnasium.registry[first.env_id])
    spec.kwargs |= dict(first.arguments)
    spec.max_episode_steps = env.horizon
    return spec


_VECTOR_KWARGS = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers")


def rebuilding_kwargs(spec: EnvSpec | None) -> dict[str, Any] | None:
    """Arguments with which `gymnasium.make(spec.id)` equals `spec`, or None if there are none."""
    if spec is None or spec.id not in gymnasium.registry:
        return None
    registered = gymnasium.registry[spec.id]
    if registered.entry_point != spec.entry_point or registered.additional_wrappers or not is_json(spec.kwargs):
        return None
    kwargs = {name: value for name, value in spec.kwargs.items() if registered.kwargs.get(name) != value}
    if spec.max_episode_steps != registered.max_episode_steps:
        kwargs["max_episode_steps"] = -1 if spec.max_episode_steps is None else spec.max_episode_steps
    return kwargs


def is_json(value: object) -> bool:
    """Whether a file can hold `value` and give it back equal."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


def nearest_ids(env_id: str) -> str:
    """The middle of an error message: the registered ids nearest to `env_id`, if any is near."""
    module, colon, own = env_id.rpartition(":")
    by_lower = {name.lower(): name for name in gymnasium.registry}
    close = difflib.get_close_matches(own.lower(), sorted(by_lower), n=3, cutoff=0.75)
    return f"; did you mean {' or '.join(repr(module + colon + by_lower[name]) for name in close)}?" if close else ""
