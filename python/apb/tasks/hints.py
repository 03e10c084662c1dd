"""`hint_on`: what a family may have meant by a name that caused an error in one of its methods."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from apb.errors import nearest_name
from apb.tasks.family import Family, Physics
from apb.tasks.parameter import Parameter


def hint_on(error: BaseException, family: Family) -> str:
    """Advice that begins with a space, or nothing: on an unknown key, attribute or argument."""
    try:
        return _hint_on(error, family)
    except Exception:  # of what the family is made of; what counts is the error that the hint is on
        return ""


def _hint_on(error: BaseException, family: Family) -> str:
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return _on_key(error.args[0], family)
    if isinstance(error, AttributeError) and error.name is not None:
        return _on_attribute(error.name, error.obj, family)
    unexpected = re.match(r"Parameter\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if isinstance(error, TypeError) and unexpected:
        return _meant(unexpected[1], [field.name for field in fields(Parameter)])
    return ""


def _on_key(name: str, family: Family) -> str:
    parameters = list(_parameters(family))
    if name in _data_fields() and name not in family.outputs:
        return f" Name {name!r} in `outputs`."
    listed = f" Its parameters are {', '.join(parameters)}." if parameters else ""
    return _meant(name, [*parameters, *family.outputs]) or listed


def _on_attribute(name: str, owner: object, family: Family) -> str:
    if isinstance(owner, Physics) and name in _data_fields():
        return f" Name {name!r} in `outputs`, and read physics.outputs[{name!r}]."
    if isinstance(owner, Mapping):
        return f" It is a dict: write [{name!r}]." if name in owner else _meant(name, owner)
    if owner is family and name in _parameters(family):
        return f" Its values, one of each row, are parameters[{name!r}]."
    return _meant(name, [each for each in dir(owner) if not each.startswith("_")])


def _parameters(family: Family) -> Mapping[str, Any]:
    try:
        return {name: each for name, each in family.parameters.items() if isinstance(name, str)}
    except Exception:  # it is what raised
        return {}


def _data_fields() -> Iterable[str]:
    from mujoco.batch import DATA_FIELDS  # here, since an older MuJoCo has no batches

    known: Iterable[str] = DATA_FIELDS
    return known


def _meant(name: str, known: Iterable[str]) -> str:
    meant = nearest_name(name, known)
    return "" if meant is None else f" Did you mean {meant!r}?"
