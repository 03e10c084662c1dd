"""Recipes of the families whose tasks differ in their reward."""

from collections.abc import Iterator
from math import pi

from apb.tasks.recipes.laws import Arguments, annulus, each, either, uniform
from apb.tasks.recipes.recipe import (
    FRESH_OOD,
    FRESH_TEST,
    LDM,
    MIER,
    NO_OOD,
    NO_OTHERS,
    PEARL,
    TAVT,
    TEST_IS_TRAIN,
    Drawn,
    arguments_of,
    recipe,
)
from apb.tasks.splits import Split


def cheetah_vel(family: str) -> Iterator[Split]:
    """Speeds."""

    def drawn(count: int, low: float, high: float) -> Drawn:
        return Drawn(count, uniform("velocity", low, high))

    def between(name: str, test: Arguments, source: str) -> Split:
        return recipe(
            family,
            name,
            train=Drawn(100, either(uniform("velocity", 0, 0.5), uniform("velocity", 3, 3.5))),
            test=test,
            ood=each("velocity", 0.75, 1.25, 1.75, 2.25, 2.75),
            about="speeds in m/s in the gap (0.5, 3) between the training speeds, [0, 0.5] and [3, 3.5]",
            source=source,
        )

    def outside(name: str, low: float, high: float, ood: Arguments) -> Split:
        return recipe(
            family,
            name,
            train=drawn(100, low, high),
            test=drawn(30, low, high),
            ood=ood,
            about=f"speeds in m/s below and above the training speeds, [{low}, {high}]",
            source=f"{TAVT}, cheetah-vel-ood with {name.removeprefix('tavt-')!r}. {FRESH_OOD}",
        )

    yield recipe(
        family,
        "pearl",
        train=drawn(100, 0, 3),
        test=drawn(30, 0, 3),
        ood=[],
        about=NO_OOD,
        source=f"{PEARL}, cheetah-vel: speeds in [0, 3] m/s. Ours: the numbers drawn",
    )
    yield recipe(
        family,
        "mier-medium",
        train=drawn(100, 0, 2.5),
        test=drawn(30, 0, 2.5),
        ood=drawn(30, 2.5, 3),
        about="speeds in m/s in [2.5, 3], just above the training speeds, [0, 2.5]",
        source=f"{MIER}, cheetah-vel with medium_OOD. {FRESH_TEST}",
    )
    hard = recipe(
        family,
        "mier-hard",
        train=drawn(100, 0, 1.5),
        test=drawn(30, 0, 1.5),
        ood=drawn(30, 2.5, 3),
        about="speeds in m/s in [2.5, 3], far above the training speeds, [0, 1.5]",
        source=f"{MIER}, cheetah-vel with hard_OOD. {FRESH_TEST}",
    )
    yield hard
    yield between(
        "ldm",
        each("velocity", 0.25, 3.25),
        f"{LDM}, cheetah-vel, which draws a new training task for each episode. Ours: 100 of them, and the numbers "
        "drawn",
    )
    yield between("tavt", each("velocity", 0.1, 0.25, 3.1, 3.25), f"{TAVT}, cheetah-vel-ood. Ours: the numbers drawn")
    yield outside("tavt-extra", 0.5, 3.0, each("velocity", 0.1, 0.25, 3.25, 3.5))
    yield outside("tavt-extra-hard", 1.0, 2.5, each("velocity", 0.25, 0.5, 0.75, 2.75, 3.0, 3.25))
    yield recipe(
        family,
        "mier-sensitivity",
        train=arguments_of(hard.train),
        test=arguments_of(hard.test),
        ood=each("velocity", 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 3.75, 4.0),
        about="speeds in m/s from 1.75 to 4, farther and farther above the training speeds, [0, 1.5]",
        source=f"{MIER}, cheetah-vel with medium_OOD_sensitivity, which has no training tasks. Ours: training and test "
        "list, those of mier-hard",
    )


def cheetah_dir(family: str) -> Iterator[Split]:
    """Forwards and backwards."""
    both = each("direction", 1, -1)
    source = f"{PEARL}, cheetah-dir: forwards and backwards. {TEST_IS_TRAIN}, as there"
    yield recipe(family, "pearl", train=both, test=both, ood=[], about=NO_OOD, source=source)
    yield recipe(
        family,
        "apb-ood",
        train=both[:1],
        test=both[:1],
        ood=both[1:],
        about="backwards; in training only forwards",
        source=f"Ours: the two tasks of {PEARL}, one for training. {TEST_IS_TRAIN}",
    )


