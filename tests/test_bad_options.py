"""An argument of `adapt` that cannot be meant is refused before anything is made, by name, value and expectation."""

import math
import re

import numpy as np
import pytest
import torch
from adapt_runs import run
from apb import (
    ApbError,
    Backbone,
    Callback,
    ConfigError,
    FileFormatError,
    Policy,
    UnknownNameError,
    adapt,
    resume,
)
from apb.rng import MAX_SEED
from apb.settings import AdaptSettings
from hypothesis import given
from hypothesis import strategies as st

# --- numbers and flags -----------------------------------------------------------------------------------------------


INTEGERS = {
    "total_timesteps": 0,
    "seed": -1,
    "n_seeds": 0,
    "eval_freq": -1,
    "n_eval_episodes": 0,
    "checkpoint_freq": -1,
    "log_freq": 0,
    "keep_last": 0,
    "learning_starts": -1,
    "gradient_steps": -1,
    "buffer_size": 0,
    "batch_size": 0,
    "policy_delay": 0,
    "reset_interval": 0,
    "population_size": 1,
    "segment_length": 0,
}


NUMBERS = {
    "learning_rate": (0.0, 1.5),
    "critic_learning_rate": (0.0, 1.5),
    "gamma": (-0.1, 1.1),
    "tau": (0.0, 1.1),
    "target_policy_noise": (-0.1, 11),
    "target_noise_clip": (-0.1, 11),
    "action_noise": (-0.1, 11),
    "param_noise": (0.0, 1.1),
    "evolution_rate": (-0.1, 1.1),
}


@pytest.mark.parametrize(("name", "value"), INTEGERS.items())
def test_an_integer_out_of_range_is_named_with_value_and_range(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} = {value} is out of range; expected a number in \[\d+, "):
        AdaptSettings(**{name: value})
    assert getattr(AdaptSettings(**{name: value + 1}), name) == value + 1, "the smallest one is taken"


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", ["7", 2.5, math.inf, True, [1]], ids=repr)
def test_what_is_no_integer_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} = {re.escape(repr(value))} .*expected an integer"):
        AdaptSettings(**{name: value})


@pytest.mark.parametrize("name", INTEGERS)
def test_a_float_that_is_whole_is_an_integer(name):
    value = getattr(AdaptSettings(**{name: 4.0}), name)
    assert (type(value), value) == (int, 4)


def test_the_bounds_of_a_range_are_told_to_the_digit():
    with pytest.raises(ConfigError, match=rf"seed = {MAX_SEED + 1} is out of range; .* in \[0, {MAX_SEED}\]"):
        AdaptSettings(seed=MAX_SEED + 1)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_or_not_finite_is_refused(name):
    for value in NUMBERS[name]:
        with pytest.raises(ConfigError, match=rf"^{name} = {value!r} is out of range; expected a number in "):
            AdaptSettings(**{name: value})
    for value in (math.nan, math.inf, "0.1", True):
        with pytest.raises(ConfigError, match=rf"^{name} = {value!r}; expected a finite number"):
            AdaptSettings(**{name: value})


@given(st.sampled_from([*INTEGERS, *NUMBERS]), st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none()))
def test_any_value_of_an_option_is_either_taken_or_refused_by_name(name, value):
    taken, refusal = None, None
    try:
        taken = getattr(AdaptSettings(**{name: value}), name)
    except ConfigError as error:
        refusal = str(error)
    assert name in refusal if refusal else taken == value


@pytest.mark.parametrize("name", ["trainable_backbone", "normalize_observations", "keep_best", "replay_on_disk"])
def test_a_flag_is_true_or_false(name):
    with pytest.raises(ConfigError, match=rf"^{name} = 'no'; expected True or False"):
        AdaptSettings(**{name: "no"})


def test_seeds_of_lanes_beyond_the_largest_are_refused():
    AdaptSettings(seed=MAX_SEED - 1, n_seeds=2)
    with pytest.raises(ConfigError, match=f"with n_seeds = 3 goes beyond {MAX_SEED}; choose a smaller seed"):
        AdaptSettings(seed=MAX_SEED - 1, n_seeds=3)


# --- names -----------------------------------------------------------------------------------------------------------


OTHER_NAMES = {
    "bakbone": "backbone",
    "callbacks": "callback",
    "env_kwarg": "env_kwargs",
    "eval_envs": "eval_env",
    "gpu": "device=cuda",
    "policy_kwargs": "backbone",
    "progress_bar": "callback=apb.ProgressBarCallback()",
    "rundir": "run_dir",
    "tensorboard_log": "run_dir",
    "verbose": "callback=apb.ProgressBarCallback()",
}


def test_an_unknown_option_is_answered_with_the_nearest_name():
    with pytest.raises(
        UnknownNameError, match=r"adapt\(\) has no option 'total_timestep'; did you mean 'total_timesteps'\?"
    ):
        run(total_timestep=100)
    with pytest.raises(UnknownNameError, match="no option 'lr'; did you mean 'learning_rate'"):
        run(lr=1e-3)
    for name, near in OTHER_NAMES.items():
        with pytest.raises(UnknownNameError, match=rf"no option '{name}'; did you mean '{re.escape(near)}'\?"):
            run(**{name: 1})


