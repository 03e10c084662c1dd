"""What is promised of `quiet`: MuJoCo takes no times and prints no remarks within; the user's own callbacks stay."""

import mujoco
import numpy as np
import pytest
from apb.mujoco_quiet import quiet
from apb.tasks.single import TaskEnv

CALLBACKS = {
    "remarks": (mujoco.get_mju_user_warning, mujoco.set_mju_user_warning),
    "times": (mujoco.get_mjcb_time, mujoco.set_mjcb_time),
}
callbacks = pytest.mark.parametrize(("get", "set"), CALLBACKS.values(), ids=CALLBACKS)


@pytest.fixture(autouse=True)
def as_before():
    before = {name: get() for name, (get, _) in CALLBACKS.items()}
    yield
    for name, (get, set_callback) in CALLBACKS.items():
        left = get()
        set_callback(before[name])
        assert left is before[name]


def seconds_of(data):
    return sum(timer.duration for timer in data.timer)


@pytest.mark.parametrize("name", ["cheetah-vel", "ant-goal"])
def test_no_time_is_taken_within_and_times_are_taken_again_after(name):
    env = TaskEnv(name)
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(env.action_space.shape))
    assert seconds_of(env.data) == 0
    mujoco.mj_step(env.model, env.data)
    assert seconds_of(env.data) > 0


@callbacks
def test_what_the_user_has_set_is_left_alone_before_within_and_after(get, set):
    def own(*arguments):
        return 0.0

    set(own)
    with quiet:
        assert get() is own
        env = TaskEnv("cheetah-vel")
        env.reset(seed=0)
        env.step(np.zeros(6))
    assert get() is own
    set(None)


@callbacks
def test_what_the_user_sets_within_stays(get, set):
    def own(*arguments):
        return 0.0

    with quiet:
        set(own)
    assert get() is own
    set(None)


@callbacks
def test_of_several_that_overlap_the_last_puts_back(get, set):
    quiet.__enter__()
    quiet.__enter__()
    quiet.__exit__(None, None, None)
    assert get() is not None
    quiet.__exit__(None, None, None)
    assert get() is None


def test_an_error_within_puts_back_too():
    with pytest.raises(ZeroDivisionError), quiet:
        raise ZeroDivisionError


def test_simulations_are_the_same_to_the_bit_whether_times_are_taken():
    def run(clock):
        mujoco.set_mjcb_time(clock)
        env = TaskEnv("ant-goal")
        env.reset(seed=0)
        return [env.step(np.full(8, 0.3))[0] for _ in range(20)]

    without = run(None)
    counted = iter(range(10**9))
    assert np.array_equal(without, run(lambda: float(next(counted))))
    mujoco.set_mjcb_time(None)
    assert next(counted) > 0
