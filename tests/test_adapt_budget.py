"""A run spends its budget exactly, and warm-up, updates and resets fall on the timesteps that its options say."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from adapt_runs import finished_loop, run, same_policies, strategies
from apb import ApbWarning, Backbone, Callback, ConfigError, adapt, rng
from apb.environments import EnvSource
from apb.loop import LearningLoop
from apb.runner import run_to_end
from apb.runs import StopSignals
from apb.settings import AdaptSettings
from apb.strategies import STRATEGIES
from envs_for_tests import CountedPendulum
from learning import SMALL, small_backbone

# --- the budget ------------------------------------------------------------------------------------------------------


@strategies
@pytest.mark.parametrize("budget", [3, 64, 100, 200])
def test_the_budget_counts_every_transition_of_every_simulation_and_is_never_exceeded(options, budget, made):
    result = run(CountedPendulum, total_timesteps=budget, **options)
    steps = sum(len(env.actions) for env in made)
    slots = STRATEGIES[options["strategy"]].slots(AdaptSettings(**options))
    assert steps == result.total_timesteps == budget // slots * slots
    assert result.stopped_by == "budget"


def test_a_budget_below_one_step_of_all_simulations_is_refused():
    with pytest.raises(ConfigError, match="total_timesteps = 2 is less than one step of 3 simulations"):
        run(total_timesteps=2, strategy="param_noise", population_size=3)


@pytest.mark.filterwarnings("default")
def test_a_budget_that_ends_in_the_warm_up_is_warned_of():
    with pytest.warns(ApbWarning, match="total_timesteps = 60 ends before learning_starts = 60"):
        run(total_timesteps=60, learning_starts=60)


@pytest.mark.filterwarnings("default")
def test_a_budget_in_which_only_critics_learn_is_warned_of():
    with pytest.warns(
        ApbWarning, match="total_timesteps = 60 ends before .* policy_starts = 40 updates.* larger total"
    ):
        result = run(total_timesteps=60, learning_starts=30, policy_starts=40)
    with pytest.warns(ApbWarning, match="total_timesteps = 60 ends before learning_starts = 60") as told:
        start = run(total_timesteps=60, learning_starts=60)
    assert Path(told[0].filename).name == "adapt_runs.py", "the file that called adapt"
    assert (result.adapter.parameters == start.adapter.parameters).all()
    with pytest.warns(ApbWarning, match="reset_interval = 40 ends before .* policy_starts = 40 updates"):
        run(total_timesteps=120, learning_starts=30, policy_starts=40, reset_interval=40)


@pytest.mark.filterwarnings("default")
def test_a_run_that_cannot_begin_is_not_warned_of_its_budget(recwarn):
    with pytest.raises(ConfigError, match="keeps no adapters"):
        run(total_timesteps=60, learning_starts=60, adapter_init="mean")
    assert not list(recwarn)


# --- warm-up and updates ---------------------------------------------------------------------------------------------


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
    assert sum(map(len, logs)) == 2 * 60
    assert logs[: len(logs) // 2] == logs[len(logs) // 2 :]


@strategies
def test_the_actions_of_a_warm_up_step_are_drawn_from_a_stream_of_their_own(options):
    loop = finished_loop("HalfCheetah-v5", **options, total_timesteps=30, n_seeds=2)
    slots = loop.simulations.slots
    for seed, rows in enumerate(loop.replay.table):
        for step, actions in enumerate(rows[:, 34:40].reshape(-1, slots * 6)):
            uniform = rng.generator(seed, rng.Stream.WARMUP_ACTION, step).random(slots * 6, dtype=np.float32)
            assert (actions == 2 * uniform - 1).all()


# --- resets ----------------------------------------------------------------------------------------------------------


@strategies
def test_periodic_resets_renew_what_is_learned_and_keep_the_replay(options, monkeypatch):
    seen = []

    class Watch(Callback):
        def on_step(self, state):
            seen.append((state.timesteps, loop.learner.resets, int(loop.replay.size[0]), loop.learner.adapters()))

    options = {"total_timesteps": 240, "reset_interval": 90, "learning_starts": 30, **options}
    settings = AdaptSettings(**{**SMALL, **options})
    loop = LearningLoop(EnvSource.resolve("Pendulum-v1"), None, small_backbone(), settings, [Watch()])
    told, at_reset, reset = [], [], loop.strategy.reset

    def watched_reset():
        told.append(loop.timesteps)
        at_reset.append(loop.learner.adapters())
        reset()

    monkeypatch.setattr(loop.strategy, "reset", watched_reset)
    run_to_end(loop, None, StopSignals())
    assert told == [90, 180], "exploration forgets what it knew of the old policy"
    for timesteps, resets, size, _ in seen:
        assert resets == (timesteps - loop.simulations.slots) // 90
        assert size == timesteps
    fresh = LearningLoop(EnvSource.resolve("Pendulum-v1"), None, small_backbone(), settings)
    fresh.learner.reset()
    assert (at_reset[0] == fresh.learner.adapters()).all()
    before = next(adapters for steps, *_, adapters in seen if steps >= 90)
    assert (before != at_reset[0]).any(), "what an evaluation or checkpoint at the reset finds"
    # The step that ends the warm-up earns updates for all its simulations.
    assert loop.learner.updates == 240 - 30 + loop.simulations.slots, "updates go on as if nothing had happened"
    fresh.close()


@pytest.mark.parametrize("trainable_backbone", [False, True])
def test_the_first_action_after_a_reset_is_that_of_the_new_policy(trainable_backbone, monkeypatch):
    options = {"total_timesteps": 160, "reset_interval": 90, "learning_starts": 30, "seed": 4, "n_seeds": 2}
    options |= {"trainable_backbone": trainable_backbone, "action_noise": 0.0}
    settings = AdaptSettings(**{**SMALL, **options})
    loop = LearningLoop(EnvSource.resolve("Pendulum-v1"), None, small_backbone(), settings)
    new, reset = [], loop.learner.reset
    monkeypatch.setattr(loop.learner, "reset", lambda: (reset(), new.append((loop.timesteps, loop.policies()))))
    run_to_end(loop, None, StopSignals())
    ((timesteps, policies),) = new
    assert timesteps == 90
    for lane, policy in enumerate(policies):
        row = loop.replay.table[lane, timesteps]
        observation, unit_action, largest_torque = row[:3], row[6:7], 2
        assert policy(observation) == pytest.approx(largest_torque * unit_action, rel=1e-6), "backbone and adapter"


def test_a_reset_that_falls_on_the_end_does_not_throw_away_what_was_learned():
    options = {"total_timesteps": 120, "learning_starts": 30, "eval_freq": 60, "n_eval_episodes": 1}
    with_reset, without = run(reset_interval=120, **options), run(**options)
    assert same_policies(with_reset.policies, without.policies)
    assert with_reset.evaluations == without.evaluations
