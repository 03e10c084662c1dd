"""`Right`, a strategy that breaks no promise, and `BROKEN`, those that break one each, with what they are told."""

import random

import numpy as np
import torch
from apb import rng
from apb.strategies import Strategy


class Right(Strategy):
    """Noise that remembers, with one adapter per simulation; it breaks no promise."""

    name = "right"

    def __init__(self, context):
        self.context = context
        self.x = np.zeros((len(context.seeds), context.slots, context.shape.action_size), np.float32)
        self.ended = 0

    def adapters(self):
        return np.repeat(self.context.learner.adapters()[:, None], self.context.slots, axis=1)

    def perturb(self, actions, observations, step):
        for lane, seed in enumerate(self.context.seeds):
            drawn = rng.generator(seed, rng.Stream.ACTION_NOISE, step).standard_normal(self.x[lane].shape)
            self.x[lane] = 0.9 * self.x[lane] + 0.1 * drawn
        np.clip(actions + self.x, -1, 1, out=actions)

    def observe(self, transition):
        for episode in transition.episodes:
            self.x[episode.lane, episode.slot] = 0
        self.ended += len(transition.episodes)

    def state(self):
        return {"x": self.x.copy()}, {"ended": [self.ended]}

    def load_state(self, arrays, values):
        self.x[...] = arrays["x"]
        (self.ended,) = values["ended"]


def wrong(**overridden):
    """`Right` with other methods."""
    return type("Wrong", (Right,), {"name": "wrong", **overridden})


def changed(method, change):
    """`Right` with what a method does, changed: `change` is given the strategy and what the method returned."""
    own = getattr(Right, method)
    return wrong(**{method: lambda self, *given: change(self, own(self, *given), *given)})


def perturbing(change):
    return changed("perturb", lambda self, _, actions, observations, step: change(self, actions, step))


def too_far(self, actions, step):
    actions += np.float32(0.3)


def also_stated(**more):
    """`Right` with more in the arrays and the values of its state."""

    def state(self):
        arrays, values = Right.state(self)
        return {**arrays, **more.get("arrays", {})}, {**values, **more.get("values", {})}

    return wrong(state=state)


def drawing(draw):
    def perturb(self, actions, observations, step):
        np.clip(actions + np.float32(0.1) * draw(actions.shape), -1, 1, out=actions)

    return wrong(perturb=perturb)


class Grown(Right):
    name = "grown"

    def adapters(self):
        self.late = np.zeros(3)
        return super().adapters()

    def state(self):
        arrays, values = super().state()
        return ({**arrays, "late": self.late} if hasattr(self, "late") else arrays), values


class Shared(Right):
    name = "shared"
    memory = []  # of all objects # noqa: RUF012

    def adapters(self):
        self.memory.append(1)
        return super().adapters() * np.float32(1 + 1e-3 * len(self.memory))


class Counting(Right):
    name = "counting"

    def state(self):
        self.ended += 1
        return super().state()


class Forgetful(Right):
    name = "forgetful"

    def state(self):
        return {}, {}

    def load_state(self, arrays, values):
        pass


class Remembering(Right):
    """Its generator goes on from draw to draw, and is no part of the state."""

    name = "remembering"

    def __init__(self, context):
        super().__init__(context)
        self.generator = [np.random.default_rng(seed) for seed in context.seeds]

    def perturb(self, actions, observations, step):
        for lane, generator in enumerate(self.generator):
            actions[lane] += np.float32(0.1) * generator.standard_normal(actions[lane].shape).astype(np.float32)
        np.clip(actions, -1, 1, out=actions)


class OneGenerator(Right):
    """Lanes share the seed of the first."""

    name = "one_generator"

    def perturb(self, actions, observations, step):
        drawn = rng.generator(self.context.seeds[0], rng.Stream.ACTION_NOISE, step).standard_normal(actions.shape)
        np.clip(actions + 0.1 * drawn, -1, 1, out=actions)


class Mixed(Right):
    """An end of an episode anywhere is one in the first lane."""

    name = "mixed"

    def observe(self, transition):
        for episode in transition.episodes:
            self.x[0, episode.slot] = 0


