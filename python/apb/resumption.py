"""`resume`: continue a run of `adapt`, `meta_train` or `pretrain` exactly."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apb.adaptation import adapt
from apb.backbone import Backbone
from apb.environments import EnvLike, EnvSource
from apb.errors import (
    ApbWarning,
    ConfigError,
    FileFormatError,
    MismatchError,
    RunFolderError,
    UnknownNameError,
    nearest,
)
from apb.intrinsic import objective_named
from apb.jobs import CallbackLike, Job, callbacks_of, resolve_device
from apb.meta_training.job import MetaJob
from apb.meta_training.meta_train import meta_train
from apb.meta_training.settings import MetaSettings
from apb.persistence import RunWriter, open_for_resume, run_identity
from apb.pretraining.job import PretrainJob
from apb.pretraining.pretrain import pretrain
from apb.pretraining.settings import PretrainSettings
from apb.prior import Prior, PriorLike, prior_place
from apb.runner import AdaptResult, run_to_end
from apb.runs import RunFolder, StopSignals, list_steps, load_checkpoint, require_unbegun, writing
from apb.settings import FIXED, AdaptSettings, LearningSettings
from apb.several_envs import source_again
from apb.strategies import strategy_named
from apb.threads import most_threads


@dataclass(frozen=True)
class KindOfJob:
    """What a run's `config.json` calls its job: in words, the function, its options, and what does it."""

    words: str
    function: Callable[..., AdaptResult]
    settings: type[LearningSettings]
    made: type[Job]


JOBS = {
    kind.settings.job: kind
    for kind in (
        KindOfJob("an adaptation", adapt, AdaptSettings, Job),
        KindOfJob("a meta-training", meta_train, MetaSettings, MetaJob),
        KindOfJob("a pre-training", pretrain, PretrainSettings, PretrainJob),
    )
}


def resume(
    run_dir: str | Path,
    *,
    env: EnvLike | EnvSource | None = None,
    eval_env: EnvLike | EnvSource | None = None,
    callback: CallbackLike = None,
    num_threads: int | None = None,
    device: str | None = None,
    replay_on_disk: bool | None = None,
    prior: PriorLike | None = None,
    **options: Any,
) -> AdaptResult:
    """Continue a run from its last good checkpoint, so that it ends with the same bytes as one that was never
    interrupted.

    Args:
        run_dir: The run folder, one of its checkpoint folders, or a checkpoint's manifest.json.
        env, eval_env: Needed only if they were given as objects or functions, which a folder cannot hold. And
            "module:Id-v0" as env, where nobody has imported the module that registers the run's own id. The own id goes
            on with the run's own arguments.
        callback: The same callbacks as before, in the same order.
        num_threads: CPU threads. Default: as before.
        device: Where the updates run, as in `adapt`. Default: as before; exact only there.
        replay_on_disk: Where the replay lies. Default: as before.
        prior: Needed only if it was no `apb.Policy`, which the folder keeps.
        **options: None: the budget and all else are fixed when a run starts, and it takes a new run to change them.

    Raises:
        UnknownNameError: another option. RunFolderError: no run there, or no checkpoint that is intact, or another
            process works in it. FileFormatError, MismatchError: a file is damaged, or belongs to another env, backbone
            or version. Else as `adapt`.
    """
    for name in options:
        known = [each for each, of in inspect.signature(resume).parameters.items() if of.kind is not of.VAR_KEYWORD]
        fixed = any(name in inspect.signature(of_job.function).parameters for of_job in JOBS.values())
        raise UnknownNameError(f"resume() has no option {name!r}; {FIXED if fixed else nearest(name, known)}")
    if isinstance(prior, str | Path):
        prior = prior_place(prior)
    run, config = open_for_resume(run_dir, JOBS)
    of_job = JOBS[config["job"]]
    given = {"num_threads": num_threads, "device": device, "replay_on_disk": replay_on_disk}
    changed = {name: value for name, value in given.items() if value is not None}
    try:
        saved = _with_threads_of_this_machine(dict(config["settings"]), num_threads)
        identity, eval_identity = dict(config["env_identity"]), config["eval_env_identity"]
        eval_identity = None if eval_identity is None else dict(eval_identity)
        settings = of_job.settings.from_options(saved | {"device": "cpu"})
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{run.path / 'config.json'} is not the configuration of {of_job.words}: {error}"
        ) from error
    _require_registered(run, settings)
    # Only now, so that what this machine lacks is not told as a damaged file.
    settings = replace(settings, **resolve_device({"device": saved.get("device", "cpu")} | changed))
    source = source_again(env, identity)
    names = [name for name, value in source.description.items() if value != identity.get(name)]
    if names:
        raise MismatchError(
            f"env {source.name} is not the one that the run in {run.path} learns in: they differ in "
            + ", ".join(
                f"{name} ({source.description[name]!r:.200}, was {identity.get(name)!r:.200})" for name in names
            )
            + "; resume it with the same env, or start a new run"
        )
    if source.identity["recreatable"] and not identity.get("recreatable"):
        warnings.warn(
            f"the run in {run.path} was started with an env object or a function, and goes on in {source.name} as its "
            "id makes it: what was changed in the env after it was made is not known here. Expected an unchanged env; "
            "else pass the object or function to apb.resume",
            ApbWarning,
            stacklevel=2,
        )
    given_eval = None if eval_env is None else EnvSource.resolve(eval_env)
    if given_eval is None and eval_identity is not None:
        given_eval = EnvSource.from_identity(eval_identity)
    explorer = _prior_again(run, config.get("prior"), prior, source)
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        stack.enter_context(run.lock())
        backbone = Backbone.from_pretrained(run.path / "backbone")
        job = of_job.made(source, given_eval, backbone, settings, callbacks_of(callback), config, explorer)
        job.require_place(run)
        # Before anything is made: options that were tampered with may ask for all the memory there is.
        # A run that was killed before its first checkpoint is begun again: config.json holds all that decides it.
        if run.step is not None or list_steps(run):
            checkpoint = load_checkpoint(run, identity=run_identity(source, backbone, settings, config))
        else:
            require_unbegun(run)
            _require_same_backbone(run, config, backbone)
            with writing(run.path, run.path):
                run.record_system()
            checkpoint = None
        loop = job.loop()
        loop.in_words = config.get("in_words", loop.in_words)  # a prior that the folder keeps had another name
        stack.callback(loop.close)
        writer = RunWriter(run, loop, checkpoint)
        stack.callback(writer.close)
        return run_to_end(loop, writer, signals, job.finish, job.unseen)


