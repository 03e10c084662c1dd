"""`apb meta-train`: learn a backbone over many tasks."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from apb.cli.outcome import Outcome
from apb.cli.run_options import RunOptions
from apb.cli.summary import RunSummary
from apb.errors import ConfigError
from apb.meta_training.settings import MetaSettings


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions, MetaSettings):
    """Learn a backbone over the train tasks of a split, each with an adapter and critics of its own.

    It writes a run folder with history, checkpoints and the learning curves of the tasks, shows its progress, and ends
    with the returns on the train, test and OOD tasks and the backbone in RUN/pretrained, for `apb adapt --backbone`.
    """

    tasks: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SPLIT", help_behavior_hint="")] = ()
    """FAMILY/SPLIT, on train tasks of which it is trained, as "cheetah-vel/mier-hard"; FAMILY alone is its first split;
    or several splits, tasks or envs, with spaces between them: see `apb tasks`."""
    method: Literal["apb", "flap"] = "apb"
    """"apb" learns both layers of each task. "flap": the layer behind the backbone is all that a task has of its own,
    and a network is trained that predicts it from transitions, for `apb adapt --method flap`."""
    backbone: str = "random"
    """What to begin with: "random", the name of a backbone of the package, or the folder of a saved one."""


def run(options: Options) -> Outcome:
    """Meta-train, with a progress bar, and summarise the run folder."""
    named = options.run_dir and options.run_dir.absolute()
    # Imported here, so that a slip in the options is told before torch is loaded.
    from apb.meta_training.meta_train import meta_train
    from apb.meta_training.tasks import train_tasks
    from apb.progress import ProgressBarCallback
    from apb.runs import RunFolder, numbered_folder
    from apb.several_envs import resolve_all

    if not options.tasks:
        raise ConfigError("apb meta-train expects SPLIT, the tasks to train on: cheetah-vel/mier-hard, for example")
    given = options.tasks[0] if len(options.tasks) == 1 else options.tasks
    split, tasks = train_tasks(given, options.n_tasks)
    source = resolve_all(tasks)
    backbone = options.backbone_named(options.backbone, options.seed, source)
    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBarCallback())
        run_dir = named or stack.enter_context(numbered_folder(str(split or "-".join(options.tasks)), "meta-train"))
        meta_train(given, backbone, method=options.method, run_dir=run_dir, callback=bar, **options.given(MetaSettings))
    return RunSummary.read(RunFolder.open(str(run_dir))).outcome()
