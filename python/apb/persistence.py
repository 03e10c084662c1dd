"""`RunWriter`: writes what a `LearningLoop` does into a run folder, and reads it back to continue exactly."""

import shlex
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from apb.backbone import Backbone
from apb.callbacks import mean_over_lanes, save_states
from apb.environments import EnvSource
from apb.errors import ApbError, ApbWarning, FileFormatError, MismatchError
from apb.evaluation import EvalResult
from apb.files import write_json_atomic
from apb.loop import LearningLoop
from apb.loop_state import load_loop_state, loop_state
from apb.plotting import CURVE_FILE, plot_runs
from apb.runs import (
    Checkpoint,
    CheckpointWriter,
    History,
    Ring,
    RunFolder,
    continued,
    json_hash,
    last_good_checkpoint,
    latest_name,
    read_evaluations,
    read_history,
    required_systems,
    systems_at_start,
    writing,
)
from apb.settings import LearningSettings

MACHINE_SETTINGS = ("num_threads", "device", "replay_on_disk", "keep_last", "keep_best")
"""Options that say how to run, not what: a run may be resumed with others."""


class RunWriter:
    """History, evaluations, checkpoints and the best policy of one run, whose lock is held.

    Args:
        run: The folder, locked.
        loop: What runs in it.
        checkpoint: The checkpoint to continue from; None for a new run.
    """

    def __init__(self, run: RunFolder, loop: LearningLoop, checkpoint: Checkpoint | None = None) -> None:
        self._run = run
        self._loop = loop
        identities = {name: run.config[f"{name}_identity"] for name in ("env", "eval_env")}
        self._envs_needed = [name for name, each in identities.items() if each and not each["recreatable"]]
        self.history = History(run.path)
        self.best_score: float | None = None
        self.systems = systems_at_start(run.path)
        # Everything that can fail comes before anything of a later time is deleted.
        if checkpoint is not None:
            self._load(checkpoint)
        identity = run_identity(loop.source, loop.backbone, loop.settings, run.config)
        self._writer = CheckpointWriter(run, identity, parent=checkpoint, keep_last=loop.settings.keep_last)
        self.history.truncate(-1 if checkpoint is None else checkpoint.step, loop.evaluated_to)
        if not loop.finished:  # else it stays the result of this run until the one of the new final evaluation is there
            with writing(run.path, run.result):
                run.result.unlink(missing_ok=True)
        self.saved: tuple[int, int] | None = None if checkpoint is None else self._moment
        loop.run_dir = run.path

    @property
    def _moment(self) -> tuple[int, int]:
        return self._loop.timesteps, self._loop.evaluated_to

    @property
    def holds_this_moment(self) -> bool:
        """Whether the last checkpoint is of this very moment."""
        return self.saved == self._moment

    def _load(self, checkpoint: Checkpoint) -> None:
        replay = self._loop.replay
        ring = checkpoint.read_replay(replay.table)
        replay.position[:], replay.size[:], replay.added[:] = ring.position, ring.size, ring.total_added
        state = {"systems": self.systems, **checkpoint.state}  # a checkpoint may be older than what it has of them
        found = required_systems(state, str(checkpoint.path), "use another checkpoint")
        self.systems = continued(found, checkpoint.step, self._run.path)
        del state["systems"]
        self.best_score = state.pop("best_score", None)
        if not (self.best_score is None or type(self.best_score) in (int, float)):
            raise FileFormatError(f"{checkpoint.path} has best_score = {self.best_score!r:.100}; expected a number")
        load_loop_state(self._loop, state)
        if self._loop.timesteps != checkpoint.step:
            raise FileFormatError(
                f"{checkpoint.path} is the checkpoint of timestep {checkpoint.step}, and its training state is of "
                f"{self._loop.timesteps}; use another checkpoint"
            )

    def evaluation(self, results: Sequence[EvalResult]) -> None:
        """Append the results of all lanes, and keep the policies if their mean is the best so far."""
        for record in evaluation_records(self._loop, results):
            self.history.append_evaluation(record)
        score = mean_over_lanes(results)
        if self.best_score is None or score > self.best_score:
            self.best_score = score
            if self._loop.settings.keep_best:
                self._writer.save_best(
                    self._loop.timesteps, {"mean_reward": score}, lambda path: save_policies(self._loop, path)
                )

    def checkpoint(self) -> Path:
        """Write a checkpoint of this moment; returns its folder."""
        begin = time.perf_counter()
        loop = self._loop
        replay = loop.replay
        ring = Ring(replay.table, replay.position, replay.size, replay.added)
        state = loop_state(loop) | {"best_score": self.best_score, "systems": self.systems}
        path = self._writer.save(loop.timesteps, state, lambda folder: save_policies(loop, folder), ring)
        self.saved = self._moment
        loop.profile["checkpoint"] += time.perf_counter() - begin
        return path

    def result(self, summary: dict[str, Any]) -> None:
        """Write `result.json`, the summary of a run that has ended, with the systems that computed it, and draw
        `curve.png` from its evaluations."""
        with writing(self._run.path, self._run.result):
            write_json_atomic(self._run.result, summary | {"systems": self.systems})
        try:
            self.history.repair()  # others may have written into the files since the run began
            if self.earlier_evaluations():
                plot_runs([self._run.path], self._run.path / CURVE_FILE)
        except (OSError, ApbError) as error:
            # What was learned is on the disk already: a picture less must not look like a failed run.
            warnings.warn(f"no learning curve was drawn: {error}", ApbWarning, stacklevel=2)

    def what_is_kept(self) -> str:
        """The end of a message on a run that did not end well: the last good checkpoint, and what continues the run."""
        path = self._run.path
        does = "continues from it" if latest_name(path) else "starts it from the beginning"
        return f"{last_good_checkpoint(path)}; `{self._continuation()}` {does}"

    def _continuation(self) -> str:
        """A command, or a call where only the user's own program has what the run needs."""
        told = self._run.config.get("prior")
        prior = ["prior"] if told is not None and not self._run.prior.exists() else []
        needed = [*self._envs_needed, *prior, *(["callback"] if save_states(self._loop.callbacks) else [])]
        registered = not type(self._loop.strategy).__module__.startswith("apb.")  # by the user's own program
        if needed or registered:
            given = "".join(f", {name}=..." for name in needed)
            return f"apb.resume({str(self._run.path)!r}{given})"
        return shlex.join(["apb", "resume", str(self._run.path), *self._loop.source.words])

    def earlier_history(self) -> list[dict[str, Any]]:
        """Records from before a resume."""
        return read_history(self._run.path)

    def earlier_evaluations(self) -> list[dict[str, Any]]:
        """Evaluations from before a resume."""
        return read_evaluations(self._run.path)

    def close(self) -> None:
        """Flush and close the history."""
        self.history.close()


