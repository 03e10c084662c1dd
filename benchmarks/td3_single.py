"""`td3_single`: one TD3 run, an update per environment step, against SB3 and SBX with their best number of threads."""

from apb.errors import counted

from benchmarks.harness import Row, compare, fastest, installed, thread_counts
from benchmarks.td3_workers import Worker, rates

TOPIC = "td3_single"
MODULES = {"SB3": "stable_baselines3", "SBX": "sbx"}


def run(quick: bool) -> list[Row]:
    """Ours (plain TD3, the peers' network) and the peers, each with 1, 2, ... threads; the best against the best."""
    counts = thread_counts()
    kinds = {"apb": "plain TD3", "apb-frozen": "frozen backbone", "sb3": "SB3", "sbx": "SBX"}
    present = [kind for kind in kinds if kind not in ("sb3", "sbx") or installed(MODULES[kinds[kind]])]
    teams = {(kind, count): [Worker(kind, count)] for kind in present for count in counts}
    found = rates(teams, updates=60 if quick else 150, repetitions=3 if quick else 7)
    best = {kind: fastest(found, [(kind, count) for count in counts]) for kind in present}
    rows = []
    for kind in ("apb", "apb-frozen"):
        for peer in ("sb3", "sbx"):
            mine = (f"apb, {_threads(best[kind])}", found[best[kind]])
            other = (kinds[peer], None)
            if peer in present:
                other = (f"{kinds[peer]}, {_threads(best[peer])}", found[best[peer]])
            rows.append(_row(f"{kinds[kind]}, best threads", mine, other, 2 if peer == "sb3" else None))
    for count in counts:
        ours, peer = ("apb", count), ("sb3", count)
        other = (f"SB3, {_threads(peer)}", found.get(peer))
        rows.append(_row("plain TD3, same threads", (f"apb, {_threads(ours)}", found[ours]), other, None))
    return rows


def _row(case: str, ours: tuple[str, list], peer: tuple[str, list | None], min_ratio: float | None) -> Row:
    return compare(TOPIC, case, ours, peer, "updates/s", higher_is_better=True, min_ratio=min_ratio)


def _threads(contestant: tuple[str, int]) -> str:
    return counted(contestant[1], "thread")
