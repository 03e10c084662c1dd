"""`adapt` learns from what really happened, with a backbone that stays and the statistics that its policy carries."""

import gymnasium
import numpy as np
import pytest
import torch
from adapt_runs import run, same_policies
from apb import Backbone, Callback, adapt, evaluate, resume
from apb.environments import EnvSource
from apb.loop import LearningLoop
from apb.runner import run_to_end
from apb.runs import StopSignals
from apb.settings import AdaptSettings
from envs_for_tests import CountedPendulum, CountingEnv
from learning import SMALL, small_backbone


@pytest.mark.parametrize(
    ("options", "budget"),
    [
        ({"strategy": "action_noise"}, 2600),
        pytest.param({"strategy": "param_noise", "population_size": 2}, 4000, marks=pytest.mark.slow),
        pytest.param({"strategy": "adaptive_param_noise"}, 4000, marks=pytest.mark.slow),
    ],
    ids=["action_noise", "param_noise", "adaptive_param_noise"],
)
def test_adaptation_learns_pendulum(options, budget):
    backbone = Backbone.random(0, reading="A", hidden_sizes=(64, 64))
    hash_before = backbone.hash
    options |= {"learning_rate": 3e-3, "tau": 0.02, "gamma": 0.95, "batch_size": 64, "learning_starts": 400}
    result = adapt("Pendulum-v1", backbone, total_timesteps=budget, eval_freq=budget, num_threads=1, **options)
    assert result.evaluations[0]["eval/mean_reward"] < -900, "about what random policies reach"
    assert result.final[0].mean > -500, "the best policies reach about -150"
    assert result.policy.backbone.hash == hash_before == backbone.hash
    assert evaluate(result.policy, "Pendulum-v1", 10, seed=5).mean > -500


# --- the replay ------------------------------------------------------------------------------------------------------


def test_the_replay_holds_what_happened_and_a_truncation_is_not_an_end(made):
    source = EnvSource.resolve(CountedPendulum)
    made.clear()
    settings = AdaptSettings(**{**SMALL, "total_timesteps": 450})
    loop = LearningLoop(source, None, small_backbone(), settings)
    run_to_end(loop, None, StopSignals())
    log = made[0].log
    table = loop.replay.table[0]
    assert loop.replay.size[0] == len(log) == 450
    for row, (observation, reward, terminated, _, _) in zip(table, log, strict=True):
        assert (row[3:6] == observation.astype(np.float32)).all()
        assert row[7] == np.float32(reward)
        assert row[8] == 1 - terminated == 1
    ends = [i for i, entry in enumerate(log) if entry[3]]
    assert ends == [199, 399]
    for i, row in enumerate(table[1:], 1):
        assert (row[:3] == table[i - 1][3:6]).all() == (i - 1 not in ends), "an episode begins with its own observation"


def test_an_env_that_terminates_gives_transitions_without_a_future():
    loop = LearningLoop(
        EnvSource.resolve(lambda: CountingEnv((3,))),
        None,
        small_backbone(),
        AdaptSettings(**{**SMALL, "total_timesteps": 30}),
    )
    run_to_end(loop, None, StopSignals())
    alive = loop.replay.table[0, :, -1]
    assert (alive == [0 if i % 6 == 2 else 1 for i in range(30)]).all(), (
        "even episodes terminate, odd ones are truncated"
    )


# --- backbones and normalisation -------------------------------------------------------------------------------------


def test_a_frozen_backbone_stays_and_a_trained_one_is_each_lanes_own():
    backbone = small_backbone("A")
    hash_before = backbone.hash
    frozen = adapt("Pendulum-v1", backbone, **{**SMALL, "total_timesteps": 100})
    trained = adapt(
        "Pendulum-v1", backbone, **{**SMALL, "total_timesteps": 100, "trainable_backbone": True, "n_seeds": 2}
    )
    assert backbone.hash == hash_before == small_backbone("A").hash
    assert frozen.policy.backbone.hash == hash_before
    assert len({hash_before, *(policy.backbone.hash for policy in trained.policies)}) == 3


