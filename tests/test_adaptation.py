"""`adapt` learns, spends its budget exactly, evaluates apart, calls hooks in order, takes envs in every form."""

from contextlib import closing
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from apb import ApbWarning, Backbone, Callback, ConfigError, SimulationError, adapt, evaluate, resume, rng
from apb.callbacks import StopTrainingOnNoModelImprovement, StopTrainingOnRewardThreshold
from apb.environments import EnvSource, Simulations
from apb.evaluation import run_episodes
from apb.loop import AdaptationLoop
from apb.runner import run_to_end
from apb.settings import AdaptSettings
from apb.strategies import STRATEGIES
from envs_for_tests import CountingEnv
from learning import SMALL, same_arrays, small_backbone
from run_files import assert_same_outcome, outcome

STRATEGY_OPTIONS = [{"strategy": "action_noise"}, {"strategy": "param_noise", "population_size": 3}]


def strategies(test):
    return pytest.mark.parametrize("options", STRATEGY_OPTIONS, ids=lambda options: options["strategy"])(test)


def run(env="Pendulum-v1", callback=None, **options):
    return adapt(env, small_backbone(), callback=callback, **{**SMALL, "total_timesteps": 200, **options})


def same_policies(first, second):
    return [p.adapter.parameters.tobytes() for p in first] == [p.adapter.parameters.tobytes() for p in second]


