"""Native calls on replays, searches and optimisers refuse by name what they cannot use, and change nothing then."""

import re

import numpy as np
import pytest
from apb import _native
from bad_arrays import Call, in_one_buffer, mistakes, of_every, shared_memory, wrong_sizes

OBS, ACT = 3, 2

ADD = Call(
    _native.replay_add,
    lambda: {
        "table": np.zeros((2, 4, 2 * OBS + ACT + 2), np.float32),
        "position": np.zeros(2, np.int64),
        "size": np.full(2, 4),
        "obs": np.zeros((2, 3, OBS), np.float32),
        "action": np.zeros((2, 3, ACT), np.float32),
        "reward": np.zeros((2, 3), np.float32),
        "next_obs": np.zeros((2, 3, OBS), np.float32),
        "terminated": np.zeros((2, 3), bool),
        "valid": np.ones((2, 3), bool),
    },
    written=frozenset({"table", "position", "size"}),
    strided=frozenset({"obs", "action", "reward", "next_obs", "terminated", "valid"}),
    real=frozenset({"obs", "reward", "next_obs"}),
    free=frozenset({("table", 1)}),
)
SAMPLE = Call(
    _native.replay_sample,
    lambda: {
        "table": np.zeros((2, 4, 2 * OBS + ACT + 2), np.float32),
        "size": np.full(2, 4),
        "keys": np.ones((2, 2), np.uint64),
        "draw": 0,
        "obs": np.zeros((2, 3, OBS), np.float32),
        "action": np.zeros((2, 3, ACT), np.float32),
        "reward": np.zeros((2, 3), np.float32),
        "next_obs": np.zeros((2, 3, OBS), np.float32),
        "not_terminated": np.zeros((2, 3), np.float32),
        "indices": np.zeros((2, 3), np.int64),
    },
    written=frozenset({"obs", "action", "reward", "next_obs", "not_terminated", "indices"}),
    free=frozenset({("table", 1)}),
)
ASK = Call(
    _native.evolution_ask,
    lambda: {
        "mean": np.zeros((2, 5), np.float32),
        "sigma": np.ones((2, 5), np.float32),
        "keys": np.ones((2, 2), np.uint64),
        "generation": 0,
        "out": np.zeros((2, 3, 5), np.float32),
    },
    written=frozenset({"out"}),
    free=frozenset({("out", 1)}),
)
RECOMBINE = Call(
    _native.evolution_recombine,
    lambda: {
        "members": np.ones((2, 2, 5), np.float32),
        "weights": np.full((2, 2), 0.5, np.float32),
        "mean": np.zeros((2, 5), np.float32),
        "variance": np.ones((2, 5), np.float32),
        "damping": np.zeros(2, np.float32),
        "mean_rate": 1.0,
        "variance_rate": 1.0,
    },
    written=frozenset({"mean", "variance"}),
)
RANKS = Call(
    _native.centered_ranks,
    lambda: {"fitness": np.zeros((2, 3), np.float32), "out": np.zeros((2, 3), np.float32)},
    written=frozenset({"out"}),
    real=frozenset({"fitness"}),
)
ES_STEP = Call(
    _native.openai_es_step,
    lambda: {
        "mean": np.zeros((2, 5), np.float32),
        "sigma": np.ones(2, np.float32),
        "weights": np.zeros((2, 2), np.float32),
        "keys": np.ones((2, 2), np.uint64),
        "generation": 0,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "moment1": np.zeros((2, 5), np.float32),
        "moment2": np.zeros((2, 5), np.float32),
        "step": 1,
    },
    written=frozenset({"mean", "moment1", "moment2"}),
    free=frozenset({("weights", 1)}),
)
ADAM = Call(
    _native.adam_step,
    lambda: {
        "parameters": np.zeros(5, np.float32),
        "gradient": np.ones(5, np.float32),
        "exp_avg": np.zeros(5, np.float32),
        "exp_avg_sq": np.zeros(5, np.float32),
        "step": 1,
        "learning_rate": 0.1,
    },
    written=frozenset({"parameters", "exp_avg", "exp_avg_sq"}),
)
POLYAK = Call(
    _native.polyak_step,
    lambda: {"target": np.zeros(5, np.float32), "source": np.ones(5, np.float32), "tau": 0.1},
    written=frozenset({"target"}),
)
CALLS = {call.function.__name__: call for call in (ADD, SAMPLE, ASK, RECOMBINE, RANKS, ES_STEP, ADAM, POLYAK)}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_arguments_that_the_refusals_start_from_are_accepted(call):
    call.having()


