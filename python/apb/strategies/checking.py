"""`check_strategy`: tells the author of a strategy which promise of `Strategy` it breaks."""

import json
import random
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from apb.errors import ApbError, ConfigError, raised
from apb.runs.state_files import read_state, write_state
from apb.strategies.base import Strategy, StrategyContext
from apb.strategies.trial import STEPS, Trial, settings
from apb.transitions import Transition

State = tuple[dict[str, NDArray[Any]], dict[str, Any]]

SEEDS = (3, 50)
SAVED_AT = (0, 5, 33, 77, 101)
"""Before the first step, in the warm-up, and in the middle of episodes."""


def check_strategy(strategy_type: object) -> None:
    """Try all that a strategy promises, and raise an error that tells the first promise that it breaks.

    It is led through a small learning problem with made-up transitions: two lanes, a warm-up, policies that learn,
    episodes that end and are cut short, steps that are no transition, and a reset of the learner; with one simulation
    per lane, and with as many as it wants, or three. What it writes into the learner's own arrays other than by
    `set_adapters` is not seen.

    Args:
        strategy_type: A subclass of `Strategy`, registered or not.

    Raises:
        ConfigError: what is wrong, where, what is expected, and what to do.
    """
    cls = _check_class(strategy_type)
    _check_name(cls)
    wanted = _check_slots(cls)
    for slots in (1, wanted if wanted > 1 else 3):
        generators = _global_generators()
        whole = _trial(cls, slots)
        saved = [_saved(cls, whole.go_to(step)) for step in SAVED_AT]
        whole.go_to(STEPS)
        _check_global_generators(cls, generators)
        _check_repeats(cls, whole)
        _check_lanes(cls, whole)
        for state in saved:
            _check_state_stays(cls, state)
            _check_state_fits(cls, state, slots)
            _check_resumption(cls, state, whole)


# --- the promises ----------------------------------------------------------------------------------------------------


def _check_class(found: object) -> type[Strategy]:
    """It is a subclass of `Strategy` with all methods that have no default."""
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise ConfigError(
            f"check_strategy({found!r:.100}); expected a subclass of apb.strategies.Strategy: give the class itself, "
            "not its name nor an object of it"
        )
    if missing := sorted(found.__abstractmethods__):
        raise _fault(found, missing[0], "is missing", "a method of this name", "see apb.strategies.Strategy")
    return found


def _check_name(cls: type[Strategy]) -> None:
    """It has a name of its own, one plain word."""
    from apb.strategies import STRATEGIES  # made after this file is imported

    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name)):
        found = "is missing" if name is None else f"is {name!r:.80}"
        expected = "a plain word of lower case letters, digits and _"
        raise _fault(cls, "name", found, expected, 'write `name = "my_noise"` into the class')
    if (other := STRATEGIES.get(name, cls)) is not cls:
        expected = f"a name that no other strategy has, and this is {other.__qualname__}'s"
        raise _fault(cls, "name", f"is {name!r}", expected, "choose another one: run folders keep nothing else of it")


def _check_slots(cls: type[Strategy]) -> int:
    """`slots` tells of the settings how many simulations per lane it wants."""
    expected = "a static method that returns a positive integer"
    with _blamed(cls, "slots", expected):
        wanted: object = cls.slots(settings())
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise _fault(cls, "slots", f"returned {wanted!r:.80}", expected, "1 is for those that do not care")
    return wanted


def _check_adapters(cls: type[Strategy], found: object, context: StrategyContext) -> None:
    """`adapters` gives one adapter per lane or one per simulation, finite numbers in float32."""
    lanes, size = len(context.seeds), context.shape.num_parameters
    shapes = dict.fromkeys([(lanes, 1, size), (lanes, context.slots, size)])
    if not (isinstance(found, np.ndarray) and found.dtype == np.float32 and found.shape in shapes):
        expected = f"float32 {' or '.join(map(str, shapes))}, for lanes, adapters of each, and parameters"
        advice = "learner.adapters()[:, None] is one adapter per lane, and .astype(np.float32) mends a dtype"
        raise _fault(cls, "adapters", f"returned {_described(found)}", expected, advice)
    if not np.isfinite(found).all():
        raise _fault(cls, "adapters", "returned NaN or infinity", "finite numbers", "look for a division by zero")


