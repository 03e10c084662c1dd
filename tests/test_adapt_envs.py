"""`adapt` learns in an env in every form: an id, an env, a function, a vector env; and evaluates so too."""

from contextlib import closing

import gymnasium
import numpy as np
import pytest
from adapt_runs import STRATEGY_OPTIONS, run, same_policies, strategies
from apb import ApbWarning, Callback, ConfigError
from apb.environments import EnvSource
from apb.loop import LearningLoop
from apb.runner import run_to_end
from apb.runs import StopSignals
from apb.settings import AdaptSettings
from envs_for_tests import CountingEnv
from learning import SMALL, small_backbone

# --- to learn in -----------------------------------------------------------------------------------------------------


@strategies
def test_an_id_an_env_and_a_factory_are_the_same_to_learn_in(options):
    options = {**options, "total_timesteps": 90, "eval_freq": 45, "n_eval_episodes": 1, "learning_starts": 30}
    env = gymnasium.make("Pendulum-v1")
    results = [run(form, **options) for form in ("Pendulum-v1", env, lambda: gymnasium.make("Pendulum-v1"))]
    for other in results[1:]:
        assert same_policies(results[0].policies, other.policies)
        assert results[0].evaluations == other.evaluations
    env.reset()
    env.close()


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
@strategies
def test_a_vector_env_is_learned_in_as_a_whole(options, mode):
    envs = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1")] * 4, autoreset_mode=mode)
    source = EnvSource.resolve(envs)
    settings = AdaptSettings(**{**SMALL, "total_timesteps": 1700, "gradient_steps": 0, "log_freq": 200, **options})
    lengths = []

    class Watch(Callback):
        def on_episode_end(self, state, episode):
            lengths.append(episode.length)

    loop = LearningLoop(source, None, small_backbone(), settings, [Watch()])
    result = run_to_end(loop, None, StopSignals())
    assert lengths == [200] * 8, "425 or 424 steps of four envs"
    assert 1700 - 4 < result.total_timesteps <= 1700
    assert loop.replay.added[0] == result.total_timesteps
    rows = loop.replay.table[0, : loop.replay.size[0]]
    assert (rows[:, -1] == 1).all()
    angles = np.arctan2(rows[:, [1, 4]], rows[:, [0, 3]])
    turned = np.abs((angles[:, 1] - angles[:, 0] + np.pi) % (2 * np.pi) - np.pi)
    assert turned.max() <= 8 * 0.05 + 1e-3, (
        "no transition leads over a reset: a step turns the pendulum by at most 8 dt"
    )
    assert [record["timesteps"] for record in result.history] == [200, 400, 600, 800, 1000, 1200, 1400, 1600]
    envs.close()


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ("HalfCheetah-v5", STRATEGY_OPTIONS[0]),
        ("Ant-v5", STRATEGY_OPTIONS[0]),
        ("Hopper-v5", STRATEGY_OPTIONS[1]),
        ("Walker2d-v5", STRATEGY_OPTIONS[1]),
        ("gymnasium_robotics:AdroitHandDoor-v1", STRATEGY_OPTIONS[0]),
    ],
)
def test_robots_of_gymnasium_and_of_another_package_can_be_adapted_to(env, options):
    result = run(env, total_timesteps=240, learning_starts=200, eval_freq=240, n_eval_episodes=1, **options)
    assert result.total_timesteps == 240
    assert np.isfinite(result.final[0].mean)
    space = gymnasium.spaces.Box(-1, 1, result.policy.observation_space.shape)
    action = result.policy(space.sample().astype(np.float64))
    assert result.policy.action_space.contains(action)


class OneNumber(CountingEnv):
    """An action is a number, an array without axes."""

    action_space = gymnasium.spaces.Box(-2.0, 2.0, (), np.float32)

    def step(self, action):
        assert isinstance(action, np.ndarray)
        assert self.action_space.contains(action)
        return super().step(action.reshape(1))


def test_an_action_may_be_one_number_without_axes():
    result = run(OneNumber, total_timesteps=80, eval_freq=40, n_eval_episodes=1)
    assert result.policy(np.zeros(3)).shape == ()
    assert OneNumber.action_space.contains(result.policy(np.zeros(3)))


def test_a_changed_env_object_of_which_new_ones_are_needed_is_warned_of():
    changed = gymnasium.make("Pendulum-v1")
    changed.unwrapped.max_torque = 0.5
    with pytest.warns(ApbWarning, match=r"Pendulum-v1 was changed after it was made \(max_torque\).*pass a function"):
        run(changed, total_timesteps=50, eval_freq=50, n_eval_episodes=1)


@pytest.mark.parametrize("wrapper", [gymnasium.wrappers.NormalizeObservation, gymnasium.wrappers.NormalizeReward])
def test_statistics_of_a_wrapper_which_no_policy_keeps_are_warned_of(wrapper):
    with pytest.warns(ApbWarning, match=rf"{wrapper.__name__}.*adapt has normalize_observations=True"):
        run(lambda: wrapper(gymnasium.make("Pendulum-v1")), total_timesteps=50)


# --- to evaluate in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_a_vector_env_is_evaluated_in_as_a_whole_or_refused_before_training(mode, tmp_path):
    def make():
        return gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1")] * 3, autoreset_mode=mode)

    options = {"eval_freq": 50, "n_eval_episodes": 5, "total_timesteps": 60}
    with closing(make()) as envs:
        result = run(eval_env=envs, **options)
        assert [record["lengths"] for record in result.evaluations] == [[200] * 5] * len(result.evaluations)
        assert len(set(result.evaluations[0]["returns"])) == 5
        with pytest.raises(ConfigError, match="num_envs = 3, but 2 lanes"):
            run(eval_env=envs, n_seeds=2, run_dir=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_factory_of_evaluation_envs_makes_as_many_with_a_run_folder_as_without(tmp_path):
    made = []

    def make():
        made.append(CountingEnv((5,)))
        return made[-1]

    counts = []
    for run_dir in (None, tmp_path / "run"):
        made.clear()
        run(CountingEnv((5,)), total_timesteps=20, eval_env=make, eval_freq=20, n_eval_episodes=2, run_dir=run_dir)
        counts.append(len(made))
    assert counts == [3, 3], "one to look at its spaces, one for each episode"


def test_an_env_object_that_cannot_be_made_again_is_evaluated_elsewhere_or_not_at_all():
    result = run(CountingEnv((3,)), total_timesteps=20)
    assert result.evaluations == ()
    assert result.final == ()
    result = run(CountingEnv((3,)), total_timesteps=20, eval_env=CountingEnv((5,)), eval_freq=20, n_eval_episodes=2)
    assert result.evaluations[0]["lengths"] == [5, 5]


def test_an_env_whose_policies_could_not_be_saved_is_refused_before_the_first_step(monkeypatch):
    monkeypatch.setattr("apb.files.model_folders.MAX_CONFIG_BYTES", 1100)
    stepped = []

    class Watched(gymnasium.Wrapper):
        def step(self, action):
            stepped.append(action)
            return super().step(action)

    with pytest.raises(ConfigError, match=r"config\.json of apb\.policy cannot be saved: .*spaces of fewer elements"):
        run(lambda: Watched(gymnasium.make("Pendulum-v1")), eval_freq=0)
    assert stepped == []
