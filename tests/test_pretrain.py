"""`pretrain` learns to explore without any reward, and continues exactly."""

import json
import shutil
from functools import partial

import apb
import gymnasium
import numpy as np
import pytest
from apb import (
    Backbone,
    ConfigError,
    InvalidEnvError,
    MismatchError,
    PretrainResult,
    RunFolderError,
    UnknownNameError,
    resume,
    rng,
)
from apb.backbone_card import backbone_card
from apb.intrinsic import OBJECTIVES, Objective
from apb.intrinsic.robots import ROBOTS, robot_source
from apb.runs import RunFolder
from crashes import Crash, CrashAt
from learning import small_backbone
from pretrain_runs import CONTINUED, PlaneEnv, pretrain_run
from run_files import assert_same_outcome, outcome

objectives = pytest.mark.parametrize("objective", OBJECTIVES)


def bits(result):
    return [
        (policy.adapter.parameters.tobytes(), [array.tobytes() for array in policy.backbone.tensors().values()])
        for policy in result.policies
    ]


# --- what it returns -------------------------------------------------------------------------------------------------


@objectives
def test_each_lane_learns_a_policy_and_a_backbone_of_its_own(objective):
    result = pretrain_run(objective=objective, n_seeds=2)
    assert isinstance(result, PretrainResult)
    assert len({small_backbone().hash, *(policy.backbone.hash for policy in result.policies)}) == 3
    assert result.backbone.hash == result.policy.backbone.hash
    alone = pretrain_run(objective=objective, seed=1)
    assert bits(alone) == bits(result)[1:]


def test_the_backbone_tells_how_it_was_made():
    told = pretrain_run(objective="knn", seed=5).backbone.metadata
    assert (told["kind"], told["objective"], told["seed"], told["timesteps"]) == ("pre-trained", "knn", 5, 150)
    assert told["env"] == "PlaneEnv"
    assert told["initial"]["hash"] == small_backbone().hash
    assert {"apb", "torch", "numpy"} <= told["system"].keys()


def test_the_card_of_the_backbone_tells_how_it_was_trained_and_what_to_do_with_it(tmp_path):
    pretrain_run(objective="knn", seed=5, run_dir=tmp_path / "run", elements="0", eval_freq=150, n_eval_episodes=2)
    folder = tmp_path / "run" / "pretrained"
    card = (folder / "README.md").read_text()
    for words in (
        "# Backbone pre-trained in PlaneEnv without rewards",
        "learned in one env without its reward and then frozen",
        "| env | PlaneEnv |",
        "| learned from | `knn`, an intrinsic reward; not from the env's own |",
        "| timesteps | 150 in all |",
        "| seed | 5 |",
        "| random actions | ",
        "--strategy behavior_transfer --prior\nRUN`",
        'apb.adapt("PlaneEnv", "path/to/this/folder")',
        '"elements": "0"',
    ):
        assert words in card
    for words in ("meta-trained", "no meta-training", "train task", "tasks like", "Returns", "None", "False"):
        assert words not in card
    assert "Not evaluated." in backbone_card(pretrain_run().backbone)


def test_losses_and_the_mean_intrinsic_reward_are_recorded():
    first, *_, last = pretrain_run(log_freq=50).history
    assert not {"train/intrinsic_reward", "train/rnd_loss", "train/critic_loss"} & first.keys()  # nothing was learned
    assert last["train/intrinsic_reward"] > 0
    assert last["train/rnd_loss"] > 0
    assert "train/rnd_loss" not in pretrain_run(objective="knn", log_freq=50).history[-1]


@objectives
@pytest.mark.parametrize("strategy", ["action_noise", "adaptive_param_noise"])
def test_the_reward_of_the_env_changes_nothing(objective, strategy):
    first, second = (
        pretrain_run(partial(PlaneEnv, scale), objective=objective, strategy=strategy, log_freq=50)
        for scale in (1.0, -1e6)
    )
    assert bits(first) == bits(second)
    for name in ("train/critic_loss", "train/actor_loss", "train/intrinsic_reward"):
        assert first.history[-1][name] == second.history[-1][name] != 0


