"""`permuted_state`: any family with the elements of its observations in another order, which only a task knows.

It is the exact case of the theorem behind a pre-layer (arXiv 2509.22310): a frozen policy of the family, and the
pre-layer that undoes the permutation, act in the permuted task as the policy does in the original one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from apb.tasks.family import Family, Physics, Rows
from apb.tasks.parameter import Parameter, Parameters


def permuted_state(family: type[Family]) -> type[Family]:
    """The family whose tasks are those of `family` with a further parameter `permutation`: observation i is number
    permutation[i] of the original ones."""

    @dataclass(frozen=True)
    class PermutedState(family):  # type: ignore[valid-type, misc]
        name: ClassVar[str] = f"{family.name}-permuted-state"
        formula: ClassVar[str] = f"{family.formula}; observation i is number permutation[i] of the original ones"

        @cached_property
        def parameters(self) -> Mapping[str, Parameter]:
            original = family(**self.switches)
            size = original.observation_size
            identity = tuple(float(element) for element in range(size))
            text = "which original observation is in each place"
            order = Parameter(text, identity, 0, size - 1, (size,), permutation=True)
            return {**original.parameters, "permutation": order}

        def observe(self, physics: Physics, parameters: Parameters) -> Rows:
            """See `Family`: the original's numbers, in the order that the task's permutation gives."""
            observation = super().observe(physics, parameters)
            rows = np.arange(len(observation))[:, np.newaxis]
            permuted: Rows = observation[rows, parameters["permutation"].astype(np.intp)]
            return permuted

    PermutedState.__name__ = PermutedState.__qualname__ = f"{family.__name__}PermutedState"
    PermutedState.__doc__ = f"{family.__name__} with permuted observations. {family.__doc__}"
    return PermutedState
