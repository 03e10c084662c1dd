"""`clone`: fit an adapter around a frozen backbone to demonstrations: behaviour cloning."""

import inspect
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng
from apb.actors import LaneActors
from apb.adaptation import resolve_backbone, spell_out
from apb.adapter import Adapter
from apb.adapter_shape import AdapterShape
from apb.adapter_starts import starts_of
from apb.backbone import Backbone
from apb.cloning.demonstration_files import ENDING
from apb.cloning.demonstrations import Demonstrations
from apb.cloning.regression import ActorRegression
from apb.cloning.ridge import fit_post_layer
from apb.cloning.settings import CloneSettings
from apb.env_spaces import flat_size
from apb.environments import EnvLike, EnvSource
from apb.errors import ApbError, ApbWarning, ConfigError, DivergenceError, nearest_path, require_path
from apb.evaluation import EvalResult, evaluate, one_task
from apb.lanes import Lane
from apb.policy import Policy
from apb.threads import available_cpus

KIND = "clone"
"""The "kind" in the metadata of a cloned policy."""

Rows = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Observations (N, obs) and actions (N, act) in [-1, 1]."""
Watch = Callable[[int, int, float], object]
"""Given the steps that are made, those that may be, and the held-out error."""


@dataclass(frozen=True, eq=False)
class CloneResult:
    """What `clone` returns.

    Attributes:
        policy: The clone, an ordinary policy: `result.policy(observation)`, `result.policy.save_pretrained(folder)`.
        held_out_error: Mean squared error of its actions on the held-out episodes, in units of the normalised action,
            [-1, 1]. These episodes chose among fits, so that the error on others is a little higher.
        train_error: The same on the episodes that it was fitted to.
        steps: int64 (T,), where the error was measured: steps of Adam or, by the method "ridge", of Gauss and Newton.
        errors: float64 (T,), the held-out error there.
        held_out: The episodes that were held out.
        held_out_episodes: int64, their numbers.
        evaluation: Returns of the clone in the env; None where that is not known, or failed, of which a warning tells.
        demonstrator_returns: Returns of all demonstrated episodes; None where they are not known.
        wall_time: Seconds of the fit, without the evaluation.
    """

    policy: Policy
    held_out_error: float
    train_error: float
    steps: NDArray[np.int64]
    errors: NDArray[np.float64]
    held_out: Demonstrations
    held_out_episodes: NDArray[np.int64]
    evaluation: EvalResult | None
    demonstrator_returns: NDArray[np.float64] | None
    wall_time: float

    @property
    def adapter(self) -> Adapter:
        """What was fitted."""
        return self.policy.adapter

    def to_json(self) -> dict[str, Any]:
        """All but the policy and the demonstrations as JSON values."""
        returns = self.demonstrator_returns
        return {
            "held_out_error": self.held_out_error,
            "train_error": self.train_error,
            "steps": self.steps.tolist(),
            "errors": self.errors.tolist(),
            "held_out_episodes": self.held_out_episodes.tolist(),
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
            "demonstrator_returns": None if returns is None else returns.tolist(),
            "wall_time": self.wall_time,
        }


def clone(
    demonstrations: Demonstrations | str | Path,
    backbone: Backbone | str | Path | None = None,
    *,
    env: EnvLike | EnvSource | None = None,
    callback: Watch | None = None,
    **options: Any,
) -> CloneResult:
    """Fit the two linear layers around a frozen backbone to demonstrations, so that the policy acts as they do.

    It minimises the mean over transitions and action dimensions of `(tanh(T psi(P s + p) + t) - a)^2`, the actions a
    scaled to [-1, 1], and keeps what has the least error on whole episodes that nothing is fitted to.

    Args:
        demonstrations: `apb.Demonstrations`, of arrays, Minari or a policy; or the path of a .npz file.
        backbone: psi, the name of one of the package (`apb backbones`), or the folder of a saved one. None or "random":
            one drawn from `seed` with the observation's size as `d_in`, as in `apb.adapt`.
        env: Where to evaluate the clone, and whose spaces it has. Default: where the demonstrations come from, if that
            is known.
        callback: Called with the steps made, the steps at most, and the held-out error, whenever that is measured;
            not by the method "ridge".
        **options: Fields of `CloneSettings`: method, held_out, seed, adapter_init, learning_rate, ...

    Raises:
        ApbError: in one of its kinds, with what to do next: `ConfigError` and `UnknownNameError` for options,
            `MismatchError` for demonstrations of another env or a backbone's adapters of other sizes,
            `FileFormatError` for a file that holds none, `DivergenceError` for errors that are not finite.
    """
    settings = CloneSettings.from_options(options, inspect.signature(clone).parameters)
    source = None if env is None else one_task(env)
    shown = _resolved(demonstrations, source)
    source = shown.env
    begun = time.perf_counter()
    observation_space, action_space = shown.spaces
    chosen = resolve_backbone(backbone, observation_space, settings.seed)
    shape = AdapterShape.of(chosen, flat_size(observation_space), flat_size(action_space))
    task = None if source is None else next(iter(source.tasks), None)
    start = starts_of(settings.adapter_init, chosen, [shape], [settings.seed], [task])[0](0)
    train, held_out, numbers = split(shown, settings.held_out, settings.seed)
    pool = _native.ThreadPool(settings.num_threads or available_cpus())
    rows, held = _rows(train), _rows(held_out)
    if settings.method == "ridge":
        fit = fit_post_layer(chosen, start, shape, rows, held, pool)
        parameters, errors, train_error = fit.parameters, list(enumerate(fit.errors)), fit.train_error
    else:
        parameters, errors = _descended(chosen, start, shape, rows, held, settings, pool, callback)
        train_error = _error(LaneActors([chosen], shape, pool), parameters, rows)
    if not np.isfinite(train_error):  # of a row that was in no batch
        raise DivergenceError(
            f"the error on what was fitted to is {train_error}; expected a finite one: some observations are too "
            "large, scale them, in the demonstrations and in the env alike"
        )
    wall_time = time.perf_counter() - begun
    lane = {} if source is None else Lane(settings.seed, source, None, "").metadata
    about = {
        "kind": KIND,
        "method": settings.method,
        "seed": settings.seed,
        "transitions": len(shown),
        "episodes": shown.num_episodes,
        "held_out_episodes": len(numbers),
        "held_out_error": min(error for _, error in errors),
    }
    policy = Policy(chosen, Adapter(shape, parameters), observation_space, action_space, metadata=lane | about)
    evaluation = None
    if source is not None and settings.n_eval_episodes:
        try:
            evaluation = evaluate(policy, source, settings.n_eval_episodes, seed=settings.seed)
        except ApbError as error:  # such as of an env that raises, which is no reason to lose the fit
            warnings.warn(
                f"the clone could not be evaluated ({error}); it is returned, without an evaluation: mend the env, "
                "then call apb.evaluate(result.policy, env)",
                ApbWarning,
                stacklevel=2,
            )
    return CloneResult(
        policy,
        min(error for _, error in errors),
        train_error,
        np.array([step for step, _ in errors], np.int64),
        np.array([error for _, error in errors]),
        held_out,
        numbers,
        evaluation,
        shown.returns,
        wall_time,
    )


def split(
    demonstrations: Demonstrations, held_out: float, seed: int
) -> tuple[Demonstrations, Demonstrations, NDArray[np.int64]]:
    """What is fitted to and what is held out, and the numbers of the episodes that are: whole ones, drawn from `seed`.

    Of a single episode it is the last part, of which a warning says that it resembles the rest.

    Raises:
        ConfigError: there is one transition only.
    """
    count = demonstrations.num_episodes
    if count > 1:
        wanted = min(max(round(held_out * count), 1), count - 1)
        order = rng.generator(seed, rng.Stream.CLONING).permutation(count)
        numbers, rest = np.sort(order[:wanted]), np.sort(order[wanted:])
        return demonstrations.episodes(rest), demonstrations.episodes(numbers), numbers
    steps = len(demonstrations)
    if steps == 1:
        raise ConfigError("the demonstrations have 1 transition; expected at least 2, one of them to be held out")
    last = min(max(round(held_out * steps), 1), steps - 1)
    warnings.warn(
        f"the demonstrations have 1 episode, so that none can be held out: its last {last:,} of {steps:,} steps are, "
        "which resemble the others, and the error on new episodes may be far higher; give 2 episodes or more",
        ApbWarning,
        stacklevel=3,
    )
    first = steps - last
    return demonstrations.steps(0, first), demonstrations.steps(first, steps), np.array([0])


def _resolved(given: object, source: EnvSource | None) -> Demonstrations:
    """What was given as demonstrations, in the env if there is one."""
    if isinstance(given, Demonstrations):
        return given if source is None else given.in_env(source)
    found = f"is a {type(given).__name__}"
    if isinstance(given, str | Path):
        path = require_path("demonstrations", given)
        if path.suffix == ENDING or os.path.isfile(path):  # noqa: PTH113 - Path's raises for a name that is too long
            return Demonstrations.load(path, source)
        found = f"= {str(path)!r:.100} is no file{nearest_path(path, ending=ENDING)}"
    raise ConfigError(
        f"demonstrations {found}; expected apb.Demonstrations or the path of a {ENDING} file: roll a policy out with "
        "apb.Demonstrations.collect(policy, env), read a Minari data set with apb.Demonstrations.from_minari(id), take "
        "arrays with apb.Demonstrations(observations, actions, episode_lengths)"
    )


def _rows(shown: Demonstrations) -> Rows:
    return shown.observations, shown.unit_actions


def _descended(
    backbone: Backbone,
    start: NDArray[np.float32],
    shape: AdapterShape,
    train: Rows,
    held_out: Rows,
    settings: CloneSettings,
    pool: "_native.ThreadPool",
    callback: Watch | None,
) -> tuple[NDArray[np.float32], list[tuple[int, float]]]:
    """The parameters (n,) of least held-out error on the way of Adam from `start`, and that error at each measurement.

    Raises:
        DivergenceError: the error is not finite.
    """
    regression = ActorRegression(backbone, start, shape, settings.batch_size, settings.learning_rate, pool)
    actors = LaneActors([backbone], shape, pool)

    def measured(parameters: NDArray[np.float32], steps: int) -> tuple[int, float]:
        error = _error(actors, parameters, held_out)
        if not np.isfinite(error) or not np.isfinite(parameters).all():
            slower = f"lower learning_rate = {settings.learning_rate:g}, or, if observations are far larger than 1, "
            raise DivergenceError(
                f"the held-out error is {error} after {steps:,} steps; expected a finite one: "
                f"{slower if steps else ''}scale {'them' if steps else 'the observations'}, in the demonstrations and "
                "in the env alike"
            )
        return steps, error

    best, errors = start, [measured(start, 0)]
    observations, actions = train
    since_best = 0
    while errors[-1][0] < settings.gradient_steps and since_best < settings.patience:
        done = errors[-1][0]
        steps = min(settings.eval_freq, settings.gradient_steps - done)
        for step in range(done, done + steps):
            draws = rng.generator(settings.seed, rng.Stream.CLONING, 1 + step)  # the split has position 0
            rows = draws.integers(len(actions), size=settings.batch_size)
            regression.step(observations[rows], actions[rows])
        parameters = regression.parameters
        told = measured(parameters, done + steps)
        since_best += 1
        if told[1] < min(known for _, known in errors):
            best, since_best = parameters, 0
        errors.append(told)
        if callback is not None:
            callback(told[0], settings.gradient_steps, told[1])
    return best, errors


def _error(actors: LaneActors, parameters: NDArray[np.float32], shown: Rows) -> float:
    """Mean squared error of the actions."""
    observations, actions = shown
    acted = actors.forward(parameters[None, None], observations[None])[0]
    return float(np.square(acted - actions, dtype=np.float64).mean())


spell_out(clone, CloneSettings)
