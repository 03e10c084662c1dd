"""`replay`: drawing 256 of 1M HalfCheetah transitions against SB3, cpprb and NumPy; the memory that 1M take."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from apb.replay import Replay

from benchmarks.harness import Row, compare, installed, interleave, scaled

TOPIC = "replay"
CAPACITY = 1_000_000
BATCH_SIZE = 256
OBSERVATION_SIZE, ACTION_SIZE = 17, 6
CHUNK = 10_000


def run(quick: bool) -> list[Row]:
    """Every buffer is full of the same random transitions; all draw on one thread."""
    makers = {"apb": _apb, "NumPy rows": _numpy}
    if installed("cpprb"):
        makers["cpprb"] = _cpprb
    if installed("stable_baselines3"):
        makers["SB3"] = _sb3
    calls = {name: make() for name, make in makers.items()}
    seconds = interleave(calls, repetitions=9 if quick else 41, calls=100)
    ours = ("apb, 1 thread", scaled(seconds["apb"]))
    rows = []
    for peer in ("SB3", "cpprb", "NumPy rows"):
        other = scaled(seconds[peer]) if peer in seconds else None
        rows.append(compare(TOPIC, "256 of 1M", ours, (peer, other), "us", higher_is_better=False, limit=15.0))
    return [*rows, _memory()]


def _chunks() -> list[tuple[np.ndarray, ...]]:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((CHUNK, 2 * OBSERVATION_SIZE + ACTION_SIZE + 1)).astype(np.float32)
    cuts = np.cumsum([OBSERVATION_SIZE, OBSERVATION_SIZE, ACTION_SIZE])
    observation, following, action, reward = np.split(rows, cuts, axis=1)
    return [(observation, following, action, reward[:, 0])] * (CAPACITY // CHUNK)


def _fill(replay: Replay) -> None:
    never, always = np.zeros((1, CHUNK), dtype=np.bool_), np.ones((1, CHUNK), dtype=np.bool_)
    for observation, following, action, reward in _chunks():
        arrays = (np.ascontiguousarray(array)[None] for array in (observation, action, reward, following))
        replay.add(*arrays, never, always)


def _apb() -> object:
    replay = Replay([0], CAPACITY, OBSERVATION_SIZE, ACTION_SIZE, BATCH_SIZE)
    _fill(replay)
    draws = iter(range(10**9))
    return lambda: replay.sample(next(draws))


def _numpy() -> object:
    table = np.concatenate([np.column_stack(chunk) for chunk in _chunks()])
    generator = np.random.default_rng(0)
    cuts = np.cumsum([OBSERVATION_SIZE, OBSERVATION_SIZE, ACTION_SIZE])
    return lambda: np.split(table[generator.integers(0, CAPACITY, BATCH_SIZE)], cuts, axis=1)


def _cpprb() -> object:
    from cpprb import ReplayBuffer

    fields = {
        "obs": {"shape": OBSERVATION_SIZE},
        "next_obs": {"shape": OBSERVATION_SIZE},
        "act": {"shape": ACTION_SIZE},
        "rew": {},
        "done": {},
    }
    buffer = ReplayBuffer(CAPACITY, fields)
    for observation, following, action, reward in _chunks():
        buffer.add(obs=observation, next_obs=following, act=action, rew=reward, done=np.zeros(CHUNK))
    return lambda: buffer.sample(BATCH_SIZE)


def _sb3() -> object:
    from gymnasium.spaces import Box
    from stable_baselines3.common.buffers import ReplayBuffer

    observation_space = Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float32)
    buffer = ReplayBuffer(CAPACITY, observation_space, Box(-1, 1, (ACTION_SIZE,), np.float32), device="cpu")
    for at, (observation, following, action, reward) in enumerate(_chunks()):
        rows = slice(at * CHUNK, (at + 1) * CHUNK)
        buffer.observations[rows, 0], buffer.next_observations[rows, 0] = observation, following
        buffer.actions[rows, 0], buffer.rewards[rows, 0] = action, reward
    buffer.full = True
    return lambda: buffer.sample(BATCH_SIZE)


def _memory() -> Row:
    """In a process of its own: what filling the replay adds to the resident memory."""
    result = subprocess.run([sys.executable, "-m", "benchmarks.replay"], capture_output=True, text=True, check=True)
    megabytes = float(result.stdout) / 1e6
    ours = ("apb", [megabytes])
    return compare(TOPIC, "resident, 1M transitions", ours, None, "MB", higher_is_better=False, limit=175.0)


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


if __name__ == "__main__":
    full = Replay([0], CAPACITY, OBSERVATION_SIZE, ACTION_SIZE, BATCH_SIZE)
    _chunks()
    before = _resident()
    _fill(full)
    print(_resident() - before)
