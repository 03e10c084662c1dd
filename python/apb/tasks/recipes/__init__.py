"""Recipes: how the tasks of every split were drawn; `python -m apb.tasks.recipes` writes them to `data/`.

A split that has been published is never changed: a test has the hashes of all. Another draw gets another name. What the
originals leave open is decided here, and said in `source`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from apb.files import atomic_file, dump_json
from apb.tasks.recipes.dynamics import (
    ant_negated_joints,
    cheetah_negated_joints,
    cheetah_permuted_joints,
    hopper_rand_params,
    mass,
    walker_rand_params,
)
from apb.tasks.recipes.laws import Draws, permutations
from apb.tasks.recipes.recipe import arguments_of, labelled, recipe
from apb.tasks.recipes.rewards import ant_dir, ant_goal, cheetah_dir, cheetah_vel, humanoid_dir
from apb.tasks.registry import family_named
from apb.tasks.scale import SCALED_SPLITS
from apb.tasks.splits import DATA, LISTS, Split

MAX_PERMUTED = 10
"""OOD tasks of a `theorem` at most."""


def all_splits() -> Iterator[Split]:
    """Draw all splits of the package, those of a family one after another."""
    for family, splits in RECIPES.items():
        yield from splits(family)
    for family, splits in RECIPES.items():
        yield theorem(next(split for split in splits(family) if split.name == SCALED_SPLITS[family]))


def write(folder: Path = DATA) -> None:
    """Write a file for each family."""
    families: dict[str, list[Split]] = {}
    for split in all_splits():
        families.setdefault(split.family, []).append(split)
    for family, splits in families.items():
        with atomic_file(folder / f"{family}.json") as file:
            file.write(text_of(splits).encode())


def text_of(splits: Sequence[Split]) -> str:
    """The file of a family: JSON with a line for each task."""
    objects = []
    for split in splits:
        data = split.to_json()
        lines = [f"{dump_json(key)}: {dump_json(value)}" for key, value in data.items() if key not in LISTS]
        for part in LISTS:
            tasks = ",\n".join(dump_json(task) for task in data[part])
            lines.append(f"{dump_json(part)}: [\n{tasks}\n]")
        objects.append(f"{dump_json(split.name)}: {{\n" + ",\n".join(lines) + "\n}")
    return '{"splits": {\n' + ",\n".join(objects) + "\n}}\n"


def as_dense(dense: str) -> Callable[[str], Iterator[Split]]:
    """The splits of a sparse family: the tasks of the family `dense`."""

    def splits(family: str) -> Iterator[Split]:
        for split in RECIPES[dense](dense):
            parts = {
                part: labelled(f"{family}/{split.name}/{part}", arguments_of(getattr(split, part))) for part in LISTS
            }
            source = f"As {split}, number by number; the reward is ours. {split.source}"
            yield Split(family, split.name, **parts, about=split.about, source=source)

    return splits


def theorem(base: Split) -> Split:
    """The split of a permuted-state family: the tasks of `base`, and its test tasks in permuted states."""
    family = f"{base.family}-permuted-state"
    law = permutations("permutation", family_named(family)().observation_size)
    orders = law(Draws(f"{family}/theorem/ood"), min(MAX_PERMUTED, len(base.test)))
    test = arguments_of(base.test)
    return recipe(
        family,
        "theorem",
        train=arguments_of(base.train),
        test=test,
        ood=[{**task, **order} for task, order in zip(test, orders, strict=False)],
        about=f"observations are in another order; in training they have their own, and all else is as in {base}",
        source=f"Ours: the exact case of APB's theorem (arXiv 2509.22310). {base} is {base.source}",
    )


RECIPES: dict[str, Callable[[str], Iterator[Split]]] = {
    "cheetah-vel": cheetah_vel,
    "cheetah-dir": cheetah_dir,
    "ant-dir": ant_dir,
    "ant-goal": ant_goal,
    "humanoid-dir": humanoid_dir,
    "hopper-rand-params": hopper_rand_params,
    "walker-rand-params": walker_rand_params,
    "cheetah-negated-joints": cheetah_negated_joints,
    "cheetah-permuted-joints": cheetah_permuted_joints,
    "ant-negated-joints": ant_negated_joints,
    "hopper-mass": mass,
    "walker-mass": mass,
    "sparse-cheetah-vel": as_dense("cheetah-vel"),
    "sparse-ant-goal": as_dense("ant-goal"),
}
"""The splits of each family, in their order."""