def _require_registered(run: RunFolder, settings: LearningSettings) -> None:
    """Raise `UnknownNameError` where nobody has registered a strategy or an objective of the user's own."""
    try:
        strategy_named(settings.strategy)
        if isinstance(settings, PretrainSettings):
            objective_named(settings.objective)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"{run.path / 'config.json'}: {error}; one of your own has to be registered here too, as where the run was "
            "started: import the module that does so, and then call apb.resume in the same program"
        ) from error


def _prior_again(run: RunFolder, told: Any, given: PriorLike | None, source: EnvSource) -> Prior | None:
    """The prior that a run was started with, from its folder or as it is given again.

    Raises:
        ConfigError: it has to be given, or the run has none. MismatchError: it is another one.
    """
    if told is None:
        if given is not None:
            raise ConfigError(f"a prior was given, and the run in {run.path} was started without one; leave it out")
        return None
    if given is None:
        if not run.prior.exists():
            raise ConfigError(
                f"the run in {run.path} was started with a prior that its folder does not keep ({told!s:.100}); give "
                "it again, as prior=FOLDER if it is a saved policy; in Python also a function or an object"
            )
        try:
            known = Prior(run.prior, source)
        except (FileFormatError, MismatchError, RunFolderError) as error:
            raise type(error)(
                f"the prior that the run in {run.path} was started with: {error}; put that folder back as it was, or "
                "give the same policy again as prior=FOLDER"
            ) from error
    else:
        known = Prior(given, source)
    if known.description != told:
        raise MismatchError(
            f"the prior is {known.description}; config.json of {run.path} says {told!s:.200}: give the one that the "
            "run was started with, or start a new run"
        )
    return known


def _require_same_backbone(run: RunFolder, config: Mapping[str, Any], backbone: Backbone) -> None:
    recorded = config.get("backbone_hash")
    if recorded != backbone.hash:
        raise MismatchError(
            f"{run.path / 'backbone'} has the hash {backbone.hash!r}; config.json says {recorded!r}: put the "
            "backbone back that the run was started with, or start a new run"
        )


def _with_threads_of_this_machine(saved: dict[str, Any], asked_for: int | None) -> dict[str, Any]:
    """The options of a run that was started on a machine with more cores, perhaps; threads change the speed only."""
    recorded = saved.get("num_threads")
    if type(recorded) is not int or recorded <= most_threads():
        return saved
    if asked_for is None:
        warnings.warn(
            f"the run was started with num_threads = {recorded}, more than this machine is given ({most_threads()}); "
            "it goes on with one per core at hand: the results are the same",
            ApbWarning,
            stacklevel=3,
        )
    return saved | {"num_threads": None}
