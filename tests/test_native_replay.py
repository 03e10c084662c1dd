"""The native replay against a deque and NumPy indexing: rows are copied bit for bit and drawn as the equation says."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from apb import _native
from hypothesis import given
from hypothesis import strategies as st

OBS, ACT = 3, 2
WIDTH = 2 * OBS + ACT + 2
SEEDS = st.integers(0, 2**32 - 1)
WORDS = st.integers(0, 2**64 - 1)


@dataclass
class Ring:
    """The state of a replay: plain arrays."""

    table: np.ndarray
    position: np.ndarray
    size: np.ndarray


def empty_ring(lanes: int, capacity: int) -> Ring:
    table = np.full((lanes, capacity, WIDTH), np.nan, np.float32)
    return Ring(table, np.zeros(lanes, np.int64), np.zeros(lanes, np.int64))


def numbered_table(lanes: int, capacity: int) -> np.ndarray:
    """A table whose every element is another number."""
    return np.arange(lanes * capacity * WIDTH, dtype=np.float32).reshape(lanes, capacity, WIDTH)


def transitions(rng: np.random.Generator, lanes: int, slots: int, dtype=np.float32) -> dict[str, np.ndarray]:
    return {
        "obs": rng.standard_normal((lanes, slots, OBS)).astype(dtype),
        "action": rng.standard_normal((lanes, slots, ACT), dtype=np.float32),
        "reward": rng.standard_normal((lanes, slots)).astype(dtype),
        "next_obs": rng.standard_normal((lanes, slots, OBS)).astype(dtype),
        "terminated": rng.random((lanes, slots)) < 0.3,
        "valid": rng.random((lanes, slots)) < 0.7,
    }


def row(step: dict[str, np.ndarray], lane: int, slot: int) -> np.ndarray:
    parts = [step[name][lane, slot] for name in ("obs", "next_obs", "action", "reward")]
    return np.concatenate([*map(np.atleast_1d, parts), [0.0 if step["terminated"][lane, slot] else 1.0]]).astype(
        np.float32
    )


def add(ring: Ring, step: dict[str, np.ndarray]) -> None:
    _native.replay_add(ring.table, ring.position, ring.size, **step)


def outputs(lanes: int, batch: int) -> dict[str, np.ndarray]:
    shapes = {"obs": (OBS,), "action": (ACT,), "reward": (), "next_obs": (OBS,), "not_terminated": ()}
    arrays = {name: np.full((lanes, batch, *shape), np.nan, np.float32) for name, shape in shapes.items()}
    return arrays | {"indices": np.full((lanes, batch), -1, np.int64)}


def sample(table, size, keys, draw, batch, pool=None) -> dict[str, np.ndarray]:
    out = outputs(len(table), batch)
    _native.replay_sample(table, size, keys, draw, **out, pool=pool)
    return out


# ---- add


@given(
    st.integers(1, 3),
    st.integers(1, 7),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    SEEDS,
    st.sampled_from([np.float32, np.float64]),
)
def test_a_lane_holds_what_a_deque_of_its_valid_transitions_holds(lanes, capacity, slots_of_steps, seed, dtype):
    rng = np.random.default_rng(seed)
    ring, model = empty_ring(lanes, capacity), [deque(maxlen=capacity) for _ in range(lanes)]
    added = np.zeros(lanes, np.int64)
    for slots in slots_of_steps:
        step = transitions(rng, lanes, slots, dtype)
        add(ring, step)
        for lane, slot in zip(*np.nonzero(step["valid"]), strict=True):
            model[lane].append(row(step, lane, slot))
            added[lane] += 1
    np.testing.assert_array_equal(ring.size, np.minimum(added, capacity))
    np.testing.assert_array_equal(ring.position, added % capacity if capacity else added)
    for lane in range(lanes):
        rows = ring.table[lane, : ring.size[lane]]
        oldest_first = np.roll(rows, -ring.position[lane], axis=0) if ring.size[lane] == capacity else rows
        np.testing.assert_array_equal(oldest_first, np.array(model[lane], np.float32).reshape(-1, WIDTH))
        assert np.isnan(ring.table[lane, ring.size[lane] :]).all(), "rows that hold no data were written"


def test_strided_reversed_and_mixed_precision_inputs_are_stored_as_their_contiguous_copies():
    rng = np.random.default_rng(0)
    step = transitions(rng, 2, 4, np.float64) | {"next_obs": rng.standard_normal((2, 4, OBS), dtype=np.float32)}
    step["valid"][:] = True
    views = {name: np.repeat(array, 2, axis=1)[:, ::-2][:, ::-1] for name, array in step.items()}
    views["obs"] = np.asfortranarray(views["obs"])
    assert not any(view.flags.c_contiguous for view in views.values())
    plain, strided = empty_ring(2, 6), empty_ring(2, 6)
    add(plain, step)
    add(strided, views)
    np.testing.assert_array_equal(strided.table, plain.table)


def test_every_byte_but_zero_is_true_in_bool_arrays_as_in_numpy():
    step = transitions(np.random.default_rng(0), 1, 6)
    step["valid"] = np.array([[1, 2, 0, 128, 255, 0]], np.uint8).view(bool)
    step["terminated"] = np.array([[0, 2, 1, 254, 0, 1]], np.uint8).view(bool)
    ring = empty_ring(1, 8)
    add(ring, step)
    assert ring.size[0] == 4
    np.testing.assert_array_equal(ring.table[0, :4, -1], [1, 0, 0, 1])
    np.testing.assert_array_equal(ring.table[0, :4, :OBS], step["obs"][0, [0, 1, 3, 4]])


def test_a_truncated_transition_keeps_its_value_and_a_terminated_one_does_not():
    step = transitions(np.random.default_rng(0), 1, 2)
    step |= {"terminated": np.array([[False, True]]), "valid": np.array([[True, True]])}
    ring = empty_ring(1, 2)
    add(ring, step)
    assert ring.table[0, :, -1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ["obs", "action", "reward", "next_obs"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_with_its_lane_and_slot_and_nothing_is_stored(name, value):
    step = transitions(np.random.default_rng(0), 2, 3) | {"valid": np.ones((2, 3), bool)}
    step[name][1, 2] = value
    ring = empty_ring(2, 4)
    with pytest.raises(ValueError, match=f"^{name} of lane 1, slot 2 holds .*nothing was stored"):
        add(ring, step)
    assert ring.size.tolist() == ring.position.tolist() == [0, 0]
    assert np.isnan(ring.table).all()
    step["valid"][1, 2] = False
    add(ring, step)
    assert ring.size.tolist() == [3, 2]


def test_a_float64_too_large_for_float32_is_refused():
    step = transitions(np.random.default_rng(0), 1, 1, np.float64) | {"valid": np.ones((1, 1), bool)}
    step["reward"][:] = 1e39
    with pytest.raises(ValueError, match="reward of lane 0, slot 0"):
        add(empty_ring(1, 1), step)


@pytest.mark.parametrize(
    ("position", "size", "message"),
    [
        (0, -1, r"size\[1\] = -1; expected 0 to the capacity, 4"),
        (0, 5, r"size\[1\] = 5; expected 0 to the capacity, 4"),
        (2, 3, r"position\[1\] = 2; expected size = 3"),
        (4, 4, r"position\[1\] = 4; expected 0 to 3"),
        (-1, 4, r"position\[1\] = -1; expected 0 to 3"),
    ],
)
def test_position_and_size_that_describe_no_ring_are_refused_and_nothing_is_stored(position, size, message):
    ring = empty_ring(2, 4)
    ring.position[1], ring.size[1] = position, size
    with pytest.raises(ValueError, match=message):
        add(ring, transitions(np.random.default_rng(0), 2, 1))
    assert np.isnan(ring.table).all()


# ---- sample


@given(st.integers(1, 3), st.integers(1, 300), st.sampled_from([1, 2, 7, 255, 256, 257, 600]), SEEDS, WORDS)
def test_a_batch_is_the_rows_at_the_scaled_words_of_numpys_philox(lanes, capacity, batch, seed, draw):
    rng = np.random.default_rng(seed)
    table, size = numbered_table(lanes, capacity), rng.integers(1, capacity + 1, lanes)
    keys = rng.integers(0, 2**64, (lanes, 2), dtype=np.uint64)
    out = sample(table, size, keys, draw, batch)
    for lane in range(lanes):
        words = np.random.Philox(key=keys[lane], counter=np.array([0, draw, 0, 0], np.uint64)).random_raw(batch)
        index = [int(word) * int(size[lane]) >> 64 for word in words]
        rows = table[lane, index]
        np.testing.assert_array_equal(out["indices"][lane], index)
        np.testing.assert_array_equal(out["obs"][lane], rows[:, :OBS])
        np.testing.assert_array_equal(out["next_obs"][lane], rows[:, OBS : 2 * OBS])
        np.testing.assert_array_equal(out["action"][lane], rows[:, 2 * OBS : 2 * OBS + ACT])
        np.testing.assert_array_equal(out["reward"][lane], rows[:, -2])
        np.testing.assert_array_equal(out["not_terminated"][lane], rows[:, -1])


@pytest.mark.parametrize(("obs", "act"), [(1, 1), (17, 6), (105, 8), (348, 17)])
def test_every_part_of_a_row_arrives_for_the_sizes_of_real_environments(obs, act):
    width = 2 * obs + act + 2
    table = np.arange(50 * width, dtype=np.float32).reshape(1, 50, width)
    shapes = (obs,), (act,), (), (obs,), ()
    out = [np.full((1, 40, *shape), np.nan, np.float32) for shape in shapes]
    index = np.empty((1, 40), np.int64)
    _native.replay_sample(table, np.array([50]), np.ones((1, 2), np.uint64), 0, *out, indices=index)
    rows = table[0, index[0]]
    parts = (slice(0, obs), slice(2 * obs, 2 * obs + act), -2, slice(obs, 2 * obs), -1)
    for array, part in zip(out, parts, strict=True):
        np.testing.assert_array_equal(array[0], rows[:, part])


def test_rows_are_drawn_uniformly_from_those_that_hold_data_and_no_others():
    table, keys = numbered_table(1, 20), np.array([[3, 4]], np.uint64)
    drawn = np.concatenate([sample(table, np.array([10]), keys, draw, 5000)["indices"].ravel() for draw in range(4)])
    counts = np.bincount(drawn, minlength=20)
    assert (counts[10:] == 0).all()
    chi_squared = ((counts[:10] - 2000) ** 2 / 2000).sum()
    assert chi_squared < 33.7  # exceeded once in 10,000 for 9 degrees of freedom; the draws are fixed


def test_the_same_draw_gives_the_same_batch_whatever_was_drawn_between():
    table, size, keys = numbered_table(2, 1000), np.array([1000, 900]), np.array([[1, 2], [3, 4]], np.uint64)
    first, between, again = (sample(table, size, keys, draw, 64) for draw in (5, 6, 5))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(first["indices"], between["indices"])


def test_lanes_draw_by_their_own_keys_and_do_not_depend_on_each_other():
    table, size = numbered_table(2, 1000), np.array([1000, 1000])
    keys = np.array([[1, 2], [9, 2]], np.uint64)
    both = sample(table, size, keys, 0, 64)
    assert not np.array_equal(both["indices"][0], both["indices"][1])
    for lane in range(2):
        one = slice(lane, lane + 1)
        for name, array in sample(table[one], size[one], keys[one], 0, 64).items():
            np.testing.assert_array_equal(array[0], both[name][lane])


def test_a_batch_is_the_same_for_any_number_of_threads_and_callers_and_without_indices():
    table, size = numbered_table(3, 500), np.array([500, 1, 77])
    keys = np.arange(6, dtype=np.uint64).reshape(3, 2)
    alone = sample(table, size, keys, 1, 700)
    unnumbered = outputs(3, 700) | {"indices": None}
    _native.replay_sample(table, size, keys, 1, **unnumbered)
    pools = [_native.ThreadPool(threads) for threads in (1, 2, 3, 5)]
    with ThreadPoolExecutor(4) as callers:
        results = list(callers.map(lambda call: sample(table, size, keys, 1, 700, pools[call % 4]), range(40)))
    for result in [*results, unnumbered | {"indices": alone["indices"]}]:
        for name, array in alone.items():
            np.testing.assert_array_equal(result[name], array)


@pytest.mark.parametrize("size", [0, -1, 5, 2**62])
def test_sampling_refuses_a_lane_that_is_empty_or_larger_than_its_table(size):
    out = outputs(2, 3)
    with pytest.raises(ValueError, match=rf"size\[1\] = {size}; expected 1 to the capacity, 4"):
        _native.replay_sample(numbered_table(2, 4), np.array([4, size]), np.ones((2, 2), np.uint64), 0, **out)
    assert np.isnan(out["obs"]).all()


def test_two_inputs_may_share_memory():
    step = transitions(np.random.default_rng(0), 1, 2)
    add(empty_ring(1, 4), step | {"next_obs": step["obs"], "valid": np.ones((1, 2), bool)})
