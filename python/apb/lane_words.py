"""What people are told of the lanes of a run: where their tasks lie, what each lane is called in short, what it is."""

from collections.abc import Sequence
from itertools import takewhile

MOST_SEEDS = 5
"""Seeds in a row that are named one by one."""

MOST_LETTERS = 40
"""Of a lane's name in short: a task without a label is called by all its values."""


def common_place(names: Sequence[str]) -> str:
    """What all names have before a "/": "cheetah-vel/mier-hard" of two of its tasks; empty if that is nothing."""
    parts = zip(*(name.split("/")[:-1] for name in names), strict=False)
    return "/".join(part[0] for part in takewhile(lambda part: len(set(part)) == 1, parts))


def kind_of_lane(tasks: Sequence[str | None]) -> str:
    """What tells a lane from the others, "task", "seed" or "task and seed", given the task of each (None of one)."""
    if tasks[0] is None:
        return "seed"
    return "task" if len(set(tasks)) == len(tasks) else "task and seed"


def lane_names(tasks: Sequence[str | None], seeds: Sequence[int]) -> list[str]:
    """Each lane in short, by its task without what all have in common, and its seed where that tells it from others."""
    kind = kind_of_lane(tasks)
    named = [task or "" for task in tasks]
    place = common_place(named) if len(set(named)) > 1 else ""
    parts = {
        "task": [_cut(name.removeprefix(f"{place}/")) for name in named],
        "seed": [f"seed {seed}" for seed in seeds],
    }
    return [" ".join(words) for words in zip(*(parts[part] for part in kind.split(" and ")), strict=True)]


def seeds_in_words(tasks: Sequence[str | None], seeds: Sequence[int]) -> str:
    """The seeds of all lanes, "seeds 3, 4"; of several tasks, "seeds 3, 4 in each task", or nothing where each has one
    of its own, drawn from that of the run."""
    own = list(dict.fromkeys(seeds))
    if tasks[0] is not None and len(own) == len(seeds):
        return ""
    in_a_row = len(own) > MOST_SEEDS and own == list(range(own[0], own[0] + len(own)))
    numbers = f"{own[0]} to {own[-1]}" if in_a_row else ", ".join(map(str, own))
    named = f"seed{'s' if len(own) > 1 else ''} {numbers}"
    return named if len(own) == len(seeds) else f"{named} in each task"


def _cut(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 3]}..."
