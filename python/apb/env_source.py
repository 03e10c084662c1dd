"""Where simulations come from: whatever a user may pass as `env`, resolved once into what makes and describes envs."""

import difflib
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import mujoco
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper

from apb.env_changes import changed_since_made
from apb.env_rows import close_env
from apb.env_spaces import AnyEnv, AnyVectorEnv, flat_size, require_action_space, require_observation_space
from apb.errors import ApbWarning, ConfigError, InvalidEnvError, UnknownNameError, raised, require_arguments

EnvLike = str | EnvSpec | AnyEnv | AnyVectorEnv | Callable[[], AnyEnv]
"""What functions of this package accept as `env`."""


class EnvSource:
    """An env given by a user, with its spaces checked; made by `EnvSource.resolve`.

    Attributes:
        observation_space: `Box` of floats, any rank; flattened row-major by the package.
        action_space: `Box` of floats with finite bounds.
        env_id: The registered id, or None if the env has none.
        typed: "module:Id-v0" if the env was given so, else None: only a user may ask for that module, so that no file
            holds it.
        instance: The env object that the user gave, or None if the source only makes new ones.
        running_statistics: Names of wrappers around the env that normalise by statistics of their own.
        can_make: Whether `make` can build further envs.
        identity: What a run folder stores to recognise the env again; JSON. `recreatable` tells whether `id` and
            `kwargs` alone rebuild it (`EnvSource.from_identity`): not where it was given as an object, which may have
            been changed after it was made, or as a factory.
        description: `identity` without `recreatable`: what a run must find again to go on, in whatever form it is
            given.
    """

    def __init__(
        self,
        described: AnyEnv | AnyVectorEnv,
        make: Callable[[], AnyEnv] | None,
        *,
        instance: AnyEnv | AnyVectorEnv | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Check and describe; `kwargs` are those that rebuild the env from its id, None if they may not."""
        if isinstance(described, VectorEnv):
            observation_space, action_space = described.single_observation_space, described.single_action_space
        else:
            observation_space, action_space = described.observation_space, described.action_space
        spec = described.spec
        self.env_id: str | None = None if spec is None else spec.id
        self._class = type(described.unwrapped).__name__
        try:
            # Actions first: advice on observations is of no use where the actions are of another kind.
            self.action_space: Box = require_action_space(action_space)
            self.observation_space: Box = require_observation_space(observation_space)
        except InvalidEnvError as error:
            raise InvalidEnvError(f"env {self.name}: {error}") from error
        self.running_statistics = _running_statistics(described)
        self.typed: str | None = None
        self.instance = instance
        self.can_make = make is not None
        self._make = make
        recreatable = self.env_id is not None and kwargs is not None and _is_json(kwargs)
        if not recreatable:
            kwargs = _rebuilding_kwargs(_spec_of_single(described)) or {}
        self.description: dict[str, Any] = {
            "id": self.env_id,
            "kwargs": dict(kwargs or {}) if _is_json(kwargs) else {},
            "entry_point": _entry_point(spec),
            "max_episode_steps": None if spec is None else spec.max_episode_steps,
            "layers": _layer_names(described),
            "observation_size": flat_size(self.observation_space),
            "action_size": flat_size(self.action_space),
            "action_low": self.action_space.low.reshape(-1).tolist(),
            "action_high": self.action_space.high.reshape(-1).tolist(),
        }
        self.identity: dict[str, Any] = {**self.description, "recreatable": recreatable}

    @property
    def name(self) -> str:
        """What messages call the env: its id, or the class of the env inside all wrappers."""
        return self.env_id or self._class

    @property
    def words(self) -> list[str]:
        """What a command on a run in this env needs after the run folder, to import what registers the env."""
        if self.typed is None:
            return []
        kwargs = self.description["kwargs"]
        return [self.typed, *(["--env-kwargs", json.dumps(kwargs)] if kwargs else [])]

    @classmethod
    def resolve(cls, env: "EnvLike | EnvSource", env_kwargs: Mapping[str, Any] | None = None) -> "EnvSource":
        """Turn what the user passed as `env` into a source.

        Args:
            env: A registered id (also `"module:Id-v0"`, which imports the module as `gymnasium.make` does), an
                `EnvSpec`, a `gymnasium.Env`, a `gymnasium.vector.VectorEnv`, or a function without arguments that
                returns a new `Env`.
            env_kwargs: Arguments for `gymnasium.make`; only with an id.

        Raises:
            UnknownNameError: No env of that id is registered.
            InvalidEnvError: The env cannot be made, or its spaces are not supported.
            ConfigError: `env_kwargs` without an id, or no mapping.
        """
        kwargs = require_arguments("env_kwargs", env_kwargs)
        if isinstance(env, str):
            source = cls._from_id(env, kwargs)
            source.typed = env if ":" in env else None
            return source
        if kwargs:
            raise ConfigError(
                f"env_kwargs = {kwargs!r} was given with env = {env!r}; expected an id. "
                "Configure the env object or the factory itself"
            )
        if isinstance(env, EnvSource):
            return env
        if isinstance(env, gymnasium.Env | VectorEnv):
            spec = _spec_of_single(env)
            return cls(env, None if spec is None else _make_from(spec), instance=env)
        if isinstance(env, EnvSpec):
            rebuilding = None if env.additional_wrappers else _rebuilding_kwargs(env)
            return cls._from_maker(_make_from(env), rebuilding)
        if callable(env):
            return cls._from_maker(lambda: _called("env", env), None)
        raise InvalidEnvError(
            f"env = {env!r} is a {type(env).__name__}; expected an id, an EnvSpec, a gymnasium.Env, a "
            "gymnasium.vector.VectorEnv or a function that returns an Env. In place of another library's vector of "
            "envs give the function that makes one; envs of the old `gym` package need an adapter such as shimmy"
        )

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> "EnvSource":
        """Rebuild a source from the `identity` in a file. Imports nothing: the id must already be registered.

        Raises:
            InvalidEnvError: The identity does not describe how to rebuild the env.
            UnknownNameError: The id is not registered (yet): import the package that registers it first.
        """
        env_id, kwargs = identity.get("id"), identity.get("kwargs")
        if not (identity.get("recreatable") is True and isinstance(env_id, str) and isinstance(kwargs, dict)):
            raise InvalidEnvError(
                f"the recorded env (id = {env_id!r}) cannot be rebuilt from its description: it was given as an object "
                "or a factory; pass the env again"
            )
        # A module in an id would be imported: a file must never be able to ask for that.
        if env_id not in gymnasium.registry:
            raise UnknownNameError(
                f"the recorded env id {env_id!r} is not registered{_nearest_ids(env_id)}; import the package that "
                "registers it before loading, or pass the env again"
            )
        return cls._from_id(env_id, kwargs)

    @classmethod
    def _from_id(cls, env_id: str, kwargs: dict[str, Any]) -> "EnvSource":
        def make() -> AnyEnv:
            try:
                return _gymnasium_make(env_id, **kwargs)
            except gymnasium.error.UnregisteredEnv as error:
                other = "" if ":" in env_id else "; an env of another package: `module:Id-v0` imports it first"
                raise UnknownNameError(
                    f"env = {env_id!r} is not registered{_nearest_ids(env_id)}{other}; {error}"
                ) from error
            except (Exception, SystemExit) as error:
                where = _WHERE_MODULES_ARE if ":" in env_id and isinstance(error, ModuleNotFoundError) else ""
                raise InvalidEnvError(
                    f"env = {env_id!r} with env_kwargs = {kwargs!r} cannot be made: {raised(error)}{where}"
                ) from error

        return cls._from_maker(make, kwargs)

    @classmethod
    def _from_maker(cls, make: Callable[[], AnyEnv], kwargs: Mapping[str, Any] | None) -> "EnvSource":
        probe = make()
        try:
            return cls(probe, make, kwargs=kwargs)
        finally:
            close_env(probe)

    def make(self) -> AnyEnv:
        """Make a new env, independent of all others; the caller closes it.

        Raises:
            InvalidEnvError: The env was given as an object without a `spec`, or making it raised.
        """
        if self._make is None:
            raise InvalidEnvError(
                f"env = {self.instance!r} is one object without a registered spec, so no second env can be made from "
                "it, and this needs separate envs; pass an id or a factory (a function that returns one new Env, also "
                "in place of a VectorEnv)"
            )
        env = self._make()
        if isinstance(self.instance, gymnasium.Env) and (changes := changed_since_made(self.instance, env)):
            warnings.warn(
                f"the env object {self.name} was changed after it was made ({', '.join(changes)}), and a new one is "
                "needed beside it, which is made from its spec and lacks these changes: pass a function that makes the "
                "env as you want it",
                ApbWarning,
                stacklevel=2,
            )
        if env.observation_space.shape != self.observation_space.shape or env.action_space != self.action_space:
            close_env(env)
            raise InvalidEnvError(
                f"env {self.name} was made again with other spaces: {env.observation_space} and {env.action_space}; "
                f"expected {self.observation_space} and {self.action_space}. Make the factory return equal envs"
            )
        return env

    def separate(self) -> "EnvSource":
        """A source of new envs only, never the object that the user gave; for evaluation beside training.

        Raises:
            InvalidEnvError: No further env can be made.
        """
        if self.instance is None:
            return self
        return self._from_maker(self.make, self.identity["kwargs"] if self.identity["recreatable"] else None)


_WHERE_MODULES_ARE = (
    " Expected a module that is installed, or whose folder is on Python's path: `python -m apb` in place of `apb`, or "
    "PYTHONPATH=. before it, adds the current folder"
)


def _gymnasium_make(env: str | EnvSpec, **kwargs: Any) -> AnyEnv:
    """`gymnasium.make` without its passive checker: simulations check every step themselves.

    MuJoCo's remarks about an env's own model file go to the log of this package; by default MuJoCo writes them to the
    screen and into a file in the working directory, once for each env that is made.
    """
    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_log.debug)
    try:
        return gymnasium.make(env, disable_env_checker=True, **kwargs)
    finally:
        mujoco.set_mju_user_warning(previous)


_log = logging.getLogger(__name__)


def _entry_point(spec: EnvSpec | None) -> str | None:
    """What makes the env: "module:Class" as it was registered, or the name of the function or class."""
    made_by = None if spec is None else spec.entry_point
    return made_by if isinstance(made_by, str) else getattr(made_by, "__qualname__", None)


def _layer_names(env: AnyEnv | AnyVectorEnv) -> list[str]:
    """The classes of the wrappers from the outermost one inwards, and of the env, but for those that decide nothing.

    Without their modules: what a script calls `__main__.MyEnv` has another module where the script is imported.
    """
    layers: list[Any] = [env]
    while isinstance(layers[-1], gymnasium.Wrapper | VectorWrapper):
        layers.append(layers[-1].env)
    return [type(layer).__qualname__ for layer in layers if type(layer) not in _DECIDE_NOTHING]


_DECIDE_NOTHING = (
    gymnasium.wrappers.OrderEnforcing,
    gymnasium.wrappers.PassiveEnvChecker,
    SyncVectorEnv,
    AsyncVectorEnv,
)


def _running_statistics(env: AnyEnv | AnyVectorEnv) -> list[str]:
    found = []
    while isinstance(env, gymnasium.Wrapper | VectorWrapper):
        if isinstance(env, _WITH_STATISTICS):
            found.append(type(env).__name__)
        env = env.env
    return found


_WITH_STATISTICS = tuple(
    getattr(module, name)
    for module in (gymnasium.wrappers, gymnasium.wrappers.vector)
    for name in ("NormalizeObservation", "NormalizeReward")
)


def _called(argument: str, factory: Callable[[], AnyEnv]) -> AnyEnv:
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


def _spec_of_single(env: AnyEnv | AnyVectorEnv) -> EnvSpec | None:
    """The spec that makes one env like this one, or like one row of a `VectorEnv` from `gymnasium.make_vec`."""
    spec = env.spec
    if spec is None or not isinstance(env, VectorEnv):
        return spec
    if spec.entry_point is None:
        return None
    single = EnvSpec(**{field: getattr(spec, field) for field in ("id", "entry_point", "max_episode_steps")})
    single.order_enforce = spec.order_enforce
    single.kwargs = {name: value for name, value in spec.kwargs.items() if name not in _VECTOR_KWARGS}
    single.additional_wrappers = spec.additional_wrappers
    return single


_VECTOR_KWARGS = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers")


def _make_from(spec: EnvSpec) -> Callable[[], AnyEnv]:
    def make() -> AnyEnv:
        try:
            return _gymnasium_make(spec)
        except (Exception, SystemExit) as error:
            raise InvalidEnvError(
                f"no new env can be made from the spec of env {spec.id!r}: {raised(error)}; pass an "
                "id or a factory (a function that returns a new env)"
            ) from error

    return make


def _rebuilding_kwargs(spec: EnvSpec | None) -> dict[str, Any] | None:
    """Arguments with which `gymnasium.make(spec.id)` equals `spec`, or None if there are none."""
    if spec is None or spec.id not in gymnasium.registry:
        return None
    registered = gymnasium.registry[spec.id]
    if registered.entry_point != spec.entry_point or registered.additional_wrappers or not _is_json(spec.kwargs):
        return None
    kwargs = {name: value for name, value in spec.kwargs.items() if registered.kwargs.get(name) != value}
    if spec.max_episode_steps != registered.max_episode_steps:
        kwargs["max_episode_steps"] = -1 if spec.max_episode_steps is None else spec.max_episode_steps
    return kwargs


def _is_json(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


def _nearest_ids(env_id: str) -> str:
    """The middle of an error message: the registered ids nearest to `env_id`, if any is near."""
    module, colon, own = env_id.rpartition(":")
    by_lower = {name.lower(): name for name in gymnasium.registry}
    close = difflib.get_close_matches(own.lower(), sorted(by_lower), n=3, cutoff=0.75)
    return f"; did you mean {' or '.join(repr(module + colon + by_lower[name]) for name in close)}?" if close else ""
