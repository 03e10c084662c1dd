"""`adapt`: learn an adapter around a frozen backbone for one env; `resume`: continue such a run exactly."""

import inspect
import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from apb import spaces
from apb.backbone import DEFAULT_INIT, DEFAULT_READING, Backbone, Initialization, Reading
from apb.callbacks import Callback
from apb.env_spaces import flat_size
from apb.environments import EnvLike, EnvSource
from apb.errors import (
    ApbWarning,
    ConfigError,
    FileFormatError,
    InvalidEnvError,
    MismatchError,
    UnknownNameError,
    counted,
    nearest,
    nearest_name,
    nearest_path,
    require_path,
)
from apb.loop import AdaptationLoop
from apb.persistence import RunWriter, open_for_resume, run_identity
from apb.runner import AdaptResult, run_to_end
from apb.runs import RunFolder, StopSignals, list_steps, load_checkpoint, require_unbegun, writing
from apb.settings import FIXED, AdaptSettings
from apb.simulation import BatchedEnv
from apb.strategies import STRATEGIES, strategy_named
from apb.threads import most_threads

__all__ = ["AdaptResult", "adapt", "resume"]

CallbackLike = Callback | Iterable[Callback] | None

RANDOM = "random"
"""What `backbone` is called where it is to be drawn for the env."""


def adapt(
    env: EnvLike | EnvSource,
    backbone: Backbone | str | Path | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    eval_env: EnvLike | EnvSource | None = None,
    run_dir: str | Path | None = None,
    callback: CallbackLike = None,
    **options: Any,
) -> AdaptResult:
    """Adapt a frozen backbone to an env: learn a linear layer before it and one after it, and a critic, by TD3.

    Args:
        env: A Gymnasium id or `EnvSpec`, an `Env`, a `VectorEnv`, or a function that returns a new `Env`; float `Box`
            observations and bounded float `Box` actions. Or a task of `apb.tasks`, its name, or several tasks of one
            family, each with lanes of its own: they are simulated in one batch.
        backbone: psi, or the folder of a saved one. None or "random": a random one of reading B, drawn from `seed`,
            with the env's observation size as `d_in`.
        env_kwargs: Arguments of `gymnasium.make`, with an id.
        eval_env: Env to evaluate in. Default: made like `env`; needed where `env` is an object that cannot be made a
            second time.
        run_dir: Folder for history, checkpoints and policies, new or empty. Default: nothing is written.
        callback: One `Callback` or several.
        **options: Fields of `AdaptSettings`: strategy, total_timesteps, seed, n_seeds, device, eval_freq, ...

    Returns:
        An `AdaptResult`: `result.policy(observation)` acts, `result.policy.save_pretrained(folder)` saves.

    Raises:
        ApbError: in one of its kinds, with what to do next: `ConfigError` and `UnknownNameError` for options,
            `InvalidEnvError` for an env that cannot be used, `SimulationError` for one that misbehaves,
            `DivergenceError` for a loss that is not finite, and `RunFolderError` for a run folder that is in use or
            full.
    """
    # Before any env is made, which may change the current folder.
    folder = None if run_dir is None else require_path("run_dir", run_dir).absolute()
    settings = AdaptSettings.from_options(_resolve_device(options), inspect.signature(adapt).parameters)
    strategy_named(settings.strategy)  # a slip in it is told before any env is made
    source = EnvSource.resolve(env, env_kwargs)
    if source.running_statistics:
        warnings.warn(
            f"env {source.name} is wrapped in {' and '.join(source.running_statistics)}, whose running statistics "
            "differ from one simulation to the next, begin anew in evaluations, and are not saved with a policy; "
            "expected an env without: normalize_observations=True keeps one set of statistics inside the policy",
            ApbWarning,
            stacklevel=2,
        )
    chosen = _resolve_backbone(backbone, source, settings.seed)
    given_eval = None if eval_env is None else EnvSource.resolve(eval_env)
    eval_source = _eval_source(source, given_eval, settings)
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        loop = AdaptationLoop(source, eval_source, chosen, settings, _callbacks(callback))
        stack.callback(loop.close)
        if folder is None:
            return run_to_end(loop, None, signals)
        config = {
            "job": "adapt",
            "env": source.name,
            "tasks": list(dict.fromkeys(lane.task for lane in loop.lanes if lane.task is not None)),
            "strategy": settings.strategy,
            "env_identity": source.identity,
            "eval_env_identity": None if given_eval is None else given_eval.identity,
            "backbone_hash": chosen.hash,
            "settings": settings.to_json(),
        }
        run = RunFolder.create(folder, config, lambda folder: chosen.save_pretrained(folder / "backbone"))
        stack.enter_context(run.lock())
        writer = RunWriter(run, loop)
        stack.callback(writer.close)
        return run_to_end(loop, writer, signals)


