"""Native optimisers follow their equations as torch does, and an element has the same bits at any place."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from apb import _native
from apb.networks import FlatLayers
from apb.optimizer import Adam, polyak_step, torch_adam_step
from hypothesis import given, settings
from hypothesis import strategies as st
from native_cases import F32, F64, gamma, side_by_side

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.integers(1, 100) | st.sampled_from([2**14 - 1, 2**14, 2**14 + 1, 40_000])
TINY = 2.0**-149  # what rounding may lose where numbers are denormal


def state(rng: np.random.Generator, n: int) -> list[F32]:
    """Parameters, gradient and moments in the midst of learning, of many orders of magnitude."""
    magnitude = np.float32(10) ** rng.uniform(-8, 4, (4, n)).astype(np.float32)
    theta, g, m, v = rng.standard_normal((4, n), dtype=np.float32) * magnitude
    return [theta, g, m, v * v]


def adam_exactly(
    state: list[F32], step: int, rate: float, b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8
) -> list[tuple[F64, F64]]:
    """theta, m and v after a step in float64, each with the bound of a float32 evaluation."""
    theta, g, m, v = (array.astype(np.float64) for array in state)
    m_new = m + (1 - b1) * (g - m)
    m_error = gamma(4) * (np.abs(m) + (1 - b1) * (np.abs(g) + np.abs(m))) + TINY
    v_new = b2 * v + (1 - b2) * g * g
    v_error = gamma(5) * v_new + 2 * TINY
    root = np.sqrt(v_new / (1 - b2**step))
    below = root + epsilon
    # The root of v halves its relative error; where v is tiny, epsilon is all that counts.
    below_error = gamma(5) * below + np.sqrt((v_new + v_error) / (1 - b2**step)) - root
    move = rate / (1 - b1**step) * m_new / below
    move_error = rate / (1 - b1**step) * m_error / (below - below_error) + np.abs(move) * (
        gamma(5) + below_error / (below - below_error)
    )
    return [
        (theta - move, move_error * (1 + gamma(5)) + gamma(1) * (np.abs(theta) + np.abs(move)) + TINY),
        (m_new, m_error),
        (v_new, v_error),
    ]


# ---- the equations


@given(SEEDS, LENGTHS, st.integers(1, 20_000), st.sampled_from([0.0, 1e-5, 3e-4, 0.1, 1.0]))
@settings(max_examples=60)
def test_a_step_of_adam_is_its_equation_within_the_bound_of_rounding(seed, n, step, rate) -> None:
    theta, g, m, v = before = state(np.random.default_rng(seed), n)
    expected = adam_exactly([array.copy() for array in before], step, rate)
    kept = g.copy()
    _native.adam_step(theta, g, m, v, step, rate)
    for found, (value, bound) in zip((theta, m, v), expected, strict=True):
        assert np.all(np.abs(found - value) <= bound)
    np.testing.assert_array_equal(g, kept)


def test_the_settings_of_adam_are_those_of_its_equation() -> None:
    settings_ = {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.01}
    theta, g, m, v = before = state(np.random.default_rng(1), 1000)
    expected = adam_exactly([array.copy() for array in before], 3, 0.1, 0.5, 0.9, 0.01)
    _native.adam_step(theta, g, m, v, 3, 0.1, **settings_)
    for found, (value, bound) in zip((theta, m, v), expected, strict=True):
        assert np.all(np.abs(found - value) <= bound)


@pytest.mark.parametrize("settings_", [{}, {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}, {"beta1": 0.0, "beta2": 0.0}])
def test_every_one_of_many_steps_is_that_of_torchs_adam_within_the_bound_of_both(settings_) -> None:
    rng = np.random.default_rng(2)
    b1, b2, epsilon = (
        settings_.get(key, value) for key, value in (("beta1", 0.9), ("beta2", 0.999), ("epsilon", 1e-8))
    )
    parameter = torch.nn.Parameter(torch.from_numpy(rng.standard_normal(500, dtype=np.float32)))
    oracle = torch.optim.Adam([parameter], lr=1e-2, betas=(b1, b2), eps=epsilon, foreach=False)
    m, v = np.zeros((2, 500), np.float32)
    for step in range(1, 301):
        g = rng.standard_normal(500, dtype=np.float32) * np.float32(10.0 ** (step % 7 - 3))
        theta = parameter.detach().numpy().copy()
        expected = adam_exactly([theta, g, m, v], step, 1e-2, b1, b2, epsilon)
        parameter.grad = torch.from_numpy(g.copy())
        oracle.step()
        _native.adam_step(theta, g, m, v, step, 1e-2, b1, b2, epsilon)
        theirs = oracle.state[parameter]
        for found, other, (_, bound) in zip(
            (theta, m, v), (parameter.detach(), theirs["exp_avg"], theirs["exp_avg_sq"]), expected, strict=True
        ):
            assert np.all(np.abs(found.astype(np.float64) - other.numpy()) <= 2 * bound)
        # Both go on from the same numbers, so that differences do not add up.
        m[:], v[:] = theirs["exp_avg"], theirs["exp_avg_sq"]


@given(SEEDS, LENGTHS, st.sampled_from([0.0, 0.005, 0.3, 0.4999999, 0.5, 0.9, 1.0]))
@settings(max_examples=60)
def test_a_polyak_step_is_torchs_lerp_and_its_equation_within_the_bound_of_rounding(seed, n, tau) -> None:
    target, source, *_ = state(np.random.default_rng(seed), n)
    tau = float(np.float32(tau))
    kept, before = source.copy(), target.astype(np.float64)
    theirs = torch.from_numpy(target.copy()).lerp_(torch.from_numpy(source), tau).numpy()
    difference = source.astype(np.float64) - before
    expected = (1 - tau) * before + tau * source.astype(np.float64)
    bound = gamma(4) * min(tau, 1 - tau) * np.abs(difference) + gamma(2) * np.abs(expected) + TINY
    _native.polyak_step(target, source, tau)
    assert np.all(np.abs(target - expected) <= bound)
    assert np.all(np.abs(target.astype(np.float64) - theirs) <= 2 * bound)
    np.testing.assert_array_equal(source, kept)


@given(SEEDS, LENGTHS)
@settings(max_examples=20)
def test_a_share_of_one_is_exactly_the_source_and_a_share_of_zero_exactly_the_target(seed, n) -> None:
    target, source, *_ = state(np.random.default_rng(seed), n)
    kept = target.copy()
    _native.polyak_step(target, source, 0.0)
    np.testing.assert_array_equal(target, kept)
    _native.polyak_step(target, source, 1.0)
    np.testing.assert_array_equal(target, source)


# ---- every element alone


def adam(vectors: list[F32], pool: "_native.ThreadPool | None" = None) -> None:
    for step in (1, 2, 1000):
        _native.adam_step(*vectors, step, 0.01, pool=pool)


def polyak(vectors: list[F32], pool: "_native.ThreadPool | None" = None) -> None:
    for tau in (0.005, 0.7):
        _native.polyak_step(vectors[0], vectors[1], tau, pool)


BOTH = pytest.mark.parametrize("optimise", [adam, polyak])
Optimise = Callable[..., None]


def after(optimise: Optimise, vectors: list[F32], pool: "_native.ThreadPool | None" = None) -> list[F32]:
    copies = [vector.copy() for vector in vectors]
    optimise(copies, pool)
    return copies


def assert_same_bits(found: list[F32], expected: list[F32]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


@BOTH
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_results_are_the_same_bits_for_any_number_of_threads(optimise: Optimise, threads: int) -> None:
    vectors = state(np.random.default_rng(0), 70_001)
    assert_same_bits(after(optimise, vectors, _native.ThreadPool(threads)), after(optimise, vectors))


@BOTH
@given(SEEDS, LENGTHS, st.data())
@settings(max_examples=40)
def test_a_slice_of_the_vectors_has_the_same_bits_as_the_whole_and_its_neighbours_stay(optimise, seed, n, data) -> None:
    vectors = state(np.random.default_rng(seed), n)
    first = data.draw(st.integers(0, n - 1))
    part = slice(first, data.draw(st.integers(first + 1, n)))
    whole, copies = after(optimise, vectors), [vector.copy() for vector in vectors]
    optimise([copy[part] for copy in copies], None)
    for found, expected, before in zip(copies, whole, vectors, strict=True):
        assert_same_bits([found[part]], [expected[part]])
        assert_same_bits([np.delete(found, part)], [np.delete(before, part)])


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_element(optimise: Optimise, value: float) -> None:
    vectors = state(np.random.default_rng(0), 100)
    clean = after(optimise, vectors)
    vectors[1][37] = value
    spoilt = after(optimise, vectors)
    assert not np.isfinite(spoilt[0][37])
    assert_same_bits([np.delete(v, 37) for v in spoilt], [np.delete(v, 37) for v in clean])


def test_a_gradient_of_zero_leaves_fresh_parameters_where_they_are() -> None:
    theta, zero = np.array([1.0, -2.0, 0.0, 1e-42], np.float32), np.zeros((3, 4), np.float32)
    before = theta.copy()
    _native.adam_step(theta, *zero, 1, 0.1)
    np.testing.assert_array_equal(theta, before)


@BOTH
def test_python_threads_may_share_a_pool(optimise: Optimise) -> None:
    vectors, pool = state(np.random.default_rng(0), 50_000), _native.ThreadPool(3)
    expected = after(optimise, vectors)

    def work() -> None:
        for _ in range(10):
            found = after(optimise, vectors, pool)
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))

    side_by_side(work)


# ---- what learners call


def flat_layers(values: F32) -> FlatLayers:
    return FlatLayers({"weight": values[:6].reshape(1, 2, 3), "bias": values[6:]}, torch.device("cpu"))


def test_the_step_for_other_devices_is_the_native_one_within_the_bound_of_both() -> None:
    rng = np.random.default_rng(4)
    for step in (1, 2, 10, 3000):
        vectors = state(rng, 3000)
        expected, tensors = adam_exactly(vectors, step, 0.01), [torch.from_numpy(v.copy()) for v in vectors]
        torch_adam_step(*tensors, torch.tensor(step, dtype=torch.float64), 0.01)
        _native.adam_step(*vectors, step, 0.01)
        for at, (_, bound) in zip((0, 2, 3), expected, strict=True):
            assert np.all(np.abs(vectors[at].astype(np.float64) - tensors[at].numpy()) <= 2 * bound)


@pytest.mark.parametrize("pool", [None, _native.ThreadPool(2)])
def test_adam_counts_its_steps_keeps_its_moments_and_forgets_them_at_a_reset(pool) -> None:
    rng = np.random.default_rng(0)
    theta, m, v = rng.standard_normal(10, dtype=np.float32), *np.zeros((2, 10), np.float32)
    layers = flat_layers(theta)
    optimizer = Adam(layers, 0.1, pool=pool)
    for step in (1, 2, 3, 1, 2):
        if step == 1:
            optimizer.reset()
            m[:] = v[:] = 0
            assert optimizer.steps == 0
        g = rng.standard_normal(10, dtype=np.float32)
        optimizer.step(flat_layers(g))
        _native.adam_step(theta, g, m, v, step, 0.1)
        assert optimizer.steps == step
        for found, expected in ((layers, theta), (optimizer.exp_avg, m), (optimizer.exp_avg_sq, v)):
            np.testing.assert_array_equal(found.flat.numpy(), expected)
    np.testing.assert_array_equal(layers["weight"].numpy().ravel(), theta[:6])


@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
def test_targets_follow_their_source_by_a_share_of_the_distance(native) -> None:
    target, source = flat_layers(np.zeros(10, np.float32)), flat_layers(np.full(10, 4, np.float32))
    polyak_step(target, source, 0.25, native=native)
    assert target.flat.tolist() == [1.0] * 10
    polyak_step(target, source, 0.25, native=native)
    assert target["bias"].tolist() == [1.75] * 4
    assert source.flat.tolist() == [4.0] * 10
