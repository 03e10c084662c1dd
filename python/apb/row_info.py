"""`info` of a batched env in Gymnasium's form: an entry has values for some rows, and a mask beside it tells which."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


def of_rows(terms: Mapping[str, Values], mask: Flags) -> dict[str, Values]:
    """The marked rows' terms, 0 elsewhere."""
    return {name: np.where(mask, term, 0.0) for name, term in terms.items()}


def with_masks(terms: Mapping[str, Values], mask: Flags) -> dict[str, Any]:
    """Each term, and under its name with a _ before it for which rows it is: of all terms the same array `mask`."""
    found: dict[str, Any] = {**terms}
    for name in terms:
        found[f"_{name}"] = mask
    return found


def objects(values: Values, mask: Flags) -> NDArray[np.object_]:
    """Copies of the marked rows in an array of objects, None elsewhere, as final observations are passed."""
    out = np.empty(len(values), dtype=object)
    for row in np.flatnonzero(mask):
        out[row] = values[row].copy()
    return out
