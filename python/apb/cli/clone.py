"""`apb clone`: fit an adapter to demonstrations."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.table import Table

from apb.cli.arguments import JsonObject, choose_env, given_as, json_object
from apb.cli.outcome import Outcome
from apb.cloning.settings import CloneSettings
from apb.errors import ConfigError, RunFolderError, counted, nearest_path
from apb.ranges import Range
from apb.saved_policies import one_policy

if TYPE_CHECKING:
    from apb.cloning.clone import CloneResult
    from apb.cloning.demonstrations import Demonstrations
    from apb.evaluation import EvalResult

PICTURE = "clone.png"
MINARI_ID = re.compile(r"([\w-]+/)*[\w-]+-v\d+")


@dataclass(frozen=True, kw_only=True)
class Options(CloneSettings):
    """Fit the two linear layers around a frozen backbone to demonstrations, so that the policy acts as they do.

    It ends with the error of its actions on episodes that nothing was fitted to, its return beside the demonstrator's,
    and a folder with the policy, for `apb eval` and `apb render`, and a picture of what it does there.
    """

    demonstrations: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DEMOS")]
    """A .npz file with observations, actions and episode_lengths; the folder of a policy or a run, which is rolled out;
    or the id of a Minari data set, as mujoco/halfcheetah/expert-v0."""
    backbone: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[BACKBONE]")] = "random"
    """"random", the name of a backbone of the package (see `apb backbones`), or the folder of a saved one."""
    env: str | None = None
    """Gymnasium id or task to evaluate in, and to roll a policy out. Default: where the demonstrations come from, if
    that is known; a .npz file does not tell."""
    env_kwargs: JsonObject = "{}"
    """Arguments of gymnasium.make, as a JSON object; with --env, or beside those that a policy was made with."""
    n_episodes: Annotated[int, Range(1, 100_000)] = 20
    """Of a policy: episodes to roll out. Ours."""
    noise: Annotated[float, Range(0, 10)] = 0.0
    """Of a policy: standard deviation of the noise on what acts, in units of the normalised action; what is shown is
    what the policy does without it, as in DART. None by default."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder of the policy, new or empty. Default: the first free runs/<env or demonstrations>-clone-<n>."""
    json: bool = False
    """Print one JSON object on standard output instead of the table."""

    def __post_init__(self) -> None:
        """Check nothing here: `clone` checks the options, and its messages are shown as they are."""


