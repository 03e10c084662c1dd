"""`apb render`: a film of a policy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apb.cli.arguments import JsonObject, choose_env, free_path, json_object
from apb.cli.outcome import Outcome
from apb.saved_policies import find_policies


@dataclass(frozen=True, kw_only=True)
class Options:
    """Film the latest policy of a run, or a saved policy, at the start of an episode.

    Of a run of several tasks or seeds it films the first; for another, give the folder of its policy, such as
    RUN/best/seed-1 or RUN/best/task-2-seed-0. It works without a screen where EGL or OSMesa is installed; MUJOCO_GL
    overrides the choice between them.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_POLICY")]
    """Run folder, its best/ folder, or the folder of a policy, which may lie inside the run."""
    env: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[ENV]")] = None
    """Gymnasium id or task. Default: the env that the policy was adapted to; its own id is that too, with the arguments
    of the run, and so is "module:Id-v0", where a module of yours registers it."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Film to write: .mp4 or .gif. Replaced if it exists. Default: the first free of <name of the folder>.mp4,
    <name of the folder>-1.mp4, ... in the current folder."""
    seed: int = 0
    """Seed of the episode, in [0, 2^63): the film shows the first episode of `apb eval` with this seed."""
    seconds: float = 20.0
    """Length at most, in the env's own time, in (0, 3600]; the film ends earlier if the episode does. Ours."""
    env_kwargs: JsonObject = "{}"
    """Arguments of gymnasium.make, as a JSON object, for example '{"width": 640, "height": 480}' for a MuJoCo env;
    beside those that the run was made with, unless ENV is another."""
    json: bool = False
    """Print one JSON object on standard output."""


def run(options: Options) -> Outcome:
    """Film."""
    from apb.rendering import render

    saved, *others = find_policies(options.path)
    chosen = choose_env(saved, options.env, json_object("--env-kwargs", options.env_kwargs))
    output = options.output or free_path(Path(f"{options.path.resolve().name}.mp4"))
    film = render(
        saved.policy, chosen.env, output, env_kwargs=chosen.kwargs, seed=options.seed, seconds=options.seconds
    )
    learned = {"task": saved.task, "policy_seed": saved.seed}
    data = {"film": str(film), "policy": str(saved.path), **learned, "env": chosen.env, "env_kwargs": chosen.kwargs}
    known = {"adapted to": saved.task, "seed": saved.seed}
    policy = ", ".join([str(saved.path), *(f"{name} {value}" for name, value in known.items() if value is not None)])
    hint = [f"the first of {len(others) + 1} policies: to film another, give its folder"] if others else []
    return Outcome({**data, "seed": options.seed}, [f"film: {film}", f"env: {chosen.name}", f"policy: {policy}", *hint])
