"""A result is a function of its seed, in lanes as alone; memory, disk and prompt show the same."""

import time

import numpy as np
import pytest
from adapt_runs import finished_loop, run, same_policies, strategies
from apb import Backbone, Callback, Policy, adapt
from apb.runs import read_evaluations, read_history
from learning import SMALL, same_arrays

# --- lanes and seeds -------------------------------------------------------------------------------------------------


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


def test_integers_of_numpy_are_integers(tmp_path):
    first = run(seed=np.int64(3), total_timesteps=np.int32(100), run_dir=tmp_path / "run")
    assert same_policies(first.policies, run(seed=3, total_timesteps=100).policies)


@pytest.mark.parametrize("given", [(), (None,), ("random",)])
def test_without_a_backbone_one_is_drawn_as_wide_as_the_observation(given):
    result = adapt("Pendulum-v1", *given, **{**SMALL, "total_timesteps": 20, "seed": 7})
    assert result.policy.backbone.hash == Backbone.random(7, input_size=3).hash


# --- records ---------------------------------------------------------------------------------------------------------


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


def test_a_loss_is_recorded_from_its_first_step_on():
    history = run(total_timesteps=70, learning_starts=64, policy_delay=4, log_freq=1).history
    assert [record["timesteps"] for record in history if "train/critic_loss" in record] == list(range(64, 71))
    assert [record["timesteps"] for record in history if "train/actor_loss" in record] == list(range(67, 71))
    assert all(record["train/actor_loss"] for record in history if "train/actor_loss" in record)


def test_a_record_has_the_mean_loss_of_all_lanes_and_counts_the_steps_of_all():
    loop = finished_loop(total_timesteps=70, n_seeds=3)
    record, losses = loop.record(), loop.learner.losses()
    assert sorted(losses) == ["actor_loss", "critic_loss"]
    for name, values in losses.items():
        assert len(set(values)) == 3
        assert record[f"train/{name}"] == pytest.approx(sum(map(float, values)) / 3)
    assert record["time/fps"] * record["time/seconds"] == pytest.approx(70 * 3)


def test_all_time_is_accounted_for_and_what_is_no_phase_is_rest():
    class Slow(Callback):
        def on_step(self, state):
            time.sleep(0.01)

    begin = time.perf_counter()
    result = run(total_timesteps=30, callback=Slow())
    assert 30 * 0.01 < result.profile["rest"] < result.wall_time < time.perf_counter() - begin
    assert sum(result.profile.values()) == pytest.approx(result.wall_time)


def test_results_on_the_disk_are_the_results_in_memory(tmp_path):
    result = run(total_timesteps=100, run_dir=tmp_path / "run", eval_freq=50, n_eval_episodes=1, n_seeds=2, log_freq=50)
    assert read_history(tmp_path / "run") == list(result.history)
    assert read_evaluations(tmp_path / "run") == list(result.evaluations)
    for seed in range(2):
        saved = Policy.from_pretrained(tmp_path / "run" / "checkpoints" / "000000100" / "policy" / f"seed-{seed}")
        assert same_arrays(saved.adapter.layers, result.policies[seed].adapter.layers)


def test_what_a_prompt_shows_of_backbone_adapter_and_result_is_one_short_line():
    result = adapt("Pendulum-v1", **{**SMALL, "total_timesteps": 20, "eval_freq": 20, "n_eval_episodes": 1})
    shown = [repr(each) for each in (result.policy.backbone, result.adapter, result)]
    assert [text.partition("(")[0] for text in shown] == ["Backbone", "Adapter", "AdaptResult"]
    assert all(len(text) < 200 and "\n" not in text for text in shown)
    assert result.policy.backbone.hash[:12] in shown[0]
    assert result.policy.backbone.hash[:12] in shown[1]
    assert str(result.final[0]) in shown[2]
