"""`TensorBoard`: the numbers of a run's history as TensorBoard events, when the package is installed."""

import importlib.util
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from apb.errors import ApbWarning


class TensorBoard:
    """Writes scalars with `torch.utils.tensorboard`; does nothing when `tensorboard` or `torch` is not installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._enabled = all(importlib.util.find_spec(name) is not None for name in ("tensorboard", "torch"))
        if self._enabled and not _is_text(folder):
            warnings.warn(
                f"TensorBoard cannot write below {folder}, whose name is not Unicode", ApbWarning, stacklevel=2
            )
            self._enabled = False
        self._purge_step: int | None = None
        self._writers: dict[Path, Any] = {}

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write every metric that is a number, at timestep `step`; those of a seed (and task) as a run of its own,
        "seed-3", so that the same metric of several seeds gives several curves in one chart."""
        if not self._enabled:
            return
        names = [re.sub(r"[^\w.-]+", "-", str(metrics["task"]))] if "task" in metrics else []
        names += [f"seed-{metrics['seed']}"] if "seed" in metrics else []
        folder = self._folder / "-".join(names)
        if folder not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[folder] = SummaryWriter(str(folder), purge_step=self._purge_step)
        for key, value in metrics.items():
            if key not in ("timesteps", "seed") and isinstance(value, (int, float, np.number)):
                self._writers[folder].add_scalar(key, float(value), step)
        self._writers[folder].flush()

    def purge(self, step: int) -> None:
        """Hide what was written at timestep `step` or later: a resumed run writes it again."""
        self.close()
        self._purge_step = step

    def close(self) -> None:
        """Flush and close the event files; a later `write` opens new ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # the bytes of a file name that are none stand as lone surrogates
        return False
    return True