def evaluation_records(loop: LearningLoop, results: Sequence[EvalResult]) -> list[dict[str, Any]]:
    """One JSON record per lane: timesteps, seed (and task, of several), mean, deviation, returns and lengths."""
    records = []
    for lane, result in zip(loop.lanes, results, strict=True):
        values = result.to_json()
        mean, deviation = values.pop("mean"), values.pop("std")
        named = {"eval/mean_reward": mean, "eval/std_reward": deviation}
        records.append({"timesteps": loop.timesteps, **lane.key, **named, **values})
    return records


def save_policies(loop: LearningLoop, folder: Path) -> None:
    """Write the policy of the only lane into `folder`, or those of several lanes into folders of theirs in it."""
    for lane, policy in zip(loop.lanes, loop.policies(), strict=True):
        policy.save_pretrained(folder if len(loop.lanes) == 1 else folder / lane.folder)


def run_identity(
    source: EnvSource, backbone: Backbone, settings: LearningSettings, config: Mapping[str, Any]
) -> dict[str, str]:
    """What a checkpoint must agree with to be continued: env, backbone, options, and the split and the prior in the
    run's `config.json`, if it has them."""
    return {
        "env": json_hash(source.description),
        "env_id": str(source.env_id),
        "backbone_hash": backbone.hash,
        **({} if backbone.adapters is None else {"adapters_hash": backbone.adapters.hash}),
        **({} if backbone.predictor is None else {"predictor_hash": backbone.predictor.hash}),
        "config_hash": json_hash(binding_settings(settings)),
        **{f"{name}_hash": json_hash(config[name]) for name in ("split", "prior") if config.get(name) is not None},
    }


def binding_settings(settings: LearningSettings) -> dict[str, Any]:
    """The options that decide what a run computes."""
    return {name: value for name, value in settings.to_json().items() if name not in MACHINE_SETTINGS}


def open_for_resume(path: str | Path, jobs: Iterable[str]) -> tuple[RunFolder, dict[str, Any]]:
    """The folder of an existing run of one of the `jobs`, and its configuration.

    Raises:
        RunFolderError: there is no run. MismatchError: the folder is another kind of run.
    """
    run = RunFolder.open(path)
    config = run.config
    if config.get("job") not in (known := tuple(jobs)):
        raise MismatchError(
            f"{run.path} holds a run of job {config.get('job')!r:.100}; expected {' or '.join(map(repr, known))}"
        )
    return run, config
