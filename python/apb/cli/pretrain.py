"""`apb pretrain`: learn behaviour without rewards, to explore new tasks with."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import tyro

from apb.cli.arguments import JsonObject, json_object
from apb.cli.outcome import Outcome
from apb.cli.run_options import RunOptions
from apb.cli.summary import RunSummary
from apb.errors import ConfigError
from apb.pretraining.settings import PretrainSettings


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions, PretrainSettings):
    """Learn to behave in an env without its reward, and train a backbone on the way: what Behavior Transfer explores
    new tasks with.

    It writes a run folder with history, checkpoints and policies, shows its progress, and ends with how far the policy
    spreads over the states beside random actions, a picture of that, and the backbone in RUN/pretrained.
    """

    env: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="ENV")] = None
    """A robot: ant, cheetah, hopper, humanoid or walker, which stands for the family of tasks ant-goal, cheetah-vel,
    hopper-rand-params, humanoid-dir or walker-rand-params; or a Gymnasium id or task, as in `apb adapt`, with the
    observations of the tasks that are to be explored. Its rewards do not matter."""
    backbone: str = "random"
    """What to begin with: "random", the name of a backbone of the package, or the folder of a saved one."""
    env_kwargs: JsonObject = "{}"
    """Arguments of gymnasium.make, as a JSON object."""


def run(options: Options) -> Outcome:
    """Pre-train, with a progress bar, and summarise the run folder."""
    env_kwargs = json_object("--env-kwargs", options.env_kwargs)
    named = options.run_dir and options.run_dir.absolute()  # before an env is made that changes the current folder
    if options.env is None:
        raise ConfigError("apb pretrain expects ENV, a robot or an env to learn in: ant, for example")
    # Imported here, so that a slip in the options is told before torch is loaded.
    from apb.intrinsic.robots import robot_source
    from apb.pretraining.pretrain import pretrain
    from apb.progress import ProgressBarCallback
    from apb.runs import RunFolder, numbered_folder

    source = robot_source(options.env, env_kwargs)
    backbone = options.backbone_named(options.backbone, options.seed, source)
    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBarCallback(f"{source.name}, pre-training by {options.objective}"))
        run_dir = named or stack.enter_context(numbered_folder(options.env, "pretrain"))
        pretrain(source, backbone, run_dir=run_dir, callback=bar, **options.given(PretrainSettings))
    return RunSummary.read(RunFolder.open(str(run_dir))).outcome(source.words)
