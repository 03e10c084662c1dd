"""What `check_strategy` promises: a strategy that breaks a promise is told which one, where, and what to do."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from apb.errors import ConfigError
from apb.strategies import STRATEGIES, check_strategy
from apb.strategies.trial import STEPS, Trial
from broken_strategies import BROKEN, Right, wrong


@pytest.fixture(autouse=True)
def _generators_as_before():
    """Some of these strategies move the global generators."""
    numpys, pythons, torchs = np.random.get_state(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    yield
    np.random.set_state(numpys)  # noqa: NPY002
    random.setstate(pythons)
    torch.set_rng_state(torchs)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_of_the_package_keeps_its_promises(name):
    assert check_strategy(STRATEGIES[name]) is None


def arrays_of_states():
    """Each strategy of the package with the name of each array of its state."""
    of_each = {name: Trial(STRATEGIES[name], (1,), 1).strategy.state()[0] for name in sorted(STRATEGIES)}
    return [(name, array) for name, arrays in of_each.items() for array in arrays]


@pytest.mark.parametrize(("name", "array"), arrays_of_states())
def test_a_strategy_of_the_package_that_did_not_load_an_array_of_its_state_would_be_told(name, array):
    class Forgetful(STRATEGIES[name]):
        name = "forgetful"

        def load_state(self, arrays, values):
            super().load_state(arrays | {array: self.state()[0][array]}, values)

    told = pytest.raises(ConfigError, match=r"differs at step \d+ once the state of step \d+ is loaded")
    with told, np.errstate(divide="ignore"):  # by the zeros of a new strategy
        check_strategy(Forgetful)


def test_a_strategy_that_breaks_no_promise_passes_registered_or_not(monkeypatch):
    assert check_strategy(Right) is None
    monkeypatch.setitem(STRATEGIES, Right.name, Right)
    assert check_strategy(Right) is None


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_promise_is_told_with_where_it_is_what_was_expected_and_what_to_do(case):
    strategy_type, message = BROKEN[case]
    with pytest.raises(ConfigError, match=rf"(?s){message}") as caught:
        check_strategy(strategy_type)
    assert "; expected " in str(caught.value)
    if strategy_type is not dict and isinstance(strategy_type, type):
        assert str(caught.value).startswith(f"{strategy_type.__qualname__}: ")


def test_an_object_is_no_class_of_strategies():
    made = Trial(Right, (1,), 1).strategy
    with pytest.raises(ConfigError, match=r"expected a subclass .*: give the class itself, not its name nor an object"):
        check_strategy(made)


def test_an_error_of_a_strategy_is_the_cause_of_the_one_that_tells_it():
    with pytest.raises(ConfigError) as caught:
        check_strategy(wrong(reset=lambda self: {}["x"]))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_check_registers_nothing_and_moves_no_global_generator():
    names = set(STRATEGIES)
    before = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()  # noqa: NPY002
    check_strategy(Right)
    after = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert before == after
    assert set(STRATEGIES) == names


# --- what it is tried with -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "tried"), [(1, {1, 3}), (2, {1, 2}), (5, {1, 5})])
def test_a_strategy_is_tried_with_one_simulation_per_lane_and_with_several(wanted, tried):
    seen = set()

    class Asking(Right):
        name = "asking"

        def __init__(self, context):
            super().__init__(context)
            seen.add(context.slots)

        @staticmethod
        def slots(settings):
            return wanted

    check_strategy(Asking)
    assert seen == tried


@pytest.mark.parametrize("slots", [1, 3])
def test_in_a_trial_happens_all_that_can_happen(slots):
    steps, cut, resets = [], [], []
    watching = wrong(
        observe=lambda self, transition: steps.append(transition),
        restarted=lambda self, rows: cut.append(rows),
        reset=lambda self: resets.append(self.context.learner.resets),
    )
    trial = Trial(watching, (3, 50), slots).go_to(STEPS)
    assert len(steps) == STEPS
    assert resets == [1], "the learner was reset before"
    assert [rows.any() and not rows.all() for rows in cut] == [True]
    ended, terminated, truncated, valid = (
        np.array([step_of(step) for step in steps])
        for step_of in (
            ends,
            *(lambda step, name=name: getattr(step, name) for name in ("terminated", "truncated", "valid")),
        )
    )
    assert (ended == terminated | truncated).all()
    assert terminated.any(axis=0).all()
    assert truncated.any(axis=0).all()
    assert valid.any(axis=0).all()
    assert not valid.all()
    assert (ended[:, 0] != ended[:, 1]).any(), "lanes are at different steps of their episodes"
    adapters = [adapters for adapters, _ in trial.outcomes.values()]
    assert all((one != other).any() for one, other in pairwise(adapters)), "policies learn"
    assert min(trial.outcomes) > 0, "a warm-up"


def ends(step):
    """The simulations (K, S) in which an episode ended."""
    found = np.zeros_like(step.terminated)
    for episode in step.episodes:
        found[episode.lane, episode.slot] = True
    return found