@pytest.mark.parametrize(
    ("call", "name", "value", "error"),
    [case for case in of_every(CALLS, mistakes) if case.id != "replay_sample indices: none"],
)
def test_an_array_in_a_wrong_form_is_refused_by_name_and_never_converted(call, name, value, error):
    with pytest.raises(error, match=rf"^{name} (is|has) "):
        call.having(**{name: value})


@pytest.mark.parametrize(("call", "name", "value"), of_every(CALLS, wrong_sizes))
def test_sizes_that_are_zero_or_do_not_agree_are_refused(call, name, value):
    with pytest.raises(ValueError, match=r" has shape .*; expected"):
        call.having(**{name: value})


@pytest.mark.parametrize(("call", "names"), of_every(CALLS, shared_memory))
def test_arrays_that_share_memory_with_a_written_one_are_refused_and_neighbours_are_not(call, names):
    arrays = [call.arguments()[name] for name in names]
    apart = -(-arrays[0].nbytes // 8) * 8  # the second array has to be aligned
    call.having(**dict(zip(names, in_one_buffer(*arrays, offset=apart), strict=True)))
    with pytest.raises(ValueError, match=rf"(?=.*{names[0]})(?=.*{names[1]}).* share memory"):
        call.having(**dict(zip(names, in_one_buffer(*arrays, offset=8), strict=True)))


COUNTERS = [(ASK, "generation"), (ES_STEP, "generation"), (SAMPLE, "draw")]


@pytest.mark.parametrize(("call", "name"), COUNTERS)
@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), ("1", TypeError), (None, TypeError)]
)
def test_a_number_that_is_no_counter_is_refused_by_name(call, name, value, error):
    with pytest.raises(error, match=rf"{name} = .*expected an integer in \[0, 2\^64\)"):
        call.having(**{name: value})


@pytest.mark.parametrize(("call", "name"), COUNTERS)
def test_a_counter_may_be_a_numpy_integer_and_reach_the_end_of_its_range(call, name):
    call.having(**{name: np.int64(5)})
    call.having(**{name: 2**64 - 1})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", [[0.5, 0.5], [1.5, -0.5]], r"weights\[1, 1\] = -0.5"),
        ("weights", [[0.5, np.nan], [0.5, 0.5]], r"weights\[0, 1\] = nan"),
        ("weights", [[0.5, 0.5], [1.0, 1.0]], r"sum of weights\[1\] = 2; expected 1"),
        ("weights", [[0.0, 0.0], [0.5, 0.5]], r"sum of weights\[0\] = 0; expected 1"),
        ("weights", [[np.inf, 0.0], [0.5, 0.5]], r"sum of weights\[0\] = inf"),
        ("damping", [0.0, -1.0], r"damping\[1\] = -1"),
        ("damping", [np.nan, 0.0], r"damping\[0\] = nan"),
        ("damping", [np.inf, 0.0], r"damping\[0\] = inf"),
        ("mean_rate", 1.5, "mean_rate = 1.5"),
        ("mean_rate", -0.5, "mean_rate = -0.5"),
        ("mean_rate", np.nan, "mean_rate = nan"),
        ("variance_rate", 2.0, "variance_rate = 2"),
        ("variance_rate", np.nan, "variance_rate = nan"),
    ],
)
def test_recombination_refuses_values_out_of_range_by_name_and_changes_nothing(name, value, message):
    arguments = RECOMBINE.arguments()
    before = {key: np.copy(array) for key, array in arguments.items()}
    arguments[name] = np.array(value, np.float32) if isinstance(value, list) else value
    with pytest.raises(ValueError, match=message):
        _native.evolution_recombine(**arguments)
    np.testing.assert_array_equal(arguments["mean"], before["mean"])
    np.testing.assert_array_equal(arguments["variance"], before["variance"])


