"""What is promised of a batched env whose step was cut off in the middle: it says so, until all rows begin anew."""

import threading

import numpy as np
import pytest
from apb.errors import SimulationError
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
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(env.step(ZEROS)))
    monkeypatch.setattr(FAMILIES["cheetah-vel"], "reward_terms", slow)
    thread.start()
    assert within.wait(20)
    with pytest.raises(SimulationError, match="another thread is in it"):
        env.step(ZEROS)
    go_on.set()
    thread.join()
    for one, other in zip(outcome[0][:4], alone.step(ZEROS)[:4], strict=True):
        assert same_bits(one, other)
