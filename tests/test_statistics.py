"""What the statistics over seeds promise: the trimmed mean of the field, and intervals that anybody can draw again."""

from pathlib import Path

import numpy as np
import pytest
from apb import statistics
from apb.errors import ConfigError
from apb.statistics import bootstrap_interval, interquartile_mean, probability_of_improvement, seed_band
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SCORES = arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(1, 3)), elements=st.floats(-1e6, 1e6))


@given(SCORES)
def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end(scores):
    for column in range(scores.shape[1]):
        kept = sorted(scores[:, column])
        for _ in range(len(scores) // 4):
            kept = kept[1:-1]
        assert interquartile_mean(scores)[column] == pytest.approx(np.mean(kept), rel=1e-9, abs=1e-6)


def test_it_ignores_outliers_that_the_mean_does_not():
    assert interquartile_mean([1.0, 2.0, 3.0, 1e9]) == 2.5


@given(SCORES)
def test_an_interval_lies_within_the_scores_and_does_not_depend_on_anything_but_the_seed(scores):
    low, high = bootstrap_interval(scores, resamples=50, seed=3)
    slack = 1e-9 * np.abs(scores).max(axis=0) + 1e-9
    assert (scores.min(axis=0) - slack <= low).all()
    assert (low <= high + slack).all()
    assert (high <= scores.max(axis=0) + slack).all()
    np.random.default_rng().random(3)
    assert np.array_equal(bootstrap_interval(scores, resamples=50, seed=3), (low, high))


def test_every_row_is_drawn_equally_often():
    counts = np.zeros(4)

    def count(resample):
        np.add.at(counts, resample.astype(int), 1)
        return resample.mean(axis=0)

    bootstrap_interval(np.arange(4.0), count, resamples=5000)
    # 20,000 draws of probability 1/4: four standard deviations are 245.
    assert (np.abs(counts - 5000) < 245).all()


def test_the_interval_of_the_mean_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(200, 30))
    intervals = [bootstrap_interval(sample, lambda s: s.mean(axis=0), resamples=400) for sample in samples]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    # 200 trials of probability 0.95 (a little less for 30 draws): below 0.88 has a chance under 1e-4.
    assert 0.88 <= covered <= 0.99


@pytest.mark.parametrize(
    ("seeds", "better_by", "told"), [(5, 0, 0.89), (5, 10, 0.75), (3, 0, 0.75), (3, 10, 0.55)], ids=repr
)
def test_with_few_seeds_a_nominal_95_percent_cover_less_by_what_is_told(seeds, better_by, told):
    generator = np.random.default_rng(0)
    lucky = generator.random((seeds, 2000)) < 0.25
    low, high = bootstrap_interval(generator.normal(size=(seeds, 2000)) + better_by * lucky, resamples=500)
    expected = better_by / 4
    # 2,000 trials: 0.035 are more than three standard errors.
    assert np.mean((low <= expected) & (expected <= high)) == pytest.approx(told, abs=0.035)
    assert f"{round(100 * told)} %" in Path(statistics.__file__).read_text()


def test_a_wider_confidence_gives_a_wider_interval():
    scores = np.random.default_rng(1).normal(size=10)
    narrow, wide = (bootstrap_interval(scores, confidence=confidence) for confidence in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("scores", "options", "words"),
    [
        ([], {}, "at least one score"),
        (3.0, {}, "at least one score"),
        ([1.0], {"confidence": 0.0}, "confidence"),
        ([1.0], {"confidence": float("nan")}, "confidence"),
        ([1.0], {"resamples": 0}, "resamples"),
    ],
)
def test_bad_arguments_are_named(scores, options, words):
    with pytest.raises(ConfigError, match=words):
        bootstrap_interval(scores, **options)


@pytest.mark.parametrize("seeds", [1, 2, 4, 5, 9])
def test_a_band_is_the_range_of_few_seeds_and_the_interval_of_five_or_more(seeds):
    scores = np.random.default_rng(0).standard_normal((seeds, 3))
    low, high, name = seed_band(scores)
    if seeds < 5:
        assert name == "range"
        expected = scores.min(axis=0), scores.max(axis=0)
    else:
        assert name == "95 % bootstrap interval"
        expected = bootstrap_interval(scores)
    assert (low == expected[0]).all()
    assert (high == expected[1]).all()


RUNS = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=5)


@given(st.lists(st.tuples(RUNS, RUNS), min_size=1, max_size=3))
def test_the_probability_of_improvement_is_the_share_of_pairs_won_on_each_task(tasks):
    ones, others = zip(*tasks, strict=True)
    won = [np.mean([(a > b) + 0.5 * (a == b) for a in one for b in other]) for one, other in tasks]
    middle, low, high = probability_of_improvement(ones, others, resamples=50)
    assert middle == pytest.approx(np.mean(won))
    assert 0 <= low <= high <= 1
    assert probability_of_improvement(others, ones, resamples=50)[0] == pytest.approx(1 - middle)


def test_the_interval_of_the_probability_of_improvement_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        one, other = generator.normal(size=(2, 2, 25))  # two tasks, two methods that are the same: one half
        _, low, high = probability_of_improvement(one, other, resamples=300)
        covered += low <= 0.5 <= high
    # 200 trials of probability 0.95, a little less for 25 runs.
    assert 0.87 <= covered / 200 <= 0.99


def test_runs_are_drawn_anew_within_their_task_only():
    # Ahead on one task in all pairs and behind on the other in all: no draw can change that.
    assert probability_of_improvement([[5, 6], [1, 2]], [[1, 2], [500, 600, 700]]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("scores", "others", "told"),
    [
        ([], [], "scores of 0 tasks"),
        ([[1]], [[1], [2]], "scores of 1 tasks and others of 2"),
        ([[1], []], [[1], [2]], "at least one score"),
        ([[[1, 2]]], [[1]], r"\(1, 2\)"),
    ],
)
def test_scores_of_other_tasks_or_of_none_are_refused(scores, others, told):
    with pytest.raises(ConfigError, match=told):
        probability_of_improvement(scores, others)
