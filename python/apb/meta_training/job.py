"""`MetaJob`: what follows the last step of a meta-training: its finished backbone, and what that returns at once;
`MetaResult` holds both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from apb import _native
from apb.adapter import Adapter
from apb.adapter_set import AdapterSet
from apb.backbone import Backbone
from apb.backbone_card import META_TRAINED
from apb.companions import Companion
from apb.environments import EnvSource
from apb.errors import ConfigError, FileFormatError, counted
from apb.files.model_folders import CONFIG_FILE
from apb.flap.predictor_training import PredictorTraining
from apb.jobs import Job, publish, require_publishable
from apb.lanes import names_of
from apb.learner import Learner
from apb.loop import LearningLoop
from apb.meta_training.evaluation import ZeroShot, returns_on
from apb.meta_training.lists import EVALUATED, lists_of
from apb.meta_training.settings import MetaSettings
from apb.resampling import tasks_of_reset
from apb.runner import AdaptResult
from apb.runs import BUDGET, RunFolder, StopRequested
from apb.runs.systems import deciding
from apb.system_info import system_info
from apb.tasks import Task


@dataclass(frozen=True, kw_only=True, repr=False)
class MetaResult(AdaptResult):
    """What `meta_train` returns: an `AdaptResult` whose lanes are the train tasks, the last ones where they were
    resampled, and what they learned together.

    Attributes:
        backbone: The meta-trained psi, with the lanes' adapters and, in its metadata, what it was trained on.
        zero_shot: Of a run to the end of its budget on a split: returns on its lists "train" (with the tasks' own
            adapters), "test" and "ood" (with predicted ones, or those of the nearest train task), before anything is
            learned there by gradients.
    """

    backbone: Backbone
    zero_shot: Mapping[str, ZeroShot]

    def __repr__(self) -> str:
        scores = "".join(f"{name} {found.mean:.1f}, " for name, found in self.zero_shot.items())
        spent = f"{len(self.lanes) * self.total_timesteps:,} timesteps in {self.wall_time:.1f} s"
        return f"MetaResult({self.backbone!r}, {scores}{spent}, stopped by {self.stopped_by}, run_dir {self.run_dir})"

    def to_json(self) -> dict[str, Any]:
        """See `AdaptResult`."""
        return super().to_json() | {"zero_shot": returns_json(self.zero_shot)}

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The adapter of each train task."""
        return tuple(policy.adapter for policy in self.policies)


def returns_json(zero_shot: Mapping[str, ZeroShot]) -> dict[str, Any]:
    """JSON values: mean, the return of each task, and whose adapters acted."""
    return {
        name: {
            "mean": found.mean,
            "adapters": found.adapters,
            "tasks": list(found.tasks),
            "returns": [result.mean for result in found.results],
        }
        for name, found in zero_shot.items()
    }


