"""`elements_of`: which elements of an observation count in a pre-training, as a user says it."""

import re

import numpy as np
from numpy.typing import NDArray

from apb.errors import ConfigError

ALL = "all"

_PART = re.compile(r"(\d{1,18})|(\d{0,18}):(\d{0,18})", re.ASCII)


def elements_of(text: str, size: int) -> NDArray[np.int64]:
    """Indices into observations of `size` elements, ascending: "all"; or indices and slices with commas between them,
    as in Python: "0:2", "17", "0:2,17", ":15".

    Raises:
        ConfigError: it is none of that, or there is no such element.
    """
    expected = (
        f"expected {ALL!r}, or indices and slices of {size} elements, from 0, with commas between them: '0:2' for the "
        "first two"
    )
    if text == ALL:
        return np.arange(size)
    chosen: set[int] = set()
    for part in text.split(",") if isinstance(text, str) else [""]:
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise ConfigError(f"elements = {text!r:.100}; {expected}")
        index, first, last = found.groups()
        if index is not None:
            first, last = index, str(int(index) + 1)
        numbers = range(int(first or 0), int(last or size))
        if not numbers or numbers[-1] >= size:
            raise ConfigError(
                f"elements = {text!r:.100} has {part.strip()!r:.50}, which is no part of them; {expected}"
            )
        chosen.update(numbers)
    return np.array(sorted(chosen))
