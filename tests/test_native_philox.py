"""The native random numbers are NumPy's Philox, bit for bit; the normal ones follow Box and Muller."""

import numpy as np
import pytest
from apb import _native
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

WORD = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**64 - 1, 2**64 - 2, 2**63])
KEYS = st.lists(WORD, min_size=2, max_size=2).map(lambda words: np.array(words, np.uint64))
COUNTERS = st.lists(WORD, min_size=4, max_size=4).map(lambda words: np.array(words, np.uint64))
U64 = NDArray[np.uint64]


def raw(key: U64, counter: U64, count: int) -> U64:
    out = np.empty(count, np.uint64)
    _native.philox_raw(key, counter, out)
    return out


def normal(key: U64, counter: U64, count: int) -> NDArray[np.float32]:
    out = np.empty(count, np.float32)
    _native.philox_normal(key, counter, out)
    return out


@given(key=KEYS, counter=COUNTERS, count=st.integers(0, 2100))
@settings(max_examples=60)
def test_raw_words_are_those_of_numpy(key: U64, counter: U64, count: int) -> None:
    expected = np.random.Philox(key=key, counter=counter).random_raw(count)
    np.testing.assert_array_equal(raw(key, counter, count), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(key=KEYS, counter=COUNTERS, count=st.integers(0, 2100))
@settings(max_examples=30)
def test_uniform_numbers_are_those_of_numpy(dtype: type, key: U64, counter: U64, count: int) -> None:
    out = np.empty(count, dtype)
    _native.philox_uniform(key, counter, out)
    expected = np.random.Generator(np.random.Philox(key=key, counter=counter)).random(count, dtype=dtype)
    np.testing.assert_array_equal(out, expected)
    assert np.all((out >= 0) & (out < 1))


@given(key=KEYS, counter=COUNTERS, count=st.integers(0, 2100))
@settings(max_examples=30)
def test_normal_numbers_are_a_function_of_the_raw_words(key: U64, counter: U64, count: int) -> None:
    """z = r cos θ, r sin θ; r of u = fl(k) / 2^31 + 1 / 2^32 in float32, everything after it in float64 here."""
    words = raw(key, counter, (count + 1) // 2)
    u = (words >> np.uint64(33)).astype(np.float32) * np.float32(2**-31) + np.float32(2**-32)
    radius = np.sqrt(-2 * np.log(u.astype(np.float64)))
    angle = np.pi * (words & np.uint64(2**32 - 1)).astype(np.uint32).view(np.int32) * 2.0**-31
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()[:count]
    # Four roundings of relative size 2^-24 (log, root, angle, product), and a few ULP of the polynomials.
    bound = 8 * 2.0**-24 * np.repeat(radius, 2)[:count] + 1e-30
    assert np.all(np.abs(normal(key, counter, count) - expected) <= bound)


@given(key=KEYS, count=st.integers(0, 1500))
@settings(max_examples=20)
def test_a_shorter_draw_is_the_start_of_a_longer_one(key: U64, count: int) -> None:
    counter = np.zeros(4, np.uint64)
    np.testing.assert_array_equal(normal(key, counter, count), normal(key, counter, 1500)[:count])


def test_normal_numbers_have_the_moments_and_tails_of_the_normal_distribution() -> None:
    z = normal(np.array([7, 1], np.uint64), np.zeros(4, np.uint64), 1_000_000).astype(np.float64)
    # Five standard errors of each estimate.
    assert abs(z.mean()) < 5 / 1000
    assert abs(z.var() - 1) < 5 * np.sqrt(2) / 1000
    assert abs((z**3).mean()) < 5 * np.sqrt(15) / 1000
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96) / 1000
    for limit, probability in ((1, 0.317310508), (2, 0.045500264), (3, 0.002699796), (4, 6.334248e-5)):
        tolerance = 5 * np.sqrt(probability * (1 - probability)) / 1000
        assert abs(np.mean(np.abs(z) > limit) - probability) < tolerance
    assert np.all(np.isfinite(z))


def test_the_two_numbers_of_a_pair_are_not_correlated() -> None:
    z = normal(np.array([7, 2], np.uint64), np.zeros(4, np.uint64), 1_000_000).reshape(-1, 2).astype(np.float64)
    assert abs(np.mean(z[:, 0] * z[:, 1])) < 5 / np.sqrt(len(z))
    assert abs(np.mean((z[:, 0] ** 2 - 1) * (z[:, 1] ** 2 - 1))) < 5 * 2 / np.sqrt(len(z))


KEY = np.zeros(2, np.uint64)
COUNTER = np.zeros(4, np.uint64)
READ_ONLY = np.empty(4, np.uint64)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("key", "counter", "out", "error", "message"),
    [
        ([0, 0], COUNTER, np.empty(4, np.uint64), TypeError, "key is list"),
        (None, COUNTER, np.empty(4, np.uint64), TypeError, "key is NoneType"),
        (KEY.astype(np.int64), COUNTER, np.empty(4, np.uint64), TypeError, "key has dtype int64; expected uint64"),
        (KEY.astype(">u8"), COUNTER, np.empty(4, np.uint64), TypeError, "native byte order"),
        (KEY[:1], COUNTER, np.empty(4, np.uint64), ValueError, r"key has shape \(1,\); expected \(2,\)"),
        (KEY[None], COUNTER, np.empty(4, np.uint64), ValueError, "key has 2 dimensions"),
        (KEY, COUNTER[:3], np.empty(4, np.uint64), ValueError, r"counter has shape \(3,\); expected \(4,\)"),
        (KEY, np.zeros(8, np.uint64)[::2], np.empty(4, np.uint64), ValueError, "counter is not C-contiguous"),
        (KEY, COUNTER[::-1], np.empty(4, np.uint64), ValueError, "counter is not C-contiguous"),
        (KEY, COUNTER, READ_ONLY, ValueError, "out is read-only"),
        (KEY, COUNTER, np.empty(4, np.float32), TypeError, "out has dtype float32; expected uint64"),
        (KEY, COUNTER, np.empty((2, 2), np.uint64), ValueError, "out has 2 dimensions"),
        (KEY, COUNTER, np.frombuffer(bytearray(33), np.uint8)[1:].view(np.uint64), ValueError, "out is not aligned"),
    ],
)
def test_a_bad_array_is_refused_by_name(
    key: object, counter: object, out: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _native.philox_raw(key, counter, out)  # type: ignore[arg-type]


def test_uniform_and_normal_refuse_other_dtypes() -> None:
    with pytest.raises(TypeError, match="out has dtype float16; expected float32 or float64"):
        _native.philox_uniform(KEY, COUNTER, np.empty(4, np.float16))
    with pytest.raises(TypeError, match="out has dtype float64; expected float32"):
        _native.philox_normal(KEY, COUNTER, np.empty(4))