@dataclass(frozen=True)
class MetaJob(Job):
    """A meta-training, which ends with the finished backbone and an evaluation on the lists of its split."""

    settings: MetaSettings

    def __post_init__(self) -> None:
        # Told before anything is trained.
        super().__post_init__()
        if self.settings.layer_predictor and not self.source.tasks:
            raise ConfigError(
                f"layer_predictor = True with {self.source.name}, which are not tasks of one family; expected a split "
                "or tasks of one family of apb.tasks, whose layers are of one size and can be told apart by transitions"
            )
        if "split" not in self.about:
            raise FileFormatError(f"{CONFIG_FILE} has no 'split'; put the file back as it was")
        pool = lists_of(self.about["split"], CONFIG_FILE).get("train", ())
        if self.settings.resample_tasks and len(pool) <= len(self.source.tasks):
            raise FileFormatError(
                f"split in {CONFIG_FILE} has {counted(len(pool), 'train task')}; expected more than the "
                f"{len(self.source.tasks)} of the lanes, which others are drawn for: put the file back as it was"
            )

    def resampled(self, reset: int) -> EnvSource | None:
        """See `Job`: with `resample_tasks` others from the train tasks of the split."""
        tasks = self._tasks(reset)
        return None if tasks is self.source.tasks else EnvSource.resolve(tasks)

    def _tasks(self, reset: int) -> tuple[Task, ...]:
        """Those that the lanes have from this reset on, 0 for the start; none where envs are of different kinds."""
        if not (reset and self.settings.resample_tasks):
            return self.source.tasks
        pool = lists_of(self.about["split"], CONFIG_FILE)["train"]
        return tasks_of_reset(reset, pool, len(self.source.tasks), self.settings.seed)

    def _learned(self, result: AdaptResult) -> list[str]:
        """The names of all tasks that the lanes have had, in the order in which they took them."""
        before = range(result.resets) if self.settings.resample_tasks else ()
        names = [name for reset in before for name in names_of(self._tasks(reset))]
        return list(dict.fromkeys([*names, *(str(lane["task"]) for lane in result.lanes)]))

    def companions(self, learner: Learner, pool: "_native.ThreadPool") -> list[Companion]:
        """See `Job`: the training of a predictor, if one is wanted."""
        return [PredictorTraining(learner, self.settings, pool)] if self.settings.layer_predictor else []

    def require_place(self, run: RunFolder) -> None:
        """See `Job`."""
        require_publishable(run)

    def finish(self, loop: LearningLoop, result: AdaptResult, check: Callable[[], object]) -> MetaResult:
        """See `Job`: the backbone goes into the run folder's `pretrained/`, once the budget is spent, and then what it
        returns is added to its metadata."""
        backbone = self._with_adapters(result)
        for companion in loop.learner.companions:
            if isinstance(companion, PredictorTraining):
                backbone = replace(backbone, predictor=companion.predictor())
        zero_shot: dict[str, ZeroShot] = {}
        if result.stopped_by == BUDGET:
            backbone = self._published(backbone, result, zero_shot)
            if result.final:
                try:
                    zero_shot = self._zero_shot(result, backbone, check)
                except StopRequested as request:  # a resume makes this evaluation
                    result = replace(result, stopped_by=str(request))
                else:
                    backbone = self._published(backbone, result, zero_shot)
        return MetaResult.of(result, backbone=backbone, zero_shot=zero_shot)

    def _published(self, backbone: Backbone, result: AdaptResult, zero_shot: Mapping[str, ZeroShot]) -> Backbone:
        backbone = replace(backbone, metadata=self._metadata(result, zero_shot))
        publish(backbone, result.run_dir)
        return backbone

    def _with_adapters(self, result: AdaptResult) -> Backbone:
        tasks = self._tasks(result.resets)
        if not tasks:  # adapters of different sizes, of which none is near to a task
            return result.policies[0].backbone
        adapters = [policy.adapter for policy in result.policies]
        parameters = np.stack([adapter.parameters for adapter in adapters])
        kept = AdapterSet.of(adapters[0].shape, parameters, tasks)
        return replace(result.policies[0].backbone, adapters=kept)

    @property
    def unseen(self) -> int:
        """See `Job`: those of the split's lists."""
        return sum(map(len, self._unseen.values()))

    @property
    def _unseen(self) -> dict[str, tuple[Task, ...]]:
        """Test and OOD tasks of the split; none where envs are of different kinds, so that no adapter is kept."""
        lists = lists_of(self.about["split"], CONFIG_FILE) if self.source.tasks else {}
        return {name: tasks for name, tasks in lists.items() if tasks and name in EVALUATED}

    def _zero_shot(self, result: AdaptResult, backbone: Backbone, check: Callable[[], object]) -> dict[str, ZeroShot]:
        names = tuple(str(lane["task"]) for lane in result.lanes)
        found = {"train": ZeroShot(names, result.final, "own")}
        options = {"n_eval_episodes": self.settings.n_eval_episodes, "seed": self.settings.seed}
        for name, tasks in self._unseen.items():
            threads = self.settings.num_threads
            found[name] = returns_on(tasks, backbone, **options, num_threads=threads, before_step=check)
        return found

    def _metadata(self, result: AdaptResult, zero_shot: Mapping[str, ZeroShot]) -> dict[str, Any]:
        lanes, split, learned = len(result.lanes), self.about["split"], self._learned(result)
        return {
            "kind": META_TRAINED,
            "tasks": self.source.name
            if len(learned) == lanes
            else f"{len(learned)} tasks, {self.source.name} at a time",
            "split": split and {name: split[name] for name in ("name", "sha256")},
            "n_tasks": lanes,
            "task_names": learned,
            "total_timesteps": lanes * result.total_timesteps,
            "wall_time": result.wall_time,
            "seed": self.settings.seed,
            "settings": self.settings.changed(),
            "initial": {"hash": self.backbone.hash, **self.backbone.metadata},
            "system": deciding(system_info()),
            "returns": returns_json(zero_shot),
        }
