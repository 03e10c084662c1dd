"""`find_policies`: the policies that a path stands for: a policy's folder, a run, or a run's best ones."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apb.errors import ConfigError, FileFormatError, RunFolderError, nearest_path
from apb.files.model_folders import TENSORS_FILE
from apb.policy import Policy
from apb.runs import RunFolder, load_checkpoint, short_path
from apb.runs.folder import DEFAULT_ROOT

LANE = re.compile(r"(task-\d+-)?seed-\d+")


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


def existing(path: Path) -> Path:
    """`path` itself if something is there; else raise `RunFolderError` with the nearest name."""
    if path.exists():
        return path
    raise RunFolderError(f"{str(path)!r} does not exist{nearest_path(path, DEFAULT_ROOT)}")


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
    if (folder / TENSORS_FILE).is_file():
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


def one_policy(path: Path) -> SavedPolicy:
    """The only policy that `path` stands for; raises `ConfigError` where it holds several, else as `find_policies`."""
    saved, *others = find_policies(path)
    if others:
        raise ConfigError(
            f"{path} holds {len(others) + 1} policies; expected one of their folders, such as {saved.path}"
        )
    return saved


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
