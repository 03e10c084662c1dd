"""`apb info`: what the package runs on."""

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from apb.cli.outcome import Outcome
from apb.system_info import system_info


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show versions, processor, instruction sets, threads and devices. No host name, user or path is in it."""

    json: bool = False
    """Print one JSON object on standard output instead of the table."""


def run(options: Options) -> Outcome:
    """Collect."""
    from apb import _native

    data = {**system_info(), "available_isas": list(_native.AVAILABLE_ISAS), "cuda": _cuda()}
    table = Table(show_header=False)
    for name, value in data.items():
        table.add_row(name.replace("_", " "), _text(value))
    return Outcome(data, [table])


def _cuda() -> dict[str, Any]:
    """The CUDA version that torch was built for, and its devices."""
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"version": torch.version.cuda, "devices": devices}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return "-" if value is None else str(value)
