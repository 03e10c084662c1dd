"""`profile`: where the time of one adaptation goes; what is none of the named phases must stay below a tenth."""

import tempfile
from pathlib import Path

import apb

from benchmarks.harness import Row, compare

TOPIC = "profile"


def run(quick: bool) -> list[Row]:
    """HalfCheetah with all defaults but a short budget, evaluations and a run folder; percent of the wall time."""
    steps = 2_000 if quick else 6_000
    rows = []
    for strategy in ("action_noise", "param_noise"):
        with tempfile.TemporaryDirectory() as folder:
            result = apb.adapt(
                "HalfCheetah-v5",
                "random",
                strategy=strategy,
                total_timesteps=steps,
                learning_starts=steps // 4,
                eval_freq=steps // 2,
                n_eval_episodes=2,
                run_dir=Path(folder) / "run",
            )
        for phase, seconds in sorted(result.profile.items(), key=lambda item: -item[1]):
            share = 100 * seconds / result.wall_time
            limit = 10.0 if phase == "rest" else None
            rows.append(
                compare(
                    TOPIC,
                    f"{strategy}: {phase}",
                    ("apb", [share]),
                    None,
                    "% of time",
                    higher_is_better=False,
                    limit=limit,
                )
            )
    return rows
