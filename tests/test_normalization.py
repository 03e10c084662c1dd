"""Promises of observation normalisation: the statistics of all that was seen, lane by lane, exactly restorable."""

import numpy as np
import pytest
from apb.errors import ConfigError, MismatchError, SimulationError
from apb.normalization import Normalizer, RunningNormalizer
from hypothesis import given, settings
from hypothesis import strategies as st

streams = st.lists(
    st.tuples(st.integers(0, 6), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1)), max_size=6
)


def draw_batches(stream, lanes, size):
    """Batches (K, S, obs) and masks (K, S); their places, spreads and lengths differ."""
    for slots, mean, spread, seed in stream:
        generator = np.random.default_rng(seed)
        yield generator.normal(mean, spread, (lanes, slots, size)), generator.random((lanes, slots)) < 0.7


@settings(max_examples=60)
@given(streams, st.integers(1, 3), st.integers(1, 4))
def test_statistics_are_those_of_all_counted_rows_at_once(stream, lanes, size):
    running = RunningNormalizer(lanes, size)
    seen = [np.empty((0, size)) for _ in range(lanes)]
    for batch, valid in draw_batches(stream, lanes, size):
        running.update(batch, valid)
        seen = [np.concatenate([rows, batch[k][valid[k]]]) for k, rows in enumerate(seen)]
    for lane, rows in enumerate(seen):
        assert running.count[lane] == len(rows)
        expected_mean = rows.mean(axis=0) if len(rows) else np.zeros(size)
        expected_variance = rows.var(axis=0) if len(rows) else np.ones(size)
        # All arithmetic is in float64; the largest magnitude met sets the scale of rounding.
        scale = np.abs(rows).max(initial=1.0)
        np.testing.assert_allclose(running.mean[lane], expected_mean, rtol=0, atol=1e-13 * scale * 10)
        np.testing.assert_allclose(running.variance[lane], expected_variance, rtol=1e-9, atol=1e-13 * scale**2 * 10)


def test_a_large_mean_does_not_drown_a_small_variance():
    running = RunningNormalizer(1, 1)
    values = 1e6 + np.random.default_rng(0).standard_normal((1, 1000, 1))
    for start in range(0, 1000, 8):
        running.update(values[:, start : start + 8])
    np.testing.assert_allclose(running.variance, values.var(), rtol=1e-8)


def test_lanes_know_nothing_of_each_other():
    together, alone = RunningNormalizer(2, 3), RunningNormalizer(1, 3)
    generator = np.random.default_rng(0)
    for _ in range(3):
        batch = generator.standard_normal((2, 4, 3))
        together.update(batch)
        alone.update(batch[1:])
    assert np.array_equal(together.mean[1:], alone.mean)
    assert np.array_equal(together.variance[1:], alone.variance)


def test_rows_that_do_not_count_may_hold_anything():
    running = RunningNormalizer(1, 2)
    running.update(np.array([[[1.0, 2.0], [np.nan, np.inf]]]), np.array([[True, False]]))
    assert running.count[0] == 1
    assert np.array_equal(running.mean, [[1, 2]])


def test_the_frozen_map_is_the_equation_and_is_clipped_at_ten_by_default():
    running = RunningNormalizer(2, 2)
    running.update(np.array([[[0.0, 5.0]] * 2, [[0.0, 5.0], [4.0, 5.0]]]))
    frozen = running.snapshot(1)
    np.testing.assert_allclose(frozen(np.array([4.0, 5.0])), [1, 0], atol=1e-6)  # mean 2, standard deviation 2
    assert np.array_equal(frozen(np.array([1e6, 4.0])), [10, -10])  # the constant's deviation is root epsilon
    assert np.array_equal(frozen(np.array([-1e6, 6.0])), [-10, 10])


def test_a_snapshot_does_not_follow_later_updates():
    running = RunningNormalizer(1, 2)
    frozen = running.snapshot()
    running.update(np.full((1, 3, 2), 7.0))
    assert np.array_equal(frozen.mean, [0, 0])
    with pytest.raises(ValueError, match="read-only"):
        frozen.mean[0] = 1


