"""The exceptions and warnings of the package: each refines `ApbError` and the builtin that it specialises."""

import difflib
from collections.abc import Iterable
from numbers import Integral


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


USUAL_NAMES = {
    "critic_lr": "critic_learning_rate",
    "discount": "gamma",
    "evaluate": "eval",
    "fit": "adapt",
    "kaiming": "he",
    "learn": "adapt",
    "lr": "learning_rate",
    "max_steps": "total_timesteps",
    "n_steps": "total_timesteps",
    "num_seeds": "n_seeds",
    "num_steps": "total_timesteps",
    "polyak": "tau",
    "pop_size": "population_size",
    "replay_size": "buffer_size",
    "start_steps": "learning_starts",
    "steps": "total_timesteps",
    "train": "adapt",
    "warmup": "learning_starts",
}
"""What users of other libraries call things -> what they are called here."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the `known` name that was meant, if that can be told, and the list of all."""
    names = sorted(known)
    found = nearest_name(name, names)
    hint = "" if found is None else f"did you mean {found!r}? "
    return f"{hint}known: {', '.join(names)}"


def usual_name(name: str, known: Iterable[str]) -> str | None:
    """Return the `known` name that `name` means in other libraries."""
    usual = USUAL_NAMES.get(name.lower().replace("-", "_"))
    return usual if usual in set(known) else None


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the `known` name that `name` means in other libraries, or is spelled like; None if nothing is near."""
    by_lower = {each.lower(): each for each in known}
    usual = usual_name(name, by_lower)
    if usual is not None:
        return by_lower[usual]
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def require_integer(argument: str, value: object, low: int, high: int) -> int:
    """Return `value` as an int if it is one in [low, high], or such a float (1e5); raise `ConfigError` otherwise."""
    whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (whole or isinstance(value, Integral)):
        raise ConfigError(f"{argument} = {value!r} is a {type(value).__name__}; expected an integer in [{low}, {high}]")
    integer = int(value)  # type: ignore[call-overload]
    require_range(argument, integer, low, high)
    return int(integer)


def require_range(argument: str, value: float, low: float, high: float, *, low_open: bool = False) -> None:
    """Raise `ConfigError` unless `low <= value <= high` (`low < value` with `low_open`); NaN never passes."""
    inside = (low < value if low_open else low <= value) and value <= high
    if not inside:
        bracket = "(" if low_open else "["
        raise ConfigError(f"{argument} = {value!r} is out of range; expected a number in {bracket}{low}, {high}]")
