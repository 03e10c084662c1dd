"""Evaluations use envs and starts of their own, the policy without noise, and leave no trace in what is learned."""

import gymnasium
import numpy as np
import pytest
from adapt_runs import run, same_policies
from apb import Policy, SimulationError, evaluate, rng
from apb.environments import EnvSource, Simulations
from apb.evaluation import run_episodes
from envs_for_tests import CountedPendulum, UnevenEnv
from gymnasium.spaces import Box

# --- in a run --------------------------------------------------------------------------------------------------------


def test_a_curve_ends_where_the_run_does():
    result = run(total_timesteps=130, eval_freq=50, n_eval_episodes=1)
    assert [record["timesteps"] for record in result.evaluations] == [0, 50, 100, 130]


def test_evaluation_uses_envs_of_its_own_and_the_policy_without_noise(made):
    result = run(CountedPendulum, total_timesteps=150, eval_freq=50, n_eval_episodes=2, learning_starts=1000)
    assert [record["timesteps"] for record in result.evaluations] == [0, 50, 100, 150]
    # Nothing is learned, so all evaluations of the same starts are equal, which noise would prevent.
    assert len({tuple(record["returns"]) for record in result.evaluations}) == 1
    used = [env for env in made if env.actions]
    training = [env for env in used if len(env.actions) == 150]
    assert len(training) == 1
    assert len(used) == 1 + 2, "one to learn in, two for the evaluations"
    again = run("Pendulum-v1", total_timesteps=150, eval_freq=0, learning_starts=1000)
    assert same_policies(result.policies, again.policies), "evaluation leaves no trace in what is learned"
    seeds = [seed for env in used for seed in env.seeds]
    finals = [rng.derive_seed(0, rng.Stream.FINAL_EPISODE, slot, 0) for slot in range(2)]
    assert all(seeds.count(seed) == 1 for seed in finals), "the final evaluation uses starts that no other one used"


def test_of_policies_that_are_equally_good_the_first_is_the_best(tmp_path):
    options = {"total_timesteps": 100, "eval_freq": 50, "n_eval_episodes": 1, "learning_starts": 100}
    result = run(run_dir=tmp_path / "run", **options, gradient_steps=0)
    assert len({record["eval/mean_reward"] for record in result.evaluations}) == 1
    assert Policy.from_pretrained(tmp_path / "run" / "best").metadata["timesteps"] == 0


def returns_from_the_starts_of_a_run(policy, episodes):
    with Simulations(EnvSource.resolve("Pendulum-v1"), 1, 1, [0], rng.Stream.EVAL_EPISODE) as simulations:
        largest_torque = 2
        returns, _ = run_episodes(simulations, episodes, lambda rows: policy(rows[0])[None] / largest_torque)
    return returns[0].tolist()


def test_an_evaluation_in_the_run_is_one_of_that_policy():
    result = run(total_timesteps=100, eval_freq=100, n_eval_episodes=3)
    expected = returns_from_the_starts_of_a_run(result.policy, 3)
    assert result.evaluations[-1]["returns"] == pytest.approx(expected, rel=1e-6)
    assert result.evaluations[-1]["lengths"] == [200] * 3


class OddBounds(gymnasium.Wrapper):
    """Pendulum with bounds whose half difference is no float32 number; writes down what it is given."""

    action_space = Box(np.float32(0.1), np.float32(0.3), (1,))

    def __init__(self):
        super().__init__(gymnasium.make("Pendulum-v1"))
        self.seen, self.actions = [], []

    def reset(self, **options):
        observation, info = super().reset(**options)
        self.seen.append(observation)
        return observation, info

    def step(self, action):
        self.actions.append(action.copy())
        result = super().step(action)
        self.seen.append(result[0])
        return result


def test_a_saved_policy_acts_as_its_evaluation_did_to_the_bit(tmp_path):
    made = []

    def make():
        made.append(OddBounds())
        return made[-1]

    result = run(make, total_timesteps=100, eval_freq=100, n_eval_episodes=1)
    policy = Policy.from_pretrained(result.policy.save_pretrained(tmp_path / "policy"))
    env = next(env for env in made if len(env.actions) == 3 * 200)  # evaluated before and after learning, and at last
    last = np.array(env.actions[-200:])
    assert np.unique(last).size > 100
    assert policy(np.array(env.seen[-202:-2])).tobytes() == last.tobytes()


def test_more_episodes_than_parallel_simulations_are_taken_in_rounds(monkeypatch):
    monkeypatch.setattr("apb.evaluation.MAX_PARALLEL", 2)
    result = run(total_timesteps=1, eval_freq=1, n_eval_episodes=5)
    returns = result.evaluations[0]["returns"]
    assert len(set(returns)) == 5
    assert returns == pytest.approx(returns_from_the_starts_of_a_run(result.policy, 5), rel=1e-6)


