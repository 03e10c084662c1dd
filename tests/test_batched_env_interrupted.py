"""What is promised of a batched env one of whose calls was cut off, or that two threads are in: it says so."""

import threading

import numpy as np
import pytest
from apb.errors import MismatchError, SimulationError
from apb.tasks import FAMILIES
from apb.tasks.families.cheetah_vel import CheetahVel
from task_rig import batched, same_bits

ZEROS = np.zeros((3, 6))


def interrupted(env, monkeypatch):
    """Cut a step off where its physics has been done."""

    def cut(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CheetahVel, "reward_terms", cut)
        with pytest.raises(KeyboardInterrupt):
            env.step(ZEROS)


@pytest.fixture
def pair(monkeypatch):
    """An env that was interrupted after some steps, one that was not, and the state of both before."""
    cut, whole = (batched("cheetah-vel", 3) for _ in range(2))
    for env in (cut, whole):
        env.reset(seed=5)
        for _ in range(4):
            env.step(ZEROS)
    before = whole.state()
    interrupted(cut, monkeypatch)
    return cut, whole, before


def test_it_neither_steps_nor_is_saved_nor_reset_in_part(pair):
    cut, _, _ = pair
    for use in (
        lambda: cut.step(ZEROS),
        cut.state,
        lambda: cut.reset(options={"reset_mask": np.array([True, False, True])}),
    ):
        with pytest.raises(SimulationError, match=r"did not come to its end: .* reset all rows, or load a state"):
            use()


def test_a_reset_of_all_rows_begins_as_any_other(pair):
    cut, whole, _ = pair
    for env in pair[:2]:
        env.reset(seed=9)
    for one, other in zip(cut.step(ZEROS)[:4], whole.step(ZEROS)[:4], strict=True):
        assert same_bits(one, other)


def test_a_state_from_before_goes_on_as_if_nothing_had_happened(pair):
    cut, whole, before = pair
    cut.load_state(before)
    for one, other in zip(cut.step(ZEROS)[:4], whole.step(ZEROS)[:4], strict=True):
        assert same_bits(one, other)


def test_what_mujoco_found_in_the_step_that_was_cut_off_is_of_no_later_one(monkeypatch):
    env = batched("cheetah-vel", 3)
    env.reset(seed=0)

    def cut(batch, *arguments):
        batch_step(*arguments)
        raise KeyboardInterrupt

    batch_step = env._batch.step
    env._batch.bind("qvel")[1] = 1e9
    with monkeypatch.context() as patch:
        patch.setattr(type(env._batch), "step", cut)
        with pytest.raises(KeyboardInterrupt):
            env.step(ZEROS)
    env.reset(seed=0)
    assert "simulation_error" not in env.step(ZEROS)[4]


def test_a_reset_that_was_cut_off_is_told_as_a_step_is(pair, monkeypatch):
    _, env, _ = pair
    _, other = (batched("cheetah-vel", 3) for _ in range(2))
    other.reset(seed=5)

    def cut(*arguments):
        raise KeyboardInterrupt

    for mask in (None, {"reset_mask": np.array([True, False, False])}):
        with monkeypatch.context() as patch:
            patch.setattr(CheetahVel, "observe", cut)
            with pytest.raises(KeyboardInterrupt):
                env.reset(seed=7, options=mask)
        for use in (lambda: env.step(ZEROS), env.state, lambda: env.reset(options={"reset_mask": np.eye(3)[0] > 0})):
            with pytest.raises(SimulationError, match="did not come to its end"):
                use()
        assert same_bits(env.reset(seed=5)[0], other.reset(seed=5)[0])
    for one, two in zip(env.step(ZEROS)[:4], other.step(ZEROS)[:4], strict=True):
        assert same_bits(one, two)


def test_a_state_of_another_env_neither_mends_nor_breaks(pair):
    cut, whole, _ = pair
    state = batched("cheetah-dir", 3).state()
    for env in (cut, whole):
        with pytest.raises(MismatchError):
            env.load_state(state)
    with pytest.raises(SimulationError, match="did not come to its end"):
        cut.step(ZEROS)
    whole.step(ZEROS)


def test_a_second_thread_in_the_same_env_is_told_and_does_not_disturb_the_first(monkeypatch):
    env, alone = (batched("cheetah-vel", 3) for _ in range(2))
    within, go_on = threading.Event(), threading.Event()
    reward_terms = CheetahVel.reward_terms

    def slow(*arguments):
        if threading.current_thread() is thread:
            within.set()
            go_on.wait(20)
        return reward_terms(*arguments)

    for each in (env, alone):
        each.reset(seed=0)
    state = env.state()
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(env.step(ZEROS)))
    monkeypatch.setattr(FAMILIES["cheetah-vel"], "reward_terms", slow)
    thread.start()
    assert within.wait(20)
    for use in (lambda: env.step(ZEROS), lambda: env.reset(seed=1), lambda: env.load_state(state), env.state):
        with pytest.raises(SimulationError, match="another thread is in this env"):
            use()
    go_on.set()
    thread.join()
    for one, other in zip(outcome[0][:4], alone.step(ZEROS)[:4], strict=True):
        assert same_bits(one, other)


def test_a_thread_that_was_cut_off_and_is_gone_leaves_an_env_that_can_be_reset(monkeypatch):
    env = batched("cheetah-vel", 3)
    env.reset(seed=0)
    thread = threading.Thread(target=lambda: interrupted(env, monkeypatch))
    thread.start()
    thread.join()
    with pytest.raises(SimulationError, match="did not come to its end"):
        env.step(ZEROS)
    env.reset(seed=0)
    env.step(ZEROS)