@pytest.mark.parametrize(
    ("option", "misspelt", "meant", "known"),
    [
        (
            "strategy",
            "parm_noise",
            "param_noise",
            "action_noise, adaptive_param_noise, behavior_transfer, param_noise",
        ),
        ("adapter_init", "neares", "nearest", "identity, mean, nearest, predicted, prior, scratch, shared"),
        ("learned_layers", "posts", "post", "both, post, pre"),
    ],
)
def test_an_unknown_choice_is_answered_with_the_nearest(option, misspelt, meant, known):
    with pytest.raises(UnknownNameError, match=f"{option} = '{misspelt}' is unknown; did you mean '{meant}'"):
        run(**{option: misspelt})
    for value in (None, 3, [meant]):
        with pytest.raises(UnknownNameError, match=rf"{option} = .* is unknown; .*known: {known}"):
            run(**{option: value})


# --- the machine -----------------------------------------------------------------------------------------------------


def test_more_threads_than_four_times_the_cores_are_refused(monkeypatch):
    monkeypatch.setattr("apb.threads.usable_cpus", lambda system: 2)
    monkeypatch.setenv("APB_NUM_THREADS", "1")  # what to use where nothing is asked for, and no bound
    assert AdaptSettings(num_threads=8.0).num_threads == 8
    for wrong in (0, 9, 5000):
        expected = rf"num_threads = {wrong} is .* in \[1, 8\], up to four times the 2 cores that affinity and"
        with pytest.raises(ConfigError, match=expected):
            AdaptSettings(num_threads=wrong)
    with pytest.raises(ConfigError, match=r"num_threads = '2' is a str; expected an integer in \[1, 8\]"):
        AdaptSettings(num_threads="2")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device = 'cuda', but torch .* finds no CUDA device; use 'cpu' or 'auto'"):
        run(device="cuda")
    for device in ("gpu", "cuda:x", "", None, 1.5):
        with pytest.raises(ConfigError, match=rf"device = {re.escape(repr(device))} is not a device; expected 'cpu'"):
            run(device=device)
    with pytest.raises(ConfigError, match=r"device = 'meta' is of kind 'meta'; expected 'cpu'"):
        run(device="meta")
    assert run(device="auto", total_timesteps=1).total_timesteps == 1


def test_a_replay_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("apb.replay.available_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"buffer_size = 100 needs 0 MiB of replay memory .*choose a smaller"):
        run()


def test_a_batch_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("apb.learner.available_memory", lambda: 2**30)
    with pytest.raises(
        ConfigError, match=r"batch_size = 1000000 needs .* to learn in 3 lanes; 1,024 MiB are free; cho"
    ):
        run(batch_size=1_000_000, n_seeds=3)


# --- backbones and callbacks -----------------------------------------------------------------------------------------


def test_what_is_no_backbone_and_a_path_that_leads_nowhere_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"backbone is a ndarray; expected an apb.Backbone"):
        run(backbone=np.zeros(3))
    with pytest.raises(ConfigError, match=r"backbone is a int; expected an apb.Backbone, the folder of a saved"):
        adapt("Pendulum-v1", 7)
    with pytest.raises(FileFormatError, match="nowhere"):
        adapt("Pendulum-v1", tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match=r"backbone = 'rnadom' is neither .*; did you mean 'random'\?"):
        adapt("Pendulum-v1", "rnadom")
    with pytest.raises(UnknownNameError, match=r"; did you mean strategy='param_noise'\?"):
        adapt("Pendulum-v1", "param_noise")
    for path, load in (
        (tmp_path / "psi-2", Backbone.from_pretrained),
        (str(tmp_path / "psi-2"), lambda path: adapt("Pendulum-v1", path)),
        (tmp_path / "psi-2", Policy.from_pretrained),
        (tmp_path / "psi-2", resume),
    ):
        (tmp_path / "psi-one").mkdir(exist_ok=True)
        (tmp_path / "psi").mkdir(exist_ok=True)
        with pytest.raises(ApbError, match=f"psi-2.*did you mean '{tmp_path / 'psi'}'"):
            load(path)
    with pytest.raises(UnknownNameError, match=r"'psi-3' is neither 'random' nor a backbone .* nor a folder that exi"):
        adapt("Pendulum-v1", "psi-3")


@pytest.mark.parametrize(
    "callback",
    [7, print, Callback, [Callback(), 7], [Callback]],
    ids=["7", "print", "Callback", "[Callback(), 7]", "[Callback]"],
)
def test_what_is_no_callback_is_refused(callback):
    with pytest.raises(ConfigError, match=r"callback .*expected .*apb\.Callback"):
        run(callback=callback)


@pytest.mark.parametrize("state", [None, [1, 2], [["a", 1]], 3, "ab"], ids=repr)
def test_a_callback_whose_state_is_no_dict_is_refused_before_the_first_step(state):
    class Best(Callback):
        def state_dict(self):
            return state

    returned = rf"state_dict\(\) of callback Best returned {re.escape(repr(state))}; expected a dict"
    with pytest.raises(ConfigError, match=returned):
        run(callback=Best())


def test_a_callback_whose_state_is_no_json_is_refused_before_the_first_step():
    class Best(Callback):
        def state_dict(self):
            return {"best": -math.inf}

    with pytest.raises(ConfigError, match=r"state_dict\(\) of callback Best is not JSON"):
        run(callback=Best())
