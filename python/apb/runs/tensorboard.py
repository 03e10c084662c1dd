"""`TensorBoard`: the numbers of a run's history as TensorBoard events, when the package is installed."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class TensorBoard:
    """Writes scalars with `torch.utils.tensorboard`; does nothing when `tensorboard` or `torch` is not installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._enabled = all(importlib.util.find_spec(name) is not None for name in ("tensorboard", "torch"))
        self._purge_step: int | None = None
        self._writer: Any = None

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write every metric that is a number, at timestep `step`."""
        if not self._enabled:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
        for key, value in metrics.items():
            if key != "timesteps" and isinstance(value, (int, float, np.number)):
                self._writer.add_scalar(key, float(value), step)
        self._writer.flush()

    def purge(self, step: int) -> None:
        """Hide what was written at timestep `step` or later: a resumed run writes it again."""
        self.close()
        self._purge_step = step

    def close(self) -> None:
        """Flush and close the event file; a later `write` opens a new one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
