"""`td3_single`: one TD3 run, an update per environment step, against SB3 and SBX with their best number of threads."""

import statistics

from apb.threads import available_cpus

from benchmarks.harness import Row, compare, installed
from benchmarks.td3_workers import Worker, rates

TOPIC = "td3_single"
MODULES = {"SB3": "stable_baselines3", "SBX": "sbx"}


def run(quick: bool) -> list[Row]:
    """Ours (plain TD3, the peers' network) and the peers, each with 1, 2, ... threads; the best against the best."""
    counts = sorted({1, 2, available_cpus()} & set(range(1, available_cpus() + 1)))
    kinds = {"apb": "plain TD3", "apb-frozen": "frozen backbone", "sb3": "SB3", "sbx": "SBX"}
    present = [kind for kind in kinds if kind not in ("sb3", "sbx") or installed(MODULES[kinds[kind]])]
    teams = {f"{kind}/{count}": [Worker(kind, count)] for kind in present for count in counts}
    try:
        found = rates(teams, dict.fromkeys(teams, 1), steps=60 if quick else 150, repetitions=3 if quick else 7)
    finally:
        for (worker,) in teams.values():
            worker.close()
    best = {
        kind: max(counts, key=lambda count, kind=kind: statistics.median(found[f"{kind}/{count}"])) for kind in present
    }
    rows = []
    for kind in ("apb", "apb-frozen"):
        for peer in ("sb3", "sbx"):
            mine = (f"apb, {_threads(best[kind])}", found[f"{kind}/{best[kind]}"])
            other = (kinds[peer], None)
            if peer in present:
                other = (f"{kinds[peer]}, {_threads(best[peer])}", found[f"{peer}/{best[peer]}"])
            rows.append(_row(f"{kinds[kind]}, best threads", mine, other, 2 if peer == "sb3" else None))
    for count in counts:
        peer = (f"SB3, {_threads(count)}", found.get(f"sb3/{count}"))
        rows.append(_row("plain TD3, same threads", (f"apb, {_threads(count)}", found[f"apb/{count}"]), peer, None))
    return rows


def _row(case: str, ours: tuple[str, list], peer: tuple[str, list | None], min_ratio: float | None) -> Row:
    return compare(TOPIC, case, ours, peer, "updates/s", higher_is_better=True, min_ratio=min_ratio)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