@pytest.mark.parametrize("sigma", [-1.0, np.nan, np.inf])
def test_ask_refuses_a_sigma_that_is_no_standard_deviation(sigma):
    arguments = ASK.arguments()
    arguments["sigma"][1, 2] = sigma
    with pytest.raises(ValueError, match=r"sigma\[1, 2\] = .*expected a finite standard deviation"):
        _native.evolution_ask(**arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sigma", [1.0, 0.0], r"sigma\[1\] = 0"),
        ("sigma", [np.nan, 1.0], r"sigma\[0\] = nan"),
        ("sigma", [np.inf, 1.0], r"sigma\[0\] = inf"),
        ("sigma", [1.0, 1e-39], r"sigma\[1\] = 1e-39"),  # 1 / sigma is no float32
        ("sigma", [3e38, 1.0], r"sigma\[0\] = 3e\+38"),
        ("weights", [[0.0, np.nan], [0.0, 0.0]], r"weights\[0, 1\] = nan"),
        ("weights", [[0.0, 0.0], [np.inf, 0.0]], r"weights\[1, 0\] = inf"),
        ("learning_rate", -1.0, "learning_rate = -1"),
        ("learning_rate", np.inf, "learning_rate = inf"),
        ("learning_rate", 1e39, r"learning_rate = 1e\+39"),
        ("learning_rate", 3e38, r"learning_rate = 3e\+38"),  # ten times that in the first step
        ("weight_decay", 1e39, r"weight_decay = 1e\+39"),
        ("weight_decay", np.nan, "weight_decay = nan"),
        ("weight_decay", -0.1, "weight_decay = -0.1"),
        ("step", 0, "step = 0"),
    ],
)
def test_the_step_refuses_values_out_of_range_by_name_and_changes_nothing(name, value, message):
    arguments = ES_STEP.arguments()
    before = arguments["mean"].copy()
    arguments[name] = np.array(value, np.float32) if isinstance(value, list) else value
    with pytest.raises(ValueError, match=message):
        _native.openai_es_step(**arguments)
    np.testing.assert_array_equal(arguments["mean"], before)


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [
        *((ADAM, "step", value) for value in (0, -1)),
        *((ADAM, "learning_rate", value) for value in (-0.1, np.nan, np.inf, 3e38, 1e39)),
        *((ADAM, name, value) for name in ("beta1", "beta2") for value in (-0.1, 1.0, 2.0, np.nan)),
        *((ADAM, "epsilon", value) for value in (-1.0, np.nan, np.inf, 1e39)),
        *((POLYAK, "tau", value) for value in (-0.1, 1.01, np.nan, np.inf)),
    ],
)
def test_optimisers_refuse_numbers_out_of_range_by_name_and_change_nothing(call, name, value):
    arguments = call.arguments() | {name: value}
    before = {key: arguments[key].copy() for key in call.written}
    with pytest.raises(ValueError, match=rf"^{name} = {re.escape(f'{value:.15g}')}; expected "):
        call.function(**arguments)
    for key, array in before.items():
        np.testing.assert_array_equal(arguments[key], array)


@pytest.mark.parametrize("step", [1.5, "1", None])
def test_a_step_of_adam_is_an_integer(step):
    with pytest.raises(TypeError, match="step: "):
        ADAM.having(step=step)
