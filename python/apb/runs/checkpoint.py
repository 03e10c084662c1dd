"""Checkpoints: everything that a run needs to continue exactly, complete or absent, and checked before it is used.

::

    checkpoints/<step>/manifest.json      what is here, with checksums; what it belongs to
    checkpoints/<step>/policy/            the policy at that step, ready to load
    checkpoints/<step>/training_state/    the rest (`apb.runs.state_files`)
    checkpoints/<step>/best/              the policy of the best evaluation until then (`apb.runs.best`)
    checkpoints/LATEST                    the name of the one to continue from

A save writes, in this order: new replay segments, the checkpoint folder (built aside, published by one rename), LATEST
(replaced by one rename). Only then is anything old deleted. A kill between any two system calls therefore leaves LATEST
naming a complete checkpoint with all its segments.
"""

import os
import shlex
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apb.errors import ApbWarning, ConfigError, FileFormatError, MismatchError, RunFolderError
from apb.files import (
    atomic_file,
    carry_over,
    discard,
    free_name,
    published_folder,
    remove_leftovers,
    require_content,
    staged_folder,
    sync,
)
from apb.runs.best import copy_best, restore_best, write_best
from apb.runs.folder import STEP_NAME, RunFolder, last_good_checkpoint, latest_name, writing
from apb.runs.manifest import read_manifest, write_manifest
from apb.runs.replay_log import Ring, Segment, read_segments, remove_unlisted, write_segments
from apb.runs.state_files import TrainingState, read_state, write_state

READ_ATTEMPTS = 100
"""How often a checkpoint is looked for anew when a run that goes on has replaced it in the meantime."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that passed all checks: `step` in timesteps, its folder, its identity, state and replay segments.

    `damaged` are the steps of others that would have been taken before it, and did not pass.
    """

    step: int
    path: Path
    identity: Mapping[str, str]
    state: TrainingState
    segments: tuple[Segment, ...]
    damaged: tuple[int, ...] = ()

    @property
    def policy(self) -> Path:
        """The folder of the policy."""
        return self.path / "policy"

    def read_replay(self, table: Any) -> Ring:
        """Fill `table`, float32 (K, capacity, W), with the replay of this checkpoint; see `read_segments`."""
        return read_segments(self.path.parent.parent / "replay", self.segments, table)


