"""What envs promise of a family whose methods return what is of no use: an error that says so, before any step."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
from apb.errors import InvalidEnvError
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from apb.tasks.families.cheetah_vel import CheetahVel
from apb.tasks.single import TaskEnv
from wrong_families import overriding

NAME = "overridden"


def terms(change):
    return overriding("reward_terms", lambda found, *_: change(found))


ROWS = "{rows}"
WRONG = {
    "observation in float32": (
        overriding("observe", lambda found, *_: found.astype(np.float32)),
        "observe returned float32 (1, 20); expected an array of float64 (1, n), rows first",
    ),
    "observation without rows": (
        overriding("observe", lambda found, *_: found[0]),
        "observe returned float64 (20,); expected an array of float64 (1, n), rows first",
    ),
    "observation that is no array": (
        overriding("observe", lambda *_: None),
        "observe returned None; expected an array",
    ),
    "observation of one row for all": (
        overriding("observe", lambda found, *_: found[:1] if len(found) > 1 else found[:, :19]),
        None,
    ),
    "observation that is a view": (
        overriding("observe", lambda found, physics, *_: physics.qvel),
        "observe returned a view of physics.qvel; expected an array of its own: a copy",
    ),
    "position that is a view": (
        overriding("position", lambda found, physics, *_: physics.qpos[:, :1]),
        "position returned a view of physics.qpos; expected an array of its own: a copy",
    ),
    "position that is a number": (
        overriding("position", lambda found, *_: found[:, 0]),
        f"position returned float64 ({ROWS},); expected an array of float64 ({ROWS}, n), rows first",
    ),
    "control without an actuator": (
        overriding("control", lambda found, *_: found[:, :1]),
        f"control returned float64 ({ROWS}, 1); expected an array of float64 ({ROWS}, 6), rows first",
    ),
    "term with an axis too many": (
        terms(lambda found: {name: term[:, None] for name, term in found.items()}),
        f"returned float64 ({ROWS}, 1); expected an array of float64 ({ROWS},), rows first",
    ),
    "term that is a number": (
        terms(lambda found: found | {"alive": 1.0}),
        f"reward_terms['alive'] returned 1.0; expected an array of float64 ({ROWS},), rows first",
    ),
    "terms that are no dict": (
        terms(lambda found: found[next(iter(found))]),
        "; expected a dict of arrays by the name of the term",
    ),
    "ends in numbers": (
        overriding("terminated", lambda found, *_: found.astype(float)),
        f"terminated returned float64 ({ROWS},); expected an array of bool ({ROWS},), rows first",
    ),
    "one end for all": (
        overriding("terminated", lambda found, *_: bool(found.any())),
        f"terminated returned False; expected an array of bool ({ROWS},), rows first",
    ),
}


def envs(changed, monkeypatch):
    """How to begin an episode in a batched env and in one env of a family with these methods."""
    made = dataclass(frozen=True)(type("Overridden", (CheetahVel,), {"name": NAME, **changed}))
    monkeypatch.setitem(FAMILIES, NAME, made)
    return ((3, lambda: BatchedEnv(NAME, 3, num_threads=1).reset(seed=0)), (1, lambda: TaskEnv(NAME).reset(seed=0)))


@pytest.mark.parametrize("wrong", WRONG)
def test_a_method_that_returns_what_is_of_no_use_is_named_before_the_first_step(wrong, monkeypatch):
    changed, words = WRONG[wrong]
    for rows, begin in envs(changed, monkeypatch):
        if words is None and rows == 1:
            continue
        expected = (words or "observe returned float64 (1, 20); expected an array of float64 (3, 19)").format(rows=rows)
        with pytest.raises(InvalidEnvError, match=f"family 'overridden': .*{re.escape(expected)}") as caught:
            begin()
        assert str(caught.value).endswith("apb.tasks.check_family tells more")


def test_methods_are_looked_at_once_for_each_env(monkeypatch):
    calls = []
    changed = overriding("terminated", lambda found, *_: calls.append(len(found)) or found)
    for rows, begin in envs(changed, monkeypatch):
        begin()
        assert calls == [rows]
        calls.clear()
    env = BatchedEnv(NAME, 3, num_threads=1)
    for _ in range(2):
        env.reset(seed=0)
    for _ in range(4):
        env.step(np.zeros((3, 6)))
    assert len(calls) == 1 + 4
    calls.clear()
    env = TaskEnv(NAME)
    for _ in range(2):
        env.reset(seed=0)
    assert len(calls) == 1