class CountedPendulum(gymnasium.Wrapper):
    """Writes down what happens to it, in class attributes, for all copies."""

    def __init__(self):
        super().__init__(gymnasium.make("Pendulum-v1"))
        CountedPendulum.made.append(self)
        self.actions, self.seeds, self.log = [], [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.actions.append(float(action[0]))
        result = super().step(action)
        self.log.append(result)
        return result


@pytest.fixture
def made():
    CountedPendulum.made = []
    return CountedPendulum.made


# --- learning ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "budget"),
    [
        ({"strategy": "action_noise"}, 2600),
        pytest.param({"strategy": "param_noise", "population_size": 2}, 4000, marks=pytest.mark.slow),
    ],
    ids=["action_noise", "param_noise"],
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


# --- the budget ----------------------------------------------------------------------------------------------------


@strategies
@pytest.mark.parametrize("budget", [3, 64, 100, 200])
def test_the_budget_counts_every_transition_of_every_simulation_and_is_never_exceeded(options, budget, made):
    result = run(CountedPendulum, total_timesteps=budget, **options)
    steps = sum(len(env.actions) for env in made)
    slots = STRATEGIES[options["strategy"]].slots(AdaptSettings(**options))
    assert steps == result.total_timesteps == budget // slots * slots
    assert result.stopped_by == "budget"


def test_integers_of_numpy_are_integers(tmp_path):
    first = run(seed=np.int64(3), total_timesteps=np.int32(100), run_dir=tmp_path / "run")
    assert same_policies(first.policies, run(seed=3, total_timesteps=100).policies)


def test_an_env_without_an_end_is_told_from_a_slow_one(monkeypatch):
    monkeypatch.setattr("apb.evaluation.MAX_EPISODE_STEPS", 300)
    with pytest.raises(SimulationError, match=r"has not ended after 300 steps.*TimeLimit"):
        run(lambda: gymnasium.make("Pendulum-v1").unwrapped, eval_freq=100, n_eval_episodes=2)
    run("Pendulum-v1", eval_freq=100, n_eval_episodes=2)


def test_a_budget_below_one_step_of_all_simulations_is_refused():
    with pytest.raises(ConfigError, match="total_timesteps = 2 is less than one step of 3 simulations"):
        run(total_timesteps=2, strategy="param_noise", population_size=3)


@pytest.mark.filterwarnings("default")
def test_a_budget_that_ends_in_the_warm_up_is_warned_of():
    with pytest.warns(ApbWarning, match="total_timesteps = 60 ends before learning_starts = 60"):
        run(total_timesteps=60, learning_starts=60)


@strategies
def test_learning_begins_after_the_warm_up_with_one_update_per_timestep(options):
    states = []

    class Watch(Callback):
        def on_step(self, state):
            states.append((state.timesteps, state.updates))

    run(callback=Watch(), learning_starts=60, total_timesteps=120, **options)
    assert states[-1][0] == 120
    for (before, done), (timesteps, updates) in pairwise(states):
        assert updates - done == (timesteps - before if timesteps >= 60 else 0)


def test_gradient_steps_is_the_number_of_updates_per_timestep():
    for gradient_steps in (0, 3):
        states = []

        class Watch(Callback):
            def on_step(self, state, states=states):
                states.append(state.updates)

        run(callback=Watch(), learning_starts=60, total_timesteps=80, gradient_steps=gradient_steps)
        assert states[-1] == 21 * gradient_steps


@strategies
def test_actions_of_the_warm_up_are_uniform_and_owe_nothing_to_the_policy(options, made):
    run(CountedPendulum, total_timesteps=900, learning_starts=900, gradient_steps=0, **options)
    actions = np.concatenate([env.actions for env in made])
    assert actions.size == 900
    assert np.abs(actions).max() <= 2
    # Uniform on [-2, 2]: deviation 2 / sqrt(3), quartiles at -1, 0, 1; within 6 standard errors.
    assert abs(actions.mean()) < 6 * 1.155 / 30
    for bound, share in ((-1, 0.25), (0, 0.5), (1, 0.75)):
        assert abs((actions < bound).mean() - share) < 6 * 0.5 / 30
    backbones = [Backbone.random(seed, hidden_sizes=(16, 16)) for seed in range(2)]
    made.clear()
    for backbone in backbones:
        adapt(CountedPendulum, backbone, **{**SMALL, "total_timesteps": 60, **options})
    logs = [env.actions for env in made if env.actions]
    assert logs[: len(logs) // 2] == logs[len(logs) // 2 :]


def test_the_replay_holds_what_happened_and_a_truncation_is_not_an_end(made):
    source = EnvSource.resolve(CountedPendulum)
    made.clear()
    settings = AdaptSettings(**{**SMALL, "total_timesteps": 450})
    loop = AdaptationLoop(source, None, small_backbone(), settings)
    run_to_end(loop, None)
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
    loop = AdaptationLoop(
        EnvSource.resolve(lambda: CountingEnv((3,))),
        None,
        small_backbone(),
        AdaptSettings(**{**SMALL, "total_timesteps": 30}),
    )
    run_to_end(loop, None)
    alive = loop.replay.table[0, :, -1]
    assert (alive == [0 if i % 6 == 2 else 1 for i in range(30)]).all(), (
        "even episodes terminate, odd ones are truncated"
    )


# --- resets --------------------------------------------------------------------------------------------------------


@strategies
def test_periodic_resets_renew_what_is_learned_and_keep_the_replay(options, monkeypatch):
    seen = []

    class Watch(Callback):
        def on_step(self, state):
            seen.append((state.timesteps, loop.learner.td3.resets, int(loop.replay.size[0]), loop.learner.adapters()))

    options = {"total_timesteps": 240, "reset_interval": 90, "learning_starts": 30, **options}
    settings = AdaptSettings(**{**SMALL, **options})
    loop = AdaptationLoop(EnvSource.resolve("Pendulum-v1"), None, small_backbone(), settings, [Watch()])
    told, at_reset, reset = [], [], loop.strategy.reset

    def watched_reset():
        told.append(loop.timesteps)
        at_reset.append(loop.learner.adapters())
        reset()

    monkeypatch.setattr(loop.strategy, "reset", watched_reset)
    run_to_end(loop, None)
    assert told == [90, 180], "exploration forgets what it knew of the old policy"
    for timesteps, resets, size, _ in seen:
        assert resets == (timesteps - loop.simulations.slots) // 90
        assert size == timesteps
    fresh = AdaptationLoop(EnvSource.resolve("Pendulum-v1"), None, small_backbone(), settings)
    fresh.learner.reset()
    assert (at_reset[0] == fresh.learner.adapters()).all()
    before = next(adapters for steps, *_, adapters in seen if steps >= 90)
    assert (before != at_reset[0]).any(), "what an evaluation or checkpoint at the reset finds"
    # The step that ends the warm-up earns updates for all its simulations.
    assert loop.learner.td3.updates == 240 - 30 + loop.simulations.slots, "updates go on as if nothing had happened"
    fresh.close()


def test_a_reset_that_falls_on_the_end_does_not_throw_away_what_was_learned():
    options = {"total_timesteps": 120, "learning_starts": 30, "eval_freq": 60, "n_eval_episodes": 1}
    with_reset, without = run(reset_interval=120, **options), run(**options)
    assert same_policies(with_reset.policies, without.policies)
    assert with_reset.evaluations == without.evaluations


# --- evaluation ----------------------------------------------------------------------------------------------------


def test_a_curve_ends_where_the_run_does():
    result = run(total_timesteps=130, eval_freq=50, n_eval_episodes=1)
    assert [record["timesteps"] for record in result.evaluations] == [0, 50, 100, 130]


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


def test_a_changed_env_object_of_which_new_ones_are_needed_is_warned_of():
    changed = gymnasium.make("Pendulum-v1")
    changed.unwrapped.max_torque = 0.5
    with pytest.warns(ApbWarning, match=r"Pendulum-v1 was changed after it was made \(max_torque\).*pass a function"):
        run(changed, total_timesteps=50, eval_freq=50, n_eval_episodes=1)


@pytest.mark.parametrize("wrapper", [gymnasium.wrappers.NormalizeObservation, gymnasium.wrappers.NormalizeReward])
def test_statistics_of_a_wrapper_which_no_policy_keeps_are_warned_of(wrapper):
    with pytest.warns(ApbWarning, match=rf"{wrapper.__name__}.*normalize_observations=True"):
        run(lambda: wrapper(gymnasium.make("Pendulum-v1")), total_timesteps=50)


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


def test_more_episodes_than_parallel_simulations_are_taken_in_rounds(monkeypatch):
    monkeypatch.setattr("apb.evaluation.MAX_PARALLEL", 2)
    result = run(total_timesteps=1, eval_freq=1, n_eval_episodes=5)
    returns = result.evaluations[0]["returns"]
    assert len(set(returns)) == 5
    assert returns == pytest.approx(returns_from_the_starts_of_a_run(result.policy, 5), rel=1e-6)


# --- lanes ---------------------------------------------------------------------------------------------------------


@strategies
@pytest.mark.parametrize("extra", [{}, {"trainable_backbone": True}, {"normalize_observations": True}], ids=str)
def test_lanes_equal_single_runs_with_their_seeds_bit_for_bit(options, extra):
    options = {**options, **extra, "eval_freq": 45, "n_eval_episodes": 1, "total_timesteps": 90, "learning_starts": 45}
    together = run(seed=5, n_seeds=2, **options)
    for lane in range(2):
        alone = run(seed=5 + lane, **options)
        assert same_policies(together.policies[lane : lane + 1], alone.policies)
        assert together.policies[lane].backbone.hash == alone.policy.backbone.hash
        mine = [record for record in together.evaluations if record["seed"] == 5 + lane]
        assert mine == list(alone.evaluations)
        assert (together.final[lane].returns == alone.final[0].returns).all()


def test_several_lanes_do_not_depend_on_the_number_of_threads():
    first, second = (run(n_seeds=3, num_threads=threads, total_timesteps=100) for threads in (1, 3))
    assert same_policies(first.policies, second.policies)


def test_a_run_is_a_function_of_its_seed():
    first, again, other = (run(seed=seed, total_timesteps=100) for seed in (3, 3, 4))
    assert same_policies(first.policies, again.policies)
    assert not same_policies(first.policies, other.policies)


# --- backbones and normalisation -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("given", [(), (None,), ("random",)])
def test_without_a_backbone_one_is_drawn_as_wide_as_the_observation(given):
    result = adapt("Pendulum-v1", *given, **{**SMALL, "total_timesteps": 20, "seed": 7})
    assert result.policy.backbone.hash == Backbone.random(7, input_size=3).hash


def test_what_a_prompt_shows_of_backbone_adapter_and_result_is_one_short_line():
    result = adapt("Pendulum-v1", **{**SMALL, "total_timesteps": 20, "eval_freq": 20, "n_eval_episodes": 1})
    shown = [repr(each) for each in (result.policy.backbone, result.adapter, result)]
    assert [text.partition("(")[0] for text in shown] == ["Backbone", "Adapter", "AdaptResult"]
    assert all(len(text) < 200 and "\n" not in text for text in shown)
    assert result.policy.backbone.hash[:12] in shown[0]
    assert result.policy.backbone.hash[:12] in shown[1]
    assert str(result.final[0]) in shown[2]


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


def loop_observations(made):
    """What was acted on in 300 steps of Pendulum, from the log of its only env."""
    (env,) = [env for env in made if env.actions]
    starts = [gymnasium.make("Pendulum-v1").reset(seed=seed)[0] for seed in env.seeds]
    following = [entry[0] for entry in env.log]
    return np.array([starts[0], *following[:199], starts[1], *following[200:299]], dtype=np.float64)


# --- callbacks -----------------------------------------------------------------------------------------------------


class Recorder(Callback):
    """Writes down every call; `stop_at` is the hook that returns False."""

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = [], stop_at

    def _heard(self, hook, state):
        self.calls.append((hook, state.timesteps))
        return hook != self.stop_at

    def on_start(self, state):
        return self._heard("on_start", state)

    def on_step(self, state):
        return self._heard("on_step", state)

    def on_episode_end(self, state, episode):
        assert episode.length == 200
        return self._heard("on_episode_end", state)

    def on_evaluation(self, state, results):
        assert [result.returns.size for result in results] == [1, 1]
        return self._heard("on_evaluation", state)

    def on_checkpoint(self, state, path):
        assert (path / "manifest.json").is_file()
        return self._heard("on_checkpoint", state)

    def on_end(self, state):
        self._heard("on_end", state)

    def state_dict(self):
        return {"calls": len(self.calls)}

    def load_state_dict(self, state):
        self.restored = state["calls"]


HOOKED = {"n_seeds": 2, "total_timesteps": 210, "learning_starts": 205, "eval_freq": 100, "n_eval_episodes": 1}


def test_hooks_are_called_in_order(tmp_path):
    recorder = Recorder()
    result = run(callback=recorder, run_dir=tmp_path / "run", checkpoint_freq=100, **HOOKED)
    expected = [("on_start", 0), ("on_evaluation", 0)]
    for step in range(1, 211):
        if step == 200:
            expected += [("on_episode_end", 200)] * 2
        expected.append(("on_step", step))
        if step % 100 == 0:
            expected += [("on_evaluation", step), ("on_checkpoint", step)]
    expected += [("on_evaluation", 210), ("on_checkpoint", 210), ("on_end", 210)]
    assert recorder.calls == expected
    assert result.stopped_by == "budget"


@pytest.mark.parametrize(
    ("hook", "stopped_at"),
    [("on_start", 0), ("on_step", 1), ("on_evaluation", 0), ("on_checkpoint", 50), ("on_episode_end", 200)],
)
def test_any_hook_stops_the_run_after_the_current_step_with_a_checkpoint(hook, stopped_at, tmp_path):
    recorder = Recorder(hook)
    result = run(callback=recorder, run_dir=tmp_path / "run", checkpoint_freq=50, **HOOKED)
    assert (result.stopped_by, result.total_timesteps) == ("callback", stopped_at)
    assert recorder.calls[-1] == ("on_end", stopped_at)
    assert (tmp_path / "run" / "checkpoints" / f"{stopped_at:09d}" / "manifest.json").is_file()
    assert (tmp_path / "run" / "checkpoints" / "LATEST").read_text().strip() == f"{stopped_at:09d}"


def test_a_run_that_was_stopped_before_its_first_step_continues_as_one_that_never_was(tmp_path):
    options = {"eval_freq": 40, "n_eval_episodes": 1, "total_timesteps": 80, "n_seeds": 2}
    run(run_dir=tmp_path / "whole", **options)
    run(run_dir=tmp_path / "cut", callback=Recorder("on_start"), **options)
    again = Recorder("on_start")
    stopped = resume(tmp_path / "cut", callback=again)
    assert (stopped.stopped_by, stopped.total_timesteps) == ("callback", 0)
    assert again.calls == [("on_start", 0), ("on_end", 0)], "a resumed run takes no step either, and saves nothing"
    resume(tmp_path / "cut", callback=Recorder())
    cut, whole = outcome(tmp_path / "cut"), outcome(tmp_path / "whole")
    for found in (cut, whole):
        del found["checkpoints"], found["state.json"]["callbacks"]
    assert_same_outcome(cut, whole)


def test_what_a_hook_changes_when_a_checkpoint_is_written_is_in_the_checkpoint(tmp_path):
    class Notes(Callback):
        def __init__(self):
            self.seen = []

        def on_checkpoint(self, state, path):
            self.seen.append(path.name)
            (path / "notes.txt").write_text("mine")

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    whole, cut = Notes(), Notes()
    run(callback=whole, run_dir=tmp_path / "whole", total_timesteps=90, checkpoint_freq=30)
    run(callback=cut, run_dir=tmp_path / "cut", total_timesteps=90, checkpoint_freq=30)
    resume(tmp_path / "cut" / "checkpoints" / "000000060", callback=(cut := Notes()))
    assert whole.seen == cut.seen == ["000000030", "000000060", "000000090"]
    assert (tmp_path / "cut" / "checkpoints" / "000000060" / "notes.txt").read_text() == "mine"


def test_a_stop_needs_no_run_folder():
    result = run(callback=[Callback(), Recorder("on_step")], **HOOKED)
    assert (result.stopped_by, result.total_timesteps) == ("callback", 1)


def test_state_that_hooks_see_is_that_of_the_run(tmp_path):
    states = []

    class Watch(Callback):
        def on_step(self, state):
            states.append(state)

        def on_end(self, state):
            states.append(state)

    result = run(callback=Watch(), run_dir=tmp_path / "run", total_timesteps=90, log_freq=80, seed=7, n_seeds=2)
    last = states[-1]
    assert (last.timesteps, last.total_timesteps, last.seeds, last.run_dir) == (90, 90, (7, 8), tmp_path / "run")
    assert last.updates == 90 - 64 + 1
    assert states[0].metrics == {}
    assert last.metrics["timesteps"] == 80
    assert same_policies(last.policies(), result.policies)


def test_a_callbacks_state_is_kept_over_a_stop(tmp_path):
    run(callback=Recorder("on_checkpoint"), run_dir=tmp_path / "run", checkpoint_freq=50, **HOOKED)
    again = Recorder()
    resume(tmp_path / "run", callback=again)
    assert again.restored == 1 + 1 + 50 + 1, "on_start, the first evaluation, 50 steps, and the checkpoint"
    assert again.calls[0] == ("on_start", 50)
    assert again.calls[1] == ("on_step", 51)


def test_ready_made_callbacks_stop_at_a_reward_and_without_improvement(tmp_path):
    options = {"eval_freq": 10, "n_eval_episodes": 1, "total_timesteps": 100, "learning_starts": 1000}
    assert run(callback=StopTrainingOnRewardThreshold(-1e6), **options).total_timesteps == 0
    assert run(callback=StopTrainingOnRewardThreshold(0), **options).stopped_by == "budget"
    # Nothing is learned: the first evaluation is the best, and the third one after it is the last.
    stopped = run(callback=StopTrainingOnNoModelImprovement(3), **options)
    assert (stopped.stopped_by, stopped.total_timesteps) == ("callback", 30)


# --- records -------------------------------------------------------------------------------------------------------


def test_history_has_the_metrics_of_sb3_at_every_log_freq():
    result = run(total_timesteps=450, log_freq=100, learning_starts=350)
    assert [record["timesteps"] for record in result.history] == [100, 200, 300, 400]
    assert "rollout/ep_rew_mean" not in result.history[0]
    assert result.history[1]["rollout/ep_len_mean"] == 200
    assert -1900 < result.history[1]["rollout/ep_rew_mean"] < -100
    assert "train/critic_loss" not in result.history[2]
    assert result.history[3]["train/critic_loss"] > 0
    assert result.history[3]["train/updates"] == 51
    assert set(result.profile) >= {"simulation", "forward", "sampling", "update", "evaluation", "checkpoint", "rest"}


# --- forms of an env -----------------------------------------------------------------------------------------------


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
    recorder = Recorder()
    loop = AdaptationLoop(source, None, small_backbone(), settings, [recorder])
    result = run_to_end(loop, None)
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


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ("HalfCheetah-v5", STRATEGY_OPTIONS[0]),
        ("Ant-v5", STRATEGY_OPTIONS[0]),
        ("Hopper-v5", STRATEGY_OPTIONS[1]),
        ("Walker2d-v5", STRATEGY_OPTIONS[1]),
    ],
)
def test_the_robots_of_gymnasium_can_be_adapted_to(env, options):
    result = run(env, total_timesteps=240, learning_starts=200, eval_freq=240, n_eval_episodes=1, **options)
    assert result.total_timesteps == 240
    assert np.isfinite(result.final[0].mean)
    space = gymnasium.spaces.Box(-1, 1, result.policy.observation_space.shape)
    action = result.policy(space.sample().astype(np.float64))
    assert result.policy.action_space.contains(action)


def test_results_on_the_disk_are_the_results_in_memory(tmp_path):
    from apb import Policy
    from apb.runs import read_evaluations, read_history

    result = run(total_timesteps=100, run_dir=tmp_path / "run", eval_freq=50, n_eval_episodes=1, n_seeds=2, log_freq=50)
    assert read_history(tmp_path / "run") == list(result.history)
    assert read_evaluations(tmp_path / "run") == list(result.evaluations)
    for seed in range(2):
        saved = Policy.from_pretrained(tmp_path / "run" / "checkpoints" / "000000100" / "policy" / f"seed-{seed}")
        assert same_arrays(saved.adapter.layers, result.policies[seed].adapter.layers)
