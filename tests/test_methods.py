"""`method` is a name for options that belong together: it gives them, and an option that contradicts it is told."""

import apb
import pytest
from apb.errors import ConfigError, UnknownNameError
from apb.meta_training.settings import MetaSettings
from apb.methods import METHODS, with_method
from apb.settings import AdaptSettings
from flap_runs import ALONE, TASK, drawn_backbone, flap
from learning import SMALL, small_backbone
from meta_runs import SPLIT

FLAP = {
    "adapter_init": "predicted",
    "gradient_steps": 0,
    "strategy": "action_noise",
    "trainable_backbone": False,
}


@pytest.mark.parametrize("job", METHODS)
def test_apb_is_the_options_as_they_are_given(job):
    for options in ({}, {"seed": 3, "learning_starts": 7}):
        assert with_method(job, "apb", options) == options


def test_flap_is_an_adaptation_of_one_episode_without_a_gradient():
    assert with_method("adapt", "flap", {"seed": 3}) == FLAP | {
        "seed": 3,
        "total_timesteps": 200,
        "learning_starts": 200,
    }
    given = with_method("adapt", "flap", {"total_timesteps": 30})
    assert (given["total_timesteps"], given["learning_starts"]) == (30, 30)


def test_flap_is_a_meta_training_of_heads_that_begin_alike_with_a_predictor_beside_it():
    expected = {"layer_predictor": True, "adapter_init": "shared", "learned_layers": "post", "seed": 3}
    assert with_method("meta_train", "flap", {"seed": 3}) == expected


def test_the_options_of_every_method_are_options_of_its_job():
    for settings in (AdaptSettings, MetaSettings):
        for method in METHODS[settings.job]:
            settings.from_options(with_method(settings.job, method, {}))


def test_an_option_that_a_method_has_may_be_given_with_the_same_value():
    assert with_method("adapt", "flap", FLAP | {"learning_starts": 200}) == with_method("adapt", "flap", {})


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("gradient_steps", 1, "0"),
        ("strategy", "param_noise", "'action_noise'"),
        ("trainable_backbone", True, "False"),
        ("adapter_init", "nearest", "'predicted'"),
        ("learning_starts", 100, "20"),
    ],
)
def test_an_option_that_contradicts_flap_is_told(option, value, wanted):
    words = rf"^{option} = {value!r} contradicts method = 'flap', which is {option} = {wanted}; leave one of them out$"
    with pytest.raises(ConfigError, match=words):
        apb.adapt(TASK, drawn_backbone(), method="flap", **ALONE, **{option: value})


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [("layer_predictor", False, "True"), ("adapter_init", "scratch", "'shared'"), ("learned_layers", "both", "'post'")],
)
def test_an_option_that_contradicts_a_meta_training_by_flap_is_told(option, value, wanted):
    words = rf"^{option} = {value!r} contradicts method = 'flap', which is {option} = {wanted}; leave one of them out$"
    with pytest.raises(ConfigError, match=words):
        apb.meta_train(SPLIT, small_backbone(), method="flap", **{**SMALL, option: value})


def test_a_method_that_is_misspelt_is_told_with_the_nearest():
    with pytest.raises(UnknownNameError, match="method = 'flop' is unknown; did you mean 'flap'"):
        flap(drawn_backbone(), method="flop")
    with pytest.raises(UnknownNameError, match="method = 'apv' is unknown; did you mean 'apb'"):
        apb.meta_train(SPLIT, small_backbone(), method="apv")
    with pytest.raises(UnknownNameError, match="method = None is unknown"):
        apb.adapt(TASK, drawn_backbone(), method=None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("predictor_input", "reward"),
        ("predictor_target", "joint"),
        ("predictor_width", 10),
        ("predictor_depth", 1),
        ("predictor_batch_size", 10),
    ],
)
def test_an_option_of_a_predictor_that_is_not_trained_is_told(option, value):
    words = f"^{option} = {value!r} with layer_predictor = False: no predictor is trained; expected layer_"
    with pytest.raises(ConfigError, match=words):
        apb.meta_train(SPLIT, small_backbone(), **SMALL, **{option: value})
    default = getattr(MetaSettings(), option)
    assert getattr(MetaSettings(**{option: default}), option) == default
    assert getattr(MetaSettings(layer_predictor=True, **{option: value}), option) == value


def test_a_prediction_from_nothing_is_told():
    words = "learning_starts = 0 with adapter_init = 'predicted', .*expected at least 1"
    with pytest.raises(ConfigError, match=words):
        apb.adapt(TASK, drawn_backbone(), adapter_init="predicted", learning_starts=0)


def test_flap_is_called_by_its_name():
    predicted = {"adapter_init": "predicted", "gradient_steps": 0}
    assert AdaptSettings(**predicted).in_words == "FLAP"
    assert AdaptSettings(**predicted | {"gradient_steps": 1}).in_words == "action_noise"
    assert AdaptSettings(**predicted | {"adapter_init": "mean"}).in_words == "action_noise"
