"""Recipes of the families whose tasks differ in their actuators or in the physics of their bodies."""

from collections.abc import Iterator
from itertools import chain, combinations

from apb.tasks.recipes.laws import Arguments, Draws, each, either, factors, far_factors, uniform
from apb.tasks.recipes.recipe import FRESH_TEST, MIER, NO_OOD, NO_OTHERS, PEARL, TAVT, Drawn, recipe
from apb.tasks.registry import family_named
from apb.tasks.splits import Split


def _negated(size: int, *flipped: tuple[int, ...]) -> Arguments:
    return each("signs", *([-1 if joint in joints else 1 for joint in range(size)] for joints in flipped))


def cheetah_negated_joints(family: str) -> Iterator[Split]:
    """Signs of six actions."""
    known = _negated(6, *combinations(range(5), 3))
    yield recipe(
        family,
        "mier",
        train=known,
        test=known,
        ood=_negated(6, *((*two, 5) for two in combinations(range(5), 2))),
        about="the front foot, joint 5, is flipped, beside two other joints; in training never, but three others",
        source=f"{MIER}, cheetah-negated-joints. {NO_OTHERS}",
    )


def ant_negated_joints(family: str) -> Iterator[Split]:
    """Signs of eight actions."""
    known = _negated(8, *combinations(range(7), 4))
    yield recipe(
        family,
        "mier",
        train=known,
        test=known,
        ood=_negated(8, *((*three, 7) for three in list(combinations(range(7), 3))[:15])),
        about="joint 7 is flipped, beside three other joints; in training never, but four others",
        source=f"{MIER}, ant-negated-joints. {NO_OTHERS}",
    )


def cheetah_permuted_joints(family: str) -> Iterator[Split]:
    """Swaps of two actions."""

    def swapped(one: int, other: int) -> list[int]:
        return [{one: other, other: one}.get(joint, joint) for joint in range(6)]

    back, front = range(3), range(3, 6)
    within = each("order", *(swapped(*pair) for pair in chain(combinations(back, 2), combinations(front, 2))))
    yield recipe(
        family,
        "swaps",
        train=within,
        test=within,
        ood=each("order", *(swapped(one, other) for one in back for other in front)),
        about="two joints of different legs are swapped; in training, of the same leg",
        source=f"{MIER}, cheetah-negated-joints with type swp, which it has no use for: the 15 swaps of two actuators. "
        "Ours: which are for training, and that the test tasks are the training tasks",
    )


def rand_params(family: str) -> Iterator[Split]:
    """Factors of masses, inertias, damping and friction."""
    law = factors(family_named(family)())
    source = f"{PEARL}, {family}, with rand_param_envs. Ours: the numbers drawn"
    yield recipe(family, "pearl", train=Drawn(40, law), test=Drawn(10, law), ood=[], about=NO_OOD, source=source)


def hopper_rand_params(family: str) -> Iterator[Split]:
    """The same, and factors that are far greater."""
    yield from rand_params(family)
    yield far_rand_params(family, "apb-ood", f"Ours: as {MIER} has it for walker-rand-params")


def walker_rand_params(family: str) -> Iterator[Split]:
    """The same, and factors that are far greater."""
    yield from rand_params(family)
    yield far_rand_params(family, "mier-ood", f"{MIER}, walker-rand-params with ood. {FRESH_TEST}")


def far_rand_params(family: str, name: str, source: str) -> Split:
    """Factors as of `rand_params`, and out of distribution ones that are far greater."""
    made = family_named(family)()
    train = factors(made)(Draws(f"{family}/{name}/train"), 40)
    return recipe(
        family,
        name,
        train=train,
        test=Drawn(10, factors(made)),
        ood=Drawn(20, far_factors(made, train)),
        about="each factor is |N(m + 5 s, s)|, m its mean and s its standard deviation over the training tasks",
        source=source,
    )


def mass(family: str) -> Iterator[Split]:
    """One factor of all masses."""
    source = f"{TAVT}, {family}-ood"
    yield recipe(
        family,
        "tavt",
        train=Drawn(100, either(uniform("exponent", 0, 0.5), uniform("exponent", 3, 3.5))),
        test=each("exponent", 0.1, 0.25, 3.1, 3.25),
        ood=each("exponent", 0.75, 1.25, 1.75, 2.25, 2.75),
        about="exponents in the gap (0.5, 3) between the training exponents: masses times 1.36 to 3.05",
        source=f"{source}. Ours: the numbers drawn",
    )
    yield recipe(
        family,
        "tavt-alt",
        train=Drawn(100, either(uniform("exponent", -3, -1), uniform("exponent", 1, 3))),
        test=each("exponent", -2.5, 2.5),
        ood=each("exponent", -0.5, 0.0, 0.5),
        about="exponents in the gap (-1, 1) between the training exponents: masses nearly as the model has them",
        source=f"{source} with the law of base3.py, where a comment has test and OOD list. Ours: the numbers drawn",
    )
