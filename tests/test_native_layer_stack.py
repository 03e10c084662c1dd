"""Native stacks equal the equations in float64, and no number depends on what is computed beside it, or by whom."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from apb import _native
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from native_cases import F32, side_by_side
from native_stacks import Case, by_autograd, cases, random_case, rounded

EXACT = 2.0**24
"""Sums of integers whose absolute values add up to less are the same in float32 and float64, in any order."""


def assert_same_bits(found: list[F32], expected: list[F32]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


# ---- the equations


@given(cases())
@settings(max_examples=80)
def test_results_of_integers_are_exactly_those_of_the_equations(case: Case) -> None:
    """Also where the input of a ReLU is 0: its gradient is 0 there."""
    case = rounded(case)
    absolute = Case(
        case.sizes,
        [False] * len(case.relus),
        [(np.abs(w), np.abs(b)) for w, b in case.layers],
        np.abs(case.x),
        np.abs(case.slope),
    )
    assume(all(value.max() < EXACT for value, _ in absolute.expected()))
    for found, (expected, _) in zip(case.results(), case.expected(), strict=True):
        np.testing.assert_array_equal(found, expected)


@given(cases())
@settings(max_examples=60)
def test_results_equal_the_equations_within_the_bound_of_rounding(case: Case) -> None:
    expected = case.expected()
    assume(np.isfinite(expected[0][1]).all())
    for found, (value, bound) in zip(case.results(), expected, strict=True):
        assert np.all(np.abs(found - value) <= bound)


def test_instruction_sets_agree_within_the_bound_of_rounding() -> None:
    case = random_case(np.random.default_rng(3), [17, 64, 48, 6], [True, True, False], 3, 50)
    expected = case.expected()
    assert all(np.isfinite(bound).all() for _, bound in expected)
    for isa in _native.AVAILABLE_ISAS:
        core = importlib.import_module(f"apb._core_{isa}")
        for found, (value, bound) in zip(case.results(core=core), expected, strict=True):
            assert np.all(np.abs(found - value) <= bound)


# ---- who computes, and beside what


@given(cases(), st.sampled_from([1, 2, 3, 7]))
@settings(max_examples=40)
def test_results_are_the_same_bits_for_any_number_of_threads(case: Case, threads: int) -> None:
    assert_same_bits(case.results(_native.ThreadPool(threads)), case.results())


@given(cases())
@settings(max_examples=40)
def test_a_network_computes_beside_others_what_it_computes_alone(case: Case) -> None:
    together = case.results()
    for network in range(case.networks):
        assert_same_bits([part[network : network + 1] for part in together], case.only(network).results())


@given(cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_a_row_has_the_same_outputs_and_input_gradient_alone_and_at_any_place(case: Case, seed: int) -> None:
    out, below = case.results()[:2]
    rows = case.x.shape[1]
    order = np.random.default_rng(seed).permutation(rows)
    assert_same_bits(case.rows(order).results()[:2], [out[:, order], below[:, order]])
    for row in {0, rows // 2, rows - 1}:
        here = slice(row, row + 1)
        assert_same_bits(case.rows(here).results()[:2], [out[:, here], below[:, here]])


@given(cases())
@settings(max_examples=30)
def test_a_shared_layer_is_the_same_as_a_copy_for_each_network(case: Case) -> None:
    def copies(array: F32) -> F32:
        return np.tile(array, (case.networks // len(array), *[1] * (array.ndim - 1)))

    expected = case.results()
    assert_same_bits(case.having_layers([(copies(w), copies(b)) for w, b in case.layers]).results(), expected)
    # A view of one copy for all is neither a copy nor refused.
    views = [
        (np.broadcast_to(w, (case.networks, *w.shape[1:])), np.broadcast_to(b, (case.networks, *b.shape[1:])))
        if len(w) == 1
        else (w, b)
        for w, b in case.layers
    ]
    assert_same_bits(case.having_layers(views).results(), expected)


@given(cases(), st.sampled_from([-2, -1, 2, 3]))
@settings(max_examples=30)
def test_networks_may_lie_apart_in_memory_and_in_any_order(case: Case, step: int) -> None:
    def apart(array: F32, step: int = step) -> F32:
        wide = np.full((len(array) * abs(step), *array.shape[1:]), np.nan, np.float32)
        wide[::step] = array
        return wide[::step]

    expected = case.results()
    spread = case.having_layers([(apart(w), apart(b, 2)) for w, b in case.layers])
    assert_same_bits(spread.results(), expected)
    stack, out = case.stack(), np.empty_like(case.slope)
    gradients = [(apart(w), apart(b, 3)) for w, b in case.places()]
    stack.forward(case.layers, case.x, out)
    stack.backward(case.layers, case.slope, gradients)
    assert_same_bits([part for pair in gradients for part in pair], expected[2:])
    for weight, bias in gradients:
        for array, distance in ((weight, abs(step)), (bias, 3)):
            whole = array.base
            assert np.isnan(whole).sum() == whole.size - whole.size // distance


@given(cases(), st.data())
@settings(max_examples=30)
def test_gradients_may_be_asked_for_in_any_order_again_and_for_some_layers(case: Case, data: st.DataObject) -> None:
    out, below, *gradients = case.results()
    pairs = list(zip(gradients[::2], gradients[1::2], strict=True))
    stack, again, other = case.stack(), np.empty_like(out), np.empty_like(below)
    stack.forward(case.layers, 2 * case.x, again)  # another call's values are forgotten
    stack.forward(case.layers, case.x, again)
    for _ in range(2):
        stack.input_gradient(case.layers, case.slope, other)
        learned = data.draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
        found = [pair if use else None for pair, use in zip(case.places(), learned, strict=True)]
        stack.backward(case.layers, case.slope, found)
        for pair, expected in zip(found, pairs, strict=True):
            if pair is not None:
                assert_same_bits(list(pair), list(expected))
        assert_same_bits([again, other], [out, below])


# ---- numbers that are not finite


@given(cases(), st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
@settings(max_examples=40)
def test_what_is_not_finite_stays_in_its_row_and_its_network(case: Case, value: float, data: st.DataObject) -> None:
    clean = case.results()
    network = data.draw(st.integers(0, case.networks - 1))
    row = data.draw(st.integers(0, case.x.shape[1] - 1))
    x, slope = case.x.copy(), case.slope.copy()
    x[network, row, -1] = slope[network, row, 0] = value
    spoilt = Case(case.sizes, case.relus, case.layers, x, slope).results()
    others = np.arange(case.networks) != network
    assert_same_bits([part[others] for part in spoilt], [part[others] for part in clean])
    beside = np.arange(case.x.shape[1]) != row
    for found, expected in zip(spoilt[:2], clean[:2], strict=True):
        np.testing.assert_array_equal(found[network, beside], expected[network, beside])
    if np.isnan(value):
        assert np.isnan(spoilt[0][network, row]).all()
        assert np.isnan(spoilt[1][network, row]).all()


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("relu", [False, True])
def test_weights_that_are_not_finite_have_the_gradients_that_torch_finds(relu, layer, value, rows) -> None:
    """For numbers of rows that fill no strip, too: what pads them has no part in a gradient."""
    rng = np.random.default_rng(0)
    case = rounded(random_case(rng, [3, 4, 2], [relu, False], 1, rows))
    case.layers[layer][0][0, 1, 1] = value
    # Positive numbers keep infinities: a 0 or another sign would make them NaN, in the padding or not.
    case.x, case.slope = np.abs(case.x) + 1, np.abs(case.slope) + 1
    for found, expected in zip(case.results(), by_autograd(case), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_relu_treats_special_numbers_as_torch_does() -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 3e38, -3e38, 1e-45], np.float32)
    x = np.tile(special, 5)[None, :, None]  # several packets, the last one partly filled
    one, zero = np.ones((1, 1, 1), np.float32), np.zeros((1, 1), np.float32)
    for slope in (1.0, 1e-42, np.inf, np.nan):
        case = Case([1, 1], [True], [(one, zero)], x, np.full_like(x, slope))
        for found, expected in zip(case.results()[:2], by_autograd(case)[:2], strict=True):
            np.testing.assert_array_equal(found, expected)


# ---- callers


def test_python_threads_may_share_a_pool_and_a_stack() -> None:
    case = random_case(np.random.default_rng(5), [9, 40, 20, 2], [True, True, False], 3, 37)
    expected, pool, shared = case.results(), _native.ThreadPool(3), case.stack()

    def work() -> None:
        for _ in range(30):
            out = np.empty_like(expected[0])
            shared.forward(case.layers, case.x, out, pool)
            for found, exact in zip([out, *case.results(pool)], [expected[0], *expected], strict=True):
                assert np.array_equal(found, exact)

    side_by_side(work)


def test_a_stack_and_its_pool_work_in_a_forked_child() -> None:
    program = """
import os, numpy as np
from apb import _native
pool, stack = _native.ThreadPool(4), _native.LayerStack([3, 2], [True], 4, 100)
layers = [(np.ones((1, 2, 3), np.float32), np.zeros((1, 2), np.float32))]
x, out = np.ones((4, 100, 3), np.float32), np.zeros((4, 100, 2), np.float32)
stack.forward(layers, x, out, pool)
child = os.fork()
if child == 0:
    below = np.zeros_like(x)
    stack.forward(layers, 2 * x, out, pool)
    stack.input_gradient(layers, out, below, pool)
    del pool
    os._exit(0 if np.all(out == 6) and np.all(below == 12) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
