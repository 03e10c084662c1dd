"""`evaluate`: episodes of a policy in separate, seeded envs -> returns -> statistics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from apb import rng
from apb.env_rows import RowError, returned_numbers
from apb.environments import EnvLike, EnvSource, Simulations, Transition
from apb.errors import ConfigError, SimulationError, counted, require_integer
from apb.policy import Policy

MAX_PARALLEL = 32
"""Most simulations that one evaluation keeps at once; more episodes are taken in rounds."""

MAX_EPISODE_STEPS = 100_000
"""Steps after which an evaluation episode is taken to have no end. Ours: the longest of Gymnasium's own have 1,600."""


class Predictor(Protocol):
    """SB3's protocol of a policy: `predict(obs, state, episode_start, deterministic) -> (action, state)`."""

    def predict(self, observation: Any, /, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Actions for observations, and the state of a recurrent policy."""


@dataclass(frozen=True)
class EvalResult:
    """Returns of an evaluation.

    Attributes:
        returns: Undiscounted return of each episode, float64 (E,), in the order of the episodes' seeds.
        lengths: Timesteps of each episode, int64 (E,).
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns over episodes (divided by E, as in SB3's `evaluate_policy`)."""
        return float(self.returns.std())

    def to_json(self) -> dict[str, Any]:
        """Mean, standard deviation, returns and lengths as JSON values."""
        return {
            "mean": self.mean,
            "std": self.std,
            "returns": self.returns.tolist(),
            "lengths": self.lengths.tolist(),
        }

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.std:.1f} over {counted(self.returns.size, 'episode')}"


def evaluate(
    policy: Predictor | Callable[[NDArray[np.float32]], NDArray[Any]],
    env: EnvLike | EnvSource,
    n_eval_episodes: int = 10,
    *,
    seed: int = 0,
    deterministic: bool = True,
) -> EvalResult:
    """Run a policy for some episodes.

    Args:
        policy: An `apb.Policy`, any object with SB3's `predict`, or a function from observations (E, *obs) to actions
            (E, *act) of the env.
        env: An id or `EnvSpec`, an `Env`, a factory, or one task of `apb.tasks`. An `Env` or `VectorEnv` object is used
            itself, one episode after the other in each of its simulations.
        n_eval_episodes: Number of episodes E, in [1, 100000].
        seed: Episode e starts from a seed derived from (seed, e), so two policies meet the same starts; other ones than
            a run's own evaluations, by which its best policy was chosen.
        deterministic: Passed to `predict`.

    Raises:
        InvalidEnvError, UnknownNameError: the env cannot be used. MismatchError: the policy is of another shape.
            SimulationError: the env raised or returned something malformed. ConfigError: `policy` is none, or
            returned no actions; or an argument is out of range.
    """
    n_eval_episodes = require_integer("n_eval_episodes", n_eval_episodes, 1, 100_000)
    seed = require_integer("seed", seed, 0, rng.MAX_SEED)
    source = task_for(policy, env, "apb.evaluate")
    predict = predictor_of(policy, source, deterministic)
    slots = parallel_episodes(source, n_eval_episodes)
    with Simulations(source, 1, slots, [seed], rng.Stream.EVALUATE) as simulations:
        returns, lengths = run_episodes(
            simulations, n_eval_episodes, lambda observations: predict(observations[0])[None]
        )
    return EvalResult(returns[0], lengths[0])


def task_for(policy: object, env: EnvLike | EnvSource, function: str) -> EnvSource:
    """The env, a single task, that `policy` is to act in, as both were given to `function`.

    Raises:
        ConfigError: they are not a policy and an env in this order, or it is several tasks. Else as `evaluate`.
    """
    if isinstance(policy, str | gymnasium.Env | VectorEnv) or hasattr(env, "predict"):
        raise ConfigError(
            f"policy is a {type(policy).__name__} and env a {type(env).__name__}; expected {function}(policy, env), "
            "and a policy that is loaded: apb.Policy.from_pretrained(folder)"
        )
    source = one_task(env)
    if isinstance(policy, Policy):
        policy.check_env(source)
    return source


def one_task(env: EnvLike | EnvSource) -> EnvSource:
    """The env, a single task; raises `ConfigError` if it is several, and what `EnvSource.resolve` does."""
    source = EnvSource.resolve(env)
    if len(source.tasks) > 1:
        raise ConfigError(f"env is {source.name}; expected one of them: give them one by one")
    return source


def no_policy(value: object, expected: str, name: str = "policy") -> ConfigError:
    """The error on what was given in place of a policy, perhaps what a policy is a part of: the result of `adapt`."""
    hint = "; pass its `.policy`" if isinstance(getattr(value, "policy", None), Policy) else ""
    return ConfigError(f"{name} is a {type(value).__name__}; expected {expected}{hint}")


def parallel_episodes(source: EnvSource, episodes: int) -> int:
    """Simulations that an evaluation of so many episodes uses per lane: one of an env that was given as an object."""
    return source.slots(min(episodes, MAX_PARALLEL) if source.instance is None else 1)


class Watcher(Protocol):
    """Looks on while episodes run. Both are given the number of the episode of its lane that each simulation is in,
    int64 (K, S), -1 where it idles; a method that is not overridden does nothing."""

    def before_step(self, simulations: Simulations, episodes: NDArray[np.int64]) -> None:
        """Before all simulations are stepped."""
        return

    def after_step(self, transition: Transition, episodes: NDArray[np.int64]) -> None:
        """After that, with what it led to."""
        return


class _Nobody(Watcher):
    """Does not look."""


NOBODY: Watcher = _Nobody()


def run_episodes(
    simulations: Simulations,
    episodes: int,
    act: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    watcher: Watcher = NOBODY,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns and lengths (K, E) of E episodes per lane under `act`: observations (K, S, obs) -> actions (K, S, act).

    Round r takes episode r of every slot; a slot whose episode has ended idles through the round, so that which
    episodes count does not depend on how long they are. `watcher` looks on.
    """
    rounds = -(-episodes // simulations.slots)
    returns = np.zeros((simulations.lanes, rounds, simulations.slots))
    lengths = np.zeros((simulations.lanes, rounds, simulations.slots), dtype=np.int64)
    for number in range(rounds):
        simulations.reset(number)
        running = np.ones((simulations.lanes, simulations.slots), dtype=np.bool_)
        if number == rounds - 1:
            running.reshape(simulations.lanes, -1)[:, episodes - number * simulations.slots :] = False
        steps = 0
        while running.any():
            if steps == MAX_EPISODE_STEPS:
                raise SimulationError(
                    f"env {simulations.source.name}: an episode has not ended after {steps:,} steps; expected an env "
                    "with an end: wrap it with gymnasium.wrappers.TimeLimit, or, in a run, pass eval_freq=0"
                )
            steps += 1
            numbers = np.where(running, number * simulations.slots + np.arange(simulations.slots), -1)
            watcher.before_step(simulations, numbers)
            transition = simulations.step(act(simulations.observations))
            watcher.after_step(transition, numbers)
            for episode in transition.episodes:
                where = episode.lane, number, episode.slot
                if running[episode.lane, episode.slot]:
                    returns[where], lengths[where] = episode.return_, episode.length
                    running[episode.lane, episode.slot] = False
    shape = (simulations.lanes, rounds * simulations.slots)
    return returns.reshape(shape)[:, :episodes], lengths.reshape(shape)[:, :episodes]


def predictor_of(
    policy: Predictor | Callable[[NDArray[np.float32]], NDArray[Any]],
    source: EnvSource,
    deterministic: bool,
    name: str = "policy",
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Turn a policy on env observations and actions into a function on flat observations and actions in [-1, 1]; errors
    call it `name`."""
    low = source.action_space.low.astype(np.float64)
    span = source.action_space.high.astype(np.float64) - low
    shape, dtype = source.observation_space.shape, source.observation_space.dtype

    def call(observations: NDArray[Any]) -> Any:
        if hasattr(policy, "predict"):
            return policy.predict(observations, deterministic=deterministic)[0]
        return policy(observations)

    if not (hasattr(policy, "predict") or callable(policy)):
        raise no_policy(policy, "an apb.Policy, an object with predict(), or a function", name)

    def predict(observations: NDArray[np.float32]) -> NDArray[np.float32]:
        # A copy: what the policy does to it must not reach the simulations or the replay.
        returned = call(observations.reshape(-1, *shape).astype(dtype))
        try:
            actions = returned_numbers(None, f"the {name}", "actions", returned, (len(observations), *low.shape))
        except RowError as failure:
            raise ConfigError(failure.what) from failure
        unit: NDArray[np.float32] = (2 * (actions - low) / span - 1).reshape(len(observations), -1).astype(np.float32)
        return unit

    return predict
