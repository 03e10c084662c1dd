"""Promises of the JSON form of spaces: nothing is lost, and nothing hostile gets through."""

import json

import numpy as np
import pytest
from apb.environments import ActionBounds
from apb.errors import FileFormatError
from apb.spaces import action_scale_and_offset, differences, from_json, to_json
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays


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
def test_a_policy_and_a_simulation_map_an_output_to_the_same_action(space, seed):
    """Within a few roundings of the coarser dtype: `action_scale_and_offset` is in float32, `ActionBounds` in the
    space's own."""
    low, high = (np.clip(bound, -1e4, 1e4) for bound in (space.low, space.high))
    space = Box(low, high, dtype=space.dtype.type)
    scale, offset = action_scale_and_offset(space)
    outputs = np.random.default_rng(seed).uniform(-1, 1, (3, scale.size)).astype(np.float32)
    outputs[:2] = [[-1], [1]]
    simulated = ActionBounds(space).to_env(outputs).reshape(3, -1).astype(np.float64)
    coarser = max((np.finfo(dtype) for dtype in (np.float32, space.dtype)), key=lambda info: info.eps)
    size = np.maximum(np.abs(low), np.abs(high)).ravel().astype(np.float64)
    assert (np.abs(offset + scale * outputs - simulated) <= 4 * (coarser.eps * size + coarser.smallest_subnormal)).all()


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
