"""What a reset is asked for, checked: `reset_options`, and of a batched env `seeds_of_rows` and `reset_mask`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.errors import ConfigError, require_arguments, require_integer


def seeds_of_rows(seed: Any, rows: int) -> list[int | None]:
    """A seed for each row, None where it goes on with the seed before: s gives s, s + 1, ..., a sequence itself.

    Raises:
        ConfigError: a seed is no integer in [0, 2^63), or there are not as many as rows.
    """
    if seed is None:
        return [None] * rows
    if isinstance(seed, np.ndarray) and not seed.ndim:
        seed = seed[()]
    if not isinstance(seed, Sequence | np.ndarray):
        first = require_integer("seed", seed, 0, rng.MAX_SEED + 1 - rows)
        return list(range(first, first + rows))
    if len(seed) != rows:
        raise ConfigError(f"seed has {len(seed)} elements; expected one integer, or one for each of {rows} rows")
    return [
        None if each is None else require_integer(f"seed[{row}]", each, 0, rng.MAX_SEED)
        for row, each in enumerate(seed)
    ]


def reset_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of a reset.

    Raises:
        ConfigError: `options` is no mapping, or has a name that means nothing here, such as that of a parameter.
    """
    given = require_arguments("options", options)
    for name in given:
        if name != "reset_mask":
            raise ConfigError(
                f"options = {given!r:.100} of reset has {name!r}; expected no more than 'reset_mask': a task is chosen "
                "when its env is made, so make an env of another task"
            )
    return given


def reset_mask(options: Mapping[str, Any] | None, rows: int) -> NDArray[np.bool_]:
    """`options["reset_mask"]`, the rows that are to be reset, bool (rows,); all of them where it is not given.

    Raises:
        ConfigError: see `reset_options`; or the mask is no such array.
    """
    mask = reset_options(options).get("reset_mask")
    if mask is None:
        return np.ones(rows, dtype=np.bool_)
    try:
        array = np.asarray(mask)
    except ValueError as error:
        raise ConfigError(f"options['reset_mask'] = {mask!r:.100}; expected bool ({rows},)") from error
    if array.dtype != np.bool_ or array.shape != (rows,):
        raise ConfigError(f"options['reset_mask'] is {array.dtype} {array.shape}; expected bool ({rows},)")
    return array
