"""Options that contradict each other are told when they are given, with what to do."""

import inspect
import re
from dataclasses import fields

import pytest
from apb import ConfigError, adapt, pretrain, resume
from apb.cli.parsing import _field_docs
from apb.methods import with_method
from apb.pretraining.settings import PretrainSettings
from apb.settings import LEARNED_STARTS, AdaptSettings, LearningSettings
from apb.strategies import STRATEGIES
from crashes import Crash, CrashAt
from learning import SMALL


@pytest.mark.parametrize("start", LEARNED_STARTS)
def test_layers_that_were_learned_for_plain_observations_are_not_given_normalised_ones(start):
    AdaptSettings(adapter_init="scratch", normalize_observations=True)
    with pytest.raises(ConfigError, match=f"normalize_observations = True with adapter_init = '{start}'.*; expected"):
        AdaptSettings(adapter_init=start, normalize_observations=True)


def test_a_rollout_that_the_replay_cannot_hold_predicts_nothing():
    AdaptSettings(adapter_init="predicted", learning_starts=200, buffer_size=200)
    with pytest.raises(
        ConfigError, match=r"^learning_starts = 200 with buffer_size = 199: .*a smaller learning_starts"
    ):
        AdaptSettings(adapter_init="predicted", learning_starts=200, buffer_size=199)
    with pytest.raises(ConfigError, match=r"^total_timesteps = 2000000 with .*; expected a smaller total_timesteps"):
        AdaptSettings(**with_method("adapt", "flap", {"total_timesteps": 2_000_000}))


def test_a_pre_training_does_not_draw_its_backbone_anew():
    with pytest.raises(ConfigError, match=r"reset_interval = 100.*drawn? anew|reset_interval = 100, and a reset draws"):
        pretrain("Pendulum-v1", total_timesteps=300, learning_starts=50, reset_interval=100)


def test_a_pre_training_is_not_explored_by_members_that_the_envs_reward_judges():
    with pytest.raises(ConfigError, match=r"strategy = 'param_noise' judges .*own reward.*; expected 'adaptive_param"):
        pretrain("Pendulum-v1", total_timesteps=300, learning_starts=50, strategy="param_noise")


@pytest.mark.parametrize(
    ("strategy", "option", "of"),
    [
        ("action_noise", {"flight_prob": 0.5}, "strategy='behavior_transfer'"),
        ("param_noise", {"flight_exponent": 1.0}, "strategy='behavior_transfer'"),
        ("action_noise", {"flight_max_length": 5}, "strategy='behavior_transfer'"),
        ("action_noise", {"extra_action": "off"}, "strategy='behavior_transfer'"),
        ("action_noise", {"param_noise": 0.1}, "strategy='param_noise' or strategy='adaptive_param_noise'"),
        ("adaptive_param_noise", {"population_size": 4}, "strategy='param_noise'"),
        ("action_noise", {"segment_length": 7}, "strategy='param_noise'"),
        ("action_noise", {"evolution_rate": 0.5}, "strategy='param_noise'"),
    ],
    ids=str,
)
def test_an_option_of_another_strategy_is_refused(strategy, option, of):
    ((name, value),) = option.items()
    words = rf"^{name} = {value!r} with strategy = '{strategy}', which has no use for it; leave it out, or give {of}$"
    with pytest.raises(ConfigError, match=words):
        adapt("Pendulum-v1", strategy=strategy, total_timesteps=2, **option)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=lambda each: each.name)
def test_a_strategy_has_the_options_that_its_help_says(strategy):
    docs = _field_docs(AdaptSettings) | _field_docs(LearningSettings)
    told = {
        name
        for name, text in docs.items()
        if (found := re.match(r"Strateg(y|ies) (.*?):", text)) and f'"{strategy.name}"' in found[2]
    }
    assert set(strategy.options) == told


def test_what_a_pre_training_refuses_is_offered_by_no_help():
    assert PretrainSettings.unused <= {field.name for field in fields(PretrainSettings)}
    assert not PretrainSettings.unused & inspect.signature(pretrain).parameters.keys()
    options = {"population_size": 3, "segment_length": 5, "evolution_rate": 0.5, "reset_interval": 100}
    assert options.keys() == PretrainSettings.unused
    for name, value in options.items():
        with pytest.raises(ConfigError, match=f"^{name} = {value}"):
            pretrain("Pendulum-v1", total_timesteps=300, learning_starts=50, **{name: value})


@pytest.mark.parametrize(
    ("objective", "option"), [("rnd", {"knn_neighbors": 5}), ("knn", {"rnd_width": 5}), ("knn", {"rnd_depth": 1})]
)
def test_an_option_of_another_objective_is_refused(objective, option):
    ((name, value),) = option.items()
    with pytest.raises(ConfigError, match=rf"{name} = {value} with objective = '{objective}', which has no use for it"):
        pretrain("Pendulum-v1", total_timesteps=300, learning_starts=50, objective=objective, **option)


@pytest.mark.parametrize(("job", "option"), [(adapt, {"param_noise": 0.3}), (pretrain, {"knn_neighbors": 5})])
def test_a_run_that_has_such_an_option_already_goes_on(job, option, tmp_path, monkeypatch):
    options = {**SMALL, "total_timesteps": 150, "eval_freq": 0, "checkpoint_freq": 20, **option}
    with monkeypatch.context() as earlier:
        earlier.setattr("apb.jobs.Job.require_options", lambda job: None)
        earlier.setattr("apb.pretraining.job.PretrainJob.require_options", lambda job: None)
        with pytest.raises(Crash):
            job("Pendulum-v1", run_dir=tmp_path / "run", callback=CrashAt(117), **options)
    assert resume(tmp_path / "run").stopped_by == "budget"