@objectives
@pytest.mark.parametrize("strategy", ["action_noise", "adaptive_param_noise"])
def test_the_result_depends_on_the_seed_and_not_on_threads(objective, strategy):
    options = {"objective": objective, "strategy": strategy, "n_seeds": 2}
    first = pretrain_run(**options)
    assert bits(first) == bits(pretrain_run(**options, num_threads=2))
    assert bits(first) != bits(pretrain_run(**options | {"seed": 2}))


# --- its run folder --------------------------------------------------------------------------------------------------


def test_the_folder_has_the_first_lanes_backbone_a_picture_and_the_coverage_of_each_lane(tmp_path):
    result = pretrain_run("hopper", run_dir=tmp_path / "run", **CONTINUED, n_seeds=2)
    saved = Backbone.from_pretrained(tmp_path / "run" / "pretrained")
    assert saved.hash == result.backbone.hash == result.policies[0].backbone.hash
    assert saved.metadata["coverage"] == result.to_json()["coverage"][0]
    assert (tmp_path / "run" / "coverage.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((tmp_path / "run" / "result.json").read_text())["coverage"]
    assert written == result.to_json()["coverage"]
    for lane in result.coverage:
        assert lane.keys() == {"policy", "noisy", "random"}
        assert all(each.entropy > 0 and each.distance is not None for each in lane.values())
    assert result.coverage[0]["random"].entropy != result.coverage[1]["random"].entropy


def test_without_evaluations_nothing_is_measured_and_the_backbone_is_there(tmp_path):
    result = pretrain_run(run_dir=tmp_path / "run")
    assert result.coverage == ()
    assert not (tmp_path / "run" / "coverage.png").exists()
    assert Backbone.from_pretrained(tmp_path / "run" / "pretrained").hash == result.backbone.hash


@pytest.mark.parametrize(
    "env", [PlaneEnv, "Pendulum-v1", "MountainCarContinuous-v0", "ant", "sparse-cheetah-vel/pearl:0"]
)
def test_what_is_covered_is_measured_and_drawn_in_any_env(env, tmp_path):
    options = CONTINUED | {"total_timesteps": 66, "n_eval_episodes": 1}
    result = pretrain_run(env, run_dir=tmp_path / "run", **options)
    numbers = [value for way in result.to_json()["coverage"][0].values() for value in way.values()]
    assert np.isfinite(numbers).all()
    assert ("distance" in result.to_json()["coverage"][0]["policy"]) == (env in ("ant", "sparse-cheetah-vel/pearl:0"))
    assert (tmp_path / "run" / "coverage.png").is_file()


@pytest.mark.parametrize(("episodes", "looked_at"), [(6, 6), (14, 10)])
def test_of_episodes_in_rounds_each_that_counts_is_looked_at_once(episodes, looked_at):
    several = gymnasium.vector.SyncVectorEnv([PlaneEnv] * 4)
    (lane,) = pretrain_run(eval_env=several, eval_freq=150, n_eval_episodes=episodes).coverage
    for way in lane.values():
        assert [each.states.shape for each in way.episodes] == [(50, 2)] * looked_at
        assert len({each.states.tobytes() for each in way.episodes}) == looked_at


def test_the_policy_acts_alone_with_gaussian_noise_and_in_comparison_with_uniform_actions():
    result = pretrain_run(eval_freq=150, n_eval_episodes=10, action_noise=0.2)
    (lane,) = result.coverage
    # A point moves by a tenth of what is done.
    done = {way: np.concatenate([10 * np.diff(each.states, axis=0) for each in lane[way].episodes]) for way in lane}
    told = {way: result.policy(np.concatenate([each.states[:-1] for each in lane[way].episodes])) for way in lane}
    np.testing.assert_allclose(done["policy"], told["policy"], atol=1e-3)
    unclipped = np.abs(told["noisy"]) < 0.3
    assert unclipped.sum() > 300
    noise = (done["noisy"] - told["noisy"])[unclipped]
    assert noise.std() == pytest.approx(0.2, rel=0.1)
    assert abs(noise.mean()) < 0.05
    assert (np.abs(noise) < 0.2).mean() == pytest.approx(0.68, abs=0.06)
    shares, _ = np.histogram(done["random"], bins=5, range=(-1, 1))
    np.testing.assert_allclose(shares / done["random"].size, 0.2, atol=0.04)


def test_all_ways_to_act_begin_alike_where_no_evaluation_did():
    result = pretrain_run(eval_freq=50, n_eval_episodes=3, seed=4, n_seeds=2)
    for seed, lane in zip((4, 5), result.coverage, strict=True):
        final, before = (
            [PlaneEnv().reset(seed=rng.derive_seed(seed, stream, number))[0].tolist() for number in range(3)]
            for stream in (rng.Stream.FINAL_EPISODE, rng.Stream.EVAL_EPISODE)
        )
        for way in lane.values():
            assert [each.states[0].tolist() for each in way.episodes] == final
        assert not any(start in before for start in final)


def test_the_coverage_of_a_lane_does_not_depend_on_the_lanes_beside_it():
    options = CONTINUED | {"log_freq": 1000}
    together = pretrain_run("hopper", n_seeds=2, **options)
    alone = pretrain_run("hopper", seed=1, **options)
    assert alone.to_json()["coverage"][0] == together.to_json()["coverage"][1]


# --- it continues exactly --------------------------------------------------------------------------------------------


@objectives
@pytest.mark.parametrize("extra", [{}, {"n_seeds": 2}, {"strategy": "adaptive_param_noise"}], ids=str)
def test_a_run_that_crashed_ends_with_the_bytes_of_one_that_did_not(objective, extra, tmp_path):
    options = {**CONTINUED, "objective": objective, **extra}
    whole = pretrain_run("hopper", run_dir=tmp_path / "whole", **options)
    with pytest.raises(Crash):
        pretrain_run("hopper", run_dir=tmp_path / "cut", callback=CrashAt(70), **options)
    with pytest.raises(Crash):
        resume(tmp_path / "cut", callback=CrashAt(130))
    result = resume(tmp_path / "cut")
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
    assert isinstance(result, PretrainResult)
    assert result.to_json()["coverage"] == whole.to_json()["coverage"]
    assert result.backbone.hash == whole.backbone.hash


def test_a_run_of_another_objective_is_not_continued(tmp_path):
    with pytest.raises(Crash):
        pretrain_run("hopper", objective="knn", run_dir=tmp_path / "run", callback=CrashAt(70), **CONTINUED)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"knn"', '"rnd"'))
    with pytest.raises(MismatchError):
        resume(tmp_path / "run")


def test_the_backbone_and_coverage_that_are_missing_at_the_end_are_made_by_a_resume(tmp_path):
    pretrain_run("hopper", run_dir=tmp_path / "run", **CONTINUED)
    kept = (tmp_path / "run" / "result.json").read_text()
    shutil.rmtree(RunFolder(tmp_path / "run").pretrained)
    (tmp_path / "run" / "result.json").unlink()
    resume(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["coverage"] == json.loads(kept)["coverage"]
    assert RunFolder(tmp_path / "run").pretrained.is_dir()


def test_what_is_in_the_place_of_the_backbone_is_told_before_a_resume_goes_on(tmp_path):
    with pytest.raises(Crash):
        pretrain_run("hopper", run_dir=tmp_path / "run", callback=CrashAt(117), **CONTINUED)
    own = tmp_path / "run" / "pretrained" / "notes.txt"
    own.parent.mkdir()
    own.touch()
    with pytest.raises(RunFolderError, match=r"pretrained already holds something else \(notes.txt\).*: move it away"):
        resume(tmp_path / "run", callback=CrashAt(118))
    own.unlink()
    result = resume(tmp_path / "run")
    assert Backbone.from_pretrained(own.parent).hash == result.backbone.hash


# --- it explores -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@objectives
def test_a_pretrained_policy_covers_more_of_the_plane_than_random_actions(objective):
    result = apb.pretrain(
        PlaneEnv,
        objective=objective,
        total_timesteps=3_000,
        eval_freq=3_000,
        batch_size=64,
        **({"rnd_width": 64} if objective == "rnd" else {}),
        num_threads=1,
        n_seeds=2,
    )
    for lane in result.coverage:
        farthest = {
            way: np.mean([np.linalg.norm(each.states, axis=1).max() for each in lane[way].episodes]) for way in lane
        }
        assert farthest["noisy"] > 2 * farthest["random"]
        assert lane["noisy"].entropy > lane["random"].entropy


# --- robots ----------------------------------------------------------------------------------------------------------

OF_ROBOTS = {
    "ant": ["ant-goal", "sparse-ant-goal"],
    "cheetah": ["cheetah-vel", "sparse-cheetah-vel", "cheetah-dir"],
    "hopper": ["hopper-rand-params", "hopper-mass"],
    "walker": ["walker-rand-params", "walker-mass"],
    "humanoid": ["humanoid-dir"],
}


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_robot_has_the_observations_and_actions_of_the_tasks_that_it_is_to_explore(robot):
    source = robot_source(robot)
    for family in OF_ROBOTS[robot]:
        task = apb.tasks.Task(family, {})
        other = robot_source(task)
        assert source.observation_space.shape == other.observation_space.shape
        assert source.action_space == other.action_space


def test_every_robot_is_one_of_the_packages_families():
    assert ROBOTS.keys() == OF_ROBOTS.keys()


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED = [
    ({"objective": "rdn"}, UnknownNameError, "did you mean 'rnd'"),
    ({"trainable_backbone": True}, UnknownNameError, "pretrain() has no option 'trainable_backbone'"),
    ({"normalize_observations": True}, UnknownNameError, "pretrain() has no option 'normalize_observations'"),
    ({"learning_starts": 150}, ConfigError, "learning_starts = 150 with total_timesteps = 150 leaves nothing"),
    ({"learning_starts": 0}, ConfigError, "learning_starts = 0; expected at least 1"),
    ({"gradient_steps": 0}, ConfigError, "gradient_steps = 0, with which nothing is learned"),
    ({"elements": "0:3"}, ConfigError, "elements = '0:3' has '0:3', which is no part of them; expected 'all', or"),
    ({"elements": "x"}, ConfigError, "elements = 'x'; expected 'all', or indices and slices of 2 elements"),
    ({"objective": "knn", "knn_neighbors": 32}, ConfigError, "expected fewer than batch_size"),
    ({"knn_neighbors": 0}, ConfigError, "knn_neighbors = 0 is out of range"),
    ({"rnd_features": 0}, ConfigError, "rnd_features = 0 is out of range"),
    ({"strategy": "noise"}, UnknownNameError, "strategy = 'noise' is unknown"),
    ({"adapter_init": "nearest"}, UnknownNameError, "adapter_init = 'nearest' is unknown"),
    ({"backbone": "nowhere"}, UnknownNameError, "neither"),
    ({"env": "ants"}, UnknownNameError, "did you mean the robot 'ant'? robots: ant, cheetah"),
    ({"env": "CartPole-v1"}, InvalidEnvError, "CartPole-v1"),
]


@pytest.mark.parametrize(("options", "error", "words"), REFUSED, ids=str)
def test_what_cannot_be_is_told_before_anything_is_made(options, error, words, tmp_path):
    with pytest.raises(error) as raised:
        pretrain_run(run_dir=tmp_path / "run", **options)
    assert words in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_observations_that_never_change_end_the_run_after_the_random_steps():
    with pytest.raises(InvalidEnvError, match=r"are \[0, 0\] in each of 64 random steps"):
        pretrain_run(partial(PlaneEnv, 1.0, 0.0))


@pytest.mark.parametrize("rewards", [lambda states: states.norm(dim=2), lambda states: 1.0])
def test_an_objective_of_the_users_own_that_returns_no_array_of_rewards_is_told(rewards, monkeypatch):
    own = type("Own", (Objective,), {"name": "own", "title": "own", "rewards": lambda self, states: rewards(states)})
    monkeypatch.setitem(OBJECTIVES, "own", own)
    with pytest.raises(ConfigError, match=r"rewards of the objective 'own' returned a .*; expected an array of shape"):
        pretrain_run(objective="own")