class CheckpointWriter:
    """Saves the checkpoints of a run whose lock is held, and deletes the ones that are no longer wanted.

    `identity` says what the checkpoints belong to (`env`, `backbone_hash`, `config_hash`, ...). `parent` is the
    checkpoint that the run continues from (None: a new run); later ones, of a future that is now abandoned, are
    deleted; damaged ones that it was taken instead of are set aside, since their policies may be all that is left of
    days of learning. `keep_last` (at least 1, default 2) is how many are kept.
    """

    def __init__(
        self, run: RunFolder, identity: Mapping[str, str], *, parent: Checkpoint | None = None, keep_last: int = 2
    ) -> None:
        if keep_last < 1:
            raise ConfigError(f"keep_last = {keep_last}; expected at least 1, or the run could not be resumed")
        if not run.is_locked:
            raise RunFolderError(f"run folder {run.path} is not locked; save checkpoints within `with run.lock():`")
        if parent is None and list_steps(run):
            raise RunFolderError(f"run folder {run.path} has checkpoints; load one and continue from it as `parent`")
        self.run = run
        self.identity = dict(identity)
        self.keep_last = keep_last
        self._segments = parent.segments if parent else ()
        self._step = parent.step if parent else -1
        with writing(run.path, run.checkpoints):
            run.checkpoints.mkdir(exist_ok=True)
            run.replay.mkdir(exist_ok=True)
            sync(run.path)
            remove_leftovers(run.path)
            remove_leftovers(run.checkpoints)
            if parent is not None:
                self._publish_latest(parent.step)
                restore_best(parent.path, run.best)
                self._set_aside(parent.damaged)
            self._delete_unwanted(self._step)

    def save(
        self, step: int, state: TrainingState, policy_writer: Callable[[Path], object], ring: Ring | None = None
    ) -> Path:
        """Save everything at timestep `step`; return the checkpoint's folder.

        `policy_writer(folder)` writes the policy (`policy.save_pretrained`); `ring` is the replay. When anything fails
        the checkpoint before stays as it is, and what was written is removed. Raises `RunFolderError`, naming that
        checkpoint, when the disk is full or not writable, and whatever `state` or `policy_writer` raise.
        """
        if not self._step <= step < 10**18:
            raise ConfigError(f"step = {step}; expected at least {self._step}, the step of the checkpoint before")
        folder = self.run.checkpoints / f"{step:09d}"
        try:
            for log in filter(Path.is_file, self.run.path.glob("*.jsonl")):
                sync(log)  # a resume counts on the records up to this step
            segments = write_segments(self.run.replay, ring, self._segments) if ring is not None else ()
            with staged_folder(folder) as staging:
                policy_writer(staging / "policy")
                write_state(staging / "training_state", state)
                copy_best(self.run.best, staging)
                write_manifest(staging, step, self.identity, segments)
                carry_over(folder, staging)
            self._publish_latest(step)
        except BaseException as error:
            latest = _read_latest(self.run)
            with suppress(OSError):  # what is left is deleted when the run continues
                self._delete_unwanted(self._step if latest is None else max(self._step, latest))
            if isinstance(error, OSError):
                raise RunFolderError(
                    f"checkpoint {folder} cannot be written: {error}; {last_good_checkpoint(self.run.path)};"
                    " make room and continue with `apb resume`"
                ) from error
            raise
        self._segments, self._step = segments, step
        self._delete_unwanted(step)
        return folder

    def save_best(self, step: int, metrics: Mapping[str, Any], policy_writer: Callable[[Path], object]) -> Path:
        """Replace `best/` as a whole by the policy that was just evaluated, with its `evaluation.json`.

        What else lies in `best/` stays there.
        """
        with writing(self.run.path, self.run.best):
            write_best(self.run.best, policy_writer, {"timesteps": step, **metrics})
        return self.run.best

    def _publish_latest(self, step: int) -> None:
        latest = self.run.checkpoints / "LATEST"
        if latest.is_dir():  # somebody's; a file cannot take the place of a folder
            latest.rename(free_name(latest.with_name("LATEST.moved")))
        with atomic_file(latest) as file:
            file.write(f"{step:09d}\n".encode())

    def _set_aside(self, steps: Iterable[int]) -> None:
        for step in steps:
            aside = free_name(self.run.checkpoints / f"{step:09d}.damaged")
            _folder(self.run, step).rename(aside)
            warnings.warn(f"the damaged checkpoint {step} is kept as {aside}", ApbWarning, stacklevel=4)

    def _delete_unwanted(self, step: int) -> None:
        steps = list_steps(self.run)
        wanted = [other for other in steps if other <= step][-self.keep_last :]
        for other in steps:
            if other not in wanted:
                discard(_folder(self.run, other))
        self._delete_unlisted_segments()

    def _delete_unlisted_segments(self) -> None:
        listed: list[Segment] = []
        for step in list_steps(self.run):
            try:
                listed += read_manifest(_folder(self.run, step)).segments
            except (FileFormatError, MismatchError):
                continue  # it cannot be loaded, so it needs no segments
            except RunFolderError:
                return  # nobody knows which segments it needs
        remove_unlisted(self.run.replay, listed)


def list_steps(run: RunFolder) -> list[int]:
    """The timesteps of the checkpoints of a run, ascending, whether or not they are intact."""
    names = [entry.name for entry in run.checkpoints.iterdir()] if run.checkpoints.is_dir() else []
    names = [name.removeprefix(".").removesuffix(".previous") if name.endswith(".previous") else name for name in names]
    return sorted({int(name) for name in names if STEP_NAME.fullmatch(name) and name == f"{int(name):09d}"})


def require_unbegun(run: RunFolder) -> None:
    """Raise `RunFolderError` if a run without checkpoints had some that were removed: it must not begin again over what
    it measured.

    A run that was killed before its first checkpoint has the folder `checkpoints/`, and no LATEST in it.
    """
    records = [run.replay, run.best, *run.path.glob("*.jsonl")]
    removed = not run.checkpoints.is_dir() and any(os.path.lexists(path) for path in records)
    if removed or os.path.lexists(run.checkpoints / "LATEST") or os.path.lexists(run.result):
        raise RunFolderError(
            f"{run.path} has records of a run and none of its checkpoints: they were removed; put {run.checkpoints} "
            "back, or start the run again in a new folder"
        )


