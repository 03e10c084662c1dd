"""`SeveralEnvs`: envs that observe and act in different numbers, described and simulated as one; for `meta_train`."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from apb.env_identity import is_own_id
from apb.env_rows import Rows
from apb.env_source import EnvLike, EnvSource
from apb.env_spaces import AnyEnv, flat_size
from apb.errors import ApbError, ConfigError, InvalidEnvError
from apb.settings import MAX_LANES
from apb.several_rows import Block, SeveralRows
from apb.tasks import Task
from apb.tasks.task import described

MOST_NAMED = 4
"""Envs that messages and titles call by their names; of more they tell the number."""


class SeveralEnvs(EnvSource):
    """N envs as one, whose lanes are N equal parts: those of the first env, those of the second, ...

    It observes as many numbers as the largest env, padded with zeros, and acts in as many, in [-1, 1]: an env is given
    the first numbers of its own, scaled to its own bounds. Tasks of one family are simulated in one batch.

    Args:
        parts: Sources of one env each, of which new ones can be made, no two of the same.

    Attributes:
        parts: See `EnvSource`.

    Raises:
        ConfigError: two are the same. InvalidEnvError: one was given as an object that cannot be made a second time.
    """

    def __init__(self, parts: Sequence[EnvSource]) -> None:
        for number, part in enumerate(parts):
            if not part.can_make:
                raise InvalidEnvError(
                    f"env {part.name} in the list was given as an object of which no second one can be made, and "
                    "evaluation needs separate envs; pass a function that makes one Env"
                )
            if any(_same(part, other) for other in parts[:number]):
                raise ConfigError(f"the list has env {in_words(part)} twice; expected different ones")
        super().__init__(_Largest(parts), None)
        self.parts = tuple(part.separate() for part in parts)
        self.can_make = True
        self.running_statistics = list(dict.fromkeys(name for part in parts for name in part.running_statistics))
        self.description |= {"layers": [], "envs": [part.description for part in self.parts]}
        recorded = [{key: part.identity.get(key) for key in ("labels", "recreatable")} for part in self.parts]
        recreatable = all(part.identity["recreatable"] for part in self.parts)
        self.identity = {**self.description, "parts": recorded, "recreatable": recreatable}

    @property
    def name(self) -> str:
        """What messages call the envs."""
        names = [in_words(part) for part in self.parts]
        if len(names) > MOST_NAMED:
            return f"{len(names)} envs"
        return f"{', '.join(names[:-1])} and {names[-1]}"

    @property
    def words(self) -> list[str]:
        """See `EnvSource`: one for each module."""
        return list({word.partition(":")[0]: word for part in self.parts for word in part.words}.values())

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any], typed: str | None = None) -> EnvSource:
        """See `EnvSource`; `typed` may be the id of one of the envs, with the module that registers them all."""
        recorded = recorded_envs(identity)
        lost = [str(number) for number, each in enumerate(recorded, 1) if each.get("recreatable") is not True]
        if lost:
            raise InvalidEnvError(
                f"env {', '.join(lost)} of the list was given as an object or a function, which no file can hold; pass "
                "the list again, env=[...]"
            )
        named = [typed if typed is not None and is_own_id(typed, each) else None for each in recorded]
        for each, word in zip(recorded, named, strict=True):
            if word is not None:
                EnvSource.from_identity(each, word)  # imports the module
        return cls([EnvSource.from_identity(*pair) for pair in zip(recorded, named, strict=True)])

    @classmethod
    def again(
        cls,
        env: EnvLike | EnvSource | None,
        identity: Mapping[str, Any],
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> EnvSource:
        """See `EnvSource`; `env` may be a list of the envs, or the id of one of them, which stands for all."""
        recorded = recorded_envs(identity)
        if env is None:
            return cls.from_identity(identity)
        if isinstance(env, str) and not env_kwargs and any(is_own_id(env, each) for each in recorded):
            return cls.from_identity(identity, env)
        given = resolve_all(env, "env") if isinstance(env, list | tuple) else EnvSource.resolve(env, env_kwargs)
        if not isinstance(given, SeveralEnvs) or len(given.parts) != len(recorded):
            return given
        return cls([EnvSource.again(part, own) for part, own in zip(given.parts, recorded, strict=True)])

    def make(self) -> AnyEnv:
        """Raises `InvalidEnvError`: they are several."""
        raise InvalidEnvError(f"{self.name} are {len(self.parts)} envs, and this needs one; give one of them")

    def told_of(self, lane: int, lanes: int) -> str:
        """See `EnvSource`."""
        return f", env {in_words(self.parts[lane * len(self.parts) // lanes])}"

    def rows(self, lanes: int, slots: int, num_threads: int | None = None) -> Rows:
        """See `EnvSource`.

        Raises:
            ConfigError: K is no multiple of N. InvalidEnvError: functions made the same env twice.
        """
        if lanes % len(self.parts):
            raise ConfigError(f"{lanes} lanes for {self.name}; expected a multiple of {len(self.parts)}")
        each = lanes // len(self.parts)
        together: dict[Any, list[int]] = {}
        for number, part in enumerate(self.parts):
            together.setdefault(part.tasks[0].made_family if part.tasks else number, []).append(number)
        blocks: list[Block] = []
        with ExitStack() as opened:
            for numbers in together.values():
                source = one_of_family([self.parts[number] for number in numbers])
                rows = source.rows(each * len(numbers), slots, num_threads)
                opened.callback(rows.close)
                places = np.arange(lanes * slots).reshape(len(self.parts), -1)[numbers].ravel()
                blocks.append(Block(source.name, rows, places, source.observation_space, source.action_space))
            joined = SeveralRows(blocks)
            if len({id(env.unwrapped) for env in joined.envs}) < len(joined.envs):
                raise InvalidEnvError(
                    f"two functions among {self.name} returned the same env; expected a new one at each call"
                )
            opened.pop_all()
        return joined


def resolve_all(given: Sequence[EnvLike | EnvSource], argument: str = "tasks") -> EnvSource:
    """One source of a list of envs: tasks of one family in one batch, as in `EnvSource.resolve`; else `SeveralEnvs`.

    Args:
        given: Of each what `EnvSource.resolve` takes. The name of several tasks stands for all of them.
        argument: What the caller calls the list, for errors.

    Raises:
        UnknownNameError, InvalidEnvError, ConfigError: as there, and as for `SeveralEnvs`; they are too many.
    """
    if len(given) > MAX_LANES:
        raise ConfigError(f"the list {argument} has {len(given):,} envs; expected at most {MAX_LANES:,}")
    try:
        alike = [each for each in given if isinstance(each, Task)]
        if len(alike) == len(given) and len({task.made_family for task in alike}) == 1:
            return EnvSource.resolve(alike)  # makes one env, not one for each task
        parts = [part for each in given for part in EnvSource.resolve(each).parts]
    except ApbError as error:
        raise type(error)(f"in the list {argument}: {error}") from error
    families = {part.tasks[0].made_family if part.tasks else None for part in parts}
    one_family = len(families) == 1 and None not in families
    if one_family or len(parts) == 1:
        return one_of_family(parts)
    for number, each in enumerate(given):
        if any(each is other for other in given[:number]):
            raise ConfigError(f"the list {argument} has env {each!r:.100} twice; expected different ones")
    return SeveralEnvs(parts)


def source_again(
    env: EnvLike | EnvSource | None,
    identity: Mapping[str, Any],
    env_kwargs: Mapping[str, Any] | None = None,
) -> EnvSource:
    """`EnvSource.again`, also for the identity of `SeveralEnvs`."""
    return (SeveralEnvs if is_several(identity) else EnvSource).again(env, identity, env_kwargs)


def is_several(identity: Mapping[str, Any]) -> bool:
    """Whether this is the identity of `SeveralEnvs`."""
    return "envs" in identity


def one_of_family(parts: Sequence[EnvSource]) -> EnvSource:
    """The only one; of tasks of one family, the source of them all."""
    return parts[0] if len(parts) == 1 else EnvSource.resolve([task for part in parts for task in part.tasks])


def in_words(part: EnvSource) -> str:
    """The task, or the env with its arguments."""
    if part.tasks:
        return str(part.tasks[0])
    kwargs = part.identity["kwargs"]
    return part.name + (f" with {described(kwargs)}" if kwargs else "")


class _Largest(gymnasium.Env[Any, Any]):
    """The spaces of several envs as one."""

    def __init__(self, parts: Sequence[EnvSource]) -> None:
        observed, acted = ([flat_size(getattr(part, f"{kind}_space")) for part in parts] for kind in _KINDS)
        self.observation_space = Box(-np.inf, np.inf, (max(observed),), np.float32)
        self.action_space = Box(-1, 1, (max(acted),), np.float32)


_KINDS = ("observation", "action")


def _same(first: EnvSource, second: EnvSource) -> bool:
    if first.tasks or second.tasks:
        return first.tasks == second.tasks
    recreatable = first.identity["recreatable"] and second.identity["recreatable"]
    return bool(recreatable and first.description == second.description)


def recorded_envs(identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The identity of each of `SeveralEnvs`; raises `InvalidEnvError` if they are malformed."""
    envs, parts = identity.get("envs"), identity.get("parts")
    if isinstance(envs, list) and isinstance(parts, list) and len(envs) == len(parts) > 1:
        pairs = [pair for pair in zip(envs, parts, strict=True) if all(isinstance(each, dict) for each in pair)]
        if len(pairs) == len(envs):
            return [env | {key: value for key, value in part.items() if value is not None} for env, part in pairs]
    raise InvalidEnvError(f"the recorded envs are {envs!r:.100}; pass the list again, env=[...]")
