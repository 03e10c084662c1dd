"""`apb resume`: continue a run from its last checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import tyro

from apb.cli.arguments import JsonObject, env_hint, json_object
from apb.cli.controls import Controls, with_controls
from apb.cli.outcome import Outcome
from apb.cli.summary import RunSummary
from apb.env_source import EnvSource
from apb.errors import ConfigError, InvalidEnvError, UnknownNameError
from apb.ranges import THREADS
from apb.runs import RunFolder, short_path
from apb.saved_policies import open_run
from apb.several_envs import is_several, source_again


@dataclass(frozen=True, kw_only=True)
class Options:
    """Continue a run that was stopped or killed, from its last good checkpoint, to the end of its budget.

    It ends with the same bytes as a run that was never interrupted, and then goes on with its controls, if it has any.
    The result of a run that had ended is shown again.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, one of its checkpoint folders, or a checkpoint's manifest.json."""
    env: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[ENV]")] = None
    """Gymnasium id or task, where the run folder cannot name it. The run's own id goes on with the run's own arguments;
    "module:Id-v0" also imports the module that registers it."""
    env_kwargs: JsonObject = "{}"
    """Arguments of gymnasium.make with ENV, as a JSON object."""
    num_threads: Annotated[int | None, THREADS] = None
    """CPU threads to use; they change the speed only. Default: as before."""
    device: str | None = None
    """Where the updates run: "cpu", "cuda", "cuda:<i>" or "auto". Default: as before; exact only there."""
    prior: Path | None = None
    """Folder of the prior, a saved policy or a run, where the run's own folder does not keep it."""
    replay_on_disk: bool = False
    """Keep the replay in a file without a name in the folder that TMPDIR names, where memory does not suffice. Default:
    as before."""
    json: bool = False
    """Print one JSON object on standard output instead of the table."""


def run(options: Options) -> Outcome:
    """Resume with a progress bar, and summarise the run folder; or only that, of a run that has ended."""
    opened, path = open_run(options.path), options.path.absolute()  # before an env is made that changes the folder
    env = _env(options, opened.config)
    ended = opened.step is None and opened.result.is_file() and RunSummary.read(opened).finished
    how = {
        "num_threads": options.num_threads,
        "device": options.device,
        "replay_on_disk": options.replay_on_disk or None,
        "prior": options.prior,
    }
    # Whoever says how to go on must hear whether that is possible, which only a resume finds out.
    if not ended or env is not None or any(each is not None for each in how.values()):
        _resume(opened, path, env, how)
    controls = Controls.read(opened.path)
    left = not ended or (controls is not None and controls.left)
    summary = RunSummary.read(RunFolder.open(opened.path))
    of_controls = {name: value for name, value in how.items() if value is not None and name != "prior"}
    outcome = with_controls(summary, [] if env is None else env.words, env, **of_controls)
    if left:
        return outcome
    spent = f"its budget of {summary.steps}"
    said = f"{short_path(opened.path)} has spent {spent}; nothing is left to do"
    identity = _identity(opened.config)
    # No command that may come next names a list.
    unknown = not is_several(identity) and identity.get("id") not in gymnasium.registry
    hint = [env_hint(identity)] if env is None and unknown else []
    return Outcome(outcome.data, [said, *outcome.shown, *hint])


def _resume(opened: RunFolder, path: Path, env: EnvSource | None, how: Mapping[str, Any]) -> None:
    from apb.progress import ProgressBarCallback
    from apb.resumption import resume

    with ProgressBarCallback() as bar:
        try:
            resume(path, env=env, callback=bar, **how)
        except (InvalidEnvError, UnknownNameError) as error:
            if env is None:
                error.add_note(env_hint(_identity(opened.config)))
            raise


def _env(options: Options, config: Mapping[str, Any]) -> EnvSource | None:
    kwargs = json_object("--env-kwargs", options.env_kwargs)
    if options.env is None:
        if kwargs:
            raise ConfigError("--env-kwargs was given without ENV; leave it out to continue in the run's own env")
        return None
    return source_again(options.env, _identity(config), kwargs)


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    identity = config.get("env_identity")
    return identity if isinstance(identity, dict) else {}
