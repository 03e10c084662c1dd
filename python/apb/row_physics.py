"""`RowPhysics`: the simulations of R rows in one batch of MuJoCo, stepped and put where episodes begin."""

import os
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from apb.batches import new_batch
from apb.errors import SimulationError
from apb.mujoco_quiet import quiet
from apb.tasks.bounds import UNSTABLE, bounded
from apb.tasks.family import Family, Physics, read_only
from apb.tasks.parameter import Parameters
from apb.tasks.starts import Starts

Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]

_UNSTABLE = "the physics became unstable (NaN, infinite or huge numbers)"


class RowPhysics:
    """Simulations of a family's tasks, one in each of R rows.

    Args:
        family: The family.
        parameters: Of the rows' tasks, each (R, ...).
        rows: R.
        threads: The most threads that step them.

    Attributes:
        batch: MuJoCo's own; `batch.state` is all of the rows' states, (R, n).
        moving: Where in a state positions and velocities are.
        now: What the rows show.
        control: What the actuators are given in the next step, (R, nu); a live view.
        starts: Seeds of the rows, and how many episodes they began.
    """

    def __init__(self, family: Family, parameters: Parameters, rows: int, threads: int) -> None:
        self._family, self._process = family, os.getpid()
        with quiet:
            self.batch = new_batch(family.model, rows, threads)
            fields = family.model_fields(parameters)
            for name, per_row in fields.items():
                self.batch.expand(name)[...] = per_row
            if fields:
                # What MuJoCo derives from masses and inertias stays that of the shared model else.
                self.batch.set_const()
            # A reset by the batch wakes its threads, which costs more than to copy what it leaves.
            self.batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._initial = self.batch.state.copy()
        # In a state positions and velocities follow the time.
        first = mujoco.mj_stateSize(family.model, mujoco.mjtState.mjSTATE_TIME)
        self.moving = slice(first, first + family.model.nq + family.model.nv)
        self._moving_states = self.batch.state[:, self.moving]
        shown = {name: read_only(self.batch.bind(name)) for name in ("qpos", "qvel", *family.outputs)}
        self.now = Physics(shown.pop("qpos"), shown.pop("qvel"), shown)
        self.control = self.batch.bind("ctrl")
        self._warnings = self.batch.warning
        self.starts = Starts(rows)
        self._beginnings = self._initial.copy()
        self._used = np.ones(rows, dtype=np.bool_)

    def step(self, rows: Flags | None) -> dict[int, str]:
        """Step the marked rows by `frame_skip` substeps, None for all; returns what went wrong, by row."""
        failures: dict[int, str] = {}
        try:
            with quiet:
                self.batch.step(rows, self._family.frame_skip)
        except mujoco.batch.SimulationError as error:
            failures = {int(row): self.batch.error(int(row)) for row in error.ids}
        if np.count_nonzero(self._warnings):
            for row in np.flatnonzero(self._warnings[:, list(UNSTABLE), 1].any(axis=1)):
                failures.setdefault(int(row), _UNSTABLE)
            self._warnings[:] = 0
        if not bounded(self._moving_states):
            # MuJoCo would see it in the next step only, when this one has given its reward.
            for each, moving in enumerate(self._moving_states):
                if not bounded(moving[None]):
                    self.batch.state[each] = self._initial[each]
                    failures.setdefault(each, _UNSTABLE)
        return failures

    def seed(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """The next episodes of these rows are the first ones of these seeds."""
        self.starts.seed(rows, seeds)
        self._used[list(rows)] = True

    def begin(self, rows: Flags) -> None:
        """Put the marked rows where their next episodes begin."""
        if np.count_nonzero(self._used & rows):
            self._prepare(np.flatnonzero(self._used))
        np.copyto(self.batch.state, self._beginnings, where=rows[:, np.newaxis])
        self._used |= rows
        self.starts.episodes += rows
        if self._family.outputs:
            with quiet:
                self.batch.forward(rows)

    def loaded(self) -> None:
        """To be called when seeds, episodes or states were written to, or a step was left half done: what was prepared
        or found for other ones is dropped."""
        self._used[:] = True
        self._warnings[:] = 0

    def simulation(self, row: int) -> mujoco.MjData:
        """One row as it is now, with all that follows from its state."""
        data = self.batch.get_data(row)
        mujoco.mj_forward(self.batch.get_model(row), data)
        return data

    @property
    def inherited(self) -> bool:
        """Whether these are those of a process that this one was forked from."""
        return os.getpid() != self._process

    def require_own(self) -> None:
        """Raise `SimulationError` if they are `inherited`: their threads are not there, and would be waited for."""
        if self.inherited:
            raise SimulationError(
                f"this env of {self._family.name} was made in another process, whose threads a fork does not have; "
                "make a new one after the fork"
            )

    def _prepare(self, rows: Rows) -> None:
        """Find where the next episodes of these rows begin. It costs little more for all rows than for one."""
        model = self._family.model
        qpos, qvel = self._family.start(*self.starts.ahead(rows.tolist(), model.nq + model.nv, model.nv))
        self._beginnings[rows, self.moving] = np.concatenate([qpos, qvel], axis=1)
        self._used[rows] = False


def physics_of_rows(physics: Physics, rows: Rows) -> Physics:
    """Copies of these rows of what simulations show."""
    outputs: dict[str, Any] = {name: values[rows] for name, values in physics.outputs.items()}
    return Physics(physics.qpos[rows], physics.qvel[rows], outputs)
