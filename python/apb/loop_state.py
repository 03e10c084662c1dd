"""`loop_state`, `load_loop_state`: all of a `LearningLoop` but its replay, taken out and put back for an exact
continuation."""

from typing import Any

from apb.callbacks import load_states, save_states
from apb.errors import ApbError, FileFormatError
from apb.loop import LearningLoop
from apb.state_arrays import require_counts, require_like, require_pairs


def loop_state(loop: LearningLoop) -> dict[str, Any]:
    """Everything but the replay that an exact continuation needs: nested dicts of arrays and JSON values.

    Raises:
        ConfigError: the envs are in the middle of episodes and cannot be saved there; see `Simulations.can_snapshot`.
    """
    strategy_arrays, strategy_values = loop.strategy.state()
    return {
        **_plain_state(loop),
        "strategy": {"arrays": strategy_arrays, "values": strategy_values},
        "simulations": loop.simulations.snapshot(),
        "recent_episodes": [list(pair) for pair in loop.recent_episodes],
        "metrics": [list(pair) for pair in loop.metrics.items()],
        "callbacks": save_states(loop.callbacks),
    }


def _plain_state(loop: LearningLoop) -> dict[str, Any]:
    """The parts of the state that have the same names, shapes and types at any time."""
    return {
        "counters": {
            "timesteps": loop.timesteps,
            "steps": loop.steps,
            "evaluated_to": loop.evaluated_to,
            "wall_time": float(loop.wall_time),
            **loop.learner.counters(),
        },
        "learner": loop.learner.state(),
        "normalizer": {} if loop.normalizer is None else loop.normalizer.state,
        "profile": dict(loop.profile),
        "companions": {each.name: each.seconds for each in loop.learner.companions},
    }


def load_loop_state(loop: LearningLoop, state: dict[str, Any]) -> None:
    """Continue a new loop from a `loop_state`; fill its `replay` before.

    Raises:
        MismatchError, FileFormatError: the state belongs to another run, or is malformed.
    """
    try:
        for name, own in _plain_state(loop).items():
            require_like(state[name], own, f"the state of {name}")
        require_counts(state["normalizer"], "the state of normalizer")
        require_like(state["strategy"]["arrays"], loop.strategy.state()[0], "the strategy's state")
        if not isinstance(state["strategy"]["values"], dict):
            raise FileFormatError("the strategy's state in the checkpoint has no values; use another checkpoint")
        for name in ("recent_episodes", "metrics"):
            require_pairs(state[name], f"the state of {name}")
        counters = state["counters"]
        loop.timesteps, loop.steps, loop.evaluated_to, loop.earlier_seconds = (
            counters[name] for name in ("timesteps", "steps", "evaluated_to", "wall_time")
        )
        loop.envs.take_tasks(counters["resets"])
        loop.learner.load_state(state["learner"], counters)
        loop.strategy.load_state(state["strategy"]["arrays"], state["strategy"]["values"])
        if loop.normalizer is not None:
            loop.normalizer.load_state(state["normalizer"])
        loop.recent_episodes.extend((episode_return, length) for episode_return, length in state["recent_episodes"])
        loop.profile |= state["profile"]
        for each in loop.learner.companions:
            each.seconds = state["companions"][each.name]
        loop.metrics = dict(state["metrics"])
        saved = state["callbacks"]
        simulations = state["simulations"]
    except ApbError:
        raise
    except (LookupError, TypeError, ValueError, OverflowError, RuntimeError, AttributeError) as error:
        raise FileFormatError(
            f"the training state is not one of this version and configuration: {error!r}; use another checkpoint"
        ) from error
    load_states(loop.callbacks, saved)
    loop.simulations.restore(simulations)
    loop.share()
