"""The native evolution against NumPy and torch: bit for bit where an equation fixes every rounding."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from apb import _native
from bad_arrays import Call
from hypothesis import given
from hypothesis import strategies as st

ROUNDOFF = 2.0**-24
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 7), st.sampled_from([1, 2, 5, 255, 256, 257, 700]))  # K, P, n
SEEDS = st.integers(0, 2**32 - 1)
WORDS = st.integers(0, 2**64 - 1)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def random_keys(rng: np.random.Generator, lanes: int) -> np.ndarray:
    return rng.integers(0, 2**64, (lanes, 2), dtype=np.uint64)


def random_weights(rng: np.random.Generator, lanes: int, members: int) -> np.ndarray:
    weights = rng.random((lanes, members))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def noise(keys: np.ndarray, generation: int, members: int, parameters: int) -> np.ndarray:
    """z (K, pairs, n) as the docstring of `evolution_ask` defines it."""
    z = np.empty((len(keys), (members + 1) // 2, parameters), np.float32)
    for lane, pair in np.ndindex(z.shape[:2]):
        _native.philox_normal(keys[lane], np.array([0, generation, pair, 0], np.uint64), z[lane, pair])
    return z


def ask(mean, sigma, keys, generation, members, pool=None) -> np.ndarray:
    out = np.full((len(mean), members, mean.shape[1]), np.nan, np.float32)
    _native.evolution_ask(mean, sigma, keys, generation, out, pool)
    return out


# ---- ask


@given(SIZES, SEEDS, WORDS)
def test_members_are_the_mean_plus_and_minus_sigma_times_the_noise_of_their_pair(sizes, seed, generation):
    lanes, members, parameters = sizes
    rng = np.random.default_rng(seed)
    mean, sigma, keys = floats(rng, lanes, parameters), abs(floats(rng, lanes, parameters)), random_keys(rng, lanes)
    step = sigma[:, None] * noise(keys, generation, members, parameters)
    expected = np.empty((lanes, members, parameters), np.float32)
    expected[:, 0::2] = mean[:, None] + step
    expected[:, 1::2] = mean[:, None] - step[:, : members // 2]
    np.testing.assert_array_equal(ask(mean, sigma, keys, generation, members), expected)


@given(st.integers(1, 600), WORDS, WORDS, WORDS)
def test_numpys_philox_and_the_equation_of_box_and_muller_reproduce_the_noise(parameters, seed, stream, generation):
    keys = np.array([[seed, stream]], np.uint64)
    z = ask(np.zeros((1, parameters), np.float32), np.ones((1, parameters), np.float32), keys, generation, 3)
    for member, pair in ((0, 0), (2, 1)):
        words = np.random.Philox(key=keys[0], counter=np.array([0, generation, pair, 0], np.uint64)).random_raw(
            (parameters + 1) // 2
        )
        upper = (words >> np.uint64(33)).astype(np.float32)
        u = (upper * np.float32(2.0**-31) + np.float32(2.0**-32)).astype(np.float64)
        radius = np.sqrt(-2.0 * np.log(u))
        angle = (words & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32) * (np.pi / 2**31)
        expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()[:parameters]
        # Logarithm, root, sine or cosine, and their product: a few roundings each, relative to the radius.
        bound = 8 * ROUNDOFF * np.repeat(radius, 2)[:parameters] + 1e-37
        assert (abs(z[0, member] - expected) <= bound).all()


def test_noise_is_standard_normal_and_independent_between_pairs_lanes_and_generations():
    keys = np.array([[7, 8], [7, 9]], np.uint64)
    zero, one = np.zeros((2, 20_000), np.float32), np.ones((2, 20_000), np.float32)
    draws = [ask(zero, one, keys, generation, 4)[:, ::2].reshape(4, -1) for generation in (0, 1)]
    z = np.concatenate(draws).astype(np.float64)
    # Five standard errors of each statistic of 20,000 numbers.
    assert (abs(z.mean(axis=1)) < 5 / np.sqrt(20_000)).all()
    assert (abs(z.var(axis=1) - 1) < 5 * np.sqrt(2 / 20_000)).all()
    assert (abs((z**4).mean(axis=1) - 3) < 5 * np.sqrt(96 / 20_000)).all()
    assert (abs(np.corrcoef(z) - np.eye(8)) < 5 / np.sqrt(20_000)).all()


def test_the_same_generation_gives_the_same_members_whatever_was_drawn_between():
    rng = np.random.default_rng(0)
    mean, sigma, keys = floats(rng, 2, 300), abs(floats(rng, 2, 300)), random_keys(rng, 2)
    first, between, again = (ask(mean, sigma, keys, generation, 6) for generation in (3, 4, 3))
    np.testing.assert_array_equal(first, again)
    assert not (first == between).any()


def test_a_larger_population_starts_with_the_members_of_a_smaller_one():
    rng = np.random.default_rng(1)
    mean, sigma, keys = floats(rng, 1, 300), abs(floats(rng, 1, 300)), random_keys(rng, 1)
    np.testing.assert_array_equal(ask(mean, sigma, keys, 0, 12)[:, :7], ask(mean, sigma, keys, 0, 7))


# ---- recombine


@given(SIZES, SEEDS, st.floats(0, 1), st.floats(0, 1))
def test_recombination_is_its_equation_in_float32_summed_in_the_order_of_the_members(
    sizes, seed, mean_rate, variance_rate
):
    lanes, members, parameters = sizes
    rng = np.random.default_rng(seed)
    x, w = floats(rng, lanes, members, parameters), random_weights(rng, lanes, members)
    mean, variance = floats(rng, lanes, parameters), abs(floats(rng, lanes, parameters))
    damping = abs(floats(rng, lanes))
    shift, spread = np.zeros_like(mean), np.zeros_like(mean)
    for i in range(members):
        d = x[:, i] - mean
        shift += w[:, i, None] * d
        spread += w[:, i, None] * d * d
    expected_mean = mean + np.float32(mean_rate) * shift
    expected_variance = variance + np.float32(variance_rate) * (spread + damping[:, None] - variance)
    _native.evolution_recombine(x, w, mean, variance, damping, mean_rate, variance_rate)
    np.testing.assert_array_equal(mean, expected_mean)
    np.testing.assert_array_equal(variance, expected_variance)


@given(SIZES, SEEDS, st.floats(0, 1), st.floats(0, 1))
def test_recombination_lies_within_its_rounding_bound_of_the_exact_update(sizes, seed, mean_rate, variance_rate):
    lanes, members, parameters = sizes
    rng = np.random.default_rng(seed)
    x, w = floats(rng, lanes, members, parameters), random_weights(rng, lanes, members)
    mean, variance = floats(rng, lanes, parameters), abs(floats(rng, lanes, parameters))
    damping = abs(floats(rng, lanes))
    exact_w, d = w.astype(np.float64)[..., None], x.astype(np.float64) - mean[:, None]
    exact_mean = mean + mean_rate * (exact_w * d).sum(axis=1)
    target = (exact_w * d**2).sum(axis=1) + damping[:, None]
    exact_variance = variance + variance_rate * (target - variance)
    # Each of the P terms is rounded at most P + 4 times on its way into the result: gamma_{P+4} times the terms' sizes.
    gamma = (members + 4) * ROUNDOFF / (1 - (members + 4) * ROUNDOFF)
    mean_bound = gamma * (abs(mean) + (exact_w * abs(d)).sum(axis=1))
    variance_bound = gamma * (2 * variance + 2 * target)
    _native.evolution_recombine(x, w, mean, variance, damping, mean_rate, variance_rate)
    assert (abs(mean - exact_mean) <= mean_bound).all()
    assert (abs(variance - exact_variance) <= variance_bound).all()
    assert (variance >= -variance_bound).all()


def test_rates_of_one_and_equal_weights_give_the_sample_mean_and_the_spread_around_the_old_mean():
    x = np.array([[[1.0], [3.0], [5.0], [7.0]]], np.float32)
    mean, variance = np.array([[2.0]], np.float32), np.array([[100.0]], np.float32)
    _native.evolution_recombine(
        x, np.full((1, 4), 0.25, np.float32), mean, variance, np.array([0.5], np.float32), 1.0, 1.0
    )
    assert mean == 4.0
    assert variance == (1 + 1 + 9 + 25) / 4 + 0.5


def test_rates_of_zero_leave_the_search_distribution_as_it_is():
    mean, variance = np.array([[2.0]], np.float32), np.array([[3.0]], np.float32)
    x, one = np.array([[[9.0]]], np.float32), np.ones((1, 1), np.float32)
    _native.evolution_recombine(x, one, mean, variance, np.ones(1, np.float32), 0.0, 0.0)
    assert (mean[0, 0], variance[0, 0]) == (2.0, 3.0)


def test_a_member_of_weight_zero_is_not_read():
    x = np.array([[[1.0], [np.nan], [3.0]]], np.float32)
    mean, variance = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)
    weights = np.array([[0.5, 0.0, 0.5]], np.float32)
    _native.evolution_recombine(x, weights, mean, variance, np.zeros(1, np.float32), 1.0, 1.0)
    assert (mean[0, 0], variance[0, 0]) == (2.0, 5.0)


# ---- ranks


def centered(fitness: np.ndarray) -> np.ndarray:
    below = (fitness[:, None, :] < fitness[:, :, None]).sum(axis=2)
    equal = (fitness[:, None, :] == fitness[:, :, None]).sum(axis=2)
    return ((below + (equal - 1) / 2) / (fitness.shape[1] - 1) - 0.5).astype(np.float32)


@given(st.integers(1, 3), st.integers(2, 40), st.integers(1, 50), SEEDS, st.sampled_from([np.float32, np.float64]))
def test_ranks_are_centred_and_ties_share_their_mean(lanes, members, values, seed, dtype):
    fitness = np.random.default_rng(seed).integers(-values, values + 1, (lanes, members)).astype(dtype)
    out = np.full((lanes, members), np.nan, np.float32)
    _native.centered_ranks(fitness, out)
    np.testing.assert_array_equal(out, centered(fitness))
    assert (abs(out.astype(np.float64).sum(axis=1)) <= members * ROUNDOFF).all()


def test_ranks_of_distinct_values_are_evenly_spaced_in_their_order():
    out = np.empty((1, 5), np.float32)
    _native.centered_ranks(np.array([[10.0, -np.inf, 1e-3, np.inf, 0.0]]), out)
    np.testing.assert_array_equal(out, np.array([[0.25, -0.5, 0.0, 0.5, -0.25]], np.float32))


def test_float64_fitness_is_ranked_in_float64():
    out = np.empty((1, 2), np.float32)
    _native.centered_ranks(np.array([[1.0 + 1e-12, 1.0]]), out)
    assert out.tolist() == [[0.5, -0.5]]


def test_a_single_member_has_rank_zero():
    out = np.full((2, 1), np.nan, np.float32)
    _native.centered_ranks(np.array([[3.0], [-5.0]]), out)
    assert (out == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_fitness_is_refused_by_lane_and_member(dtype):
    out = np.zeros((2, 3), np.float32)
    fitness = np.array([[1, 2, 3], [4, np.nan, 6]], dtype)
    with pytest.raises(ValueError, match=r"fitness\[1, 1\] = nan; expected a number, not NaN"):
        _native.centered_ranks(fitness, out)
    assert (out == 0).all()


# ---- OpenAI-ES


@given(SIZES, SEEDS, WORDS, st.integers(1, 10_000))
def test_the_step_is_its_equation_in_float32_on_the_noise_of_the_generation(sizes, seed, generation, step):
    lanes, members, parameters = sizes
    rng = np.random.default_rng(seed)
    f = np.float32
    mean, m1, m2 = floats(rng, lanes, parameters), floats(rng, lanes, parameters), abs(floats(rng, lanes, parameters))
    sigma, weights, keys = abs(floats(rng, lanes)) + f(0.01), floats(rng, lanes, members), random_keys(rng, lanes)
    z = noise(keys, generation, members, parameters)
    ascent = np.zeros_like(mean)
    for pair in range(z.shape[1]):
        partner = weights[:, 2 * pair + 1] if 2 * pair + 1 < members else f(0)
        ascent += (weights[:, 2 * pair] - partner)[:, None] * z[:, pair]
    g = (f(1) / (f(members) * sigma))[:, None] * ascent - f(0.005) * mean
    expected1 = f(0.9) * m1 + (f(1) - f(0.9)) * g
    expected2 = f(0.999) * m2 + (f(1) - f(0.999)) * g * g
    rate = f(0.01 / (1 - float(f(0.9)) ** step))
    root = f(1 / np.sqrt(1 - float(f(0.999)) ** step))
    expected_mean = mean + rate * expected1 / (np.sqrt(expected2) * root + f(1e-8))
    _native.openai_es_step(mean, sigma, weights, keys, generation, 0.01, 0.005, m1, m2, step)
    np.testing.assert_array_equal(m1, expected1)
    np.testing.assert_array_equal(m2, expected2)
    # pow() may differ from Python's in its last bit, and so decide how a factor is rounded.
    np.testing.assert_allclose(mean, expected_mean, rtol=4 * ROUNDOFF, atol=4 * ROUNDOFF * 0.1)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_follow_torchs_adam_on_the_gradient_estimate_of_the_members(weight_decay):
    rng = np.random.default_rng(5)
    lanes, members, parameters = 2, 7, 300
    mean, keys = floats(rng, lanes, parameters), random_keys(rng, lanes)
    sigma = np.array([0.5, 2.0], np.float32)
    m1, m2 = np.zeros_like(mean), np.zeros_like(mean)
    theirs = torch.tensor(mean, dtype=torch.float64)
    adam = torch.optim.Adam([theirs], lr=0.01, weight_decay=weight_decay, maximize=True)
    for generation in range(5):
        members_drawn = ask(np.zeros_like(mean), np.repeat(sigma[:, None], parameters, 1), keys, generation, members)
        weights = floats(rng, lanes, members)
        epsilon = members_drawn.astype(np.float64) / sigma[:, None, None]
        gradient = np.einsum("kp,kpn->kn", weights.astype(np.float64), epsilon) / (members * sigma[:, None])
        theirs.grad = torch.from_numpy(gradient)
        adam.step()
        _native.openai_es_step(mean, sigma, weights, keys, generation, 0.01, weight_decay, m1, m2, generation + 1)
        # Adam divides g by its size, so a g that is nearly cancelled loses digits: allow 1 % of a step.
        np.testing.assert_allclose(mean, theirs.numpy(), rtol=0, atol=1e-4)


# ---- all of them


@pytest.mark.parametrize("rule", ["cem", "openai_es"])
def test_the_search_climbs_to_the_maximum_in_every_lane(rule):
    target = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], np.float32)
    mean, keys = np.zeros((2, 3), np.float32), np.array([[1, 0], [2, 0]], np.uint64)
    variance, m1, m2 = np.ones_like(mean), np.zeros_like(mean), np.zeros_like(mean)
    for generation in range(120 if rule == "cem" else 400):
        sigma = np.sqrt(variance) if rule == "cem" else np.full_like(mean, 0.1)
        members = ask(mean, sigma, keys, generation, 20)
        fitness = -((members - target[:, None]) ** 2).sum(axis=2)
        if rule == "cem":
            elite = np.argsort(np.argsort(-fitness, axis=1), axis=1) < 10
            weights = (elite / 10).astype(np.float32)
            _native.evolution_recombine(members, weights, mean, variance, np.full(2, 1e-4, np.float32), 1.0, 1.0)
        else:
            ranks = np.empty_like(fitness)
            _native.centered_ranks(fitness, ranks)
            _native.openai_es_step(mean, sigma[:, 0].copy(), ranks, keys, generation, 0.05, 0.0, m1, m2, generation + 1)
    np.testing.assert_allclose(mean, target, atol=0.1)


def outcome(call: Call, pool) -> list[np.ndarray]:
    arguments = call.arguments()
    call.function(**arguments, pool=pool)
    return [arguments[name] for name in sorted(call.written)]


def large_call(function: str) -> Call:
    """A call that has several tasks per lane, with the last one only partly filled."""
    lanes, members, parameters = 3, 9, 1500

    def arguments() -> dict:
        rng = np.random.default_rng(0)
        mean, keys = floats(rng, lanes, parameters), random_keys(rng, lanes)
        if function == "evolution_ask":
            sigma, out = abs(floats(rng, lanes, parameters)), np.empty((lanes, members, parameters), np.float32)
            return {"mean": mean, "sigma": sigma, "keys": keys, "generation": 3, "out": out}
        if function == "evolution_recombine":
            x, weights = floats(rng, lanes, members, parameters), random_weights(rng, lanes, members)
            rates = {"mean_rate": 0.7, "variance_rate": 0.3, "damping": np.zeros(lanes, np.float32)}
            return {"members": x, "weights": weights, "mean": mean, "variance": abs(mean), **rates}
        moments = {"moment1": np.zeros_like(mean), "moment2": np.zeros_like(mean)}
        rest = {"generation": 3, "learning_rate": 0.1, "weight_decay": 0.1, "step": 1}
        return (
            {"mean": mean, "sigma": np.ones(lanes, np.float32), "weights": floats(rng, lanes, members), "keys": keys}
            | moments
            | rest
        )

    written = {"evolution_ask": {"out"}, "evolution_recombine": {"mean", "variance"}}
    return Call(getattr(_native, function), arguments, frozenset(written.get(function, {"mean", "moment1", "moment2"})))


@pytest.mark.parametrize("function", ["evolution_ask", "evolution_recombine", "openai_es_step"])
def test_results_are_the_same_bits_for_any_number_of_threads_and_callers(function):
    call = large_call(function)
    alone = outcome(call, None)
    for threads in (1, 2, 3, 5):
        for array, expected in zip(outcome(call, _native.ThreadPool(threads)), alone, strict=True):
            np.testing.assert_array_equal(array, expected)
    pool = _native.ThreadPool(3)
    with ThreadPoolExecutor(4) as callers:
        for result in callers.map(lambda _: outcome(call, pool), range(40)):
            for array, expected in zip(result, alone, strict=True):
                np.testing.assert_array_equal(array, expected)
