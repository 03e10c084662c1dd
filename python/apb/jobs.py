"""`Job`: what a call of `adapt`, `meta_train` or `pretrain` is to do, resolved and checked, and how a run begins."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from apb import _native, spaces
from apb.backbone import Backbone
from apb.callbacks import Callback
from apb.companions import Companion
from apb.environments import EnvSource
from apb.errors import ApbWarning, ConfigError, InvalidEnvError, RunFolderError, counted
from apb.flap.predicted_start import PredictedStart
from apb.learner import Learner
from apb.loop import LearningLoop
from apb.persistence import RunWriter
from apb.prior import Prior, require_use, takes_extra_action
from apb.prior_actions import PriorActions
from apb.runner import AdaptResult, run_to_end
from apb.runs import RunFolder, StopSignals, require_new_folder, writing
from apb.settings import LearningSettings, require_use_of_options
from apb.simulation import BatchedEnv
from apb.strategies import STRATEGIES

CallbackLike = Callback | Iterable[Callback] | None


@dataclass(frozen=True)
class Job:
    """What is to be learned, and where.

    Attributes:
        source: The env to learn in.
        given_eval: The env to evaluate in, if one was given.
        backbone: What the run begins with.
        settings: All options.
        callbacks: Hooks.
        about: What else the run folder's `config.json` has of it.
        prior: A policy that was known before.

    Raises:
        ConfigError: the options ask for a prior, and there is none; or there is one that they make no use of.
    """

    source: EnvSource
    given_eval: EnvSource | None
    backbone: Backbone
    settings: LearningSettings
    callbacks: list[Callback]
    about: Mapping[str, Any]
    prior: Prior | None = None

    def __post_init__(self) -> None:
        require_use(self.settings, self.prior)

    def loop(self) -> LearningLoop:
        """What does it; to be closed."""
        eval_source = eval_source_of(self.source, self.given_eval, self.settings)
        return LearningLoop(
            self.source,
            eval_source,
            self.backbone,
            self.settings,
            self.callbacks,
            self.resampled,
            self.companions,
            self.prior,
        )

    def companions(self, learner: Learner, pool: "_native.ThreadPool") -> list[Companion]:
        """See `LearningLoop`."""
        found: list[Companion] = []
        if self.settings.adapter_init == "predicted":
            found.append(PredictedStart(learner, self.backbone))
        if self.prior is not None and takes_extra_action(self.settings):
            found.append(PriorActions(self.prior))
        return found

    def resampled(self, reset: int) -> EnvSource | None:
        """See `LaneEnvs`: lanes keep their tasks."""
        return None

    def finish(self, loop: LearningLoop, result: AdaptResult, check: Callable[[], object]) -> AdaptResult:
        """What follows the last step: what the caller gets of the result. `check` raises where a stop is wanted."""
        return result

    def require_options(self) -> None:
        """Raise `ConfigError` for an option that nothing makes use of. Of new runs only: those of a run that is resumed
        are what they are."""
        require_use_of_options(self.settings, "strategy", STRATEGIES)

    def require_place(self, run: RunFolder) -> None:
        """Raise `RunFolderError` where `finish` could not write what it makes into the folder of the run."""

    @property
    def unseen(self) -> int:
        """How many tasks that nothing was learned on `finish` evaluates on."""
        return 0

    def run(self, folder: Path | None) -> AdaptResult:
        """Do it from the beginning, in a new run in `folder` if there is one."""
        self.require_options()
        if folder is not None:
            require_new_folder(folder)  # before anything is made or announced
        if self.source.running_statistics:
            warnings.warn(
                f"env {self.source.name} is wrapped in {' and '.join(self.source.running_statistics)}, whose running "
                "statistics differ from one simulation to the next, begin anew in evaluations, and are not saved with "
                "a policy; expected an env without; in its place adapt has normalize_observations=True, which keeps "
                "one set of statistics inside the policy",
                ApbWarning,
                stacklevel=3,
            )
        with ExitStack() as stack:
            signals = stack.enter_context(StopSignals())
            loop = self.loop()
            stack.callback(loop.close)
            if folder is None:
                return run_to_end(loop, None, signals, self.finish, self.unseen)
            config = {
                "job": self.settings.job,
                "env": self.source.name,
                "tasks": list(dict.fromkeys(lane.task for lane in loop.lanes if lane.task is not None)),
                "strategy": self.settings.strategy,
                "in_words": loop.in_words,
                "env_identity": self.source.identity,
                "eval_env_identity": None if self.given_eval is None else self.given_eval.identity,
                "backbone_hash": self.backbone.hash,
                "settings": self.settings.to_json(),
                **({} if self.prior is None else {"prior": self.prior.description}),
                **self.about,
            }
            run = RunFolder.create(folder, config, self._prepare)
            stack.enter_context(run.lock())
            writer = RunWriter(run, loop)
            stack.callback(writer.close)
            return run_to_end(loop, writer, signals, self.finish, self.unseen)

    def _prepare(self, folder: Path) -> None:
        """Write what a run folder keeps of what the run begins with."""
        self.backbone.save_pretrained(folder / "backbone")
        if self.prior is not None and self.prior.policy is not None:
            self.prior.policy.save_pretrained(RunFolder(folder).prior)


def publish(backbone: Backbone, run_dir: Path | None) -> None:
    """Save what a run has made for others into its `pretrained/`, if it has a folder."""
    if run_dir is not None:
        folder = RunFolder(run_dir).pretrained
        with writing(run_dir, folder):
            backbone.save_pretrained(folder)


def require_publishable(run: RunFolder) -> None:
    """Raise `RunFolderError` where `publish` could not write, since something of the user's is there."""
    try:
        Backbone.require_place(run.pretrained)
    except RunFolderError as error:
        raise RunFolderError(
            f"{error}; it is where the backbone goes at the end of the run: move it away, and then resume"
        ) from error


