"""Native calls among threads: at the end of the process, beside constructors, while others load, without memory."""

import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
from apb import _native
from native_cases import random_case
from numpy.typing import NDArray

POLICY = """
import sys, threading
import apb, numpy as np
from gymnasium.spaces import Box

backbone = apb.Backbone.random(seed=0)
spaces = Box(-np.inf, np.inf, (17,), np.float32), Box(-1, 1, (6,), np.float32)
policy = apb.Policy(backbone, apb.Adapter.initial(backbone, 17, 6), *spaces)
acting = threading.Event()

def serve(obs):
    while True:
        policy(obs)
        acting.set()
"""


def run(program: str) -> str:
    """The output of a program that ends with exit code 0."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("rows", [1, 1000])
def test_a_process_ends_well_while_a_daemon_thread_acts(rows: int) -> None:
    program = f"""
obs = np.zeros(({rows}, 17), np.float32)
for _ in range(3):
    threading.Thread(target=serve, args=[obs], daemon=True).start()
acting.wait()
print("the end")
"""
    for _ in range(3):
        assert run(POLICY + program) == "the end\n"


F32, N = np.float32, 1_000_000
WIDE = _native.Backbone([np.zeros((8, 8), F32)], [np.zeros(8, F32)], False)
WEIGHTS = [np.zeros((1500, 1500), F32)], [np.zeros(1500, F32)]
LARGE = _native.Backbone(*WEIGHTS, False)
LAYERS = [(np.zeros((4, 500, 500), F32), np.zeros((4, 500), F32))]
GRADIENT = [(np.zeros((4, 500, 500), F32), np.zeros((4, 500), F32))]
LANE, KEY, KEYS, COUNTER = np.ones(1, F32), np.zeros(2, np.uint64), np.zeros((1, 2), np.uint64), np.zeros(4, np.uint64)
NEVER, ALWAYS = np.zeros((1, N), np.bool_), np.ones((1, N), np.bool_)


def zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, F32)


STACK, POPULATION = _native.LayerStack([500, 500], [True], 4, 500), _native.Population(WIDE, 1, 500, 8)
MANY, BROAD = _native.Population(WIDE, 100, 1000, 8), _native.Population(WIDE, 1, N, 8)
CALLS: dict[str, Callable[[], object]] = {
    "LayerStack": lambda: _native.LayerStack([500, 500], [True], 4, 1000),
    "Population": lambda: _native.Population(WIDE, 100, 1000, 8),
    "Backbone": lambda: _native.Backbone(*WEIGHTS, False),
    "ThreadPool": lambda: _native.ThreadPool(8),
    "Backbone.load": lambda: LARGE.load(*WEIGHTS),
    "Population.load": lambda: MANY.load(zeros(100, MANY.num_parameters)),
    "Population.forward": lambda: POPULATION.forward(zeros(1, 1000, 500), zeros(1, 1000, 8)),
    "Population.act": lambda: POPULATION.act(zeros(1000, 500)),
    "Population.set_transform": lambda: BROAD.set_transform(mean=zeros(N)),
    "LayerStack.forward": lambda: STACK.forward(LAYERS, zeros(4, 500, 500), zeros(4, 500, 500)),
    "LayerStack.backward": lambda: STACK.backward(LAYERS, zeros(4, 500, 500), GRADIENT),
    "LayerStack.input_gradient": lambda: STACK.input_gradient(LAYERS, zeros(4, 500, 500), zeros(4, 500, 500)),
    "all_within": lambda: _native.all_within(zeros(1, N), 0, 0),
    "adam_step": lambda: _native.adam_step(zeros(N), zeros(N), zeros(N), zeros(N), 1, 1e-3),
    "polyak_step": lambda: _native.polyak_step(zeros(N), zeros(N), 0.5),
    "philox_raw": lambda: _native.philox_raw(KEY, COUNTER, np.zeros(N, np.uint64)),
    "philox_uniform": lambda: _native.philox_uniform(KEY, COUNTER, zeros(N)),
    "philox_normal": lambda: _native.philox_normal(KEY, COUNTER, zeros(N)),
    "evolution_ask": lambda: _native.evolution_ask(zeros(1, N), np.ones((1, N), F32), KEYS, 0, zeros(1, 2, N)),
    "evolution_recombine": lambda: _native.evolution_recombine(
        zeros(1, 2, N), np.full((1, 2), 0.5, F32), zeros(1, N), np.ones((1, N), F32), LANE, 1, 1
    ),
    "centered_ranks": lambda: _native.centered_ranks(zeros(1, 5000), zeros(1, 5000)),
    "openai_es_step": lambda: _native.openai_es_step(
        zeros(1, N), LANE, zeros(1, 2), KEYS, 0, 1e-3, 0, zeros(1, N), zeros(1, N), 1
    ),
    "replay_add": lambda: _native.replay_add(
        *(zeros(1, N, 5), np.zeros(1, np.int64), np.zeros(1, np.int64)),
        *(zeros(1, N, 1), zeros(1, N, 1), zeros(1, N), zeros(1, N, 1), NEVER, ALWAYS),
    ),
    "replay_sample": lambda: _native.replay_sample(
        *(zeros(1, N, 5), np.full(1, N), KEYS, 0, zeros(1, N, 1), zeros(1, N, 1), zeros(1, N), zeros(1, N, 1)),
        zeros(1, N),
    ),
}


def test_every_native_call_is_among_those_below() -> None:
    functions = {name for name in dir(_native) if type(getattr(_native, name)) is type(_native.adam_step)}
    methods = {
        f"{kind.__name__}.{name}"
        for kind in (_native.Backbone, _native.Population, _native.LayerStack)
        for name in vars(kind)
        if not name.startswith("_") and not isinstance(vars(kind)[name], property)
    }
    assert (functions | methods) - {"supported_isas"} <= CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_other_threads_run_during_a_native_call(name: str) -> None:
    make = CALLS[name]
    go, ran, interval = threading.Semaphore(0), [], sys.getswitchinterval()
    thread = threading.Thread(target=lambda: ran.append(go.acquire()))
    thread.start()
    try:
        sys.setswitchinterval(1000)  # from here on this thread is asked for the lock in no call that keeps it
        go.release()
        for _ in range(200):
            make()
            if ran:
                break
        assert ran
    finally:
        sys.setswitchinterval(interval)
        thread.join()


RING = """
import contextlib, threading
import numpy as np
from apb import _native

