"""A training state with a wrong value in any place is refused by name, or is one that a run could have had."""

import copy
import re

import numpy as np
import pytest
from apb import FileFormatError, MismatchError
from apb.callbacks import StopTrainingOnNoModelImprovement
from apb.environments import EnvSource
from apb.loop import PHASES, LearningLoop
from apb.loop_state import load_loop_state, loop_state
from apb.runner import run_to_end
from apb.runs import StopSignals
from apb.settings import AdaptSettings
from learning import SMALL, small_backbone

OPTIONS = {**SMALL, "total_timesteps": 90, "learning_starts": 30, "normalize_observations": True}
ENVS = {
    "HalfCheetah-v5": {"strategy": "action_noise"},
    # Nothing is known of the state of this one: its episodes are cut off to save it.
    "MountainCarContinuous-v0": {"strategy": "param_noise", "population_size": 2},
}
WRONG = [None, True, -3, 2**70, 1e301, "x", [1], [["a", "b"]], [[1, 2, 3]], {"a": 1}, {"a": None}, np.zeros((3, 1, 7))]
ABSENT = object()


def make(env):
    callbacks = [StopTrainingOnNoModelImprovement(3)]
    return LearningLoop(
        EnvSource.resolve(env), None, small_backbone(), AdaptSettings(**OPTIONS, **ENVS[env]), callbacks
    )


def places(state, path=()):
    """The path of every value in nested dicts, those of the dicts too."""
    for key, value in state.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from places(value, (*path, key))


def wrong_values(value):
    """What must never be taken for `value`."""
    yield ABSENT
    if isinstance(value, np.ndarray):
        yield from (value[..., None], value.astype(np.complex64), *WRONG)
        if value.dtype.kind == "f":
            yield np.full_like(value, np.nan)
        if value.dtype.kind == "i":
            yield from (np.full_like(value, -1), np.full_like(value, 2**62))
    else:
        yield from WRONG


def is_count(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "i"


@pytest.mark.parametrize("env", ENVS)
def test_a_wrong_value_anywhere_in_a_training_state_is_refused(env):
    loop = make(env)
    loop.start()
    while loop.timesteps < 60:
        loop.step()
    loop.record()
    loop.prepare_to_save()
    state = loop_state(loop)
    fresh = make(env)
    load_loop_state(fresh, copy.deepcopy(state))
    for path, value in places(state):
        for wrong in wrong_values(value):
            if path[0] == "strategy" and (isinstance(wrong, dict) or is_count(wrong)):
                continue  # a strategy may keep what values and integers it likes
            changed = copy.deepcopy(state)
            place = changed
            for key in path[:-1]:
                place = place[key]
            if wrong is ABSENT:
                del place[path[-1]]
            else:
                place[path[-1]] = wrong
            print(path, f"{wrong!r:.60}")  # shown where one is taken
            with pytest.raises((FileFormatError, MismatchError), match=r"saved|checkpoint|training state"):
                load_loop_state(fresh, changed)
    loop.close()
    fresh.close()


@pytest.mark.parametrize(
    "name", ["actor_adam.exp_avg.post.weight", "critics.0.weight", "actor.pre.bias", "target_critics.1.bias"]
)
def test_a_training_state_of_other_shapes_is_refused_before_it_is_used(name):
    loop = LearningLoop(
        EnvSource.resolve("Pendulum-v1"), None, small_backbone(), AdaptSettings(**{**SMALL, "total_timesteps": 100})
    )
    loop.start()
    for _ in range(60):
        loop.step()
    for change in (lambda a: a[..., :1], lambda a: a.astype(np.float64), lambda a: a[None]):
        state = loop_state(loop)
        state["learner"][name] = change(state["learner"][name])
        with pytest.raises(MismatchError, match=f"{re.escape(name)}.*expected float32"):
            load_loop_state(loop, state)
    for counter, value in (("updates", -1), ("steps", "many"), ("timesteps", 10**30), ("wall_time", None)):
        state = loop_state(loop)
        state["counters"][counter] = value
        with pytest.raises(FileFormatError, match=f"{counter} = "):
            load_loop_state(loop, state)


def test_a_run_that_continues_counts_the_time_from_before_too():
    begun = make("HalfCheetah-v5")
    begun.start()
    state = loop_state(begun)
    state["counters"]["wall_time"] = 1000.0
    state["profile"] = dict.fromkeys(PHASES, 100.0)
    resumed = make("HalfCheetah-v5")
    load_loop_state(resumed, state)
    result = run_to_end(resumed, None, StopSignals())
    assert result.wall_time > 1000
    assert all(result.profile[phase] >= 100 for phase in PHASES)
    assert result.profile["rest"] >= 400
    assert sum(result.profile.values()) == pytest.approx(result.wall_time)
