"""Options of `adapt` take numbers of any library as Python's own, and refuse those that no float can be."""

import json
from dataclasses import fields
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from apb import ConfigError
from apb.ranges import range_of
from apb.settings import AdaptSettings

KINDS = {field.name: get_args(field.type)[0] for field in fields(AdaptSettings) if range_of(field) is not None}
FLOATS = [name for name, kind in KINDS.items() if kind in (float, float | None)]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("digits", [400, 5000])
def test_an_integer_beyond_all_floats_is_refused_as_any_other(name, digits):
    with pytest.raises(ConfigError, match=rf"^{name} = .*expected a (finite )?number"):
        AdaptSettings(**{name: 10**digits})


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, Fraction, int], ids=lambda kind: kind.__name__)
def test_numbers_of_other_libraries_are_taken_and_kept_as_floats(name, kind):
    value = getattr(AdaptSettings(**{name: kind(1)}), name)
    assert (type(value), value) == (float, 1.0)


def test_flags_and_whole_numbers_of_numpy_are_taken_and_written_as_json():
    given = {"keep_best": np.False_, "normalize_observations": np.True_, "n_seeds": np.float32(4), "gamma": np.int8(1)}
    settings = AdaptSettings(**given).to_json()
    own = {"keep_best": False, "normalize_observations": True, "n_seeds": 4, "gamma": 1.0}
    assert json.loads(json.dumps(settings)) == settings == AdaptSettings(**own).to_json()
    assert [type(settings[name]) for name in own] == [type(value) for value in own.values()]


class OddInteger:
    """As of a library whose numbers have `is_integer` too, but not to be called, and cannot always be shown."""

    is_integer = True

    def __repr__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize("value", [OddInteger(), float, 1j, Fraction(5, 2)], ids=lambda value: type(value).__name__)
def test_what_only_looks_like_a_whole_number_is_refused(value):
    with pytest.raises(ConfigError, match=r"^total_timesteps = .* is a \w+; expected an integer"):
        AdaptSettings(total_timesteps=value)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int8, np.uint64, Fraction], ids=lambda kind: kind.__name__)
def test_whole_numbers_of_other_libraries_are_integers(kind):
    value = AdaptSettings(total_timesteps=kind(60)).total_timesteps
    assert (type(value), value) == (int, 60)


def test_a_fraction_beyond_all_floats_is_out_of_range():
    with pytest.raises(ConfigError, match=r"^total_timesteps = .* is out of range"):
        AdaptSettings(total_timesteps=Fraction(10**400))
