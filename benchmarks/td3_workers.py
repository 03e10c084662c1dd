"""Processes that learn with TD3 in chunks on command: `Worker` starts and drives one contestant, `rates` times them.

A process of its own gives each side the number of threads it is to have, and keeps their thread pools apart.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from apb.environments import EnvSource
    from apb.loop import LearningLoop
    from apb.settings import LearningSettings

ENV = "HalfCheetah-v5"
SPLIT = "cheetah-vel/mier-hard"
RANDOM_STEPS = 100
WARMUP_UPDATES = 100
SIZES = [256, 256]
BATCH_SIZE = 256

Learn = Callable[[int], object]
"""Makes so many steps, each with one update of every lane."""
Name = TypeVar("Name")


class Worker:
    """A contestant in a process of its own, which has taken its random steps and has learned for a moment.

    Args:
        contestant: One of `CONTESTANTS`.
        threads: All that it may use.
        options: What else that contestant takes; of those with lanes, `lanes` is their number.
    """

    def __init__(self, contestant: str, threads: int, **options: Any) -> None:
        self.lanes: int = options.get("lanes", 1)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "APB_NUM_THREADS": str(threads)}
        arguments = json.dumps({"threads": threads, **options})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.td3_workers", contestant, arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            bufsize=1,
        )
        self.start(max(1, WARMUP_UPDATES // self.lanes))
        self.wait()

    def start(self, steps: int) -> None:
        """Begin `steps` steps with one update of each lane; `wait` for them."""
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
        """End the process, after what it was started on."""
        self._process.communicate()


def rates(teams: Mapping[Name, Sequence[Worker]], updates: int, repetitions: int) -> dict[Name, list[float]]:
    """Updates per second of every team, those of all its lanes counted, in turns. Closes the workers.

    Args:
        teams: Workers that learn at the same time.
        updates: How many a team does in its turn, in equal parts for all its lanes.
        repetitions: Turns of each team.
    """
    found: dict[Name, list[float]] = {name: [] for name in teams}
    try:
        for _ in range(repetitions):
            for name, team in teams.items():
                lanes = sum(worker.lanes for worker in team)
                steps = max(1, updates // lanes)
                begin = time.perf_counter()
                for worker in team:
                    worker.start(steps)
                for worker in team:
                    worker.wait()
                found[name].append(steps * lanes / (time.perf_counter() - begin))
    finally:
        for team in teams.values():
            for worker in team:
                worker.close()
    return found


# --- ours ----------------------------------------------------------------------------------------------------------


def _adaptation(threads: int, lanes: int = 1, *, trainable: bool) -> Learn:
    """As many seeds of one env as lanes; with a trainable backbone it is plain TD3, with the network of the peers."""
    from apb.environments import EnvSource
    from apb.settings import AdaptSettings

    settings = AdaptSettings(n_seeds=lanes, trainable_backbone=trainable, **_options(threads))
    return partial(_step, _begun(EnvSource.resolve(ENV), settings, "A" if trainable else "B"))


def _meta_training(threads: int, lanes: int, reading: str, device: str = "cpu", updates_alone: bool = False) -> Learn:
    """As many train tasks of one split as lanes; without the steps of the envs if updates are asked for alone."""
    from apb.environments import EnvSource
    from apb.meta_training.settings import MetaSettings
    from apb.tasks import get

    settings = MetaSettings(n_tasks=lanes, device=device, **_options(threads))
    loop = _begun(EnvSource.resolve(list(get(SPLIT).train[:lanes])), settings, reading)
    return partial(_update if updates_alone else _step, loop)


def _exploring(threads: int, strategy: str, **options: Any) -> Learn:
    """One seed with a frozen backbone that explores by a strategy; "prior" has a policy of the same sizes."""
    from apb.adaptation import random_backbone
    from apb.adapter import Adapter
    from apb.env_spaces import flat_size
    from apb.environments import EnvSource
    from apb.jobs import Job
    from apb.policy import Policy
    from apb.prior import Prior
    from apb.settings import AdaptSettings

    source = EnvSource.resolve(ENV)
    backbone = random_backbone(source.observation_space, 1)
    spaces = source.observation_space, source.action_space
    policy = Policy(backbone, Adapter.initial(backbone, *map(flat_size, spaces)), *spaces)
    settings = AdaptSettings(**_options(threads) | {"strategy": strategy} | options)
    prior = Prior(policy, source) if strategy == "behavior_transfer" else None
    loop = Job(source, None, random_backbone(source.observation_space, 0), settings, [], {}, prior).loop()
    loop.start()
    _step(loop, RANDOM_STEPS)
    return partial(_step, loop)


def _options(threads: int) -> dict[str, Any]:
    return {
        "strategy": "action_noise",
        "total_timesteps": 1_000_000,
        "num_threads": threads,
        "eval_freq": 0,
        "learning_starts": RANDOM_STEPS,
        "batch_size": BATCH_SIZE,
    }


def _begun(source: "EnvSource", settings: "LearningSettings", reading: str) -> "LearningLoop":
    """A run that has taken its random steps. The widths of its backbone are `SIZES`."""
    from apb.adaptation import random_backbone
    from apb.loop import LearningLoop

    loop = LearningLoop(source, None, random_backbone(source.observation_space, 0, reading=reading), settings)
    loop.start()
    _step(loop, RANDOM_STEPS)
    return loop


def _step(loop: "LearningLoop", steps: int) -> None:
    for _ in range(steps):
        loop.step()
    _finish(loop)


def _update(loop: "LearningLoop", updates: int) -> None:
    loop.learner.update(loop.replay, updates)
    _finish(loop)


def _finish(loop: "LearningLoop") -> None:
    """Wait for what was only asked of a GPU so far."""
    import torch

    if loop.settings.device != "cpu":
        torch.cuda.synchronize(loop.settings.device)


# --- the peers -----------------------------------------------------------------------------------------------------


def _sb3(threads: int) -> Learn:
    import torch
    from stable_baselines3 import TD3

    torch.set_num_threads(threads)
    return _learner(TD3, {"net_arch": SIZES, "n_critics": 2}, device="cpu")


def _sbx(threads: int) -> Learn:
    # XLA sizes its thread pool by the CPUs that the process may use.
    cpus = sorted(os.sched_getaffinity(0))
    if threads < len(cpus):
        os.sched_setaffinity(0, cpus[:threads])
    from sbx import TD3

    return _learner(TD3, {"net_arch": SIZES, "n_critics": 2})


def _learner(algorithm: type, policy: dict, **options: object) -> Learn:
    model = algorithm(
        "MlpPolicy",
        ENV,
        policy_kwargs=policy,
        batch_size=BATCH_SIZE,
        buffer_size=1_000_000,
        learning_starts=RANDOM_STEPS,
        learning_rate=3e-4,
        train_freq=1,
        gradient_steps=1,
        seed=0,
        **options,
    )
    learn = partial(model.learn, reset_num_timesteps=False, log_interval=1_000_000)
    learn(RANDOM_STEPS)
    return learn


CONTESTANTS: dict[str, Callable[..., Learn]] = {
    "apb": partial(_adaptation, trainable=True),
    "apb-frozen": partial(_adaptation, trainable=False),
    "meta": _meta_training,
    "exploring": _exploring,
    "sb3": _sb3,
    "sbx": _sbx,
}
"""What makes each, and takes its random steps; the threads are the first argument."""


def _serve(contestant: str, arguments: str) -> None:
    learn = CONTESTANTS[contestant](**json.loads(arguments))
    for line in sys.stdin:
        learn(int(line))
        print("done", flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
