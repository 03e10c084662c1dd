"""Processes that learn HalfCheetah-v5 with TD3 in chunks on command: `Worker` starts and drives one contestant.

A process of its own gives each side the number of threads it is to have, and keeps their thread pools apart.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

ENV = "HalfCheetah-v5"
WARMUP_STEPS = 200
SIZES = [256, 256]
BATCH_SIZE = 256


class Worker:
    """A contestant in a process of its own: "apb", "apb-frozen", "sb3" or "sbx", with a number of threads and lanes."""

    def __init__(self, contestant: str, threads: int, lanes: int = 1) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "APB_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "benchmarks.td3_workers", contestant, str(threads), str(lanes)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
        )
        self.wait()

    def start(self, steps: int) -> None:
        """Begin `steps` steps with one update each; `wait` for them."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")

    def wait(self) -> None:
        """Until what was started is done."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line == "done\n":
                return
        raise RuntimeError(f"{self._process.args} ended early")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def rates(teams: dict[str, Sequence[Worker]], lanes: dict[str, int], steps: int, repetitions: int) -> dict[str, list]:
    """Steps per second of every team, summed over its workers and their lanes, in turns."""
    found: dict[str, list[float]] = {name: [] for name in teams}
    for _ in range(repetitions):
        for name, team in teams.items():
            begin = time.perf_counter()
            for worker in team:
                worker.start(steps)
            for worker in team:
                worker.wait()
            found[name].append(steps * lanes[name] * len(team) / (time.perf_counter() - begin))
    return found


def _apb(threads: int, lanes: int, trainable: bool) -> Callable[[int], object]:
    from apb.adaptation import random_backbone
    from apb.environments import EnvSource
    from apb.loop import LearningLoop
    from apb.settings import AdaptSettings

    settings = AdaptSettings(
        strategy="action_noise",
        total_timesteps=1_000_000,
        n_seeds=lanes,
        num_threads=threads,
        trainable_backbone=trainable,
        eval_freq=0,
        learning_starts=WARMUP_STEPS // 2,
        batch_size=BATCH_SIZE,
    )
    source = EnvSource.resolve(ENV)
    backbone = random_backbone(source, 0, reading="A" if trainable else "B")  # its widths are SIZES
    loop = LearningLoop(source, None, backbone, settings)
    loop.start()

    def learn(steps: int) -> None:
        for _ in range(steps):
            loop.step()

    return learn


def _sb3(threads: int) -> Callable[[int], object]:
    import torch
    from stable_baselines3 import TD3

    torch.set_num_threads(threads)
    return _learner(TD3, {"net_arch": SIZES, "n_critics": 2}, device="cpu")


def _sbx(threads: int) -> Callable[[int], object]:
    # XLA sizes its thread pool by the CPUs that the process may use.
    cpus = sorted(os.sched_getaffinity(0))
    if threads < len(cpus):
        os.sched_setaffinity(0, cpus[:threads])
    from sbx import TD3

    return _learner(TD3, {"net_arch": SIZES, "n_critics": 2})


def _learner(algorithm: type, policy: dict, **options: object) -> Callable[[int], object]:
    model = algorithm(
        "MlpPolicy",
        ENV,
        policy_kwargs=policy,
        batch_size=BATCH_SIZE,
        buffer_size=1_000_000,
        learning_starts=WARMUP_STEPS // 2,
        learning_rate=3e-4,
        train_freq=1,
        gradient_steps=1,
        seed=0,
        **options,
    )
    return lambda steps: model.learn(steps, reset_num_timesteps=False, log_interval=1_000_000)


def _serve(contestant: str, threads: int, lanes: int) -> None:
    makers = {
        "apb": lambda: _apb(threads, lanes, True),
        "apb-frozen": lambda: _apb(threads, lanes, False),
        "sb3": lambda: _sb3(threads),
        "sbx": lambda: _sbx(threads),
    }
    learn = makers[contestant]()
    learn(WARMUP_STEPS)
    print("done", flush=True)
    for line in sys.stdin:
        learn(int(line))
        print("done", flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
