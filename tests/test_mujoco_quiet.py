"""What is promised of `quiet`: MuJoCo takes no times and prints no remarks within; the user's own callbacks stay."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

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
MODEL = TaskEnv("cheetah-vel").model


@pytest.fixture(autouse=True)
def as_before(tmp_path, monkeypatch):
    """Whatever a test does, MuJoCo takes times and prints remarks after it; the file of these is nobody's."""
    monkeypatch.chdir(tmp_path)
    yield
    assert takes_times()
    assert remarks_on_screen() == 1


def seconds_of(data):
    return sum(timer.duration for timer in data.timer)


def takes_times():
    data = mujoco.MjData(MODEL)
    mujoco.mj_step(MODEL, data)
    return seconds_of(data) > 0


def remark():
    """Make MuJoCo say something."""
    data = mujoco.MjData(MODEL)
    data.qpos[:] = np.nan
    mujoco.mj_step(MODEL, data)


def remarks_on_screen():
    """How many remarks MuJoCo writes to the file that it also writes to what it prints."""
    log = Path("MUJOCO_LOG.TXT")
    log.unlink(missing_ok=True)
    remark()
    return log.read_text().count("WARNING") if log.exists() else 0


def is_quiet():
    return not takes_times() and remarks_on_screen() == 0


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_within_no_times_are_taken_and_remarks_are_not_printed():
    with quiet:
        assert is_quiet()
        with quiet:
            assert is_quiet()
        assert is_quiet()


@pytest.mark.parametrize("name", ["cheetah-vel", "ant-goal"])
def test_no_time_is_taken_while_an_env_steps(name):
    env = TaskEnv(name)
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(env.action_space.shape))
    assert seconds_of(env.data) == 0
    mujoco.mj_step(env.model, env.data)
    assert seconds_of(env.data) > 0


@callbacks
@pytest.mark.parametrize("when", ["before", "within"])
def test_what_the_user_has_set_is_called_and_stays(get, set, when):
    calls = []

    def own(*arguments):
        calls.append(arguments)
        return 0.0

    with contextlib.ExitStack() as stack:
        if when == "within":
            stack.enter_context(quiet)
        set(own)
        with quiet:
            remark()
        assert get() is own
        assert calls
    assert get() is own
    set(None)


def test_a_clock_that_the_user_had_before_the_import_stays_and_the_usual_one_is_known():
    program = """
import mujoco
mujoco.set_mjcb_time(lambda: 0.0)
clock = mujoco.get_mjcb_time()
from apb.mujoco_quiet import quiet
from apb.tasks.single import TaskEnv
assert mujoco.get_mjcb_time() is clock
mujoco.set_mjcb_time(None)
env = TaskEnv("cheetah-vel")
with quiet:
    mujoco.mj_step(env.model, env.data)
assert env.data.timer[0].duration == 0
mujoco.mj_step(env.model, env.data)
assert env.data.timer[0].duration > 0
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_of_several_libraries_that_are_loaded_that_of_the_package_is_meant(tmp_path):
    # The other one is loaded first; its soname is not that of the package's, which would be loaded once only.
    library = next(Path(mujoco.__file__).parent.glob("libmujoco.so*"))
    other = tmp_path / "libmujoco210.so"
    other.write_bytes(library.read_bytes().replace(b"libmujoco.so.", b"libmujoco.sp."))
    program = """
import ctypes, sys
ctypes.CDLL(sys.argv[1])
from apb.tasks.single import TaskEnv
import numpy as np
env = TaskEnv("cheetah-vel")
env.reset(seed=0)
env.step(np.zeros(6))
assert env.data.timer[0].duration == 0
"""
    subprocess.run([sys.executable, "-c", program, str(other)], check=True)


def test_of_threads_that_overlap_the_last_puts_back():
    entered, left = threading.Event(), threading.Event()

    def stay():
        with quiet:
            entered.set()
            left.wait()

    thread = threading.Thread(target=stay)
    with quiet:
        thread.start()
        entered.wait()
    try:
        assert is_quiet()
    finally:
        left.set()
        thread.join()


def test_an_error_within_puts_back_too():
    with pytest.raises(ZeroDivisionError), quiet:
        raise ZeroDivisionError


def test_leaving_more_often_than_entering_does_no_harm():
    quiet.__exit__(None, None, None)
    with quiet:
        assert is_quiet()


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


def test_a_process_that_is_forked_within_begins_outside():
    with quiet:
        child = os.fork()
        if child == 0:
            outside = takes_times() and remarks_on_screen() == 1
            quiet.__exit__(None, None, None)
            with quiet:
                inside = is_quiet()
            os._exit(0 if outside and inside and takes_times() else 1)
        assert exit_code(child) == 0  # first, since both look into one file
        assert is_quiet()


def test_remarks_come_to_the_log_when_the_call_is_over(caplog):
    with caplog.at_level(logging.DEBUG, logger="apb"):
        with quiet:
            remark()
            assert caplog.text == ""
        assert "Nan, Inf or huge value in QPOS" in caplog.text


def test_remarks_of_more_than_a_log_can_hold_are_dropped(caplog):
    with caplog.at_level(logging.DEBUG, logger="apb"), quiet:
        for _ in range(1_100):
            remark()
    assert len(caplog.records) == 1_000


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
