"""Where simulations come from: whatever a user may pass as `env`, resolved once into what makes and describes envs."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv

from apb import tasks
from apb.batch_rows import BatchRows
from apb.env_changes import changed_since_made
from apb.env_identity import arguments_of_each, is_own_id, recorded_env, recorded_form, recorded_tasks
from apb.env_layers import entry_point, layer_names, running_statistics
from apb.env_making import (
    called,
    is_json,
    make_by_id,
    make_from,
    nearest_ids,
    rebuilding_kwargs,
    spec_of_single,
)
from apb.env_rows import EnvRows, Rows, close_env
from apb.env_spaces import AnyEnv, AnyVectorEnv, flat_size, require_action_space, require_observation_space, spaces_of
from apb.errors import ApbWarning, ConfigError, InvalidEnvError, UnknownNameError, counted, require_arguments
from apb.lane_words import common_place
from apb.tasks.splits import one_of
from apb.vector_rows import VectorRows

OneEnv = str | EnvSpec | AnyEnv | AnyVectorEnv | Callable[[], AnyEnv] | tasks.Task
EnvLike = OneEnv | tasks.Split | Sequence[OneEnv]
"""What functions of this package accept as `env`; a list has tasks or their names, for `meta_train` any envs."""


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
        tasks: The tasks of one family that `rows` simulates side by side in one batch; empty for any other env.
        identity: What a run folder stores to recognise the env again; JSON. `recreatable` tells whether `id` and
            `kwargs` alone rebuild it (`EnvSource.from_identity`): not where it was given as an object, which may have
            been changed after it was made, or as a factory.
        description: `identity` without `recreatable` and the labels of tasks: what a run must find again to go on, in
            whatever form it is given.
    """

    def __init__(
        self,
        described: AnyEnv | AnyVectorEnv,
        make: Callable[[], AnyEnv] | None,
        *,
        instance: AnyEnv | AnyVectorEnv | None = None,
        kwargs: Mapping[str, Any] | None = None,
        tasks: Sequence[tasks.Task] = (),
    ) -> None:
        """Check and describe; `kwargs` are those that rebuild the env from its id, None if they may not."""
        self.tasks = tuple(tasks)
        spec = described.spec
        self.env_id: str | None = None if spec is None else spec.id
        self._class = type(described.unwrapped).__name__
        try:
            observation_space, action_space = spaces_of(described)
            # Actions first: advice on observations is of no use where the actions are of another kind.
            self.action_space: Box = require_action_space(action_space)
            self.observation_space: Box = require_observation_space(observation_space)
        except InvalidEnvError as error:
            raise InvalidEnvError(f"env {self.name}: {error}") from error
        self.running_statistics = running_statistics(described)
        self.typed: str | None = None
        self.instance = instance
        self.can_make = make is not None
        self._make = make
        recreatable = self.env_id is not None and kwargs is not None and is_json(kwargs)
        if not recreatable:
            kwargs = rebuilding_kwargs(spec_of_single(described)) or {}
        self.description: dict[str, Any] = {
            "id": self.env_id,
            "kwargs": dict(kwargs or {}) if is_json(kwargs) else {},
            "entry_point": entry_point(spec),
            "max_episode_steps": None if spec is None else spec.max_episode_steps,
            "layers": layer_names(described),
            "batched": bool(self.tasks),
            "observation_size": flat_size(self.observation_space),
            "action_size": flat_size(self.action_space),
            "action_low": self.action_space.low.reshape(-1).tolist(),
            "action_high": self.action_space.high.reshape(-1).tolist(),
        }
        labels = {"labels": [task.label for task in self.tasks]} if self.tasks else {}
        self.identity: dict[str, Any] = {**self.description, **labels, "recreatable": recreatable}

    @property
    def name(self) -> str:
        """What messages call the env: its task, or how many of a split, its id, or the class inside all wrappers."""
        if len(self.tasks) > 1:
            family = self.tasks[0].family
            place = common_place([task.label or "" for task in self.tasks])
            return f"{len(self.tasks)} tasks of {place if place.startswith(f'{family}/') else family}"
        return (self.tasks[0].label if self.tasks else None) or self.env_id or self._class

    @property
    def words(self) -> list[str]:
        """What a command on a run in this env needs after the run folder, to import what registers the env."""
        return [] if self.typed is None else [self.typed]

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
        if isinstance(env, str) and tasks.is_task_name(env):
            return cls._from_name(env, kwargs)
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
        if isinstance(env, tasks.Task):
            return cls._from_tasks([env])
        if isinstance(env, tasks.Split | list | tuple):
            each = [
                cls.resolve(one).tasks if isinstance(one, str) and tasks.is_task_name(one) else [one] for one in env
            ]
            return cls._from_tasks([task for several in each for task in several])
        if isinstance(env, gymnasium.Env | VectorEnv):
            spec = spec_of_single(env)
            return cls(env, None if spec is None else make_from(spec), instance=env)
        if isinstance(env, EnvSpec):
            rebuilding = None if env.additional_wrappers else rebuilding_kwargs(env)
            return cls._from_maker(make_from(env), rebuilding)
        if callable(env):
            return cls._from_maker(lambda: called("env", env), None)
        raise InvalidEnvError(
            f"env = {env!r} is a {type(env).__name__}; expected an id, an EnvSpec, a gymnasium.Env, a "
            "gymnasium.vector.VectorEnv or a function that returns an Env. In place of another library's vector of "
            "envs give the function that makes one; envs of the old `gym` package need an adapter such as shimmy"
        )

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any], typed: str | None = None) -> "EnvSource":
        """Rebuild a source from the `identity` in a file, which imports nothing.

        Args:
            identity: Of a file.
            typed: The identity's own id as a user has typed it; if it is "module:Id-v0", the module is imported first.

        Raises:
            InvalidEnvError: The identity does not describe how to rebuild the env.
            UnknownNameError: The id is not registered (yet): import the package that registers it first.
        """
        env_id, kwargs = recorded_env(identity)
        typed = typed if typed and ":" in typed else None
        if typed is not None:
            close_env(make_by_id(typed, arguments_of_each(identity)[0])())
        # A module in an id would be imported: a file must never be able to ask for that.
        if env_id not in gymnasium.registry:
            raise UnknownNameError(
                f"the recorded env id {env_id!r} is not registered{nearest_ids(env_id)}; import the package that "
                "registers it before loading, or pass the env again"
            )
        named = recorded_tasks(identity)
        source = cls._from_tasks(named) if named else cls._from_id(env_id, kwargs)
        source.typed = typed
        return source

    @classmethod
    def again(
        cls, env: "EnvLike | EnvSource | None", identity: Mapping[str, Any], env_kwargs: Mapping[str, Any] | None = None
    ) -> "EnvSource":
        """The env of a run: what its user gives, tasks under the names that the run has of them, or, if that is None or
        only the run's own id, which may be "module:Id-v0", what the `identity` in the run's files tells. Errors are
        those of `resolve` and `from_identity`."""
        if env is None:
            return cls.from_identity(identity)
        if isinstance(env, str) and not env_kwargs and is_own_id(env, identity):
            return cls.from_identity(identity, env)
        source = cls.resolve(env, env_kwargs)
        if known := recorded_form(source.tasks, identity):
            typed, source = source.typed, cls._from_tasks(known)
            source.typed = typed
        return source

    @classmethod
    def _from_id(cls, env_id: str, kwargs: dict[str, Any]) -> "EnvSource":
        make = make_by_id(env_id, kwargs)
        if ":" in env_id:
            close_env(make())  # imports the module, which may register a family
        task = tasks.task_of(env_id.rpartition(":")[2], kwargs)
        return cls._from_maker(make, kwargs) if task is None else cls._from_tasks([task])

    @classmethod
    def _from_name(cls, name: str, kwargs: dict[str, Any]) -> "EnvSource":
        """Tasks by their name in a split, or with arguments that no task has, such as a render mode, a single env."""
        of_make = {key: value for key, value in kwargs.items() if key in tasks.ARGUMENTS_OF_MAKE}
        found = tasks.get(name, **{key: value for key, value in kwargs.items() if key not in of_make})
        named = (found,) if isinstance(found, tasks.Task) else found
        if not of_make:
            return cls._from_tasks([*named])
        if len(named) != 1:
            raise ConfigError(
                f"env = {name!r} has {counted(len(named), 'task')}, and an env with {', '.join(of_make)} has one; "
                f"expected {one_of(name, named)}"
            )
        return cls._from_id(named[0].env_id, {**named[0].arguments, **of_make})

    @classmethod
    def _from_tasks(cls, given: Sequence[tasks.Task]) -> "EnvSource":
        for task in given:
            if not isinstance(task, tasks.Task):
                raise InvalidEnvError(f"env is a list with {task!r:.100} in it; expected tasks: apb.tasks.get(name)")
        if not given:
            raise InvalidEnvError("env has no tasks; expected at least one: apb.tasks.get(name)")
        first = given[0]
        for number, task in enumerate(given):
            if task in given[:number]:
                raise ConfigError(f"env has the task {task} twice; expected different ones")
            if task.made_family != first.made_family:
                raise ConfigError(
                    f"env has the tasks {first} and {task}; expected tasks of one family with the same switches, which "
                    "are simulated in one batch: adapt to the others in another call"
                )
        make = make_by_id(first.env_id, first.arguments)
        probe = make()
        try:
            kwargs = dict(first.arguments) if len(given) == 1 else {"tasks": [dict(task.arguments) for task in given]}
            return cls(probe, make, kwargs=kwargs, tasks=given)
        finally:
            close_env(probe)

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

    def task(self, lane: int, lanes: int) -> tasks.Task:
        """The task of one of K lanes: of T tasks, T > 0 and K a multiple of T, each has K / T lanes in a row.

        Raises:
            ConfigError: K is no multiple of T.
        """
        if lanes % len(self.tasks):
            raise ConfigError(f"{lanes} lanes for {self.name}; expected a multiple of {len(self.tasks)}")
        return self.tasks[lane * len(self.tasks) // lanes]

    @cached_property
    def parts(self) -> "tuple[EnvSource, ...]":
        """A source for each task by itself; of an env that is not several tasks, this one."""
        return tuple(self._from_tasks([task]) for task in self.tasks) if len(self.tasks) > 1 else (self,)

    def told_of(self, lane: int, lanes: int) -> str:
        """What messages on one of K lanes tell of its env, beside the name of this one."""
        return f", task {self.task(lane, lanes)}" if len(self.tasks) > 1 else ""

    def slots(self, wanted: int) -> int:
        """Simulations per lane that can be had: as many as are wanted, or as the object offers that the user gave."""
        if isinstance(self.instance, VectorEnv):
            return int(self.instance.num_envs)
        return wanted if self.can_make else 1

    def rows(self, lanes: int, slots: int, num_threads: int | None = None) -> Rows:
        """K * S simulations, row = lane * S + slot: of tasks in one batch, else each an env of its own. An env that was
        given as an object is used itself if K * S = 1; a `VectorEnv` must have `num_envs = slots`, in one lane.

        Raises:
            ConfigError: lanes and slots do not fit. InvalidEnvError: further envs are needed and cannot be made.
        """
        if self.tasks:
            per_row = [self.task(row // slots, lanes) for row in range(lanes * slots)]
            return BatchRows(per_row, num_threads)
        if isinstance(self.instance, VectorEnv):
            if lanes != 1 or slots != self.instance.num_envs:
                raise ConfigError(
                    f"env is a VectorEnv object with num_envs = {self.instance.num_envs}, but {lanes} lanes of {slots} "
                    f"simulations are needed; expected one lane of {self.instance.num_envs}. Pass an id or a function "
                    "that makes one Env"
                )
            return VectorRows(self.instance)
        if self.instance is not None and lanes * slots == 1:
            return EnvRows([self.instance], owned=False)
        return EnvRows.made(self.make, lanes * slots, self.name)
