"""`apb adapt`: the main job."""

from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro

from apb.backbone import Backbone
from apb.cli.arguments import JsonObject, json_object
from apb.cli.outcome import Outcome
from apb.cli.parsing import how_to_say
from apb.cli.run_options import RunOptions
from apb.cli.summary import RunSummary
from apb.errors import ConfigError, UnknownNameError
from apb.ranges import Range
from apb.settings import MAX_TIMESTEPS, AdaptSettings

MAIN_JOB_ENV = "cheetah-vel/mier-hard:0"
MAIN_JOB_BACKBONE = "cheetah-vel"
MAIN_JOB_INIT = "nearest"
"""What is adapted to what, and from where, if the user names none: a speed that the backbone has never seen."""
MAIN_JOB_TIMESTEPS = 30_000
"""Enough to see a HalfCheetah learn to run, and a few minutes on four cores, controls included."""

BEGINNINGS = {
    "mean": ", from the train tasks' mean layers",
    "nearest": ", from the nearest train task's layers",
    "predicted": ", from predicted layers",
    "prior": ", from the prior's layers",
}
"""What is told of `adapter_init` where the layers are not drawn."""


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions, AdaptSettings):
    """Adapt a frozen backbone to an env: learn two linear layers around it, by TD3.

    With no argument at all it adapts a meta-trained backbone of the package to a task that the backbone has never seen,
    and two controls, in a few minutes. It writes a run folder with history, checkpoints, policy and learning curve,
    shows its progress, and ends with a table of returns. Each default has its source; "ours" marks those that no
    publication gives.
    """

    env: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[ENV]")] = None
    """Gymnasium id of an env with Box observations and bounded Box actions; "module:Id-v0" imports the module first. Or
    a task or split, "cheetah-vel/mier-hard:3": see `apb tasks`. Default: cheetah-vel/mier-hard:0, with the backbone
    cheetah-vel and controls."""
    method: Literal["apb", "flap"] = "apb"
    """"apb" learns by TD3. "flap" takes no gradient: the mean layers of the backbone's train tasks act for
    --total-timesteps (then 200 by default, one episode), from which layers are predicted; the backbone has to be
    meta-trained by FLAP. To go on from them by TD3, give --adapter-init predicted in its place."""
    backbone: str | None = None
    """"random", the name of a backbone of the package (see `apb backbones`), or the folder of a saved one. Default:
    random, if ENV is given."""
    prior: str | None = None
    """A policy that is known beforehand: the folder of a saved one, or of a run; or "nearest", that of the nearest of
    the backbone's train tasks. With --strategy behavior_transfer it explores; with --adapter-init prior its layers are
    where learning begins, around its own backbone."""
    controls: bool = False
    """Run the controls too, with the same budget, options and seeds: the random backbone and plain TD3; and draw the
    curves of all into controls.png."""
    env_kwargs: JsonObject = "{}"
    """Arguments of gymnasium.make, as a JSON object, for example '{"ctrl_cost_weight": 0.05}' for HalfCheetah-v5."""
    adapter_init: str | None = None  # type: ignore[assignment]
    """Where the two layers begin, and begin anew after a reset: "scratch", drawn anew, as the paper's text has it;
    "identity", drawn with an identity before the backbone; "shared", so drawn for all seeds alike; "mean" or "nearest",
    as the train tasks of a meta-trained backbone left theirs: their mean, or that of the train task nearest to this
    one; "predicted", by FLAP: the mean acts in place of the random actions until learning starts, and what it met
    predicts the layers; "prior", those of the prior. Default: scratch, or nearest with neither ENV nor --backbone."""
    total_timesteps: Annotated[int | None, Range(1, MAX_TIMESTEPS)] = None  # type: ignore[assignment]
    """Budget of environment transitions per seed, the population's and the warm-up's included. Default: 30,000, a few
    minutes; with method flap 200, one episode. Ours."""


def run(options: Options) -> Outcome:
    """Adapt, with a progress bar, and summarise the run folder."""
    env_kwargs = json_object("--env-kwargs", options.env_kwargs)
    named = options.run_dir and options.run_dir.absolute()  # before an env is made that changes the current folder
    # Imported here, so that a slip in the options is told before torch is loaded.
    from apb.adaptation import adapt
    from apb.cli.controls import PlannedControls, with_controls
    from apb.environments import EnvSource
    from apb.methods import with_method
    from apb.progress import ProgressBarCallback
    from apb.runs import RunFolder, numbered_folder
    from apb.strategies import STRATEGIES

    if options.env in STRATEGIES:
        raise UnknownNameError(f"{options.env!r} is a strategy, no env; {how_to_say('adapt', options.env)}")
    main_job = options.env is None and options.backbone is None
    # An empty word is one that was given, as by a variable that is not set, and is no default.
    env = MAIN_JOB_ENV if options.env is None else options.env
    named_backbone = options.backbone
    if named_backbone is None:
        named_backbone = MAIN_JOB_BACKBONE if main_job else "random"
    if options.method != "apb" and (options.controls or options.env is None):
        raise ConfigError(
            f"--method {options.method} takes no gradient, and controls learn by gradients; expected ENV and "
            "--backbone, and no --controls: adapt to the same task without --method to compare"
        )
    settings: dict[str, Any] = {field.name: field.default for field in fields(AdaptSettings)}
    settings |= {"total_timesteps": MAIN_JOB_TIMESTEPS} | ({"adapter_init": MAIN_JOB_INIT} if main_job else {})
    settings |= with_method("adapt", options.method, options.given(AdaptSettings))
    doing = AdaptSettings(**settings).in_words
    source = EnvSource.resolve(env, env_kwargs)
    backbone: Backbone | str | None = None  # the prior's own
    if options.backbone is None and settings["adapter_init"] == "prior":
        name = "the prior's backbone"
        options.require_saved("that of --prior")
    else:
        name = "random backbone" if named_backbone == "random" else f"backbone {named_backbone}"
        backbone = options.backbone_named(named_backbone, options.seed, source)
    name += BEGINNINGS.get(settings["adapter_init"], "")
    prior = "" if options.prior is None else f", prior {options.prior}"
    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBarCallback(f"{source.name}, {name}, {doing}{prior}"))
        run_dir = named or stack.enter_context(numbered_folder(source.name, doing))
        controlled = options.controls or options.env is None
        planned = [PlannedControls(run_dir, name, source, settings)] if controlled else []
        result = adapt(
            source,
            backbone,
            prior=options.prior,
            run_dir=run_dir,
            callback=[*planned, bar],
            **settings,
        )
    return with_controls(RunSummary.read(RunFolder.open(str(result.run_dir))), source.words, source)
