"""Options that contradict each other are told when they are given, with what to do."""

import pytest
from apb import ConfigError, pretrain
from apb.methods import with_method
from apb.settings import LEARNED_STARTS, AdaptSettings


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
    ("objective", "option"), [("rnd", {"knn_neighbors": 5}), ("knn", {"rnd_width": 5}), ("knn", {"rnd_depth": 1})]
)
def test_an_option_of_another_objective_is_refused(objective, option):
    ((name, value),) = option.items()
    with pytest.raises(ConfigError, match=rf"{name} = {value} with objective = '{objective}', which has no use for it"):
        pretrain("Pendulum-v1", total_timesteps=300, learning_starts=50, objective=objective, **option)