def episodes_one_by_one(policy, seed, stream, episodes):
    """Returns and lengths of the episodes, each run by itself in a loop like anybody's."""
    env, returns, lengths = UnevenEnv(), [], []
    for episode in range(episodes):
        observation, _ = env.reset(seed=rng.derive_seed(seed, stream, episode))
        total, length, ended = 0.0, 0, False
        while not ended:
            observation, reward, ended, _, _ = env.step(policy(observation))
            total, length = total + reward, length + 1
        returns.append(total)
        lengths.append(length)
    return returns, lengths


def test_episodes_of_any_length_count_as_in_a_loop_over_their_seeds(monkeypatch):
    monkeypatch.setattr("apb.evaluation.MAX_PARALLEL", 3)
    result = run(UnevenEnv, total_timesteps=100, eval_freq=100, n_eval_episodes=7, n_seeds=2)
    last = [record for record in result.evaluations if record["timesteps"] == 100]
    for lane, (policy, record, final) in enumerate(zip(result.policies, last, result.final, strict=True)):
        returns, lengths = episodes_one_by_one(policy, lane, rng.Stream.EVAL_EPISODE, 7)
        assert record["lengths"] == lengths
        assert record["returns"] == pytest.approx(returns, rel=1e-5)
        returns, lengths = episodes_one_by_one(policy, lane, rng.Stream.FINAL_EPISODE, 7)
        assert final.lengths.tolist() == lengths
        assert final.returns == pytest.approx(returns, rel=1e-5)
        found = evaluate(policy, UnevenEnv, 7, seed=lane)
        returns, lengths = episodes_one_by_one(policy, lane, rng.Stream.EVALUATE, 7)
        assert found.lengths.tolist() == lengths
        assert found.returns == pytest.approx(returns, rel=1e-5)
        assert len(set(lengths)) > 3, "they end at different steps, else this shows nothing"


@pytest.mark.parametrize("episodes", [1, 3, 4, 7])
def test_a_round_ends_with_the_last_episode_that_counts(episodes, monkeypatch):
    monkeypatch.setattr("apb.evaluation.MAX_PARALLEL", 3)
    for seed in range(3):
        made = []

        def make(made=made):
            made.append(UnevenEnv())
            return made[-1]

        found = evaluate(lambda observations: observations[:, :1] * 0, make, episodes, seed=seed)
        rounds = [found.lengths[first : first + 3].max() for first in range(0, episodes, 3)]
        assert max(env.total_steps for env in made) == sum(rounds), "none waits for a slot that has no episode left"


def test_an_env_without_an_end_is_told_from_a_slow_one(monkeypatch):
    monkeypatch.setattr("apb.evaluation.MAX_EPISODE_STEPS", 300)
    with pytest.raises(SimulationError, match=r"has not ended after 300 steps.*TimeLimit"):
        run(lambda: gymnasium.make("Pendulum-v1").unwrapped, eval_freq=100, n_eval_episodes=2)
    run("Pendulum-v1", eval_freq=100, n_eval_episodes=2)


# --- by the user -----------------------------------------------------------------------------------------------------


def test_an_evaluation_by_the_user_meets_other_starts_than_those_that_chose_the_best_policy():
    result = run(total_timesteps=50, eval_freq=50, n_eval_episodes=3)
    again = evaluate(result.policy, "Pendulum-v1", 3, seed=0)
    assert set(again.returns).isdisjoint(result.evaluations[-1]["returns"])
    assert set(again.returns).isdisjoint(result.final[0].returns)


@pytest.mark.parametrize("episodes", [1, 5])
def test_an_env_object_meets_the_same_starts_as_its_id(episodes):
    result = run(total_timesteps=50)
    by_id = evaluate(result.policy, "Pendulum-v1", episodes, seed=3)
    by_object = evaluate(result.policy, gymnasium.make("Pendulum-v1"), episodes, seed=3)
    assert (by_id.returns == by_object.returns).all()


def test_an_env_object_is_evaluated_itself_with_all_that_was_changed_in_it():
    changed = gymnasium.make("Pendulum-v1")
    changed.unwrapped.max_torque = 0.0
    policy = run(total_timesteps=50).policy
    found = evaluate(policy, changed, 3, seed=3)

    def still(observation):
        return np.zeros((len(observation), 1))

    assert (found.returns < evaluate(still, "Pendulum-v1", 3, seed=3).returns + 1).all()
    assert (found.returns != evaluate(policy, "Pendulum-v1", 3, seed=3).returns).all()
