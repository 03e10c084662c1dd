"""`Law`: a distribution of tasks, from which any number of them is drawn; `Draws` has the random numbers of one list.

The generator is the package's own Philox, in float64, so that the numbers depend on no release of NumPy. Numbers that
are not whole are rounded to 6 decimals: no mathematical library decides about the last bits of a logarithm or a cosine.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb import _native, rng
from apb.tasks.family import Family

Arguments = list[dict[str, Any]]
"""Of each task of a list."""

Numbers = NDArray[np.float64]

DECIMALS = 6
SEED = 0


class Draws:
    """Random numbers of the list that is called `label`; every call gives new ones.

    The label is the first word of the Philox counter, by its SHA-256: another list changes the numbers of no other one.
    """

    def __init__(self, label: str) -> None:
        self._word = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little")
        self._calls = 0

    def uniform(self, *shape: int) -> Numbers:
        """Numbers uniform on [0, 1)."""
        flat = np.empty(math.prod(shape))
        key = rng.key(SEED, rng.Stream.TASK_DRAW)
        _native.philox_uniform(key, rng.counter(self._word, self._calls), flat)
        self._calls += 1
        return flat.reshape(shape)

    def normal(self, *shape: int) -> Numbers:
        """Standard normal numbers, by the method of Box and Muller, each from two uniform ones."""
        radius = np.sqrt(-2 * np.log(1 - self.uniform(*shape)))
        numbers: Numbers = radius * np.cos(2 * math.pi * self.uniform(*shape))
        return numbers


Law = Callable[[Draws, int], Arguments]


def each(name: str, *values: Any) -> Arguments:
    """One task for each value of the parameter `name`."""
    return [{name: value} for value in values]


def rounded(values: Numbers) -> Any:
    """Numbers as a file has them: nested lists."""
    return np.round(values, DECIMALS).tolist()


def uniform(name: str, low: float, high: float) -> Law:
    """A number uniform on [low, high)."""
    return lambda draws, count: each(name, *rounded(low + (high - low) * draws.uniform(count)))


def annulus(name: str, low: float, high: float) -> Law:
    """A point of the plane, uniform in the area between the radii `low` and `high` around 0."""

    def law(draws: Draws, count: int) -> Arguments:
        radius = np.sqrt(low**2 + (high**2 - low**2) * draws.uniform(count))
        angle = 2 * math.pi * draws.uniform(count)
        return each(name, *rounded(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)))

    return law


def either(first: Law, second: Law, probability: float = 0.5) -> Law:
    """Of `first` with this probability, else of `second`."""

    def law(draws: Draws, count: int) -> Arguments:
        chosen = draws.uniform(count) < probability
        both = zip(chosen, first(draws, count), second(draws, count), strict=True)
        return [one if is_first else other for is_first, one, other in both]

    return law


LARGEST_EXPONENT = 3.0
BASES = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
"""Of the factors of rand_param_envs: base^u, u uniform on [-3, 3), drawn for each element of the field."""


def factors(family: Family) -> Law:
    """Factors of the model's fields, as in rand_param_envs."""

    def law(draws: Draws, count: int) -> Arguments:
        values = {}
        for name, base in BASES.items():
            exponents = LARGEST_EXPONENT * (2 * draws.uniform(count, *family.parameters[name].shape) - 1)
            values[name] = rounded(np.power(base, exponents))
        return [{name: values[name][task] for name in BASES} for task in range(count)]

    return law


def far_factors(family: Family, train: Arguments) -> Law:
    """Factors |N(m + 5 s, s)| with mean m and standard deviation s of each element over the tasks `train`, as in MIER;
    clipped to the range of the parameter."""

    def law(draws: Draws, count: int) -> Arguments:
        values = {}
        for name in BASES:
            parameter, known = family.parameters[name], np.array([task[name] for task in train])
            deviation = known.std(axis=0)
            drawn = np.abs(known.mean(axis=0) + (5 + draws.normal(count, *parameter.shape)) * deviation)
            values[name] = rounded(np.clip(drawn, parameter.low, parameter.high))
        return [{name: values[name][task] for name in BASES} for task in range(count)]

    return law


def permutations(name: str, size: int) -> Law:
    """The numbers 0 to size - 1 in any order."""
    return lambda draws, count: each(name, *np.argsort(draws.uniform(count, size), axis=1).tolist())
