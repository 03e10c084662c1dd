"""Arguments that several verbs take: JSON objects, and the runs and policies that a path stands for."""

import re
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
from apb.errors import ApbError, ConfigError, FileFormatError, RunFolderError, counted, nearest_path
from apb.files import first_free, parse_json
from apb.policy import Policy
from apb.runs import RunFolder, load_checkpoint, short_path
from apb.runs.folder import DEFAULT_ROOT
from apb.several_envs import is_several, recorded_envs
from apb.tasks.splits import one_of
from apb.tasks.task import described

JsonObject = Annotated[str, tyro.conf.arg(metavar="JSON-OBJECT")]
"""What an option is annotated with that `json_object` reads."""

LANE = re.compile(r"(task-\d+-)?seed-\d+")
POLICY_FILE = "model.safetensors"

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
class SavedPolicy:
    """A policy on the disk, and the env that it was adapted to.

    Attributes:
        path: Its folder.
        policy: The policy.
        seed: The seed it was learned with, or None if its file does not tell.
        task: What its task is called, or None if it has no name, or its file, which may be an older one, does not tell.
        env_identity: What `EnvSource.from_identity` takes, or None if unknown.
    """

    path: Path
    policy: Policy
    seed: int | None
    task: str | None
    env_identity: dict[str, Any] | None


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


def existing(path: Path) -> Path:
    """`path` itself if something is there; else raise `RunFolderError` with the nearest name."""
    if path.exists():
        return path
    raise RunFolderError(f"{str(path)!r} does not exist{nearest_path(path, DEFAULT_ROOT)}")


def free_path(path: Path) -> Path:
    """`path`, or the first of <stem>-1, <stem>-2, ... where nothing is: for a name that the user has not given."""
    return first_free(chain([path], (path.with_stem(f"{path.stem}-{number}") for number in count(1))))


def open_run(path: Path) -> RunFolder:
    """The run in `path`; where there is none but runs lie under it, the message of `RunFolderError` names them."""
    try:
        return RunFolder.open(existing(path))
    except RunFolderError as error:
        runs = [str(folder) for folder in _folders(path) if (folder / "config.json").is_file()]
        if runs:
            error.add_note(f"{path} holds runs: {', '.join(runs[:5])}{', ...' if len(runs) > 5 else ''}")
        raise


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []


def find_policies(path: Path) -> list[SavedPolicy]:
    """The policies that `path` stands for: a policy's folder, a run (its latest checkpoint), or a run's `best/`.

    Raises:
        RunFolderError: there is none. FileFormatError, MismatchError: the files are damaged.
    """
    folder = existing(path)
    if (folder / POLICY_FILE).is_file():
        return [_load(folder, None)]
    lanes = _lane_folders(folder)
    if lanes:
        return [_load(child, None) for child in lanes]
    run = open_run(path)
    identity = run.config.get("env_identity")
    while True:
        folder = load_checkpoint(run).policy
        try:
            return [_load(child, identity) for child in _lane_folders(folder) or [folder]]
        except FileFormatError:
            if folder.exists():
                raise
            # The run goes on, and deleted this checkpoint after a later one.


def _lane_folders(folder: Path) -> list[Path]:
    """Folders such as `seed-3` or `task-0-seed-3`, in the order of their numbers."""
    found = [child for child in folder.iterdir() if LANE.fullmatch(child.name)] if folder.is_dir() else []
    return sorted(found, key=lambda child: [int(number) for number in re.findall(r"\d+", child.name)])


def _load(folder: Path, identity: dict[str, Any] | None) -> SavedPolicy:
    policy = Policy.from_pretrained(folder)
    seed, env_id = policy.metadata.get("seed"), policy.metadata.get("env_id")
    if (identity is None or "task" in policy.metadata) and isinstance(env_id, str):
        kwargs = policy.metadata.get("env_kwargs")
        identity = {"id": env_id, "kwargs": kwargs, "recreatable": isinstance(kwargs, dict)}
    task = policy.metadata.get("task")
    return SavedPolicy(
        short_path(folder),
        policy,
        seed if isinstance(seed, int) else None,
        task if isinstance(task, str) and task.isprintable() else None,
        identity,
    )
