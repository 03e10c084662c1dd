"""What is promised of `quiet`: MuJoCo takes no times and prints no remarks within; the user's own callbacks stay."""

import logging
import os
import signal
import subprocess
import sys
import threading

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


def test_a_fork_within_begins_outside():
    with quiet:
        child = os.fork()
        if child == 0:
            left = [get() for get, _ in CALLBACKS.values()]
            quiet.__exit__(None, None, None)
            with quiet:
                inside = all(get() is not None for get, _ in CALLBACKS.values())
            os._exit(0 if left == [None, None] and inside and mujoco.get_mjcb_time() is None else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_fork_while_another_thread_enters_leaves_a_lock_that_the_child_can_take():
    held, done = threading.Event(), threading.Event()

    def hold():
        with quiet._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        with quiet:
            os._exit(0)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_signal_handler_may_enter_while_the_thread_is_entering():
    with quiet._lock, quiet:
        assert mujoco.get_mjcb_time() is not None


def test_a_remark_comes_to_the_log_after_the_call(caplog):
    model = TaskEnv("cheetah-vel").model
    data = mujoco.MjData(model)
    data.qpos[:] = np.nan
    with caplog.at_level(logging.DEBUG, logger="apb"):
        with quiet:
            mujoco.mj_step(model, data)
            assert caplog.text == ""
        assert "Nan, Inf or huge value in QPOS" in caplog.text


# A Ctrl-C in the middle of a step, or a log that raises, while MuJoCo remarks on every row.
INTERRUPTED = """
import logging, signal, sys, time, warnings
import numpy as np
from apb.simulation import BatchedEnv
warnings.simplefilter("ignore")
if sys.argv[1] == "log":
    class Raising(logging.Handler):
        def emit(self, record):
            raise KeyboardInterrupt
    logging.getLogger("apb").addHandler(Raising())
    logging.getLogger("apb").setLevel(logging.DEBUG)
signal.signal(signal.SIGALRM, signal.default_int_handler)
env = BatchedEnv("cheetah-vel", 256, num_threads=2, autoreset_mode="disabled")
survived = 0
for _ in range(5):
    env.reset(seed=0)
    env._batch.state[:, env._rows.moving] = 1e11
    try:
        if sys.argv[1] == "signal":
            signal.setitimer(signal.ITIMER_REAL, 1e-3)
        env.step(np.zeros((256, 6)))
        time.sleep(3)
    except KeyboardInterrupt:
        survived += 1
print(survived)
"""


@pytest.mark.parametrize("how", ["signal", "log"])
def test_an_interrupt_while_mujoco_remarks_is_an_exception_and_not_the_end_of_the_process(how):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, how], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