def _check_perturbed(cls: type[Strategy], returned: object, actions: NDArray[np.float32]) -> None:
    """`perturb` changes actions in place, and leaves them in [-1, 1]."""
    if returned is not None:
        advice = "change the array that is given: actions += noise, then np.clip(actions, -1, 1, out=actions)"
        raise _fault(cls, "perturb", f"returned {_described(returned)}", "None, and a change in place", advice)
    if np.isnan(actions).any():
        raise _fault(cls, "perturb", "left NaN in actions", "numbers in [-1, 1]", "look for a division by zero")
    if np.abs(actions).max() > 1:
        found = f"left actions in [{actions.min():.3g}, {actions.max():.3g}]"
        raise _fault(cls, "perturb", found, "numbers in [-1, 1]", "end with np.clip(actions, -1, 1, out=actions)")


def _check_state(cls: type[Strategy], found: Any, again: Any) -> State:
    """`state` gives arrays and JSON values that a checkpoint can hold, and the same ones when asked again.

    Returns them as they come back from a checkpoint.
    """
    expected = "a dict of arrays and a dict of JSON values"
    if not (isinstance(found, tuple) and [type(part) for part in found] == [dict, dict]):
        raise _fault(cls, "state", f"returned {_described(found)}", expected, "return {...}, {...}")
    arrays, values = found
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            advice = "what is no NumPy array belongs into the second dict"
            raise _fault(cls, "state", f"has {_described(array)} as {name!r} in the first dict", expected, advice)
    try:
        read_values = json.loads(json.dumps(values, allow_nan=False))
        with tempfile.TemporaryDirectory() as folder:
            write_state(Path(folder), arrays)
            read_arrays = read_state(Path(folder))
    except (ApbError, TypeError, ValueError) as error:
        advice = "it is to hold finite numbers and text, under names without /"
        raise _fault(cls, "state", f"cannot be saved: {raised(error)}", expected, advice) from error
    if read_values != values:
        found, advice = f"has {values!r:.80}, read back as {read_values!r:.80}", "use lists, and text as keys"
        raise _fault(cls, "state", found, expected, advice)
    if not (_same_arrays(arrays, again[0]) and values == again[1]):
        advice = "it must change nothing and draw nothing, since checkpoints come at any time"
        raise _fault(cls, "state", "changes when it is asked for twice", "the same", advice)
    return read_arrays, read_values


def _check_state_stays(cls: type[Strategy], saved: "_Saved") -> None:
    """A state that was taken does not change as the strategy goes on."""
    arrays, values = saved.returned
    changed = [name for name, array in saved.read[0].items() if not np.array_equal(array, arrays[name])]
    changed += [name for name, value in saved.read[1].items() if values.get(name) != value]
    if changed:
        found = f"of step {saved.step} changed afterwards, in {changed[0]!r}"
        raise _fault(cls, "state", found, "copies", "return array.copy(), and copies of lists and dicts")


def _check_state_fits(cls: type[Strategy], saved: "_Saved", slots: int) -> None:
    """A state has at all times arrays of the names, dtypes and shapes that a new strategy has."""
    own, new = _forms(saved.read[0]), _forms(_trial(cls, slots).strategy.state()[0])
    for name in sorted(own.keys() | new.keys()):
        if own.get(name) != new.get(name):
            found = f"of step {saved.step} has {own.get(name)} as {name!r}, that of a new strategy {new.get(name)}"
            advice = "make all arrays in __init__ at their full size, and change them in place"
            raise _fault(cls, "state", found, "the same names, dtypes and shapes at all times", advice)


def _check_resumption(cls: type[Strategy], saved: "_Saved", whole: Trial) -> None:
    """A new strategy that loads a state goes on as the old one did."""
    trial = _trial(cls, whole.context.slots)
    trial.context.learner.load_state(*saved.learner)
    trial.strategy.load_state(*saved.read)
    trial.steps = saved.step
    advice = "save and load all else that the next call depends on, and draw by apb.rng"
    _require_same(cls, trial, whole, slice(None), f"once the state of step {saved.step} is loaded", advice)


def _check_global_generators(cls: type[Strategy], before: Mapping[str, str]) -> None:
    """No global generator of random numbers is used."""
    after = _global_generators()
    if moved := [name for name in before if before[name] != after[name]]:
        found, advice = f"moved that of {moved[0]}", "draw as functions of (seed, stream, position), with apb.rng"
        raise _fault(cls, "a global random generator:", found, "none to be used", advice)


def _check_repeats(cls: type[Strategy], whole: Trial) -> None:
    """Two strategies with the same seeds do the same."""
    advice = "draw as functions of (seed, stream, position), with apb.rng, and keep nothing in the class"
    _require_same(cls, _trial(cls, whole.context.slots), whole, slice(None), "in another object", advice)