def resolve_device(options: dict[str, Any]) -> dict[str, Any]:
    """Turn device "auto" into "cuda" or "cpu", and refuse one that torch does not have."""
    device = options.get("device", "cpu")
    if not isinstance(device, str):
        raise ConfigError(f"device = {device!r} is not a device; expected 'cpu', 'cuda', 'cuda:<i>' or 'auto'")
    if device == "auto":
        return options | {"device": "cuda" if torch.cuda.is_available() else "cpu"}
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"device = {device!r} is not a device; expected 'cpu', 'cuda', 'cuda:<i>' or 'auto'"
        ) from error
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"device = {device!r} is of kind {kind!r}; expected 'cpu', 'cuda', 'cuda:<i>' or 'auto'")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and (torch.device(device).index or 0) >= found:
        devices = counted(found, "CUDA device") if found else "no CUDA device"
        raise ConfigError(f"device = {device!r}, but torch {torch.__version__} finds {devices}; use 'cpu' or 'auto'")
    return options


def eval_source_of(source: EnvSource, given: EnvSource | None, settings: LearningSettings) -> EnvSource | None:
    """Where evaluation envs come from: never the object that is trained on."""
    if settings.eval_freq == 0:
        return None
    if given is None:
        if isinstance(source.instance, VectorEnv) and isinstance(source.instance.unwrapped, BatchedEnv):
            if not source.can_make:
                raise InvalidEnvError(
                    f"env is a batch of several tasks of {source.instance.unwrapped.family.name}, and one policy is "
                    "evaluated in one: give a task as eval_env, or eval_freq=0; to learn each task by itself, give "
                    "[envs.task(row) for row in range(envs.num_envs)] in place of the batch"
                )
        elif not source.can_make:
            raise InvalidEnvError(
                f"env {source.name} is an object of which no second one can be made, and evaluation needs separate "
                "envs; pass a function that makes one Env (also in place of a VectorEnv), as env or as eval_env, or "
                "eval_freq=0"
            )
        return source.separate()
    if len(given.tasks) > 1 and len(given.tasks) != len(source.tasks):
        raise ConfigError(
            f"eval_env is {given.name}, and env is {source.name}; expected one task for all, or one for each, in the "
            "same order"
        )
    for name in ("observation_space", "action_space"):
        words = spaces.differences(getattr(source, name), getattr(given, name))
        if words:
            raise InvalidEnvError(
                f"the {name} of eval_env {' and '.join(words)}: policies act in the spaces of env, "
                f"{getattr(source, name)}; evaluate in an env of the same"
            )
    return given


def callbacks_of(callback: CallbackLike) -> list[Callback]:
    """What was given as `callback`, as a list; raises `ConfigError`."""
    if callback is None or isinstance(callback, Callback):
        return [] if callback is None else [callback]
    callbacks = list(callback) if isinstance(callback, Iterable) else [callback]
    for item in callbacks:
        if not isinstance(item, Callback):
            raise ConfigError(
                f"callback = {item!r} is a {type(item).__name__}; expected an instance of a subclass of apb.Callback "
                "that overrides a hook such as on_step(self, state), or a list of them"
            )
    return callbacks
