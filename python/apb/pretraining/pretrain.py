"""`pretrain`: learn behaviour and a backbone in one env without its reward, to explore new tasks with."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apb.adaptation import resolve_backbone, spell_out
from apb.backbone import Backbone
from apb.environments import EnvLike, EnvSource
from apb.errors import require_path
from apb.intrinsic import objective_named
from apb.intrinsic.robots import robot_source
from apb.jobs import CallbackLike, callbacks_of, resolve_device
from apb.pretraining.job import PretrainJob, PretrainResult
from apb.pretraining.settings import PretrainSettings
from apb.strategies import strategy_named


def pretrain(
    env: EnvLike | EnvSource,
    backbone: Backbone | str | Path | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    eval_env: EnvLike | EnvSource | None = None,
    run_dir: str | Path | None = None,
    callback: CallbackLike = None,
    **options: Any,
) -> PretrainResult:
    """Learn to behave in one env without its reward, by TD3 on intrinsic rewards, and train the backbone too: what to
    explore new tasks with, by the strategy of Behavior Transfer (docs/pretraining.md has the equations).

    Args:
        env: As in `adapt`; or the name of a robot, "ant", "cheetah", "hopper", "humanoid" or "walker", which stands for
            the first of the families of tasks that it has: "ant-goal", "cheetah-vel", "hopper-rand-params",
            "humanoid-dir", "walker-rand-params". Rewards do not matter, observations do: they have to be those of the
            tasks that are to be explored.
        backbone: What to begin with: see `adapt`. Default: a random one of reading B, drawn from `seed`. Each seed
            trains a copy of its own.
        env_kwargs, eval_env: As in `adapt`.
        run_dir: Folder for history, checkpoints, policies, the backbone and a picture of what was covered, new or
            empty. Default: nothing is written.
        callback: One `Callback` or several.
        **options: Fields of `PretrainSettings`: objective, total_timesteps, seed, n_seeds, eval_freq, ...

    Returns:
        A `PretrainResult`: `result.policy` acts, `result.backbone` is what `apb.adapt` takes.

    Raises:
        ApbError: in one of its kinds, as `adapt`; `InvalidEnvError` also for observations that never change.
    """
    folder = None if run_dir is None else require_path("run_dir", run_dir).absolute()
    settings = PretrainSettings.from_options(resolve_device(options), inspect.signature(pretrain).parameters)
    strategy_named(settings.strategy)  # slips are told before any env is made
    objective_named(settings.objective)
    source = robot_source(env, env_kwargs)
    chosen = resolve_backbone(backbone, source.observation_space, settings.seed)
    given_eval = None if eval_env is None else robot_source(eval_env)
    result = PretrainJob(source, given_eval, chosen, settings, callbacks_of(callback), {}).run(folder)
    assert isinstance(result, PretrainResult)  # noqa: S101
    return result


spell_out(pretrain, PretrainSettings)