def _check_lanes(cls: type[Strategy], whole: Trial) -> None:
    """A lane does what it does alone, whatever stands beside it."""
    advice = "draw for each lane by its own seed, and let no number of one lane reach another"
    for lane, seed in enumerate(SEEDS):
        trial = _trial(cls, whole.context.slots, seed)
        _require_same(cls, trial, whole, slice(lane, lane + 1), f"in lane {lane} when it is alone", advice)


# --- how they are tried ----------------------------------------------------------------------------------------------


class _Watched(Strategy):
    """A strategy of which every call is looked at."""

    def __init__(self, cls: type[Strategy], context: StrategyContext) -> None:
        self._cls, self._context = cls, context
        with _blamed(cls, "__init__", "a constructor that takes one StrategyContext"):
            self._own = cls(context)

    def adapters(self) -> NDArray[np.float32]:
        with _blamed(self._cls, "adapters"):
            found = self._own.adapters()
        _check_adapters(self._cls, found, self._context)
        return found

    def perturb(self, actions: NDArray[np.float32], observations: NDArray[np.float32], step: int) -> None:
        before = observations.copy()
        with _blamed(self._cls, "perturb"):
            returned: object = self._own.perturb(actions, observations, step)  # type: ignore[func-returns-value]
        _check_perturbed(self._cls, returned, actions)
        if not np.array_equal(before, observations):
            advice = "the replay keeps them: change a copy"
            raise _fault(self._cls, "perturb", "changed the observations", "them as they were given", advice)

    def observe(self, transition: Transition) -> None:
        with _blamed(self._cls, "observe"):
            self._own.observe(transition)

    def restarted(self, rows: NDArray[np.bool_]) -> None:
        with _blamed(self._cls, "restarted"):
            self._own.restarted(rows)

    def reset(self) -> None:
        with _blamed(self._cls, "reset"):
            self._own.reset()

    def state(self) -> State:
        with _blamed(self._cls, "state"):
            return self._own.state()

    def load_state(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        with _blamed(self._cls, "load_state", "one that takes what state() returned"):
            self._own.load_state(arrays, values)


@dataclass(frozen=True)
class _Saved:
    """A state as it was returned, as it is read from a checkpoint, and the learner's."""

    step: int
    returned: State
    read: State
    learner: tuple[dict[str, NDArray[np.float32]], dict[str, int]]


def _trial(cls: type[Strategy], slots: int, *seeds: int) -> Trial:
    return Trial(lambda context: _Watched(cls, context), seeds or SEEDS, slots)


def _saved(cls: type[Strategy], trial: Trial) -> _Saved:
    returned, learner = trial.strategy.state(), trial.context.learner
    read = _check_state(cls, returned, trial.strategy.state())
    return _Saved(trial.steps, returned, read, (learner.state(), learner.counters()))


def _require_same(cls: type[Strategy], trial: Trial, whole: Trial, lanes: slice, when: str, advice: str) -> None:
    """Lead a trial to the end, and compare it with some lanes of the whole one."""
    for step, outcome in trial.go_to(STEPS).outcomes.items():
        for method, found, expected in zip(("adapters", "perturb"), outcome, whole.outcomes[step], strict=True):
            if not np.array_equal(found, expected[lanes]):
                raise _fault(cls, method, f"differs at step {step} {when}", "the same", advice)


def _same_arrays(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(array, other[name]) for name, array in one.items())


def _forms(arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    return {name: _described(array) for name, array in arrays.items()}


def _global_generators() -> dict[str, str]:
    """What each global generator of random numbers remembers."""
    return {
        "NumPy": repr(np.random.get_state(legacy=False)),  # noqa: NPY002 - nothing is drawn
        "Python": repr(random.getstate()),
        "torch": repr(torch.get_rng_state().numpy().tobytes()),
    }


@contextmanager
def _blamed(cls: type[Strategy], method: str, expected: str = "no error") -> Iterator[None]:
    """Tell the method that raised an error."""
    try:
        yield
    except Exception as error:
        advice = "the error that caused this one tells the line"
        raise _fault(cls, method, f"raised {raised(error)}", expected, advice) from error


def _fault(cls: type[Strategy], where: str, found: str, expected: str, advice: str) -> ConfigError:
    return ConfigError(f"{cls.__qualname__}: {where} {found}; expected {expected}: {advice}")


def _described(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
