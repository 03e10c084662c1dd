"""`meta`: how many updates per second meta-training does, all tasks counted, against SB3; by threads; on CUDA."""

import torch
from apb.errors import counted

from benchmarks.harness import Row, compare, fastest, installed, thread_counts
from benchmarks.td3_workers import Worker, rates

TOPIC = "meta"
UNIT = "task-updates/s"
TASKS, MIN_RATE, MIN_RATIO = 16, 400.0, 3.0
CUDA_TASKS, CUDA_MIN_RATE = 32, 20_000.0
READINGS = ("B", "A")
DEFAULT = "reading B"
"""What `meta_train` begins with; measured with 1, 2 and all cores."""
WHOLE = {f"reading {reading}": {"reading": reading} for reading in READINGS}
"""Runs as `meta_train` makes them: every step of all envs, and the update of each task that it earns."""
CASES = WHOLE | {f"{case}, updates alone": options | {"updates_alone": True} for case, options in WHOLE.items()}


def run(quick: bool) -> list[Row]:
    """On the CPU and on the GPU, if torch finds one."""
    return [*_on_cpu(quick), *_on_cuda(quick)]


def _on_cpu(quick: bool) -> list[Row]:
    """All cores against SB3 with its best number of threads, and against fewer cores."""
    counts = thread_counts()
    most = counts[-1]
    runs = [(case, most) for case in CASES] + [(DEFAULT, count) for count in counts[:-1]]
    teams = {(case, count): [Worker("meta", count, lanes=TASKS, **CASES[case])] for case, count in runs}
    sb3 = [("SB3", count) for count in counts if installed("stable_baselines3")]
    teams |= {(name, count): [Worker("sb3", count)] for name, count in sb3}
    found = rates(teams, updates=96 if quick else 320, repetitions=3 if quick else 7)

    def ours(case: str, count: int = most) -> tuple[str, list[float]]:
        return f"apb, {counted(count, 'thread')}", found[case, count]

    peer = ("SB3", None)
    if sb3:
        best = fastest(found, sb3)
        peer = (f"SB3, {counted(best[1], 'thread')}", found[best])
    return [
        *(_row(TASKS, case, ours(case), limit=MIN_RATE) for case in CASES),
        *(_row(TASKS, case, ours(case), peer, min_ratio=MIN_RATIO) for case in WHOLE),
        *(_row(TASKS, f"{DEFAULT}, by threads", ours(DEFAULT, count), ours(DEFAULT, 1)) for count in counts),
    ]


def _on_cuda(quick: bool) -> list[Row]:
    """More tasks, the updates on the GPU and the envs on all cores."""
    if not torch.cuda.is_available():
        nothing = (f"not measured: torch {torch.__version__} finds no CUDA device", None)
        return [_row(CUDA_TASKS, "on CUDA", nothing, limit=CUDA_MIN_RATE)]
    threads = thread_counts()[-1]
    teams = {
        case: [Worker("meta", threads, lanes=CUDA_TASKS, device="cuda", **options)] for case, options in CASES.items()
    }
    found = rates(teams, updates=3_200 if quick else 32_000, repetitions=3 if quick else 7)
    name = f"apb, {torch.cuda.get_device_name()}, {counted(threads, 'thread')}"
    return [_row(CUDA_TASKS, f"{case}, on CUDA", (name, found[case]), limit=CUDA_MIN_RATE) for case in CASES]


def _row(
    tasks: int,
    case: str,
    ours: tuple[str, list[float] | None],
    peer: tuple[str, list[float] | None] | None = None,
    **targets: float,
) -> Row:
    return compare(TOPIC, f"{tasks} tasks, {case}", ours, peer, UNIT, higher_is_better=True, **targets)