def load_checkpoint(run: RunFolder, *, identity: Mapping[str, str] | None = None) -> Checkpoint:
    """Load the checkpoint that `run` was opened at, or else the last good one.

    Sizes and checksums of all its files and replay segments are verified, and its identity is compared with `identity`
    if given. When LATEST, or the checkpoint that it names, is damaged, an `ApbWarning` says so and the newest intact
    one is loaded. Raises `RunFolderError` when there is none, or one cannot be read, `FileFormatError` when the one
    asked for is damaged, and `MismatchError`, naming field and both values, when it belongs to something else or to
    another format version.
    """
    steps = list_steps(run)
    if run.step is not None:
        if run.step not in steps:
            raise RunFolderError(f"{run.path} has no checkpoint at timestep {run.step}; it has {steps}")
        return _load(run, run.step, identity)
    for _ in range(READ_ATTEMPTS):
        standing = _standing(run)
        if (checkpoint := _newest_intact(run, standing, identity)) is not None:
            return checkpoint
        if _standing(run) == standing:
            break
    steps = standing[1]
    if steps:
        raise RunFolderError(
            f"{run.path} has no intact checkpoint: all are damaged, those of the steps {steps}; start the run again in "
            f"a new folder. Policies that are whole can still be used: {run.checkpoints}/<step>/policy, {run.best}"
        )
    if (holder := run.holder) is not None:
        raise RunFolderError(f"{run.path} has no checkpoint yet, and is in use by process {holder}; {_first_due(run)}")
    require_unbegun(run)
    raise RunFolderError(
        f"{run.path} has no checkpoint yet; `apb resume {shlex.quote(str(run.path))}` starts it from the beginning"
    )


def _first_due(run: RunFolder) -> str:
    settings = run.config.get("settings")
    wanted = settings if isinstance(settings, dict) else {}
    steps = [wanted.get("checkpoint_freq"), wanted.get("total_timesteps")]
    first = min((step for step in steps if type(step) is int and step > 0), default=None)
    return "wait for the first one" if first is None else f"the first comes at step {first:,}"


def _standing(run: RunFolder) -> tuple[int | None, list[int]]:
    """What LATEST names and which checkpoints there are: it changes when the run goes on in another process."""
    return _read_latest(run), list_steps(run)


def _newest_intact(
    run: RunFolder, standing: tuple[int | None, list[int]], identity: Mapping[str, str] | None
) -> Checkpoint | None:
    """The checkpoint to continue from; None if there is none, or if others took their place while they were read."""
    latest, steps = standing
    if steps and latest not in steps and _standing(run) == standing:
        warnings.warn(
            f"{run.checkpoints / 'LATEST'} is missing or damaged; taking the newest", ApbWarning, stacklevel=3
        )
    damaged: list[int] = []
    for candidate in sorted(steps, key=lambda step: (step != latest, -step)):
        try:
            return replace(_load(run, candidate, identity), damaged=tuple(damaged))
        except FileFormatError as error:
            if _standing(run) != standing:
                return None
            warnings.warn(f"checkpoint {candidate} is damaged and skipped: {error}", ApbWarning, stacklevel=3)
            damaged.append(candidate)
        except RunFolderError as error:
            raise RunFolderError(
                f"checkpoint {candidate} may be good, so the run was left as it is: {error}, or name the one to "
                f"continue from, {run.checkpoints}/<step> with a step among {[f'{step:09d}' for step in steps]}"
            ) from error
    return None


def _read_latest(run: RunFolder) -> int | None:
    name = latest_name(run.path)
    return None if name is None else int(name)


def _load(run: RunFolder, step: int, identity: Mapping[str, str] | None) -> Checkpoint:
    folder = _folder(run, step)
    manifest = read_manifest(folder)
    if manifest.step != step:
        raise FileFormatError(f"{folder} holds the checkpoint of timestep {manifest.step}")
    for name, (size, digest) in manifest.files.items():
        require_content(folder / name, size, digest)
    for segment in manifest.segments:
        segment.verify(run.replay)
    for field in sorted(identity.keys() | manifest.identity.keys()) if identity is not None else ():
        found, wanted = manifest.identity.get(field), identity.get(field) if identity else None
        if found != wanted:
            raise MismatchError(
                f"checkpoint {folder} belongs to {field} = {found!r}, not to {wanted!r}; put {run.path}/config.json and"
                " backbone/ back as they were, resume it with the version of apb that wrote it, or start a new run"
            )
    return Checkpoint(step, folder, manifest.identity, read_state(folder / "training_state"), manifest.segments)


def _folder(run: RunFolder, step: int) -> Path:
    return published_folder(run.checkpoints / f"{step:09d}")
