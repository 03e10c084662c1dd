"""`td3_lanes`: the updates of several independent seeds per second, lanes in one process against processes of SB3."""

from apb.threads import available_cpus

from benchmarks.harness import Row, compare, installed
from benchmarks.td3_workers import Worker, rates

TOPIC = "td3_lanes"
TARGET = 400.0


def run(quick: bool) -> list[Row]:
    """K = 4 and 8 lanes on all cores against 4 SB3 processes with one thread each."""
    threads = available_cpus()
    lanes = {"apb 4": 4, "apb 8": 8}
    teams = {name: [Worker("apb", threads, lanes=count)] for name, count in lanes.items()}
    if installed("stable_baselines3"):
        teams["SB3"] = [Worker("sb3", 1) for _ in range(4)]
    found = rates(teams, updates=160 if quick else 400, repetitions=3 if quick else 7)
    peer = ("4 SB3 processes, 1 thread each", found.get("SB3"))
    return [
        compare(
            TOPIC,
            f"{count} lanes, plain TD3",
            (f"apb, {threads} threads", found[name]),
            peer,
            "task-updates/s",
            higher_is_better=True,
            limit=TARGET,
        )
        for name, count in lanes.items()
    ]
