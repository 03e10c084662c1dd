"""`require_like`: arrays that were read from a file are what the program would have written there."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from apb.errors import MismatchError


def require_like(found: Mapping[str, NDArray[Any]], own: Mapping[str, NDArray[Any]], what: str) -> None:
    """Raise `MismatchError`, naming `what`, unless `found` has the names, dtypes and shapes of `own`."""
    for name in sorted(found.keys() | own.keys()):
        described = [
            f"{arrays[name].dtype} {arrays[name].shape}" if name in arrays else "nothing" for arrays in (found, own)
        ]
        if described[0] != described[1]:
            raise MismatchError(
                f"{what} in the checkpoint holds {described[0]} as {name!r}; expected {described[1]}: it belongs to a "
                "run of other sizes or of another version, or was edited; use another checkpoint"
            )
