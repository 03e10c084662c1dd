"""`apb eval`: returns of saved policies on fresh episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table
from rich.text import Text

from apb.cli.arguments import ChosenEnv, JsonObject, choose_env, given_as, json_object
from apb.cli.outcome import Outcome
from apb.env_source import EnvSource
from apb.errors import counted
from apb.saved_policies import find_policies


@dataclass(frozen=True, kw_only=True)
class Options:
    """Evaluate the latest policy of a run (one per seed), or a saved policy, without exploration noise."""

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_POLICY")]
    """Run folder, its best/ folder, or the folder of a saved policy."""
    env: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[ENV]")] = None
    """Gymnasium id or task. Default: the env that the policy was adapted to; its own id is that too, with the arguments
    of the run, and so is "module:Id-v0", where a module of yours registers it."""
    n_eval_episodes: int = 10
    """Episodes per policy, in [1, 100000]. 10 in TD3's code."""
    seed: int = 0
    """Seed of the episodes, in [0, 2^63); equal seeds give equal starts to all policies."""
    env_kwargs: JsonObject = "{}"
    """Arguments of gymnasium.make, as a JSON object; beside those that the run was made with, unless ENV is another."""
    json: bool = False
    """Print one JSON object on standard output instead of the table: of each policy its task, env, env_kwargs, returns
    and lengths."""


def run(options: Options) -> Outcome:
    """Evaluate each policy in its own simulations, all from the same starts."""
    from apb.evaluation import evaluate

    saved_policies = find_policies(options.path)
    given = json_object("--env-kwargs", options.env_kwargs)
    # Policies of one run that learned several tasks are each evaluated in their own.
    chosen = [choose_env(saved, options.env, given) for saved in saved_policies]
    rows = []
    table = Table()
    known = {saved.task for saved in saved_policies}
    elsewhere = not all(env.own for env in chosen)
    shows_tasks = len(known) > 1 or (elsewhere and known != {None})  # else the title names the task
    tasks = ["adapted to" if elsewhere else "task"] if shows_tasks else []
    for name in (*tasks, "seed", "mean ± std", "lowest", "highest", "mean length"):
        table.add_column(name, justify="right")
    for saved, env in zip(saved_policies, chosen, strict=True):
        source = EnvSource.resolve(env.env, env.kwargs)
        result = evaluate(saved.policy, source, options.n_eval_episodes, seed=options.seed)
        task = {} if known == {None} else {"task": saved.task}
        where = {"env": env.env, "env_kwargs": env.kwargs}
        rows.append({"policy": str(saved.path), **task, "seed": saved.seed, **where, **result.to_json()})
        numbers = result.returns.min(), result.returns.max(), result.lengths.mean()
        shown = [f"{result.mean:,.1f} ± {result.std:,.1f}", *(f"{number:,.1f}" for number in numbers)]
        named = [Text(saved.task or "-")] if shows_tasks else []
        table.add_row(*named, "-" if saved.seed is None else str(saved.seed), *shown)
    common = {name: rows[0][name] for name in ("env", "env_kwargs") if all(row[name] == rows[0][name] for row in rows)}
    data = {**common, "n_eval_episodes": options.n_eval_episodes, "seed": options.seed}
    over = counted(options.n_eval_episodes, "episode")
    title = f"{_name(chosen, given)}: return per episode over {over}, mean ± standard deviation"
    return Outcome({**data, "policies": rows}, [title, table, *(f"policy: {saved.path}" for saved in saved_policies)])


def _name(chosen: Sequence[ChosenEnv], given: Mapping[str, Any]) -> str:
    """What the policies are evaluated in."""
    names = dict.fromkeys(env.name for env in chosen)
    if len(names) == 1:
        return next(iter(names))
    first = chosen[0]
    if all((env.env, env.kwargs) == (first.env, first.kwargs) for env in chosen):
        return first.env + given_as("with", first.kwargs)
    ids = ", ".join(dict.fromkeys(env.env for env in chosen))
    return f"{len(names)} tasks of {ids}{given_as('but with', given)}"