def ant_dir(family: str) -> Iterator[Split]:
    """Directions in the plane."""

    def directions(*degrees: float) -> Arguments:
        return each("angle", *(degree / 180 * pi for degree in degrees))

    axes, diagonals = directions(0, 90, 180, 270), directions(45, 135, 225, 315)
    there_and_back = directions(0, 180)
    yield recipe(
        family,
        "pearl",
        train=there_and_back,
        test=there_and_back,
        ood=[],
        about=NO_OOD,
        source=f"{PEARL}, ant-dir with forward_backward, as its paper describes it. {TEST_IS_TRAIN}, as there",
    )
    yield fourth_quadrant(family, "mier-ood", f"{MIER}, ant-dir with ood. {FRESH_TEST}")
    yield recipe(
        family,
        "ldm",
        train=axes,
        test=axes,
        ood=diagonals,
        about="the four directions half-way between the training directions, which are those of the axes",
        source=f"{LDM}, ant-dir. {TEST_IS_TRAIN}, as there",
    )
    yield recipe(
        family,
        "tavt-2",
        train=directions(0, 90),
        test=directions(45),
        ood=directions(135, 315),
        about="directions outside of the quarter between the training directions, 0 and 90 degrees",
        source=f"{TAVT}, ant-dir-2, which calls 45 degrees, between the training directions, in-distribution",
    )
    yield recipe(
        family,
        "tavt-4",
        train=axes,
        test=axes,
        ood=diagonals,
        about="the four directions half-way between the training directions, which are those of the axes",
        source=f"{TAVT}, ant-dir-4. {NO_OTHERS}",
    )


def fourth_quadrant(family: str, name: str, source: str) -> Split:
    """Directions in three quadrants, and out of distribution those in the fourth."""
    three_quarters = uniform("angle", 0, 1.5 * pi)
    return recipe(
        family,
        name,
        train=Drawn(100, three_quarters),
        test=Drawn(30, three_quarters),
        ood=each("angle", *((1.5 + step / 18) * pi for step in range(10))),
        about="directions in the fourth quadrant, [3/2 pi, 2 pi], edges included; the training ones are in the others",
        source=source,
    )


def ant_goal(family: str) -> Iterator[Split]:
    """Places around the start."""

    def goals(*radii: float) -> Arguments:
        return each(
            "goal", *([r * x, r * y] for r in radii for x, y in ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)))
        )

    def between(name: str, source: str) -> Split:
        return recipe(
            family,
            name,
            train=Drawn(150, either(annulus("goal", 0, 1), annulus("goal", 2.5, 3), 4 / 15)),
            test=goals(0.5, 2.75),
            ood=goals(1.75),
            about="goals 1.75 m away, in the gap (1, 2.5) between the training distances, [0, 1] and [2.5, 3] m",
            source=source,
        )

    def outside(name: str, low: float, high: float, *radii: float) -> Split:
        return recipe(
            family,
            name,
            train=Drawn(150, annulus("goal", low, high)),
            test=Drawn(30, annulus("goal", low, high)),
            ood=goals(*radii),
            about=f"goals nearer and farther than the training goals, which are [{low}, {high}] m away",
            source=f"{TAVT}, ant-goal-ood with {name.removeprefix('tavt-')!r}. {FRESH_OOD}",
        )

    yield recipe(
        family,
        "pearl",
        train=Drawn(150, annulus("goal", 0, 3)),
        test=Drawn(30, annulus("goal", 0, 3)),
        ood=[],
        about=NO_OOD,
        source=f"{PEARL}, ant-goal: the disc of 3 m around the start. Ours: the numbers drawn",
    )
    yield between(
        "ldm",
        f"{LDM}, ant-goal, which draws a new training task for each episode. Ours: 150 of them, and the numbers drawn",
    )
    yield between("tavt", f"{TAVT}, ant-goal-ood. Ours: the numbers drawn")
    yield outside("tavt-extra", 1.0, 2.5, 0.5, 3.0)
    yield outside("tavt-extra-hard", 1.5, 2.0, 0.5, 1.0, 2.5, 3.0)


def humanoid_dir(family: str) -> Iterator[Split]:
    """Directions in the plane."""
    law = uniform("angle", 0, 2 * pi)
    source = f"{PEARL}, humanoid-dir: any direction. Ours: the numbers drawn"
    yield recipe(family, "pearl", train=Drawn(100, law), test=Drawn(30, law), ood=[], about=NO_OOD, source=source)
    yield fourth_quadrant(family, "apb-ood", f"Ours: as {MIER} has it for ant-dir")
