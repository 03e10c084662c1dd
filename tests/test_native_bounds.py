"""What is promised of `all_within`: NumPy's answer for every array, and a refusal of what is none."""

import numpy as np
import pytest
from apb import _native
from bad_arrays import Call, mistakes, of_every
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

WITHIN = Call(
    _native.all_within,
    lambda: {"values": np.zeros((3, 2)), "low": -1.0, "high": 1.0},
    strided=frozenset({"values"}),
    real=frozenset({"values"}),
    free=frozenset({("values", 0), ("values", 1)}),
)
NUMBERS = st.one_of(
    st.floats(-2, 2, width=32), st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 1.0, np.nextafter(np.float32(1), 2)])
)


@given(
    arrays(
        st.sampled_from([np.float32, np.float64]),
        array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9),
        elements=NUMBERS,
    ),
    st.tuples(st.sampled_from([1, 2, -1]), st.sampled_from([1, 2, -1])),
    st.booleans(),
)
def test_all_within_is_what_numpy_says_whatever_the_strides(table, steps, transposed):
    values = table[:: steps[0], :: steps[1]]
    values = values.T if transposed else values
    assert _native.all_within(values, -1.0, 1.0) is bool(((values >= -1.0) & (values <= 1.0)).all())


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_one_number_outside_is_found_wherever_it_stands(rows, columns, data):
    values = np.zeros((rows, columns))
    assert _native.all_within(values, 0.0, 0.0)
    values[data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))] = data.draw(
        st.sampled_from([np.nan, np.inf, -np.inf, 5e-324, -1.0])
    )
    assert not _native.all_within(values, 0.0, 0.0)


@pytest.mark.parametrize(("call", "name", "value", "error"), of_every({"all_within": WITHIN}, mistakes))
def test_an_array_in_a_wrong_form_is_refused_by_name(call, name, value, error):
    call.having()
    with pytest.raises(error, match=rf"^{name} (is|has) "):
        call.having(**{name: value})