class ListGrows(Right):
    name = "list_grows"

    def __init__(self, context):
        super().__init__(context)
        self.lengths = []

    def observe(self, transition):
        super().observe(transition)
        self.lengths += [episode.length for episode in transition.episodes]

    def state(self):
        return super().state()[0], {"ended": [self.ended], "lengths": self.lengths}


def unfinished(**methods):
    return type("Unfinished", (Strategy,), {"name": "unfinished", **methods})


NAN = np.float32(np.nan)
BROKEN = {
    "not a class": ("param_noise", r"check_strategy\('param_noise'\); expected a subclass .*: give the class itself"),
    "another class": (dict, r"<class 'dict'>\); expected a subclass of apb.strategies.Strategy"),
    "a method is missing": (unfinished(__init__=lambda self, context: None), "adapters is missing; expected a method"),
    "no name": (type("Nameless", (Right,), {"name": None}), "name is missing; expected a plain word"),
    "a name of two words": (wrong(name="my noise"), "name is 'my noise'; expected a plain word of lower case"),
    "a name in capitals": (wrong(name="MyNoise"), "name is 'MyNoise'; expected a plain word"),
    "a name that is no text": (wrong(name=3), "name is 3; expected a plain word"),
    "a name that is taken": (wrong(name="param_noise"), "expected a name that no other strategy has, .* ParamNoise's"),
    "another constructor": (
        wrong(__init__=lambda self, context, size: None),
        r"__init__ raised TypeError: .*'size'; expected a constructor that takes one StrategyContext",
    ),
    "a constructor that raises": (
        wrong(__init__=lambda self, context: context.nothing),
        "__init__ raised AttributeError: .*'nothing'; .*: the error that caused this one tells the line",
    ),
    "slots is no static method": (wrong(slots=lambda self, settings: 1), "slots raised TypeError.*a static method"),
    "no slots": (wrong(slots=staticmethod(lambda settings: 0)), "slots returned 0; expected .*positive integer"),
    "slots of another type": (wrong(slots=staticmethod(lambda settings: 2.0)), "slots returned 2.0; expected"),
    "slots is true": (wrong(slots=staticmethod(lambda settings: True)), "slots returned True; expected"),
    "observations that are written to": (
        wrong(perturb=lambda self, actions, observations, step: observations.fill(0)),
        r"perturb changed the observations; expected them as they were given: the replay keeps them",
    ),
    "a state under a path": (
        also_stated(arrays={"a/b": np.zeros(2)}),
        r"state cannot be saved: .*'a/b'.*expected .*: it is to hold finite numbers and text, under names without /",
    ),
    "adapters without their axis": (
        changed("adapters", lambda self, found: found[:, 0]),
        r"adapters returned float32 \(2, \d+\); expected float32 \(2, 1, \d+\), for lanes, adapters of each",
    ),
    "too many adapters": (
        changed("adapters", lambda self, found: np.repeat(found, 2, axis=1)),
        r"adapters returned float32 \(2, 2, \d+\); expected",
    ),
    "adapters for three simulations where there are others": (
        changed("adapters", lambda self, found: found[:, [0, 0]] if self.context.slots > 1 else found),
        r"adapters returned float32 \(2, 2, \d+\); expected float32 \(2, 1, \d+\) or \(2, 3, \d+\)",
    ),
    "adapters in double precision": (
        changed("adapters", lambda self, found: found.astype(np.float64)),
        r"adapters returned float64 .*\.astype\(np.float32\) mends a dtype",
    ),
    "adapters in a list": (changed("adapters", lambda self, found: found.tolist()), "adapters returned a list; exp"),
    "adapters that are NaN": (changed("adapters", lambda self, found: found * NAN), "adapters returned NaN or inf"),
    "adapters raises": (
        changed("adapters", lambda self, found: self.nothing),
        "adapters raised AttributeError: .*'nothing'",
    ),
    "actions beyond their bounds": (
        perturbing(too_far),
        r"perturb left actions in \[-?\d\.?\d*, 1\.\d+\]; expected numbers in \[-1, 1\]: end with np.clip",
    ),
    "actions that are NaN": (
        perturbing(lambda self, actions, step: actions.fill(np.nan)),
        "perturb left NaN in actions; expected numbers",
    ),
    "new actions": (
        perturbing(lambda self, actions, step: actions + 0),
        r"perturb returned float32 \(2, 1, 2\); expected None, and a change in place: change the array that is given",
    ),
    "perturb raises": (perturbing(lambda self, actions, step: {}[step]), "perturb raised KeyError: 8"),
    "observe raises": (changed("observe", lambda self, *_: {}["x"]), "observe raised KeyError: 'x'"),
    "restarted raises": (wrong(restarted=lambda self, rows: {}["x"]), "restarted raised KeyError"),
    "reset raises": (wrong(reset=lambda self: {}["x"]), "reset raised KeyError"),
    "state raises": (wrong(state=lambda self: {}["x"]), "state raised KeyError"),
    "a state of arrays alone": (wrong(state=lambda self: {"x": self.x}), "state returned a dict; expected a dict of a"),
    "a state of a list": (wrong(state=lambda self: ([self.x], {})), "state returned a tuple; expected a dict of arr"),
    "a number among the arrays": (also_stated(arrays={"n": 3}), "state has a int as 'n' in the first dict; expected"),
    "an array among the values": (
        also_stated(values={"n": np.zeros(2)}),
        "state cannot be saved: TypeError: Obj.*ndarr",
    ),
    "NaN in an array": (also_stated(arrays={"n": np.full(2, np.nan)}), "state cannot be saved: .*finite numbers and t"),
    "NaN in a value": (also_stated(values={"n": np.nan}), "state cannot be saved: ValueError: Out of range float"),
    "an array of objects": (also_stated(arrays={"n": np.array([None])}), "state cannot be saved: .* dtype object"),
    "a tuple among the values": (also_stated(values={"n": (1, 2)}), r"read back as .*'n': \[1, 2\].*: use lists, and"),
    "a state that changes when asked for": (Counting, "state changes when it is asked for twice; expected the same"),
    "a state that is no copy": (
        wrong(state=lambda self: ({"x": self.x}, {"ended": [self.ended]})),
        r"state of step \d+ changed afterwards, in 'x'; expected copies: return array.copy\(\)",
    ),
    "a list in a state that is no copy": (ListGrows, r"state of step \d+ changed afterwards, in 'lengths'; expected c"),
    "a state that grows": (
        Grown,
        r"state of step 33 has float64 \(3,\) as 'late', that of a new strategy None; expected the same names",
    ),
    "load_state raises": (
        wrong(load_state=lambda self, arrays, values: arrays["y"]),
        "load_state raised KeyError: 'y'; expected one that takes what state",
    ),
    "load_state forgets": (
        wrong(load_state=lambda self, arrays, values: None),
        r"perturb differs at step \d+ once the state of step \d+ is loaded; expected the same: save and load all else",
    ),
    "state forgets": (Forgetful, r"perturb differs at step \d+ once the state of step \d+ is loaded"),
    "a generator that remembers": (Remembering, r"perturb differs at step \d+ once the state of step \d+ is loaded"),
    "NumPy's global generator": (
        drawing(lambda shape: np.random.random(shape).astype(np.float32)),  # noqa: NPY002
        "a global random generator: moved that of NumPy; expected none to be used: draw as functions of",
    ),
    "NumPy's global seed": (
        changed("__init__", lambda self, *_: np.random.seed(7)),  # noqa: NPY002
        "a global random generator: moved that of NumPy",
    ),
    "Python's global generator": (
        drawing(lambda shape: np.float32(random.random())),
        "a global random generator: moved that of Python",
    ),
    "torch's global generator": (drawing(lambda shape: torch.rand(shape).numpy()), "moved that of torch; expected n"),
    "a generator without a seed": (
        drawing(lambda shape: np.random.default_rng().random(shape).astype(np.float32)),
        r"perturb differs at step \d+ in another object; expected the same: draw as functions .* nothing in the class",
    ),
    "a class that remembers": (Shared, r"adapters differs at step \d+ in another object"),
    "one generator for all lanes": (
        OneGenerator,
        r"perturb differs at step \d+ in lane [01] when it is alone; expected the same: draw for each lane by its own",
    ),
    "lanes that reach each other": (Mixed, r"perturb differs at step \d+ in lane [01] when it is alone"),
}
