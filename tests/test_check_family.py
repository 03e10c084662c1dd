"""What `check_family` promises: it finds whatever is wrong with a family, says it once, and goes on with the rest."""

import functools
import re
import warnings

import gymnasium
import mujoco
import numpy as np
import pytest
from apb.errors import ApbWarning, ConfigError, InvalidEnvError, UnknownNameError
from apb.tasks import FAMILIES, Parameter, check_family
from apb.tasks.families.cheetah_vel import CheetahVel
from apb.tasks.families.humanoid_dir import HumanoidDir
from apb.tasks.robots import Cheetah
from hypothesis import given, settings
from hypothesis import strategies as st
from misnamed_families import MISNAMED
from naming import words
from wrong_families import CALLS, DOUBTFUL, WRONG, Full, family, overriding, parameters, raising

OF_PACKAGE = sorted(FAMILIES)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    """MuJoCo writes a log where a simulation blows up."""
    monkeypatch.chdir(tmp_path)


def findings(cls, **options):
    """What a check says: the lines of the faults, and those of the doubts."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ApbWarning)
        try:
            check_family(cls, **{"steps": 10, **options})
            report = "\n".join(str(warning.message) for warning in caught)
        except InvalidEnvError as error:
            report = str(error)
    lines = report.splitlines()[1:]
    faults = [re.sub(r"^\d+\. ", "", line.strip()) for line in lines if re.match(r" *\d+\. ", line)]
    return faults, [line.strip().removeprefix("doubtful: ") for line in lines if "doubtful: " in line]


@pytest.mark.parametrize("wrong", WRONG | MISNAMED)
def test_what_is_wrong_is_found_and_said_once(wrong):
    overridden, where, text = (WRONG | MISNAMED)[wrong]
    faults, _ = findings(family(**overridden))
    assert len(faults) == 1, faults
    assert faults[0].startswith(f"{where}: ")
    assert text in faults[0]
    assert "; expected " in faults[0]


@pytest.mark.parametrize(
    "method", ["observe", "reward_terms", "terminated", "position", "control", "start", "model_fields"]
)
def test_a_method_that_raises_is_named_with_its_error_and_line_and_the_rest_is_checked(method):
    other = "position" if method == "observe" else "observe"
    faults, _ = findings(family(**{method: raising, **overriding(other, lambda found, *_: found[:0])}))
    (own,) = (fault for fault in faults if fault.startswith(f"{method}: "))
    assert "raised LookupError: nothing here" in own
    code = raising.__code__
    assert f"line {code.co_firstlineno + 1} of {code.co_filename}" in own
    assert any(fault.startswith(f"{other}: returned float64 (0, ") for fault in faults)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("a parameter that is misspelt", "velocity"), ("an argument of a parameter that is misspelt", "default")],
)
def test_a_misspelt_name_is_answered_with_the_nearest_one(wrong, meant):
    (fault,) = findings(family(**MISNAMED[wrong][0]))[0]
    assert fault.endswith(f"Did you mean {meant!r}?")


@pytest.mark.parametrize("method", ["observe", "reward_terms", "terminated", "position", "control", "start"])
def test_a_method_with_other_arguments_is_not_called_and_the_rest_is_checked(method):
    other = "position" if method == "observe" else "observe"
    faults, _ = findings(
        family(**{method: lambda self: raising(self), **overriding(other, lambda found, *_: found[:0])})
    )
    assert [fault.partition(": ")[0] for fault in faults] == sorted([method, other], key=lambda name: name == other)
    assert "nothing here" not in "".join(faults)


def test_a_method_may_name_its_arguments_otherwise_and_be_of_any_kind():
    def observe(this, states, *others):
        return states.qpos.copy()

    right = {
        "observe": observe,
        "terminated": staticmethod(lambda physics: np.zeros(len(physics.qpos), bool)),
        "position": classmethod(lambda cls, physics, extra=None: physics.qpos[:, :1].copy()),
        "reward_terms": functools.partialmethod(CheetahVel.reward_terms),
    }
    assert findings(family(**right)) == ([], [])


def test_an_error_inside_numpy_is_told_with_the_line_that_called_it():
    (fault,) = findings(family(**overriding("observe", lambda found, *_: np.linalg.norm(found, axis=5))))[0]
    assert "observe: raised AxisError" in fault
    assert f"of {__file__}" in fault


@pytest.mark.parametrize("method", ["observe", "reward_terms", "terminated", "position", "control", "model_fields"])
def test_a_method_whose_second_answer_differs_is_found(method):
    def unsteady(self, *arguments):
        found = getattr(Full, method)(self, *arguments)
        changed = (
            {name: part + 1e-12 * next(CALLS) for name, part in found.items()} if isinstance(found, dict) else None
        )
        return changed or (
            np.arange(len(found)) % 3 == next(CALLS) % 3 if method == "terminated" else found + next(CALLS)
        )

    faults, _ = findings(family(Full, **{method: unsteady}))
    assert any(fault.startswith(method) and "something else when called again" in fault for fault in faults)


class Unsigned:
    """A method whose signature cannot be had."""

    __signature__ = "none"

    def __get__(self, owner, cls=None):
        return self

    def __call__(self, physics):
        return np.zeros(len(physics.qpos), bool)


def test_a_method_without_a_signature_is_called_and_what_it_does_is_checked():
    assert findings(family(terminated=Unsigned())) == ([], [])
    (fault,) = findings(family(terminated=min))[0]
    assert fault.startswith("terminated: raised TypeError: 'Physics' object is not iterable")


class Secret:
    def __dir__(self):
        raise RuntimeError("nobody may look")


def test_an_error_is_told_where_the_advice_on_it_fails_too():
    class Odd(CheetahVel):
        @property
        def parameters(self):
            return {**super().parameters, 3: 3}

        def spec(self):
            return {}["timestep"]

    found = findings(family(Odd))[0]
    assert [fault.partition(";")[0] for fault in found if fault.startswith("model: ")] == [
        "model: raised KeyError: 'timestep'"
    ]
    (fault,) = findings(family(observe=lambda self, physics, parameters: Secret().timestep))[0]
    assert fault.startswith("observe: raised AttributeError: 'Secret' object has no attribute 'timestep'")


def test_parameters_that_raise_are_not_said_to_be_none():
    (fault,) = [each for each in findings(family(parameters=property(lambda self: {}["speed"])))[0] if "speed" in each]
    assert "Its parameters" not in fault


def test_a_warning_counts_the_doubts_and_speaks_of_no_faults():
    with pytest.warns(ApbWarning, match=r"^the family 'overridden' \(Overridden\) has 1 doubtful thing\n  doubtful: "):
        check_family(family(**parameters(unused=Parameter("of nothing", 1.0, 0.0, 2.0))), steps=5)


def test_a_right_family_has_no_finding_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_family(Full) is None


@pytest.mark.parametrize("name", OF_PACKAGE)
def test_a_family_of_the_package_has_no_finding(name):
    assert findings(name, rows=3, steps=12) == ([], [])


# --- what may be meant ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doubtful", DOUBTFUL)
def test_what_may_be_meant_is_a_warning_and_no_error(doubtful):
    overridden, where, text = DOUBTFUL[doubtful]
    made = family(**overridden)
    if doubtful == "a switch that is none":
        made = type("Undecorated", (CheetahVel,), {"name": "undecorated", **overridden})
    faults, doubts = findings(made)
    assert not faults
    assert len(doubts) == 1, doubts
    assert doubts[0].startswith(f"{where}: {text}")


def test_a_parameter_that_shows_in_the_motion_alone_has_an_effect():
    assert findings(
        family(model_fields=Full.model_fields, reward_terms=lambda self, physics, *_: {"x": np.ones(len(physics.qpos))})
    ) == ([], [])


# --- switches, classes, names -----------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_turned_switch_alone_is_found():
    def observe(self, physics, given):
        return CheetahVel.observe(self, physics, given)[: None if self.include_torso_position else 1]

    (fault,) = findings(family(observe=observe))[0]
    assert "with include_torso_position = False" in fault


def test_what_a_class_lacks_is_listed():
    faults, _ = findings(type("Lacking", (Cheetah,), {"__annotations__": {}}))
    assert [fault.partition(":")[0] for fault in faults] == ["name", "formula", "parameters", "reward_terms"]


def test_what_stands_under_a_name_that_is_like_one_that_lacks_is_pointed_at():
    lacking = type("Lacking", (Cheetah,), {"name": "x", "formla": "x", "parameters": {}, "rewards": lambda self: {}})
    faults, doubts = findings(lacking)
    assert [fault.partition(" Or ")[2] for fault in faults] == [
        "rename 'formla', if that is meant.",
        "rename 'rewards', if that is meant.",
    ]
    assert doubts == []


def test_a_switch_without_a_default_is_found():
    (fault,) = findings(family(HumanoidDir, __annotations__={"limit": float}))[0]
    assert fault.startswith("limit: is a switch without a default")


def test_a_model_of_its_own_needs_no_file_and_a_start_of_its_own_no_noise():
    def spec(self):
        return mujoco.MjSpec.from_file(FAMILIES["cheetah-vel"]().spec().modelfiledir + "/half_cheetah.xml")

    def start(self, uniform, normal):
        return CheetahVel.start(CheetahVel(), uniform, normal)

    assert findings(family(spec=spec, start=start, xml=None, position_noise=None, velocity_noise=None)) == ([], [])


def test_all_findings_come_in_one_numbered_list_with_what_they_kept_from_being_checked():
    wrong = family(**overriding("observe", lambda found, *_: found[1:]), position=raising, outputs=("energy",))
    with pytest.raises(InvalidEnvError) as caught:
        check_family(wrong, steps=5)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the family 'overridden' (Overridden) has 2 faults"
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        "  1. observe",
        "  2. position",
        "  doubtful",
        *["  not checked because of these"] * 2,
    ]
    assert "reward_terms" in lines[-2]
    assert "whether the batched env is the env of one task" in lines[-1]


@pytest.mark.parametrize("wrong", [{"horizon": 0}, {"spec": raising}], ids=words)
def test_without_a_model_it_is_said_that_no_simulation_was_checked(wrong):
    with pytest.raises(InvalidEnvError, match=r"not checked because of these: all that needs a simulation$"):
        check_family(family(**wrong))


@given(
    default=st.floats(-3, 3) | st.just(float("nan")), low=st.floats(-3, 3), high=st.floats(-3, 3), inside=st.booleans()
)
@settings(max_examples=30)
def test_a_parameter_is_right_if_its_default_lies_between_its_bounds(default, low, high, inside):
    low, high = (min(low, high), max(low, high)) if inside else (low, high)
    faults, _ = findings(family(**parameters(limit=Parameter("m", default, low, high))), rows=2, steps=1)
    assert bool(faults) == (not low <= default <= high)


@pytest.mark.parametrize("wrong", [{}, {"observe": raising}, {"name": "cheetah-vel"}], ids=words)
def test_a_check_leaves_the_registries_as_they_were(wrong):
    before = dict(FAMILIES), dict(gymnasium.registry)
    findings(family(**wrong), steps=1)
    assert (dict(FAMILIES), dict(gymnasium.registry)) == before


def test_a_check_says_the_same_each_time_and_leaves_the_random_numbers_of_numpy_alone():
    wrong = family(**overriding("observe", lambda found, *_: found - found.mean(axis=0)))
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert findings(wrong, seed=3) == findings(wrong, seed=3)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_bad_arguments_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'cheetah-vel'"):
        check_family("cheetah-val")
    with pytest.raises(ConfigError, match=r"expected a subclass of apb\.tasks\.Family"):
        check_family(CheetahVel())
    with pytest.raises(ConfigError, match="rows = 1"):
        check_family(CheetahVel, rows=1)
    with pytest.raises(ConfigError, match="steps = 0"):
        check_family(CheetahVel, steps=0)
    with pytest.raises(ConfigError, match="seed = -1"):
        check_family(CheetahVel, seed=-1)
