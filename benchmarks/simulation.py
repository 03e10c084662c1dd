"""`simulation`: the batched simulation against MuJoCo's bare batch, AsyncVectorEnv and EnvPool; lanes; memory."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import apb
import gymnasium
import mujoco.batch
import numpy as np
from apb.mujoco_quiet import quiet
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from apb.threads import available_cpus
from gymnasium.vector import VectorEnv

from benchmarks.harness import Row, compare, installed, interleave

TOPIC = "simulation"
ROWS = 64
STRETCH = 25
PEER_ENVS = {"HalfCheetah-v5": ("cheetah-vel",), "Ant-v5": ("ant-dir", "ant-goal")}
LANES = 8
TASK = "cheetah-vel/mier-hard:0"
AS_IT_IS = nullcontext()
ON_EQUAL_TERMS = ("cheetah-vel", "ant-dir", "humanoid-dir", "hopper-mass", "walker-mass")
"""A family of each robot. MuJoCo's Python package takes times of every step unless it is told not to, as ours does."""
MEMORY_FAMILY, MEMORY_ROWS = "ant-goal", 1024


def run(quick: bool) -> list[Row]:
    """All sides have as many threads, or processes, as there are cores."""
    threads = available_cpus()
    repetitions = 3 if quick else 21
    rows = [_beside_bare(family, threads, repetitions) for family in FAMILIES]
    rows += [_beside_bare(family, threads, repetitions, quiet) for family in ON_EQUAL_TERMS]
    for env in PEER_ENVS:
        rows += _beside_peers(env, threads, 3 if quick else 15)
    return [*rows, *_lanes(quick), *_memory()]


# --- MuJoCo's bare batch -------------------------------------------------------------------------------------------


def _beside_bare(
    family: str,
    threads: int,
    repetitions: int,
    context: AbstractContextManager[None] = AS_IT_IS,
) -> Row:
    """A stretch of ours, then the same states and controls in a bare batch in a context, and so on in turns."""
    env, actions = staggered(family, threads)
    controls = [env.family.control(action.astype(np.float64), env.parameters) for action in actions]
    bare = mujoco.batch.Batch(env.family.model, ROWS, threads)
    ours, theirs = [], []
    for _ in range(repetitions):
        rate, states = step_ours(env, actions)
        ours.append(rate)
        with context:
            theirs.append(step_bare(bare, states, controls, env.family.frame_skip))
    return compare(
        TOPIC,
        f"{family}, {ROWS} rows" + (", the bare batch as quiet" if context is quiet else ""),
        (f"apb, {threads} threads", ours),
        (f"bare Batch.step, {threads} threads", theirs),
        "steps/s",
        higher_is_better=True,
        min_ratio=0.8,
    )


def staggered(family: str, threads: int) -> tuple[BatchedEnv, np.ndarray]:
    """An env whose rows are at different steps of their episodes, and actions for a stretch, (STRETCH, ROWS, act)."""
    env = BatchedEnv(family, ROWS, num_threads=threads)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    begins = generator.permutation(ROWS) * env.horizon // ROWS
    for step in range(env.horizon):
        env.step(generator.uniform(-1, 1, env.action_space.shape))
        if (begins == step).any():
            env.reset(options={"reset_mask": begins == step})
    return env, _actions(env, STRETCH, ROWS)


