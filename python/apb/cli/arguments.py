"""Arguments that several verbs take: JSON objects, and the env that a saved policy is to act in."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import tyro

from apb import tasks
from apb.env_identity import is_own_id
from apb.env_source import EnvSource
from apb.errors import ApbError, ConfigError, FileFormatError, counted
from apb.files import first_free, parse_json
from apb.saved_policies import SavedPolicy
from apb.several_envs import is_several, recorded_envs
from apb.tasks.splits import one_of
from apb.tasks.task import described

JsonObject = Annotated[str, tyro.conf.arg(metavar="JSON-OBJECT")]
"""What an option is annotated with that `json_object` reads."""

EXAMPLE = """expected a JSON object, for example '{"width": 640}'"""


def json_object(option: str, text: str) -> dict[str, Any]:
    """Parse an option that is a JSON object; raises `ConfigError`."""
    try:
        value = parse_json(text.encode(), option)
    except FileFormatError as error:
        raise ConfigError(f"{error}; {EXAMPLE}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{option} = {text!r} is a {type(value).__name__}; {EXAMPLE}")
    return value


@dataclass(frozen=True)
class ChosenEnv:
    """The env that a policy is to act in.

    Attributes:
        env: Id or task, as `EnvSource.resolve` takes it.
        kwargs: Its arguments.
        name: What it is, for people: a task by its name, an id with its arguments.
        own: Whether it is the one that the policy was adapted to.
    """

    env: str
    kwargs: dict[str, Any]
    name: str
    own: bool


def choose_env(saved: SavedPolicy, env: str | None, env_kwargs: Mapping[str, Any]) -> ChosenEnv:
    """The env that the user named, or else the one that the policy was adapted to, with the arguments given. Of that
    one the id alone says nothing more, and "module:Id-v0" only where it is registered.

    Raises:
        ConfigError: the files do not tell the env, or it is several tasks. InvalidEnvError, UnknownNameError: it cannot
            be made from what they tell. MismatchError: the policy is of other spaces than the first of several tasks.
    """
    identity = saved.env_identity
    if env is not None and not (identity and is_own_id(env, identity)):
        _require_one_task(saved, env, env_kwargs)
        return ChosenEnv(env, dict(env_kwargs), env + given_as("with", env_kwargs), own=False)
    if identity is None:
        raise ConfigError(f"{saved.path} does not tell its env; give the env after the path")
    try:
        source = EnvSource.from_identity(identity, env)
    except ApbError as error:
        if env is None:
            error.add_note(env_hint(identity))
        raise
    env_id, kwargs = env or str(source.env_id), {**identity["kwargs"], **env_kwargs}
    label = saved.task or next((task.label for task in source.tasks), None)
    name = env_id + given_as("with", kwargs) if label is None else label + given_as("but with", env_kwargs)
    return ChosenEnv(env_id, kwargs, name, own=not env_kwargs)


def env_hint(identity: Mapping[str, Any]) -> str:
    """How to name the env, or the list of envs, of a run whose files do not suffice: because nobody has imported its
    module, for one."""
    several = is_several(identity)
    if several and identity.get("recreatable") is not True:
        return "Here: no command can name such a list; in Python `apb.resume(RUN, env=[...])` takes it again."
    ids = [each.get("id") for each in recorded_envs(identity)] if several else [identity.get("id")]
    unknown = [env_id for env_id in ids if env_id is not None and env_id not in gymnasium.registry]
    given = "one env of the list" if several else "the env"
    example = f"`module:{unknown[0] if unknown else 'Id-v0'}`"
    return f"Here: give {given} after the path; {example} imports the module that registers it."


def _require_one_task(saved: SavedPolicy, env: str, env_kwargs: Mapping[str, Any]) -> None:
    found = tasks.get(env) if tasks.is_task_name(env) else None
    if found is None or isinstance(found, tasks.Task) or len(found) == 1:
        return
    for task in found[:1]:
        saved.policy.check_env(EnvSource.resolve(str(task), env_kwargs))  # else no other task will do either
    raise ConfigError(
        f"ENV = {env!r} has {counted(len(found), 'task')}, and a policy acts in one; expected {one_of(env, found)}; or "
        "leave it out, for the task that the policy was adapted to"
    )


def given_as(how: str, arguments: Mapping[str, Any]) -> str:
    """What follows the name of an env that is made with `arguments`."""
    return f" {how} {described(arguments)}" if arguments else ""


def free_path(path: Path) -> Path:
    """`path`, or the first of <stem>-1, <stem>-2, ... where nothing is: for a name that the user has not given."""
    return first_free(chain([path], (path.with_stem(f"{path.stem}-{number}") for number in count(1))))