def test_before_the_first_observation_the_map_is_the_identity():
    values = np.array([0.5, -3.0], np.float32)
    np.testing.assert_allclose(RunningNormalizer(1, 2).snapshot()(values), values, rtol=1e-6)


def test_the_largest_spread_of_float32_gives_a_usable_map():
    running = RunningNormalizer(1, 1)
    running.update(np.array([[[3e38], [-3e38]]], np.float32))
    assert np.isfinite(running.snapshot()(np.array([3e38], np.float32))).all()


@given(streams)
def test_a_restored_state_goes_on_bit_for_bit(stream):
    original, restored = RunningNormalizer(2, 3), RunningNormalizer(2, 3)
    for batch, valid in draw_batches(stream, 2, 3):
        restored.load_state(original.state)
        original.update(batch, valid)
        restored.update(batch, valid)
        for name, array in original.state.items():
            assert array.tobytes() == restored.state[name].tobytes()


def test_a_state_is_a_copy():
    running = RunningNormalizer(1, 1)
    state = running.state
    running.update(np.ones((1, 1, 1)))
    assert state["count"][0] == 0
    running.load_state(state)
    running.update(np.ones((1, 1, 1)))
    assert not any(array.any() for array in state.values())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"mean": None}, MismatchError),
        ({"mean": np.zeros((1, 2), np.float32)}, MismatchError),
        ({"mean": np.zeros((2, 2))}, MismatchError),
        ({"count": np.array([-1])}, ConfigError),
        ({"squares": np.array([[-1.0, 0]])}, ConfigError),
        ({"mean": np.array([[np.nan, 0]])}, ConfigError),
    ],
)
def test_a_state_that_cannot_be_is_refused_and_changes_nothing(change, error):
    running = RunningNormalizer(1, 2)
    running.update(np.ones((1, 3, 2)))
    before = running.state
    state = {name: array for name, array in {**running.state, **change}.items() if array is not None}
    with pytest.raises(error):
        running.load_state(state)
    assert all(np.array_equal(array, before[name]) for name, array in running.state.items())


def test_a_bad_observation_is_named_and_changes_nothing():
    running = RunningNormalizer(2, 3)
    batch = np.zeros((2, 4, 3))
    batch[1, 2, 0] = np.nan
    with pytest.raises(SimulationError, match=r"observations\[1, 2, 0\] = nan"):
        running.update(batch)
    assert not running.count.any()


@pytest.mark.parametrize("shape", [(2, 3), (1, 4, 3), (2, 4, 2)])
def test_observations_of_other_shapes_are_refused(shape):
    with pytest.raises(MismatchError, match=r"expected \(2, S, 3\)"):
        RunningNormalizer(2, 3).update(np.zeros(shape))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(MismatchError, match=r"valid has shape \(2,\); expected \(2, 4\)"):
        RunningNormalizer(2, 3).update(np.zeros((2, 4, 3)), np.ones(2, bool))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lanes": 0, "observation_size": 1}, "lanes = 0"),
        ({"lanes": 1, "observation_size": 0}, "observation_size = 0"),
        ({"lanes": 1, "observation_size": 1, "clip": 0.0}, "clip"),
        ({"lanes": 1, "observation_size": 1, "clip": float("nan")}, "clip"),
        ({"lanes": 1, "observation_size": 1, "epsilon": 0.0}, "epsilon"),
    ],
)
def test_settings_out_of_range_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        RunningNormalizer(**arguments)


@pytest.mark.parametrize(
    ("mean", "inverse_std", "clip"),
    [
        ([0, np.nan], [1, 1], 10),
        ([0, 0], [1, 0], 10),
        ([0, 0], [1, -1], 10),
        ([0, 0], [1], 10),
        ([[0, 0]], [[1, 1]], 10),
        ([0, 0], [1, 1], 0),
        ([0, 0], [1, 1], np.inf),
    ],
)
def test_a_map_that_cannot_be_is_refused(mean, inverse_std, clip):
    with pytest.raises(ConfigError):
        Normalizer(np.array(mean), np.array(inverse_std), clip)
