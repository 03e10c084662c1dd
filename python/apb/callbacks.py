"""`Callback`: hooks into a run, and the built-in ones that stop it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apb.errors import ConfigError, FileFormatError, MismatchError, require_integer, require_number
from apb.files import dump_json_file

if TYPE_CHECKING:
    from apb.environments import Episode
    from apb.evaluation import EvalResult
    from apb.policy import Policy


@dataclass(frozen=True)
class RunState:
    """A read-only view of a run, passed to every hook.

    Attributes:
        title: What runs, in words: "HalfCheetah-v5, param_noise", "20 tasks of cheetah-vel/mier-hard, meta-training".
        timesteps: Environment transitions so far, per lane.
        total_timesteps: The budget, per lane.
        updates: Critic updates so far, per lane.
        tasks: What the task of each lane is called now; None where the run has only one.
        seeds: The seed of each lane.
        metrics: The latest value of each metric, keyed as in the history ("train/critic_loss", ...).
        policies: The lanes' current noise-free policies: a function, since making them costs a little.
        run_dir: The run folder, or None.
    """

    title: str
    timesteps: int
    total_timesteps: int
    updates: int
    tasks: tuple[str | None, ...]
    seeds: tuple[int, ...]
    metrics: dict[str, float]
    policies: "PolicyMaker"
    run_dir: Path | None


class PolicyMaker:
    """Calls back into the run for copies of its current policies."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self) -> "list[Policy]":
        """One policy per lane."""
        policies: list[Policy] = self._make()
        return policies


class Callback:
    """Base of callbacks: override what you need. A hook that returns False stops the run after the current step;
    `on_start` stops it before another one.

    One that keeps state between calls returns it from `state_dict` (JSON values) and takes it back in
    `load_state_dict`, so that a resumed run goes on exactly.
    """

    def on_start(self, state: RunState) -> bool | None:
        """Before the first step, also of a resumed run."""

    def on_step(self, state: RunState) -> bool | None:
        """After every step of the simulations and its updates."""

    def on_episode_end(self, state: RunState, episode: "Episode") -> bool | None:
        """After a training episode has ended."""

    def on_evaluation(self, state: RunState, results: "list[EvalResult]") -> bool | None:
        """After an evaluation; one result per lane."""

    def on_checkpoint(self, state: RunState, path: Path) -> bool | None:
        """After a checkpoint has been written to `path`; what this changes in `state_dict` is added to it."""

    def on_final_evaluation(self, state: RunState, tasks: int) -> None:
        """Before the evaluation with which a run ends that has spent its budget, on so many tasks in all: those of the
        lanes, and of a meta-training the test and OOD tasks of its split."""

    def on_end(self, state: RunState) -> None:
        """After the last step, also when the run was stopped; not when it failed."""

    def state_dict(self) -> dict[str, Any]:
        """JSON values that `load_state_dict` needs; none by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""


def save_states(callbacks: Sequence[Callback]) -> list[list[Any]]:
    """Class name and state, a dict, of each callback that keeps one, that is, whose class overrides `state_dict`.

    Raises:
        ConfigError: a state is no dict, not JSON, or too deep or large for a checkpoint; names the class.
    """
    states: list[list[Any]] = []
    for callback in _with_state(callbacks):
        name, state = type(callback).__name__, callback.state_dict()
        if not isinstance(state, dict):
            raise ConfigError(
                f"state_dict() of callback {name} returned {state!r:.100}; expected a dict of JSON values, "
                "{} where there is nothing to keep"
            )
        states.append([name, state])
        try:
            dump_json_file({"callbacks": states})  # as deep, and with as much white space, as in a checkpoint
        except (ConfigError, TypeError, ValueError) as error:
            raise ConfigError(
                f"state_dict() of callback {name} is not JSON that a checkpoint can hold: {error}; return finite "
                "numbers, text, lists and dicts (None instead of an infinity), not deeply nested, and no large arrays"
            ) from error
    return states


def load_states(callbacks: Sequence[Callback], states: Any) -> None:
    """Give back what `save_states` returned. Callbacks without state, such as a progress bar, may come and go.

    Raises:
        MismatchError: other callbacks are given than were saved.
    """
    own = _with_state(callbacks)
    try:
        saved = [(str(name), dict(state)) for name, state in states]
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"the training state has no list of callback states: {error}") from error
    if [name for name, _ in saved] != [type(callback).__name__ for callback in own]:
        raise MismatchError(
            f"the checkpoint holds the state of the callbacks {[name for name, _ in saved]}; "
            f"{[type(callback).__name__ for callback in own]} that keep state are given: pass the same again, in order"
        )
    for callback, (_, state) in zip(own, saved, strict=True):
        callback.load_state_dict(state)


def _with_state(callbacks: Sequence[Callback]) -> list[Callback]:
    return [callback for callback in callbacks if type(callback).state_dict is not Callback.state_dict]


def mean_over_lanes(results: "Sequence[EvalResult]") -> float:
    """The mean return of an evaluation over all lanes; raw also of several tasks, since few of these have a scale."""
    return sum(result.mean for result in results) / len(results)


class StopTrainingOnRewardThreshold(Callback):
    """Stop when every lane's mean evaluation return has reached `reward_threshold`. Named as in SB3."""

    def __init__(self, reward_threshold: float) -> None:
        self.reward_threshold = require_number("reward_threshold", reward_threshold)

    def on_evaluation(self, state: RunState, results: "list[EvalResult]") -> bool:
        """See `Callback`."""
        return any(result.mean < self.reward_threshold for result in results)


class StopTrainingOnNoModelImprovement(Callback):
    """Stop after `max_no_improvement_evals` evaluations in a row without a better mean over lanes. Named as in SB3.

    Evaluations before the first update are not counted: the policy stays as it was drawn during the random steps.
    """

    def __init__(self, max_no_improvement_evals: int) -> None:
        self.max_no_improvement_evals = require_integer("max_no_improvement_evals", max_no_improvement_evals, 1, 10**9)
        self._best: float | None = None
        self._without = 0

    def on_evaluation(self, state: RunState, results: "list[EvalResult]") -> bool:
        """See `Callback`."""
        if state.updates == 0:
            return True
        mean = mean_over_lanes(results)
        better = self._best is None or mean > self._best
        self._best = mean if better else self._best
        self._without = 0 if better else self._without + 1
        return self._without < self.max_no_improvement_evals

    def state_dict(self) -> dict[str, Any]:
        """See `Callback`."""
        return {"best": self._best, "without": self._without}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Callback`."""
        best, without = state.get("best"), state.get("without")
        if not (best is None or type(best) in (int, float)) or type(without) is not int or without < 0:
            raise FileFormatError(f"the state of {type(self).__name__} is {state!r:.100}; use another checkpoint")
        self._best, self._without = best, without
