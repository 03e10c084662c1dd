"""`PretrainJob`: what a pre-training learns from, and what follows its last step; `PretrainResult` holds both."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from apb import _native
from apb.backbone import Backbone
from apb.backbone_card import PRETRAINED
from apb.companions import Companion
from apb.env_spaces import flat_size
from apb.errors import ApbWarning, ConfigError, RunFolderError
from apb.intrinsic import OBJECTIVES, objective_named
from apb.intrinsic.coverage import Coverage, coverage_of
from apb.intrinsic.elements import elements_of
from apb.intrinsic.pictures import draw_coverage
from apb.intrinsic.rewards import IntrinsicRewards
from apb.jobs import Job, publish, require_publishable
from apb.learner import Learner
from apb.loop import LearningLoop
from apb.plotting import COVERAGE_FILE
from apb.pretraining.settings import PretrainSettings
from apb.runner import AdaptResult
from apb.runs import BUDGET, RunFolder, StopRequested
from apb.runs.systems import deciding
from apb.settings import require_use_of_options
from apb.strategies import AdaptiveParamNoise, ParamNoise
from apb.system_info import system_info


@dataclass(frozen=True, kw_only=True, repr=False)
class PretrainResult(AdaptResult):
    """What `pretrain` returns: an `AdaptResult`, whose `final` are returns of the env's own reward, which nothing has
    learned from.

    Attributes:
        backbone: The psi that the first lane has trained, and in its metadata how.
        coverage: Of a run to the end of its budget that has evaluations, for each lane how far the states are spread
            that "policy", "noisy" (the policy with noise) and "random" (random actions) visit.
    """

    backbone: Backbone
    coverage: tuple[Mapping[str, Coverage], ...]

    def to_json(self) -> dict[str, Any]:
        """See `AdaptResult`."""
        told = [{way: found.to_json() for way, found in lane.items()} for lane in self.coverage]
        return super().to_json() | {"coverage": told}


@dataclass(frozen=True)
class PretrainJob(Job):
    """A pre-training without rewards, which ends with its backbone and a look at what the policies cover."""

    settings: PretrainSettings

    def __post_init__(self) -> None:
        # Told before anything is made.
        super().__post_init__()
        options = self.settings
        elements_of(options.elements, flat_size(self.source.observation_space))
        if options.learning_starts >= options.total_timesteps:
            raise ConfigError(
                f"learning_starts = {options.learning_starts} with total_timesteps = {options.total_timesteps} leaves "
                "nothing to learn in; expected less than total_timesteps: give a larger budget or a smaller "
                "learning_starts"
            )
        if options.learning_starts == 0:
            raise ConfigError(
                "learning_starts = 0; expected at least 1, since what is met in the random steps tells how to scale "
                "observations: give 1000, the default, or so"
            )
        if options.reset_interval is not None:
            raise ConfigError(
                f"reset_interval = {options.reset_interval}, and a reset draws the backbone anew that is to be "
                "pre-trained; leave it out"
            )
        if options.strategy == ParamNoise.name:
            raise ConfigError(
                f"strategy = {ParamNoise.name!r} judges its members by the env's own reward, from which a pre-training "
                f"learns nothing; expected {AdaptiveParamNoise.name!r}, or another strategy"
            )
        if options.gradient_steps == 0:
            raise ConfigError("gradient_steps = 0, with which nothing is learned; expected at least 1, the default")
        objective_named(options.objective).require(options)

    def require_options(self) -> None:
        """See `Job`."""
        super().require_options()
        require_use_of_options(self.settings, "objective", OBJECTIVES)

    def companions(self, learner: Learner, pool: "_native.ThreadPool") -> list[Companion]:
        """See `Job`: what takes the place of the rewards."""
        return [IntrinsicRewards(learner, self.settings, pool)]

    def require_place(self, run: RunFolder) -> None:
        """See `Job`."""
        require_publishable(run)

    def finish(self, loop: LearningLoop, result: AdaptResult, check: Callable[[], object]) -> PretrainResult:
        """See `Job`: once the budget is spent, the first lane's backbone goes into the run folder's `pretrained/`, and
        what the policies cover is drawn."""
        coverage: list[dict[str, Coverage]] = []
        if result.stopped_by == BUDGET and self.settings.eval_freq:
            try:
                coverage = coverage_of(loop, check)
            except StopRequested as request:  # a resume makes this evaluation
                result = replace(result, stopped_by=str(request))
        backbone = replace(result.policies[0].backbone, metadata=self._metadata(result, coverage))
        if result.stopped_by == BUDGET and result.run_dir is not None:
            publish(backbone, result.run_dir)
            if coverage:
                title = f"{self.source.name}, pre-trained by {objective_named(self.settings.objective).title} for "
                title += f"{result.total_timesteps:,} steps, seed {result.lanes[0]['seed']}"
                try:
                    draw_coverage(coverage[0], title, result.run_dir / COVERAGE_FILE)
                except RunFolderError as error:  # a picture less must not look like a failed run
                    warnings.warn(f"no picture of the coverage was drawn: {error}", ApbWarning, stacklevel=2)
        return PretrainResult.of(result, backbone=backbone, coverage=tuple(coverage))

    def _metadata(self, result: AdaptResult, coverage: list[dict[str, Coverage]]) -> dict[str, Any]:
        covered = {way: found.to_json() for way, found in coverage[0].items()} if coverage else {}
        return {
            "kind": PRETRAINED,
            "objective": self.settings.objective,
            "env": self.source.name,
            "timesteps": result.total_timesteps,
            "seed": result.lanes[0]["seed"],
            "wall_time": result.wall_time,
            "settings": self.settings.changed(),
            "initial": {"hash": self.backbone.hash, **self.backbone.metadata},
            "system": deciding(system_info()),
            "coverage": covered,
        }
