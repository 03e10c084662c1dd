"""The exceptions and warnings of the package: each refines `ApbError` and the builtin that it specialises."""

import difflib
from collections.abc import Iterable


class ApbError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(ApbError, ValueError):
    """An argument has a value outside its range, or two arguments contradict each other."""


class UnknownNameError(ConfigError, LookupError):
    """A name (strategy, backbone, option, environment) is not one of the known ones."""


class InvalidEnvError(ApbError, ValueError):
    """An environment cannot be used: unsupported spaces, unbounded actions, wrong shapes, or it cannot be made."""


class SimulationError(ApbError, RuntimeError):
    """An environment raised or returned a non-finite or malformed value while it was running."""


class DivergenceError(ApbError, ArithmeticError):
    """A loss or parameter became NaN or infinite while learning."""


class MismatchError(ApbError, ValueError):
    """Two things do not belong together: a policy and an env, a checkpoint and a backbone, a file and a format
    version."""


class FileFormatError(ApbError, ValueError):
    """A file is truncated, tampered with, oversized, or not of the expected format."""


class RunFolderError(ApbError, OSError):
    """A run folder is not empty, is in use by another process, has no checkpoint, or cannot be written."""


class ApbWarning(UserWarning):
    """Base of every warning that this package issues, so that users can filter them."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest of the `known` names, if one is near, and the list of all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"


def require_range(argument: str, value: float, low: float, high: float, *, low_open: bool = False) -> None:
    """Raise `ConfigError` unless `low <= value <= high` (`low < value` with `low_open`); NaN never passes."""
    inside = (low < value if low_open else low <= value) and value <= high
    if not inside:
        bracket = "(" if low_open else "["
        raise ConfigError(f"{argument} = {value!r} is out of range; expected a number in {bracket}{low:g}, {high:g}]")