def test_the_policy_carries_the_statistics_that_it_was_learned_with(made):
    result = run(CountedPendulum, total_timesteps=300, normalize_observations=True)
    observed = loop_observations(made)
    normalizer = result.policy.normalizer
    np.testing.assert_allclose(normalizer.mean, observed.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(normalizer.inverse_std, 1 / observed.std(axis=0), rtol=1e-4)
    assert run(total_timesteps=50).policy.normalizer is None
    assert (
        result.policies[0].adapter.parameters.tobytes() != run(total_timesteps=300).policy.adapter.parameters.tobytes()
    )


def test_every_update_sees_the_replay_under_the_statistics_of_the_moment():
    options = {**SMALL, "total_timesteps": 80, "n_seeds": 2, "normalize_observations": True}
    loop = LearningLoop(EnvSource.resolve("Pendulum-v1"), None, small_backbone(), AdaptSettings(**options))
    update, updates = loop.learner.td3.update, []

    def watched(batch):
        seen = loop.replay.table[:, : loop.timesteps, :3].astype(np.float64)
        mean, variance = (statistic(axis=1, keepdims=True) for statistic in (seen.mean, seen.var))
        plain = loop.replay.sample(loop.learner.updates)
        for name in ("observation", "next_observation"):
            expected = np.clip((getattr(plain, name).numpy() - mean) / np.sqrt(variance + 1e-8), -10, 10)
            np.testing.assert_allclose(getattr(batch, name), expected, rtol=1e-4, atol=1e-4)
        updates.append(loop.timesteps)
        return update(batch)

    loop.learner.td3.update = watched
    run_to_end(loop, None, StopSignals())
    assert updates == list(range(64, 81))


def loop_observations(made):
    """What was acted on in 300 steps of Pendulum, from the log of its only env."""
    (env,) = [env for env in made if env.actions]
    starts = [gymnasium.make("Pendulum-v1").reset(seed=seed)[0] for seed in env.seeds]
    following = [entry[0] for entry in env.log]
    return np.array([starts[0], *following[:199], starts[1], *following[200:299]], dtype=np.float64)


@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_statistics_are_those_of_transitions_and_not_of_steps_that_only_reset(mode):
    envs = [CountingEnv((2, 5, 3), 0), CountingEnv((4, 1, 2), 1)]
    vector = gymnasium.vector.SyncVectorEnv([lambda env=env: env for env in envs], autoreset_mode=mode)
    result = run(vector, total_timesteps=90, normalize_observations=True, learning_starts=90)
    observed = np.array([entry[:3] for env in envs for entry in env.journal])
    assert abs(len(observed) - result.total_timesteps) <= 1
    normalizer = result.policy.normalizer
    np.testing.assert_allclose(normalizer.mean, observed.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(normalizer.inverse_std, 1 / observed.std(axis=0), rtol=1e-6)


# --- torch's global defaults -----------------------------------------------------------------------------------------


class Stop(Callback):
    def on_step(self, state):
        return state.timesteps < 74


@pytest.mark.parametrize(
    "options", [{}, {"trainable_backbone": True}, {"strategy": "param_noise", "population_size": 2}]
)
@pytest.mark.parametrize(
    ("set_default", "other", "own"),
    [(torch.set_default_dtype, torch.float64, torch.float32), (torch.set_default_device, "meta", None)],
    ids=["dtype", "device"],
)
def test_defaults_that_a_script_gives_torch_change_nothing(set_default, other, own, options, tmp_path):
    options = {"total_timesteps": 90, "normalize_observations": True, "reset_interval": 80, **options}
    expected = run(**options)
    set_default(other)
    try:
        run(run_dir=tmp_path / "run", callback=Stop(), **options)
        found = resume(tmp_path / "run")
    finally:
        set_default(own)
    assert same_policies(found.policies, expected.policies)