def run(options: Options) -> Outcome:
    """Clone, with a line for each tenth of the way, and save."""
    named = options.output and options.output.absolute()  # before an env is made that changes the current folder
    given = json_object("--env-kwargs", options.env_kwargs)
    settings = {field.name: getattr(options, field.name) for field in fields(CloneSettings)}
    CloneSettings(**settings)  # a slip in them is told before anything is rolled out
    # Imported here, so that a slip in the options is told before torch is loaded.
    from apb.cloning.clone import clone
    from apb.cloning.picture import draw_clone
    from apb.evaluation import evaluate
    from apb.runs import numbered_folder, short_path

    with ExitStack() as stack:
        if named is not None:
            stack.enter_context(_new_folder(named))
        shown, demonstrator = _demonstrations(options, given)
        name = Path(options.demonstrations).stem if shown.env is None else shown.env.name
        folder = named or stack.enter_context(numbered_folder(name, "clone")).absolute()
        result = clone(shown, options.backbone, callback=_progress(), **settings | {"n_eval_episodes": 0})
        result.policy.save_pretrained(folder)
        picture = draw_clone(result, folder / PICTURE)
    folder = short_path(folder)
    if shown.env is not None and options.n_eval_episodes:
        # Saved before it is evaluated: what stops or fails in an env, which may take hours, leaves the clone there.
        print(f"apb: saved in {folder}; {counted(options.n_eval_episodes, 'episode')} follow", file=sys.stderr)
        evaluation = evaluate(result.policy, shown.env, options.n_eval_episodes, seed=options.seed)
        result = replace(result, evaluation=evaluation)
    data = {
        "demonstrations": options.demonstrations,
        "backbone": options.backbone,
        "env": None if shown.env is None else shown.env.name,
        "method": options.method,
        "seed": options.seed,
        "transitions": len(shown),
        "episodes": shown.num_episodes,
        **result.to_json(),
        "demonstrator": None if demonstrator is None else demonstrator.to_json(),
        "policy": str(folder),
        "picture": str(short_path(picture)),
    }
    return Outcome(data, _shown(options, shown, result, demonstrator, folder))


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make the folder of the policy, so that one in which none can be saved is told of before the fit; if it is still
    empty at the end of the block, it is removed."""
    made: list[Path] = []
    try:
        try:
            made += [each for each in (folder, *folder.parents) if not each.exists()]
            _publish_empty(folder)
        except RunFolderError:
            raise
        except OSError as error:
            raise RunFolderError(
                f"--output {str(folder)!r:.200} cannot be written: {error!s:.200}; choose another place"
            ) from error
        yield
    finally:
        for each in made:
            with suppress(OSError):
                each.rmdir()


def _publish_empty(folder: Path) -> None:
    """Write `folder` as saving a policy there will, but empty, in the place of nothing or of an empty one."""
    from apb.files import staged_folder

    present = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if present:
        raise RunFolderError(
            f"--output {folder} is not empty ({', '.join(present[:3])}); expected a new or empty folder: give another "
            "name"
        )
    if folder.exists() and folder.samefile(os.curdir):
        raise RunFolderError(f"--output {folder} is the current folder; expected a new one: give a name in it")
    with staged_folder(folder):
        pass


def _demonstrations(options: Options, env_kwargs: dict[str, Any]) -> "tuple[Demonstrations, EvalResult | None]":
    """What DEMOS stands for, and returns of the policy, if it is one, from the starts that the clone will meet."""
    from apb.cloning.demonstration_files import ENDING
    from apb.cloning.demonstrations import Demonstrations
    from apb.environments import EnvSource
    from apb.evaluation import evaluate

    word = options.demonstrations
    path = Path(word)
    if os.path.isdir(word):  # noqa: PTH112 - Path's raises for a word that is too long for a name
        saved = one_policy(path)
        chosen = choose_env(saved, options.env, env_kwargs)
        source = EnvSource.resolve(chosen.env, chosen.kwargs)
        if chosen.own and saved.task is not None and source.tasks:
            source = EnvSource.resolve(replace(source.tasks[0], label=saved.task))  # ids do not tell names
        shown = Demonstrations.collect(saved.policy, source, options.n_episodes, seed=options.seed, noise=options.noise)
        episodes = options.n_eval_episodes
        return shown, evaluate(saved.policy, source, episodes, seed=options.seed) if episodes else None
    if options.env is None and env_kwargs:
        raise ConfigError(f"--env-kwargs was given{given_as('with', env_kwargs)} and no --env; expected both")
    source_or_none = None if options.env is None else EnvSource.resolve(options.env, env_kwargs)
    if path.suffix == ENDING or os.path.isfile(word):  # noqa: PTH113 - likewise
        return Demonstrations.load(path, source_or_none), None
    if not MINARI_ID.fullmatch(word):
        near = nearest_path(path, ending=ENDING) or nearest_path(path)
        raise ConfigError(
            f"DEMOS = {word!r:.100} does not exist{near}; expected a {ENDING} file, the folder of a "
            "policy or a run, or the id of a Minari data set, such as mujoco/halfcheetah/expert-v0"
        )
    shown = Demonstrations.from_minari(word)
    return (shown if source_or_none is None else shown.in_env(source_or_none)), None


def _progress() -> Callable[[int, int, float], None]:
    """What prints a line for each tenth of the steps that may be made."""
    told = 0

    def tell(step: int, steps: int, error: float) -> None:
        nonlocal told
        if 10 * step // steps > told:
            told = 10 * step // steps
            print(f"apb: {step:,} of at most {steps:,} steps: held-out error {error:.5f}", file=sys.stderr)

    return tell


def _shown(
    options: Options,
    shown: "Demonstrations",
    result: "CloneResult",
    demonstrator: "EvalResult | None",
    folder: Path,
) -> list[Any]:
    """Table, files and the commands that may come next."""
    table = Table(show_header=False)
    rows = {
        "transitions": f"{len(shown):,}",
        "episodes": f"{shown.num_episodes:,}, {counted(len(result.held_out_episodes), 'episode')} held out",
        "held-out error": f"{result.held_out_error:.5f} (mean squared, of actions in [-1, 1])",
        "error on what was fitted": f"{result.train_error:.5f}",
    }
    if result.evaluation is not None:
        rows["return of the clone"] = str(result.evaluation)
    if demonstrator is not None:
        rows["return of the demonstrator"] = f"{demonstrator}, from the same starts"
    elif result.demonstrator_returns is not None:
        returns = result.demonstrator_returns
        rows["return of the demonstrations"] = f"{returns.mean():.1f} ± {returns.std():.1f}"
    for row in rows.items():
        table.add_row(*row)
    of = "" if shown.env is None else f"{shown.env.name}, "
    return [
        f"{of}{options.backbone} backbone, {options.method}: {result.wall_time:.1f} s",
        table,
        f"policy: {folder}",
        f"picture: {folder / PICTURE}",
        *(["next:", f"  apb eval {folder}", f"  apb render {folder}"] if shown.env is not None else []),
    ]
