"""`adapt`: learn an adapter around a frozen backbone for one env."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from gymnasium.spaces import Box

from apb.backbone import DEFAULT_INIT, DEFAULT_READING, Backbone, Initialization, Reading
from apb.env_spaces import flat_size
from apb.environments import EnvLike, EnvSource
from apb.errors import ConfigError, UnknownNameError, nearest_name, nearest_path, require_path
from apb.jobs import CallbackLike, Job, callbacks_of, resolve_device
from apb.methods import with_method
from apb.prior import NEAREST, Prior, PriorLike, nearest_policy, prior_place, require_use
from apb.runner import AdaptResult
from apb.settings import AdaptSettings, Settings
from apb.shipped import shipped
from apb.strategies import STRATEGIES, strategy_named

RANDOM = "random"
"""What `backbone` is called where it is to be drawn for the env."""


def adapt(
    env: EnvLike | EnvSource,
    backbone: Backbone | str | Path | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    eval_env: EnvLike | EnvSource | None = None,
    method: str = "apb",
    prior: PriorLike | None = None,
    run_dir: str | Path | None = None,
    callback: CallbackLike = None,
    **options: Any,
) -> AdaptResult:
    """Adapt a frozen backbone to an env: learn a linear layer before it and one after it, and a critic, by TD3.

    Args:
        env: A Gymnasium id or `EnvSpec`, an `Env`, a `VectorEnv`, or a function that returns a new `Env`; float `Box`
            observations and bounded float `Box` actions. Or a task of `apb.tasks`, its name, or several tasks of one
            family, each with lanes of its own: they are simulated in one batch.
        backbone: psi, the name of one of the package (`apb backbones`), or the folder of a saved one. None or "random":
            a random one of reading B, drawn from `seed`, with the env's observation size as `d_in`.
        env_kwargs: Arguments of `gymnasium.make`, with an id.
        eval_env: Env to evaluate in. Default: made like `env`; needed where `env` is an object that cannot be made a
            second time.
        method: "apb" learns by TD3. "flap" takes no gradient: the mean layers of the backbone's train tasks act for
            `total_timesteps` (then 200 by default, one episode), from which layers are predicted; the backbone has to
            be meta-trained by FLAP. To go on from them by TD3 give adapter_init="predicted" in its place.
        prior: A policy that is known beforehand: an `apb.Policy`, the folder of one or of a run, an object with SB3's
            `predict`, a function from observations (E, *obs) to actions (E, *act), or "nearest": the policy of the
            nearest of the backbone's train tasks. With strategy "behavior_transfer" it explores; with adapter_init
            "prior" its layers are where learning begins, around its own backbone, which then is the default.
        run_dir: Folder for history, checkpoints and policies, new or empty. Default: nothing is written.
        callback: One `Callback` or several.
        **options: Fields of `AdaptSettings`: strategy, total_timesteps, seed, n_seeds, device, eval_freq, ...

    Returns:
        An `AdaptResult`: `result.policy(observation)` acts, `result.policy.save_pretrained(folder)` saves.

    Raises:
        ApbError: in one of its kinds, with what to do next: `ConfigError` and `UnknownNameError` for options,
            `InvalidEnvError` for an env that cannot be used, `SimulationError` for one that misbehaves,
            `DivergenceError` for a loss or parameters that are not finite, and `RunFolderError` for a run folder that
            is in use or full.
    """
    # Before any env is made, which may change the current folder.
    folder = None if run_dir is None else require_path("run_dir", run_dir).absolute()
    chosen_options = with_method(AdaptSettings.job, method, resolve_device(options))
    settings = AdaptSettings.from_options(chosen_options, inspect.signature(adapt).parameters)
    strategy_named(settings.strategy)  # a slip in it is told before any env is made
    if isinstance(prior, str | Path) and prior != NEAREST:
        prior = prior_place(prior)
    source = EnvSource.resolve(env, env_kwargs)
    if prior == NEAREST:
        backbone = resolve_backbone(backbone, source.observation_space, settings.seed)
        prior = nearest_policy(backbone, source)
    known = None if prior is None else Prior(prior, source)
    require_use(settings, known)
    if backbone is None and settings.adapter_init == "prior" and known is not None and known.policy is not None:
        backbone = known.policy.backbone
    chosen = resolve_backbone(backbone, source.observation_space, settings.seed)
    given_eval = None if eval_env is None else EnvSource.resolve(eval_env)
    return Job(source, given_eval, chosen, settings, callbacks_of(callback), {}, known).run(folder)


def random_backbone(
    observation_space: Box, seed: int, *, reading: Reading = DEFAULT_READING, init: Initialization = DEFAULT_INIT
) -> Backbone:
    """A random backbone for one env. In reading B its `d_in` is the env's observation size, so that the pre-layer
    starts as the identity, nothing cut and nothing padded. Arguments as in `Backbone.random`.
    """
    input_size = flat_size(observation_space) if reading == "B" else None
    return Backbone.random(seed, reading=reading, input_size=input_size, init=init)


def resolve_backbone(backbone: Backbone | str | Path | None, observation_space: Box, seed: int) -> Backbone:
    """What was given as `backbone`; drawn for such observations where that is nothing or "random".

    Raises:
        UnknownNameError, ConfigError: it is none. FileFormatError, MismatchError: its files are damaged.
    """
    if backbone is None:
        return random_backbone(observation_space, seed)
    if isinstance(backbone, str | Path):
        if backbone == RANDOM:
            return random_backbone(observation_space, seed)
        known = shipped()
        if isinstance(backbone, str) and backbone not in known and not Path(backbone).exists():
            meant = nearest_name(backbone, [RANDOM, *STRATEGIES, *known])
            if meant is None:
                hint = nearest_path(Path(backbone))
            else:
                hint = f"; did you mean {'strategy=' if meant in STRATEGIES else ''}{meant!r}?"
            raise UnknownNameError(
                f"backbone = {backbone!r} is neither {RANDOM!r} nor a backbone of the package nor a folder that "
                f"exists{hint}"
            )
        return Backbone.from_pretrained(backbone)
    if isinstance(backbone, Backbone):
        return backbone
    raise ConfigError(
        f"backbone is a {type(backbone).__name__}; expected an apb.Backbone, the folder of a saved one, or {RANDOM!r}"
    )


def spell_out(function: Callable[..., Any], settings: type[Settings]) -> None:
    """Give `function`, which has **options, the signature with the fields of its settings, for help() and editors."""
    plain = inspect.signature(function)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(settings)
        if field.name not in settings.unused
    ]
    own = [p for p in plain.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = plain.replace(parameters=[*own, *options])  # type: ignore[attr-defined]


spell_out(adapt, AdaptSettings)
