"""`facts`: what there is to know of a family of tasks, as JSON values, for people and programs."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from apb.registration import env_id
from apb.tasks.family import Family


def facts(family: Family) -> dict[str, Any]:
    """Name, tasks, robot, reward, sizes, times, parameters and switches of a family.

    Texts are those of its docstrings; a parameter's "default" is broadcast to its "shape"; "robot" is None where the
    family itself says which model it has.
    """
    kind = type(family)
    return {
        "family": family.name,
        "about": " ".join(_paragraphs(kind)),
        "robot": _robot(kind),
        "env_id": env_id(family.name),
        "reward": family.formula,
        "horizon": family.horizon,
        "may_end_before": kind.terminated is not Family.terminated,
        "step_seconds": family.dt,
        "timestep_seconds": float(family.model.opt.timestep),
        "observation_size": family.observation_size,
        "observation": _observation(kind),
        "action_size": family.action_size,
        "parameters": {
            name: {
                "shape": list(parameter.shape),
                "default": np.asarray(parameter.default).tolist(),
                "expected": parameter.expected,
                "about": parameter.description,
            }
            for name, parameter in family.parameters.items()
        },
        "switches": {
            name: {"default": value, "about": _switch_texts(kind).get(name, "")}
            for name, value in family.switches.items()
        },
    }


def _classes(kind: type[Family]) -> Iterator[type]:
    """The class and those that it has its code from, without those that any family has."""
    return (each for each in kind.__mro__ if issubclass(each, Family) and each is not Family)


def _robot(kind: type[Family]) -> str | None:
    of_model = next((each for each in _classes(kind) if "xml" in vars(each)), kind)
    return None if of_model is kind else " ".join(_paragraphs(of_model))


def _observation(kind: type[Family]) -> str:
    """What the docstring of `observe` says that it is made of, which may be nothing."""
    own = next(vars(each)["observe"] for each in _classes(kind) if "observe" in vars(each))
    text = own.__doc__ or ""
    return " ".join(text.removeprefix("See `Family`").lstrip(":.").split())


def _doc(kind: type) -> str:
    text = vars(kind).get("__doc__") or ""
    # A dataclass without a docstring has one that repeats its signature.
    return "" if text.startswith(f"{kind.__name__}(") else inspect.cleandoc(text)


def _paragraphs(kind: type) -> list[str]:
    """Of a docstring, without its sections."""
    parts = _doc(kind).split("\n\n")
    return [" ".join(part.split()) for part in parts if not re.match(r"[A-Z][a-z]+:\n", part)]


def _switch_texts(kind: type[Family]) -> dict[str, str]:
    """What the docstrings say of each switch, in their sections "Switches"."""
    found: dict[str, str] = {}
    for each in _classes(kind):
        for part in _doc(each).split("\n\n"):
            if part.startswith("Switches:\n"):
                for entry in re.split(r"\n {4}(?! )", part)[1:]:
                    name, _, text = entry.partition(":")
                    found.setdefault(name, " ".join(text.split()))
    return found
