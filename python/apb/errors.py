"""The exceptions and warnings of the package: each refines `ApbError` and the builtin that it specialises."""

import difflib
import math
import os
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from typing import Any


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
    """A run folder is not empty, is in use by another process, has no checkpoint, or cannot be read or written."""


class ApbWarning(UserWarning):
    """Base of every warning that this package issues, so that users can filter them."""


USUAL_NAMES = {
    "algo": "strategy",
    "algorithm": "strategy",
    "callbacks": "callback",
    "critic_lr": "critic_learning_rate",
    "cuda": "device=cuda",
    "discount": "gamma",
    "enjoy": "render",
    "evaluate": "eval",
    "exp_name": "run_dir",
    "fit": "adapt",
    "gpu": "device=cuda",
    "kaiming": "he",
    "learn": "adapt",
    "log_dir": "run_dir",
    "logdir": "run_dir",
    "lr": "learning_rate",
    "max_steps": "total_timesteps",
    "n": "total_timesteps",
    "n_envs": "n_seeds",
    "n_jobs": "num_threads",
    "n_steps": "total_timesteps",
    "num_envs": "n_seeds",
    "num_seeds": "n_seeds",
    "num_steps": "total_timesteps",
    "num_workers": "num_threads",
    "output": "run_dir",
    "output_dir": "run_dir",
    "play": "render",
    "policy_kwargs": "backbone",
    "polyak": "tau",
    "pop_size": "population_size",
    "popsize": "population_size",
    "progress_bar": "callback=apb.ProgressBarCallback()",
    "replay_size": "buffer_size",
    "save_path": "run_dir",
    "start_steps": "learning_starts",
    "steps": "total_timesteps",
    "tensorboard_log": "run_dir",
    "train": "adapt",
    "verbose": "callback=apb.ProgressBarCallback()",
    "video": "render",
    "warmup": "learning_starts",
}
"""What users of other libraries call things -> what they are called here, with the value where that says it too."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the `known` name that was meant, if that can be told, and the list of all."""
    names = sorted(known)
    found = nearest_name(name, names)
    hint = "" if found is None else f"did you mean {found!r}? "
    return f"{hint}known: {', '.join(names)}"


def require_name(argument: str, value: object, known: Iterable[str]) -> str:
    """Return `value` if it is one of the `known` names; else raise `UnknownNameError`, with the nearest."""
    names = set(known)
    if not isinstance(value, str) or value not in names:
        word = value if isinstance(value, str) else ""
        raise UnknownNameError(f"{argument} = {_shown(value)} is unknown; {nearest(word, names)}")
    return value


def usual_name(name: str, known: Iterable[str]) -> str | None:
    """Return the `known` name that `name` means in other libraries, perhaps with its value: `device=cuda`."""
    usual = USUAL_NAMES.get(name.lower().replace("-", "_"), "")
    return usual if usual.partition("=")[0] in set(known) else None


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the `known` name that `name` means in other libraries, or is spelled like; None if nothing is near."""
    by_lower = {each.lower(): each for each in known}
    usual = usual_name(name, by_lower)
    if usual is not None:
        return by_lower.get(usual, usual)
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def nearest_path(path: Path, *roots: Path, ending: str = "") -> str:
    """Return a part of an error message: the folder, or the file with this `ending`, beside `path` or in `roots`, whose
    name is spelled like it."""
    known: dict[Path, str] = {}
    for root in (path.parent, *roots):
        with suppress(OSError):
            children = sorted(
                child for child in root.iterdir() if (child.suffix == ending if ending else child.is_dir())
            )
            known |= {child: child.name.removesuffix(ending) for child in children}
    close = difflib.get_close_matches(path.stem if ending else path.name, list(known.values()), n=1)
    return next((f"; did you mean {str(child)!r}?" for child, name in known.items() if [name] == close), "")


def counted(number: int, noun: str) -> str:
    """Return "1 episode", "2 episodes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def raised(error: BaseException) -> str:
    """Return class and text of an error in somebody else's code; where it lies, if there is no text."""
    text = ""
    with suppress(Exception):  # its text may be made by code that fails too
        text = str(error)
    if not text and (frames := traceback.extract_tb(error.__traceback__)):
        text = f"at {frames[-1].filename}:{frames[-1].lineno}"
    return f"{type(error).__name__}: {text}"


def require_integer(argument: str, value: object, low: int, high: int) -> int:
    """Return `value` as an int if it is one in [low, high], or such a float (1e5); raise `ConfigError` otherwise."""
    try:
        whole = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    except OverflowError:  # a fraction beyond the floats, and beyond any range
        whole = True
    if isinstance(value, bool) or not whole:
        raise ConfigError(
            f"{argument} = {_shown(value)} is a {type(value).__name__}; expected an integer in [{low}, {high}]"
        )
    integer = int(value)  # type: ignore[call-overload]
    require_range(argument, integer, low, high)
    return int(integer)


def require_number(argument: str, value: object) -> float:
    """Return `value`, a real number of Python or NumPy, as a float; raise `ConfigError` if it is none or not finite."""
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # an integer beyond the floats
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{argument} = {_shown(value)}; expected a finite number")
    return number


def require_flag(argument: str, value: object) -> bool:
    """Return `value` as a bool if it is one of Python or NumPy; raise `ConfigError` otherwise."""
    import numpy as np  # here, so that importing the package does not wait for it

    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{argument} = {value!r}; expected True or False")
    return bool(value)


def require_arguments(argument: str, value: object) -> dict[str, Any]:
    """Return `value`, a mapping from names or None, as a new dict; raise `ConfigError` for anything else."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{argument} = {_shown(value)} is a {type(value).__name__}; expected a dict of arguments")
    return dict(value or {})


def require_path(argument: str, value: object) -> Path:
    """Return `value`, text or a path object, as a `Path`; raise `ConfigError` for what no file can be called."""
    name = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(name, str):
        raise ConfigError(f"{argument} = {value!r:.100} is a {type(value).__name__}; expected text or a pathlib.Path")
    if not name:
        raise ConfigError(f"{argument} = '' is no name; expected that of a file or folder (the current one is '.')")
    if "\0" in name:
        raise ConfigError(f"{argument} = {name!r:.100} has a NUL character in it; expected the name of a folder")
    return Path(name)


def require_range(argument: str, value: float, low: float, high: float, *, low_open: bool = False) -> None:
    """Raise `ConfigError` unless `low <= value <= high` (`low < value` with `low_open`); NaN never passes."""
    inside = (low < value if low_open else low <= value) and value <= high
    if not inside:
        bracket = "(" if low_open else "["
        raise ConfigError(f"{argument} = {_shown(value)} is out of range; expected a number in {bracket}{low}, {high}]")


def _shown(value: object) -> str:
    try:
        return f"{value!r:.100}"
    except Exception:  # Python does not write out integers of more than 4300 digits, for one
        return f"a {type(value).__name__}"