def step_ours(env: BatchedEnv, actions: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """Steps per second, and the states before each, which a second run of the same stretch tells.

    A row that starts anew in place of moving makes no step.
    """
    start = env.state()
    begin = time.perf_counter()
    for action in actions:
        env.step(action)
    seconds = time.perf_counter() - begin
    env.load_state(start)
    states, moved = [], 0
    for action in actions:
        state = env.state()
        states.append(state["physics"])
        moved += np.count_nonzero(~state["ended"])
        env.step(action)
    return moved / seconds, states


def step_bare(
    batch: mujoco.batch.Batch, states: list[np.ndarray], controls: list[np.ndarray], frame_skip: int
) -> float:
    """Steps per second from given states. All rows move."""
    ctrl = batch.bind("ctrl")
    seconds = 0.0
    for state, control in zip(states, controls, strict=True):
        batch.state[:] = state
        begin = time.perf_counter()
        ctrl[...] = control
        batch.step(nstep=frame_skip)
        seconds += time.perf_counter() - begin
    return len(states) * batch.nsim / seconds


def _actions(env: VectorEnv, steps: int, rows: int) -> np.ndarray:
    """Random actions in [-1, 1] of the type that the env declares, (steps, rows, act)."""
    space = env.action_space  # EnvPool's is that of one row
    return np.random.default_rng(0).uniform(-1, 1, (steps, rows, space.shape[-1])).astype(space.dtype)


# --- other packages ------------------------------------------------------------------------------------------------


def _beside_peers(env_id: str, threads: int, repetitions: int) -> list[Row]:
    """Families of a robot against an env of Gymnasium with the same robot and as many substeps in a step."""
    asynchronous = f"AsyncVectorEnv, {threads} workers"
    pool = f"EnvPool, {ROWS} rows, {threads} threads"
    # Processes that are forked from one with threads may hang.
    workers = gymnasium.make_vec(
        env_id, num_envs=threads, vectorization_mode="async", vector_kwargs={"context": "spawn"}
    )
    workers.reset(seed=0)
    calls = {asynchronous: stepping(workers, threads)}
    if installed("envpool"):
        import envpool

        other = envpool.make_gymnasium(env_id, num_envs=ROWS, num_threads=threads)
        other.reset()
        calls[pool] = stepping(other, ROWS)
    families = PEER_ENVS[env_id]
    calls |= {family: stepping(staggered(family, threads)[0], ROWS) for family in families}
    seconds = interleave(calls, repetitions=repetitions)
    workers.close()
    rates = {name: [STRETCH * ROWS / value for value in values] for name, values in seconds.items()}
    return [
        compare(
            TOPIC,
            f"{family} and {env_id}",
            (f"apb, {ROWS} rows, {threads} threads", rates[family]),
            (peer, rates.get(peer)),
            "steps/s",
            higher_is_better=True,
            min_ratio=target,
        )
        for family in families
        for peer, target in ((asynchronous, 3.0), (pool, 0.9))
    ]


def stepping(env: VectorEnv, rows: int) -> Callable[[], None]:
    """STRETCH * ROWS steps, counted over all rows, whatever their number."""
    actions = _actions(env, STRETCH * ROWS // rows, rows)

    def step() -> None:
        for action in actions:
            env.step(action)

    return step


# --- lanes and memory ----------------------------------------------------------------------------------------------


def _lanes(quick: bool) -> list[Row]:
    """Timesteps per second of `adapt` with several seeds at once against one seed, on a task of a family."""
    rows = []
    for case, gradient_steps, steps in (("one update per step", 1, 150 if quick else 500), ("no updates", 0, 5_000)):
        rates: dict[int, list[float]] = {1: [], LANES: []}
        for _ in range(1 if quick else 3):
            for seeds, found in rates.items():
                result = apb.adapt(
                    TASK,
                    "random",
                    n_seeds=seeds,
                    total_timesteps=steps,
                    learning_starts=50,
                    gradient_steps=gradient_steps,
                    eval_freq=0,
                )
                found.append(seeds * steps / result.wall_time)
        rows.append(
            compare(
                TOPIC,
                f"adapt, {case}",
                (f"{LANES} seeds at once", rates[LANES]),
                ("1 seed", rates[1]),
                "timesteps/s",
                higher_is_better=True,
                min_ratio=3.0 if gradient_steps else None,
            )
        )
    return rows


def _memory() -> list[Row]:
    """In a process of its own: what it holds after the imports, and at most with the simulations."""
    result = subprocess.run([sys.executable, "-m", "benchmarks.simulation"], capture_output=True, text=True, check=True)
    imports, most = (int(kibibytes) * 1024 / 1e6 for kibibytes in result.stdout.split())
    case = f"memory, {MEMORY_ROWS:,} rows of {MEMORY_FAMILY}"
    return [
        compare(TOPIC, f"{case}, all of the process", ("apb", [most]), None, "MB", higher_is_better=False, limit=1000),
        compare(TOPIC, f"{case}, without imports", ("apb", [most - imports]), None, "MB", higher_is_better=False),
    ]


def _kibibytes(field: str) -> int:
    """A field of the process's memory: "VmRSS" is what it holds, "VmHWM" the most it has held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    print(_kibibytes("VmRSS"))
    many = BatchedEnv(MEMORY_FAMILY, MEMORY_ROWS)
    many.reset(seed=0)
    for each in _actions(many, 20, MEMORY_ROWS):
        many.step(each)
    print(_kibibytes("VmHWM"))
