"""`strategies`: what exploring costs: steps per second with each strategy, against Gaussian noise on actions."""

from apb.errors import counted

from benchmarks.harness import Row, compare
from benchmarks.td3_workers import Worker, rates

TOPIC = "strategies"
PEER = "action_noise"
MAX_COST = 0.10
"""Of the steps per second, for flights."""

CASES = {
    PEER: {"strategy": PEER},
    "behavior_transfer, flights": {"strategy": "behavior_transfer", "extra_action": "off"},
    "behavior_transfer, extra action": {"strategy": "behavior_transfer", "flight_prob": 0.0},
    "behavior_transfer, both": {"strategy": "behavior_transfer"},
    "adaptive_param_noise": {"strategy": "adaptive_param_noise"},
}
TARGETS = {"behavior_transfer, flights": 1 - MAX_COST}


def run(quick: bool) -> list[Row]:
    """One seed each, with one thread, in turns."""
    teams = {case: [Worker("exploring", 1, **options)] for case, options in CASES.items()}
    found = rates(teams, updates=50 if quick else 300, repetitions=3 if quick else 9)
    ours = {case: (f"apb, {case}, {counted(1, 'thread')}", values) for case, values in found.items()}
    return [
        compare(
            TOPIC,
            f"HalfCheetah-v5, {case}",
            ours[case],
            ours[PEER],
            "steps/s",
            higher_is_better=True,
            min_ratio=TARGETS.get(case),
        )
        for case in teams
        if case != PEER
    ]
