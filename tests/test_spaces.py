"""Promises of the JSON form of spaces: nothing is lost, and nothing hostile gets through."""

import json

import numpy as np
import pytest
from apb.actors import LaneActors
from apb.environments import ActionBounds
from apb.errors import FileFormatError
from apb.policy import Policy
from apb.spaces import differences, from_json, to_json
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from policies import draw_observations, make_policy


@st.composite
def boxes(draw):
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = draw(array_shapes(max_dims=3, max_side=4))
    width = np.dtype(dtype).itemsize * 8
    one, other = (draw(arrays(dtype, shape, elements=st.floats(width=width, allow_nan=False))) for _ in range(2))
    low, high = np.minimum(one, other), np.maximum(one, other)
    low[low == np.inf], high[high == -np.inf] = 0, 0
    return Box(low, np.maximum(low, high), dtype=dtype)


@given(boxes())
def test_a_space_survives_json_bit_for_bit(space):
    read = from_json("space", json.loads(json.dumps(to_json(space), allow_nan=False)))
    assert read.dtype == space.dtype
    assert read.low.tobytes() == space.low.tobytes()
    assert read.high.tobytes() == space.high.tobytes()
    assert read == space
    assert differences(space, read) == []


@given(boxes(), st.integers(0, 2**32 - 1))
def test_a_saved_policy_acts_as_the_run_did_to_the_bit(space, seed):
    low, high = (np.clip(bound, -1e4, 1e4).astype(space.dtype) for bound in (space.low, space.high))
    space = Box(low, np.where(low < high, high, low + np.maximum(1, np.abs(low))), dtype=space.dtype.type)
    plain = make_policy(5, space.low.size, seed=seed)
    observations = draw_observations(plain, 7, seed)
    actors = LaneActors([plain.backbone], plain.adapter.shape)
    outputs = actors.forward(plain.adapter.parameters[None, None], observations[None].astype(np.float32))
    simulated = ActionBounds(space).to_env(outputs[0])
    policy = Policy(plain.backbone, plain.adapter, plain.observation_space, space)
    assert (simulated.dtype, simulated.shape) == (space.dtype, (7, *space.shape))
    assert simulated.tobytes() == policy(observations).tobytes()


GOOD = to_json(Box(-1, 1, (2,), np.float32))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "Discrete"},
        {"dtype": "int64"},
        {"dtype": "object"},
        {"dtype": ["float32"]},
        {"shape": [3]},
        {"shape": [-2]},
        {"shape": [0]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": "2"},
        {"shape": [1] * 40 + [2]},
        {"shape": [2**40, 2**40]},
        {"low": None},
        {"low": [0]},
        {"low": [0, "nan"]},
        {"low": [0, float("nan")]},
        {"low": [0, 1e39]},
        {"low": [0, 10**400]},
        {"low": [0, True]},
        {"low": [0, "-Infinity"]},
        {"low": [2, 0]},
        {"high": {"0": 1, "1": 1}},
    ],
)
def test_a_description_that_is_no_float_box_is_refused(change):
    with pytest.raises(FileFormatError, match="action_space"):
        from_json("action_space", {**GOOD, **change})


@pytest.mark.parametrize("value", [None, 3, "Box", [], [GOOD], {}])
def test_a_value_that_is_no_description_is_refused(value):
    with pytest.raises(FileFormatError, match="action_space"):
        from_json("action_space", value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_any_json_in_any_field_gives_a_box_or_a_clear_refusal(field, value):
    try:
        space = from_json("space", {**GOOD, field: value})
    except FileFormatError:
        return
    assert isinstance(space, Box)


def test_differences_say_what_differs():
    space = Box(-1, 1, (2,))
    assert differences(space, Box(-1, 1, (2,), np.float64)) == []
    assert differences(space, Box(-1, 2, (2,))) == ["has high[0] = 2, expected 1"]
    assert differences(space, Box(-1, 1, (3,))) == ["has shape (3,), expected (2,)"]
    assert differences(space, Discrete(2)) == [f"is Discrete(2), expected {space}"]