def resume(
    run_dir: str | Path,
    *,
    env: EnvLike | EnvSource | None = None,
    eval_env: EnvLike | EnvSource | None = None,
    callback: CallbackLike = None,
    num_threads: int | None = None,
    device: str | None = None,
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
        **options: None: the budget and all else are fixed when a run starts, and it takes a new run to change them.

    Raises:
        UnknownNameError: another option. RunFolderError: no run there, or no checkpoint that is intact, or another
            process works in it. FileFormatError, MismatchError: a file is damaged, or belongs to another env, backbone
            or version. Else as `adapt`.
    """
    for name in options:
        known = [each for each, of in inspect.signature(resume).parameters.items() if of.kind is not of.VAR_KEYWORD]
        fixed = name in inspect.signature(adapt).parameters
        raise UnknownNameError(f"resume() has no option {name!r}; {FIXED if fixed else nearest(name, known)}")
    run, config = open_for_resume(run_dir)
    given = {"num_threads": num_threads, "device": device}
    changed = {name: value for name, value in given.items() if value is not None}
    try:
        saved = _with_threads_of_this_machine(dict(config["settings"]), num_threads)
        identity, eval_identity = dict(config["env_identity"]), config["eval_env_identity"]
        eval_identity = None if eval_identity is None else dict(eval_identity)
        settings = AdaptSettings.from_options(saved | {"device": "cpu"})
        strategy_named(settings.strategy)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{run.path / 'config.json'} is not the configuration of an adaptation: {error}"
        ) from error
    # Only now, so that what this machine lacks is not told as a damaged file.
    settings = replace(settings, **_resolve_device({"device": saved.get("device", "cpu")} | changed))
    source = EnvSource.again(env, identity)
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
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        stack.enter_context(run.lock())
        backbone = Backbone.from_pretrained(run.path / "backbone")
        # Before anything is made: options that were tampered with may ask for all the memory there is.
        # A run that was killed before its first checkpoint is begun again: config.json holds all that decides it.
        if run.step is not None or list_steps(run):
            checkpoint = load_checkpoint(run, identity=run_identity(source, backbone, settings))
        else:
            require_unbegun(run)
            _require_same_backbone(run, config, backbone)
            with writing(run.path, run.path):
                run.record_system()
            checkpoint = None
        loop = AdaptationLoop(
            source, _eval_source(source, given_eval, settings), backbone, settings, _callbacks(callback)
        )
        stack.callback(loop.close)
        writer = RunWriter(run, loop, checkpoint)
        stack.callback(writer.close)
        return run_to_end(loop, writer, signals)


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


def _resolve_device(options: dict[str, Any]) -> dict[str, Any]:
    """Turn device "auto" into "cuda" or "cpu", and refuse one that torch does not have."""
    device = options.get("device", "cpu")
    if not isinstance(device, str):
        raise ConfigError(f"device = {device!r} is not a device; expected 'cpu', 'cuda', 'cuda:<i>' or 'auto'")
    if device == "auto":
        return options | {"device": "cuda" if torch.cuda.is_available() else "cpu"}
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"device = {device!r} is not a device; expected 'cpu', 'cuda', 'cuda:<i>' or 'auto'"
        ) from error
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"device = {device!r} is of kind {kind!r}; expected 'cpu', 'cuda', 'cuda:<i>' or 'auto'")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and (torch.device(device).index or 0) >= found:
        devices = counted(found, "CUDA device") if found else "no CUDA device"
        raise ConfigError(f"device = {device!r}, but torch {torch.__version__} finds {devices}; use 'cpu' or 'auto'")
    return options


def random_backbone(
    source: EnvSource, seed: int, *, reading: Reading = DEFAULT_READING, init: Initialization = DEFAULT_INIT
) -> Backbone:
    """A random backbone for one env. In reading B its `d_in` is the env's observation size, so that the pre-layer
    starts as the identity, nothing cut and nothing padded. Arguments as in `Backbone.random`.
    """
    input_size = flat_size(source.observation_space) if reading == "B" else None
    return Backbone.random(seed, reading=reading, input_size=input_size, init=init)


def _resolve_backbone(backbone: Backbone | str | Path | None, source: EnvSource, seed: int) -> Backbone:
    if backbone is None:
        return random_backbone(source, seed)
    if isinstance(backbone, str | Path):
        if backbone == RANDOM:
            return random_backbone(source, seed)
        if isinstance(backbone, str) and not Path(backbone).exists():
            meant = nearest_name(backbone, [RANDOM, *STRATEGIES])
            near = {None: nearest_path(Path(backbone)), RANDOM: f"; did you mean {RANDOM!r}?"}
            hint = near.get(meant, f"; did you mean strategy={meant!r}?")
            raise UnknownNameError(f"backbone = {backbone!r} is neither {RANDOM!r} nor a folder that exists{hint}")
        return Backbone.from_pretrained(backbone)
    if isinstance(backbone, Backbone):
        return backbone
    raise ConfigError(
        f"backbone is a {type(backbone).__name__}; expected an apb.Backbone, the folder of a saved one, or {RANDOM!r}"
    )


def _eval_source(source: EnvSource, given: EnvSource | None, settings: AdaptSettings) -> EnvSource | None:
    """Where evaluation envs come from: never the object that is trained on."""
    if settings.eval_freq == 0:
        return None
    if given is None:
        if isinstance(source.instance, VectorEnv) and isinstance(source.instance.unwrapped, BatchedEnv):
            if not source.can_make:
                raise InvalidEnvError(
                    f"env is a batch of several tasks of {source.instance.unwrapped.family.name}, and one policy is "
                    "evaluated in one: give a task as eval_env, or eval_freq=0; to learn each task by itself, give "
                    "[envs.task(row) for row in range(envs.num_envs)] in place of the batch"
                )
        elif not source.can_make:
            raise InvalidEnvError(
                f"env {source.name} is an object of which no second one can be made, and evaluation needs separate "
                "envs; pass a function that makes one Env (also in place of a VectorEnv), as env or as eval_env, or "
                "eval_freq=0"
            )
        return source.separate()
    if len(given.tasks) > 1 and len(given.tasks) != len(source.tasks):
        raise ConfigError(
            f"eval_env is {given.name}, and env is {source.name}; expected one task for all, or one for each, in the "
            "same order"
        )
    for name in ("observation_space", "action_space"):
        words = spaces.differences(getattr(source, name), getattr(given, name))
        if words:
            raise InvalidEnvError(
                f"the {name} of eval_env {' and '.join(words)}: policies act in the spaces of env, "
                f"{getattr(source, name)}; evaluate in an env of the same"
            )
    return given


def _callbacks(callback: CallbackLike) -> list[Callback]:
    if callback is None or isinstance(callback, Callback):
        return [] if callback is None else [callback]
    callbacks = list(callback) if isinstance(callback, Iterable) else [callback]
    for item in callbacks:
        if not isinstance(item, Callback):
            raise ConfigError(
                f"callback = {item!r} is a {type(item).__name__}; expected an instance of a subclass of apb.Callback "
                "that overrides a hook such as on_step(self, state), or a list of them"
            )
    return callbacks


def _signature_with_options() -> inspect.Signature:
    """The signature of `adapt` with the fields of `AdaptSettings` spelled out, for help() and editors."""
    plain = inspect.signature(adapt)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(AdaptSettings)
    ]
    own = [p for p in plain.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return plain.replace(parameters=[*own, *options])


adapt.__signature__ = _signature_with_options()  # type: ignore[attr-defined]
