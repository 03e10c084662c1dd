"""`require_forms`: what the methods of a family return has the form that envs need; looked at once for each env."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apb.errors import InvalidEnvError

if TYPE_CHECKING:
    from apb.tasks.family import Family, Physics


def require_forms(family: "Family", physics: "Physics", parameters: Mapping[str, NDArray[np.float64]]) -> None:
    """Raise `InvalidEnvError` if a method that a step calls returns other shapes or dtypes, or views of the physics.

    Args:
        family: The family.
        physics: Of R simulations at a start.
        parameters: Of the same.
    """
    rows, model = len(physics.qpos), family.model
    with np.errstate(all="ignore"):  # nothing has moved yet
        control = family.control(np.zeros((rows, family.action_size)), parameters)
        _require(family, "control", control, (rows, int(model.nu)))
        _require(family, "observe", family.observe(physics, parameters), (rows, family.observation_size), physics)
        position = family.position(physics)
        _require(family, "position", position, (rows, -1), physics)
        terms = family.reward_terms(physics, np.zeros(position.shape), control, parameters)
        if not isinstance(terms, dict) or not terms:
            raise _error(family, "reward_terms", repr(terms)[:60], "a dict of arrays by the name of the term")
        for name, term in terms.items():
            _require(family, f"reward_terms[{name!r}]", term, (rows,))
        _require(family, "terminated", family.terminated(physics), (rows,), dtype=np.bool_)


def size_of(family: "Family", observation: Any) -> int:
    """Elements of what `observe` returned for one row; raises the error of `require_forms`."""
    _require(family, "observe", observation, (1, -1))
    return int(observation.shape[1])


def _require(
    family: "Family",
    where: str,
    found: Any,
    shape: tuple[int, ...],
    physics: "Physics | None" = None,
    dtype: type[np.generic] = np.float64,
) -> None:
    """`found` is an array of its own, of this shape, where -1 is any size."""
    good = (
        isinstance(found, np.ndarray)
        and found.dtype == dtype
        and found.ndim == len(shape)
        and all(wanted in (-1, size) for size, wanted in zip(found.shape, shape, strict=True))
    )
    if not good:
        described = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else f"{found!r:.60}"
        sizes = ", ".join("n" if size == -1 else str(size) for size in shape)
        expected = f"an array of {np.dtype(dtype)} ({sizes}{',' * (len(shape) == 1)}), rows first"
        raise _error(family, where, described, expected)
    if physics is not None:
        for name, array in {"qpos": physics.qpos, "qvel": physics.qvel, **physics.outputs}.items():
            if np.shares_memory(found, array):
                raise _error(family, where, f"a view of physics.{name}", "an array of its own: a copy")


def _error(family: "Family", where: str, found: str, expected: str) -> InvalidEnvError:
    return InvalidEnvError(
        f"family {family.name!r}: {where} returned {found}; expected {expected}. apb.tasks.check_family tells more"
    )
