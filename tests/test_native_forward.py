"""The native forward pass equals the equation within the bound of rounding errors, and each row is computed alone."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from apb import _core_baseline, _native
from hypothesis import given, settings
from hypothesis import strategies as st
from native_cases import UNIT, Case, random_case, side_by_side


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = st.integers(1, 40) | st.sampled_from([64, 100, 256])
    layers = draw(st.lists(size, min_size=2, max_size=4))
    case = random_case(
        rng, draw(st.integers(1, 40)), draw(st.integers(1, 20)), layers, draw(st.booleans()), draw(st.integers(1, 5))
    )
    return case, rng


@given(drawn=cases(), batch=st.integers(0, 70))
@settings(max_examples=60)
def test_actions_equal_the_equation_within_the_bound_of_rounding(drawn: tuple[Case, Any], batch: int) -> None:
    case, rng = drawn
    members = len(case.adapters)
    x = rng.normal(size=(members, batch, case.obs)).astype(np.float32)
    out = np.empty((members, batch, case.act), np.float32)
    case.population().forward(x, out)
    for member in range(members):
        expected, bound = case.expected(member, x[member])
        assert np.all(np.abs(out[member] - expected) <= bound)


def test_actions_equal_those_of_torch_within_the_bound_of_both() -> None:
    case = random_case(np.random.default_rng(0), 17, 6, [17, 256, 256], False, 1)
    P, p, T, t = case.parts(0)
    x = np.random.default_rng(1).normal(size=(1, 200, 17)).astype(np.float32)
    h = torch.from_numpy(x[0])
    layers = [(P, p), *zip(case.weights, case.biases, strict=True), (T, t)]
    for i, (W, b) in enumerate(layers):
        h = torch.nn.functional.linear(h, torch.from_numpy(W.copy()), torch.from_numpy(b.copy()))
        h = torch.relu(h) if 0 < i < len(layers) - 1 else h
    out = np.empty((1, 200, 6), np.float32)
    case.population().forward(x, out)
    _, bound = case.expected(0, x[0])
    assert np.all(np.abs(torch.tanh(h).numpy() - out[0]) <= 2 * bound)


@given(drawn=cases(), batch=st.integers(1, 70), threads=st.integers(1, 4))
@settings(max_examples=40)
def test_a_row_has_the_same_bits_alone_in_any_batch_and_on_any_threads(
    drawn: tuple[Case, Any], batch: int, threads: int
) -> None:
    case, rng = drawn
    members = len(case.adapters)
    population = case.population()
    x = rng.normal(size=(members, batch, case.obs)).astype(np.float32)
    out = np.empty((members, batch, case.act), np.float32)
    population.forward(x, out, pool=_native.ThreadPool(threads))
    for row in {0, batch - 1, batch // 2}:
        alone = np.empty((members, 1, case.act), np.float32)
        population.forward(x[:, row : row + 1], alone)
        np.testing.assert_array_equal(alone[:, 0], out[:, row])
    order = rng.permutation(batch)
    permuted = np.empty_like(out)
    population.forward(np.ascontiguousarray(x[:, order]), permuted)
    np.testing.assert_array_equal(permuted, out[:, order])


@given(drawn=cases(), batch=st.integers(1, 9))
@settings(max_examples=30)
def test_float64_views_of_any_strides_give_the_same_as_float32_copies(drawn: tuple[Case, Any], batch: int) -> None:
    case, rng = drawn
    members = len(case.adapters)
    # As MuJoCo's batch hands out its state: rows of a wider float64 table; here also backwards and with gaps.
    table = rng.normal(size=(members, batch, 2 * case.obs + 3))
    x = table[:, ::-1, 1 : 2 * case.obs + 1 : 2]
    wide = np.full((members, batch, 3 * case.act), 7.0)
    population = case.population()
    population.forward(x, wide[:, :, ::3])
    expected = np.empty((members, batch, case.act), np.float32)
    population.forward(np.ascontiguousarray(x, dtype=np.float32), expected)
    np.testing.assert_array_equal(wide[:, :, ::3], expected.astype(np.float64))
    assert np.all(wide[:, :, 1::3] == 7.0)
    assert np.all(wide[:, :, 2::3] == 7.0)


def test_one_observation_may_be_broadcast_to_all_members() -> None:
    case = random_case(np.random.default_rng(0), 5, 2, [5, 30], False, 4)
    x = np.random.default_rng(1).normal(size=5).astype(np.float32)
    out = np.empty((4, 3, 2), np.float32)
    case.population().forward(np.broadcast_to(x, (4, 3, 5)), out)
    expected = np.empty((4, 3, 2), np.float32)
    case.population().forward(np.tile(x, (4, 3, 1)), expected)
    np.testing.assert_array_equal(out, expected)


def test_permuted_observations_with_a_permuted_pre_layer_are_the_same_policy() -> None:
    """P Q⁻¹ (Q s) = P s: only the order of summation differs, so the bound of rounding holds twice."""
    rng = np.random.default_rng(3)
    case = random_case(rng, 17, 6, [17, 64, 64], False, 1)
    order = rng.permutation(17)
    P, p, T, t = case.parts(0)
    adapters = np.concatenate([P[:, order].ravel(), p, T.ravel(), t])[None]
    other = Case(case.weights, case.biases, False, adapters, 17, 6)
    x = rng.normal(size=(1, 50, 17)).astype(np.float32)
    out, permuted = np.empty((2, 1, 50, 6), np.float32)
    case.population().forward(x, out)
    other.population().forward(np.ascontiguousarray(x[:, :, order]), permuted)
    assert np.all(np.abs(out - permuted) <= 2 * case.expected(0, x[0])[1])


def test_permuted_and_negated_rows_of_the_post_layer_permute_and_negate_the_actions_exactly() -> None:
    rng = np.random.default_rng(4)
    case = random_case(rng, 17, 6, [17, 64, 64], True, 1)
    order, sign = rng.permutation(6), rng.choice(np.array([-1, 1], np.float32), 6)
    P, p, T, t = case.parts(0)
    adapters = np.concatenate([P.ravel(), p, (sign[:, None] * T[order]).ravel(), sign * t[order]])[None]
    x = rng.normal(size=(1, 50, 17)).astype(np.float32)
    out, changed = np.empty((2, 1, 50, 6), np.float32)
    case.population().forward(x, out)
    Case(case.weights, case.biases, True, adapters, 17, 6).population().forward(x, changed)
    np.testing.assert_array_equal(changed, sign * out[:, :, order])


def test_observations_are_normalised_and_clipped_and_actions_scaled() -> None:
    rng = np.random.default_rng(5)
    case = random_case(rng, 7, 3, [9, 40], False, 2)
    mean, inverse_std = rng.normal(size=7).astype(np.float32), rng.uniform(0.1, 9, 7).astype(np.float32)
    scale, offset = rng.uniform(0.1, 4, 3).astype(np.float32), rng.normal(size=3).astype(np.float32)
    x = 3 * rng.normal(size=(2, 20, 7))
    out, plain = np.empty((2, 2, 20, 3), np.float32)
    population = case.population()
    population.forward(x, out, mean=mean, inverse_std=inverse_std, clip=1.5, scale=scale, offset=offset)
    normalised = np.clip((x.astype(np.float32) - mean) * inverse_std, np.float32(-1.5), np.float32(1.5))
    population.forward(normalised, plain)
    np.testing.assert_array_equal(out, plain * scale + offset)


def test_nan_and_infinity_stay_in_their_row() -> None:
    case = random_case(np.random.default_rng(0), 6, 2, [6, 50, 50], True, 1)
    x = np.random.default_rng(1).normal(size=(1, 40, 6)).astype(np.float32)
    out = np.empty((1, 40, 2), np.float32)
    case.population().forward(x, out)
    spoilt, result = x.copy(), np.empty_like(out)
    spoilt[0, 11, 3], spoilt[0, 30, 0] = np.nan, np.inf
    case.population().forward(spoilt, result, clip=5.0)
    assert np.all(np.isnan(result[0, 11]))
    clean = np.arange(40) != 11
    assert np.all(np.abs(result[0, clean]) <= 1)
    untouched = clean & (np.arange(40) != 30)
    np.testing.assert_array_equal(result[0, untouched], out[0, untouched])


def test_saturated_actions_are_exactly_one_and_tanh_is_odd() -> None:
    case = random_case(np.random.default_rng(0), 3, 2, [3, 8], False, 1)
    P, p, T, _ = case.parts(0)
    x = np.zeros((1, 1, 3), np.float32)
    out = np.empty((1, 1, 2), np.float32)
    for z in [0.0, 1e-30, 1e-3, 0.3, 0.624, 0.625, 0.626, 1.0, 5.0, 9.2, 10.0, 1e4, 3e38, np.inf]:
        bias = np.array([z, -z], np.float32)
        zero = np.concatenate([np.zeros_like(P).ravel(), p, np.zeros_like(T).ravel(), bias])[None]
        Case(case.weights, case.biases, False, zero, 3, 2).population().forward(x, out)
        expected = np.tanh(np.float64(np.float32(z)))
        assert abs(out[0, 0, 0] - expected) <= 4 * UNIT * expected
        assert out[0, 0, 1] == -out[0, 0, 0]
        assert abs(out[0, 0, 0]) == 1 or z < 9.2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_act_gives_the_bits_of_forward_for_one_observation_and_for_batches(dtype: type) -> None:
    rng = np.random.default_rng(0)
    case = random_case(rng, 17, 6, [17, 256, 256], False, 1)
    constants = {
        "mean": rng.normal(size=17).astype(np.float32),
        "inverse_std": rng.uniform(0.5, 2, 17).astype(np.float32),
        "clip": 10.0,
        "scale": rng.uniform(0.5, 2, 6).astype(np.float32),
        "offset": rng.normal(size=6).astype(np.float32),
    }
    population = case.population()
    population.set_transform(**constants)
    x = rng.normal(size=(33, 17)).astype(dtype)
    expected = np.empty((1, 33, 6), np.float32)
    population.forward(x[None], expected, **constants)
    constants["mean"][:] = 99  # set_transform has copied it
    actions = population.act(x)
    assert actions.dtype == np.float32
    np.testing.assert_array_equal(actions, expected[0])
    np.testing.assert_array_equal(population.act(np.asfortranarray(x)), expected[0])
    np.testing.assert_array_equal(population.act(x[5]), expected[0, 5])
    np.testing.assert_array_equal(population.act(np.repeat(x[5], 2)[::2]), expected[0, 5])
    assert population.act(x[:0]).shape == (0, 6)


def test_loading_again_replaces_adapters_and_backbone() -> None:
    rng = np.random.default_rng(0)
    first = random_case(rng, 4, 2, [4, 20, 20], False, 3)
    second = random_case(rng, 4, 2, [4, 20, 20], False, 3)
    backbone = _native.Backbone(first.weights, first.biases, False)
    population = _native.Population(backbone, 3, 4, 2)
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    out, expected = np.empty((2, 3, 5, 2), np.float32)
    population.forward(x, out)
    np.testing.assert_array_equal(out, np.zeros_like(out))  # all parameters are zero before the first load
    population.load(second.adapters)
    backbone.load(second.weights, second.biases)
    population.forward(x, out)
    second.population().forward(x, expected)
    np.testing.assert_array_equal(out, expected)


def test_python_threads_may_share_a_population_and_a_pool() -> None:
    case = random_case(np.random.default_rng(0), 17, 6, [17, 64, 64], False, 1)
    population, pool = case.population(), _native.ThreadPool(3)
    x = np.random.default_rng(1).normal(size=(1, 90, 17)).astype(np.float32)
    expected = np.empty((1, 90, 6), np.float32)
    population.forward(x, expected)

    def work() -> None:
        out = np.empty_like(expected)
        for _ in range(100):
            population.forward(x, out, pool=pool)
            assert np.array_equal(out, expected)

    side_by_side(work)


def test_a_pool_works_in_a_forked_child() -> None:
    program = """
import os, numpy as np
from apb import _native
pool = _native.ThreadPool(4)
backbone = _native.Backbone([np.ones((8, 3), np.float32)], [np.zeros(8, np.float32)], False)
population = _native.Population(backbone, 1, 3, 2)
x, out = np.ones((1, 500, 3), np.float32), np.ones((1, 500, 2), np.float32)
population.forward(x, out, pool=pool)
child = os.fork()
if child == 0:
    out[:] = 1
    population.forward(x, out, pool=pool)
    del pool
    os._exit(0 if np.all(out == 0) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_instruction_sets_agree_within_the_bound_of_rounding() -> None:
    case = random_case(np.random.default_rng(0), 17, 6, [17, 256, 256], False, 1)
    x = np.random.default_rng(1).normal(size=(1, 50, 17)).astype(np.float32)
    out, plain = np.empty((2, 1, 50, 6), np.float32)
    case.population().forward(x, out)
    case.population(_core_baseline).forward(x, plain)
    assert np.all(np.abs(out - plain) <= 2 * case.expected(0, x[0])[1])