K, S, obs, act = 1, 20_000, 17, 6
table, position, size = np.zeros((K, 64, 2 * obs + act + 2), np.float32), np.zeros(K, np.int64), np.full(K, 64)
keys, flags = np.zeros((K, 2), np.uint64), np.ones((K, S), bool)
rows = [np.zeros((K, S, n), np.float32) for n in (obs, act, obs)]
reward, not_terminated = np.zeros((2, K, S), np.float32)

def write():
    while True:
        of[0] = 2**40
        of[0] = valid

def call():
    if of is size:
        _native.replay_sample(table, size, keys, 0, rows[0], rows[1], reward, rows[2], not_terminated)
    else:
        _native.replay_add(table, position, size, rows[0], rows[1], reward, rows[2], ~flags, flags)
"""


@pytest.mark.parametrize(("of", "valid"), [("size", 64), ("position", 0)])
def test_a_ring_that_another_thread_writes_meanwhile_is_refused_or_used_and_nothing_outside_it(
    of: str, valid: int
) -> None:
    program = f"""
of, valid = {of}, {valid}
threading.Thread(target=write, daemon=True).start()
for _ in range(300):
    with contextlib.suppress(ValueError):
        call()
print("the end")
"""
    assert run(RING + program) == "the end\n"


def test_parameters_are_loaded_while_other_threads_act_without_a_pause() -> None:
    case = random_case(np.random.default_rng(0), 17, 6, [17, 64, 64], False, 1)
    population = case.population()
    x = np.zeros((64, 17), F32)
    stop = threading.Event()

    def act() -> None:
        while not stop.is_set():
            population.act(x)

    threads = [threading.Thread(target=act) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            population.load(case.adapters)
            population.set_transform(offset=np.full(6, number, F32))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert np.all(np.abs(population.act(x) - 19) <= 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_forward_pass_without_memory_raises_and_the_next_one_works(threads: int) -> None:
    program = f"""
import resource, time, numpy as np
from apb import _native

pool = _native.ThreadPool({threads})
backbone = _native.Backbone([np.ones((8, 8), np.float32)], [np.ones(8, np.float32)], False)
population = _native.Population(backbone, 1, 2**17, 2)  # 50 MB of intermediate values for each thread
obs = np.broadcast_to(np.float32(1), (1, 150, 2**17))
out = np.ones((1, 150, 2), np.float32)
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 40 * 2**20, -1))
refused = 0
for _ in range(20):
    time.sleep(0.005)  # time for all threads to come upon it
    try:
        population.forward(obs, out, pool=pool)
    except MemoryError:
        refused += 1
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
population.forward(obs, out, pool=pool)
print(refused, np.abs(out).max())
"""
    assert run(program) == "20 0.0\n"
