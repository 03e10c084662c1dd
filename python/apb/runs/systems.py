"""On what system each part of a run was computed, so that a change is told: a run is bit for bit itself on one only.

A list of stretches, `{"timesteps": 3000, "system": {"mujoco": "4.0.0", ...}}`, each until the next one's timestep. It
travels with the training state, so that a run that goes back to an older checkpoint forgets what it leaves behind.
"""

import warnings
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from apb.errors import ApbWarning, FileFormatError, RunFolderError
from apb.files import COUNT, Kind, list_of, object_with, read_json, require_fields, table_of
from apb.system_info import system_info

Stretches = list[dict[str, Any]]

NAME = Kind(
    "printable text of at most 200 characters",
    lambda value: isinstance(value, str) and value.isprintable() and len(value) <= 200,
)
SYSTEMS = {"systems": list_of(object_with({"timesteps": COUNT, "system": table_of(NAME)}))}
"""What files have of them, if they are not older."""

INFO_FILE = "system_info.json"


def deciding(info: Any) -> dict[str, str]:
    """What of a `system_info` decides the bits of a run, as far as it is known: versions, instruction set, processor.

    `info` may be anything that a file holds.
    """
    known = info if isinstance(info, dict) else {}
    packages = known.get("packages")
    named = {
        **(packages if isinstance(packages, dict) else {}),
        "instruction set": known.get("isa"),
        "processor": known.get("cpu"),
    }
    return {name: value for name, value in named.items() if NAME.holds(value)}


def systems_at_start(run: Path) -> Stretches:
    """The only stretch of the run in `run` that is new, by its `system_info.json`; of one without, nothing is known."""
    try:
        info = read_json(run / INFO_FILE)
    except (FileFormatError, RunFolderError):  # it decides nothing
        info = None
    return [{"timesteps": 0, "system": deciding(info)}]


def continued(systems: Stretches, step: int, run: Path) -> Stretches:
    """The stretches of a run that goes on here from timestep `step`; a change is an `ApbWarning`."""
    last, now = systems[-1:], {"timesteps": step, "system": deciding(system_info())}
    if last and last[0]["system"] == now["system"]:
        return systems
    if changes := _changes(last[0] if last else {"system": {}}, now):
        warnings.warn(
            f"the run in {run} goes on from timestep {step} with {changes}, and may end with other bytes than one that "
            "was never interrupted; for the same bytes resume it with what it was computed with until then. Its "
            "result.json will name both",
            ApbWarning,
            stacklevel=5,
        )
    return [*systems, now]


def required_systems(values: Mapping[str, Any], place: str, remedy: str) -> Stretches:
    """The stretches in `values`, read from `place`. Raises `FileFormatError` for what are none."""
    found: Stretches = require_fields(values, SYSTEMS, place, remedy)["systems"]
    return found


def told(systems: Stretches) -> list[str]:
    """A line for each change in the middle of a run."""
    lines = [(after["timesteps"], _changes(before, after)) for before, after in pairwise(systems)]
    return [f"from step {step:,} on with {changes}: not bit for bit one run" for step, changes in lines if changes]


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What is known of both and differs: "mujoco 4.0.0 (was 3.9.0), torch ...", or ""."""
    old, new = before["system"], after["system"]
    return ", ".join(f"{name} {new[name]} (was {old[name]})" for name in new if old.get(name, new[name]) != new[name])
