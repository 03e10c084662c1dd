"""Envs that observe and act in different numbers as one source: simulation, run folders, and what is refused."""

import copy
import json
import sys
from functools import partial

import gymnasium
import numpy as np
import pytest
from apb import adapt, meta_train, resume, tasks
from apb.env_source import EnvSource
from apb.errors import ConfigError, InvalidEnvError, MismatchError, SimulationError, UnknownNameError
from apb.jobs import Job
from apb.policy import Policy
from apb.runs import RunFolder
from apb.settings import AdaptSettings
from apb.several_envs import SeveralEnvs, resolve_all, source_again
from apb.simulations import Simulations
from crashes import StopAt
from envs_for_tests import CountingEnv, ScriptedEnv
from learning import SMALL, small_backbone
from naming import words
from sized_envs import ENVS, SizedEnv

# --- simulation ------------------------------------------------------------------------------------------------------


def test_tasks_of_one_family_are_simulated_in_one_batch():
    source = resolve_all(ENVS)
    with Simulations(source, 12, 2, [0] * 12) as simulations:
        names = [type(env.unwrapped).__name__ for env in simulations._rows.envs]
        assert sorted(names) == ["BatchedEnv"] * 2 + ["PendulumEnv"] * 4 + ["SizedEnv"] * 8
        assert not simulations.can_snapshot, "SizedEnv is not known"
        observations = simulations.reset()
        assert observations.shape == (12, 2, 30)
        assert not observations[0:2, :, 3:].any()
    with pytest.raises(ConfigError, match="7 lanes for 6 envs; expected a multiple of 6"):
        Simulations(source, 7, 1, [0] * 7)


def test_simulations_beside_others_start_where_they_start_alone():
    source, seeds = resolve_all(ENVS), [11, 5, 8, 2, 9, 4]
    with Simulations(source, 6, 2, seeds) as together:
        for episode in (0, 3):
            observations = together.reset(episode)
            for lane, part in enumerate(source.parts):
                with Simulations(part, 1, 2, seeds[lane : lane + 1]) as alone:
                    expected = alone.reset(episode)[0]
                assert observations[lane, :, : expected.shape[1]].tobytes() == expected.tobytes()


@pytest.mark.filterwarnings("ignore:.*the other rows go on")
def test_a_simulation_that_blows_up_costs_what_its_own_episode_still_had():
    with Simulations(resolve_all(["Pendulum-v1", "cheetah-vel/mier-hard:0"]), 2, 1, [0, 0]) as simulations:
        simulations.reset()
        actions = np.ones((2, 1, 6), np.float32)
        rewards = [float(simulations.step(actions).reward[1, 0]) for _ in range(10)]
        _, cheetah = simulations._rows.envs
        cheetah._batch.bind("qvel")[0] = 1e12
        transition = simulations.step(actions)
        assert transition.valid.tolist() == [[True], [False]]
        (episode,) = transition.episodes
        assert (episode.lane, episode.length, episode.failed) == (1, 10, True)
        assert episode.return_ == pytest.approx(sum(rewards) + 190 * min(rewards), rel=1e-5)


def test_lists_of_one_family_are_the_batch_that_they_were():
    for alike in (["cheetah-vel/mier-hard:1", "cheetah-vel/mier-hard:4"], tasks.get("cheetah-vel/mier-hard")[:3]):
        source = resolve_all(alike)
        assert not isinstance(source, SeveralEnvs)
        assert source.identity == EnvSource.resolve(list(alike)).identity
    assert resolve_all(["Pendulum-v1"]).name == "Pendulum-v1"


@pytest.mark.parametrize("middle", [7, 60, 111])
def test_simulations_go_on_from_the_middle_of_episodes(middle):
    source = resolve_all(["Pendulum-v1", "hopper-mass/tavt:1", "InvertedPendulum-v5", "hopper-mass/tavt:2"])
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (150, 4, 1, 3)).astype(np.float32)
    with Simulations(source, 4, 1, range(4)) as simulations:
        simulations.reset()
        steps = []
        for number, action in enumerate(actions):
            if number == middle:
                assert simulations.can_snapshot
                snapshot = simulations.snapshot()
            steps.append(simulations.step(action))
    with Simulations(source, 4, 1, range(4)) as simulations:
        simulations.restore(snapshot)
        for expected, action in zip(steps[middle:], actions[middle:], strict=True):
            found = simulations.step(action)
            assert found.next_observation.tobytes() == expected.next_observation.tobytes()
            assert found.reward.tobytes() == expected.reward.tobytes()
            assert found.episodes == expected.episodes
    assert sum(len(step.episodes) for step in steps) > 4


def test_what_an_env_does_wrong_is_told_with_its_name_and_place():
    class Failing(ScriptedEnv):
        pass

    source = resolve_all(
        ["Pendulum-v1", "cheetah-vel/mier-hard:0", lambda: Failing([((0.0, 0.0), 1.0), OSError("no")])]
    )
    with Simulations(source, 3, 1, [0] * 3) as simulations:
        simulations.reset()
        simulations.step(np.zeros((3, 1, 6), np.float32))
        with pytest.raises(SimulationError, match=r"lane 2, slot 0, env Failing, episode 0 after 1 steps of it.*no"):
            simulations.step(np.zeros((3, 1, 6), np.float32))
    with Simulations(source, 3, 1, [0] * 3) as simulations:
        simulations.reset()
        simulations._rows._blocks[1].rows._env.close()
        with pytest.raises(SimulationError, match="in total: cheetah-vel/mier-hard/ood:0: "):
            simulations.step(np.zeros((3, 1, 6), np.float32))


def test_a_backbone_that_all_learn_is_the_same_on_any_number_of_threads_and_can_be_adapted():
    results = [
        meta_train(ENVS, small_backbone(), **{**SMALL, "total_timesteps": 6 * 80, "num_threads": threads})
        for threads in (1, 3)
    ]
    assert results[0].backbone.hash == results[1].backbone.hash != small_backbone().hash
    assert [policy.observation_space.shape for policy in results[0].policies] == [
        (3,), (11,), (2, 3), (20,), (11,), (30,)
    ]  # fmt: skip
    assert results[0].lanes[0]["task"] == "Pendulum-v1"
    adapted = adapt("Pendulum-v1", results[0].backbone, **{**SMALL, "total_timesteps": 80})
    assert adapted.policy.backbone.hash == results[0].backbone.hash


# --- run folders -----------------------------------------------------------------------------------------------------

KNOWN = ["Pendulum-v1", "hopper-mass/tavt/train:1", "InvertedPendulum-v5"]
RUN = {**SMALL, "total_timesteps": 3 * 130, "eval_freq": 50, "n_eval_episodes": 2, "checkpoint_freq": 1000}


def outcome(result):
    return (
        result.backbone.hash,
        [policy.adapter.parameters.tobytes() for policy in result.policies],
        list(result.evaluations),
        [each.returns.tolist() for each in result.final],
    )


def test_a_run_that_is_stopped_in_the_middle_of_episodes_goes_on_exactly(tmp_path):
    whole = meta_train(KNOWN, small_backbone(), **RUN)
    stopped = meta_train(KNOWN, small_backbone(), run_dir=tmp_path / "run", callback=StopAt(77), **RUN)
    assert stopped.stopped_by == "callback"
    resumed = resume(tmp_path / "run", callback=StopAt(-1))
    assert outcome(resumed) == outcome(whole)
    config = RunFolder.open(tmp_path / "run").config
    assert config["tasks"] == ["Pendulum-v1", "hopper-mass/tavt/train:1", "InvertedPendulum-v5"]
    policies = sorted((tmp_path / "run").glob("checkpoints/*/policy/task-2-seed-*"))
    saved = Policy.from_pretrained(policies[-1])
    assert saved.metadata["env_id"] == "InvertedPendulum-v5"
    assert saved.observation_space.shape == (4,)


def test_functions_must_be_given_again_and_others_are_refused(tmp_path):
    given = ["Pendulum-v1", partial(SizedEnv, (5,), (2,))]
    run = {**RUN, "total_timesteps": 2 * 130, "run_dir": tmp_path / "run"}
    meta_train(given, small_backbone(), callback=StopAt(77), **run)
    stop = StopAt(-1)
    with pytest.raises(InvalidEnvError, match=r"env 2 of the list was given .*; pass the list again, env=\[\.\.\.\]"):
        resume(tmp_path / "run", callback=stop)
    with pytest.raises(InvalidEnvError, match="in the list env: env = 5 is a int; expected an id"):
        resume(tmp_path / "run", env=["Pendulum-v1", 5], callback=stop)
    for wrong in (["Pendulum-v1", partial(SizedEnv, (5,), (3,))], given[:1], [*given, "InvertedPendulum-v5"], SAME):
        with pytest.raises(MismatchError, match=r"is not the one that the run in .* learns in: they differ in"):
            resume(tmp_path / "run", env=wrong, callback=stop)
    assert resume(tmp_path / "run", env=given, callback=stop).stopped_by == "budget"


def test_what_a_file_tells_of_several_envs_makes_them_again_with_their_names():
    hopper = copy.deepcopy(gymnasium.spec("Hopper-v5"))
    hopper.kwargs = {"healthy_reward": 0.5}
    source = resolve_all(["Hopper-v5", hopper, *tasks.get("cheetah-vel/mier-hard")[:2], "walker-mass/tavt:0"])
    identity = json.loads(json.dumps(source.identity))
    rebuilt = source_again(None, identity)
    assert rebuilt.identity == source.identity
    assert [part.make().unwrapped._healthy_reward for part in rebuilt.parts[:2]] == [1.0, 0.5]
    assert [part.name for part in rebuilt.parts[2:]] == [
        "cheetah-vel/mier-hard/ood:0", "cheetah-vel/mier-hard/ood:1", "walker-mass/tavt/ood:0"
    ]  # fmt: skip
    unnamed = [tasks.Task("cheetah-vel", tasks.get(f"cheetah-vel/mier-hard:{i}").arguments) for i in range(2)]
    again = source_again(["Hopper-v5", hopper, *unnamed, "walker-mass/tavt:0"], identity)
    assert again.identity["parts"] == source.identity["parts"], "tasks keep the names that the run has of them"


def test_lanes_of_one_id_are_told_apart_by_their_arguments():
    hopper = copy.deepcopy(gymnasium.spec("Hopper-v5"))
    hopper.kwargs = {"healthy_reward": 0.5}
    loop = Job(resolve_all(["Hopper-v5", hopper]), None, small_backbone(), AdaptSettings(**SMALL), [], {}).loop()
    loop.close()
    assert [lane.task for lane in loop.lanes] == ["Hopper-v5", "Hopper-v5 with healthy_reward = 0.5"]


def test_one_module_that_a_user_names_registers_all_envs_of_a_run(tmp_path, monkeypatch):
    (tmp_path / "own_envs.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import PendulumEnv\n"
        "for name in 'AB':\n"
        "    gymnasium.register(f'Own{name}-v0', PendulumEnv, max_episode_steps=20 + ord(name))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    identity = json.loads(json.dumps(resolve_all(["own_envs:OwnA-v0", "own_envs:OwnB-v0"]).identity))
    assert not any("own_envs" in str(each["id"]) for each in identity["envs"])
    for name in ("OwnA-v0", "OwnB-v0"):
        del gymnasium.registry[name]
    sys.modules.pop("own_envs")
    with pytest.raises(UnknownNameError, match="'OwnA-v0' is not registered"):
        source_again(None, identity)
    source = source_again("own_envs:OwnB-v0", identity)
    assert [part.env_id for part in source.parts] == ["OwnA-v0", "OwnB-v0"]
    assert source.words == ["own_envs:OwnB-v0"]
    sys.modules.pop("own_envs")


# --- bad input -------------------------------------------------------------------------------------------------------

MADE = CountingEnv()
SAME = partial(SizedEnv, (3,), (1,))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (["Hopper-v5", "Pendulum-v1", "Hopper-v5"], ConfigError, "env 'Hopper-v5' twice; expected different ones"),
        (["Hopper-v5", gymnasium.spec("Hopper-v5")], ConfigError, "has env Hopper-v5 twice; expected different ones"),
        (["Hopper-v5", SAME, SAME], ConfigError, "SizedEnv.* twice; expected different ones"),
        (
            ["Hopper-v5", "cheetah-vel/mier-hard/train:0", "cheetah-vel/mier-hard/train:0"],
            ConfigError,
            "env cheetah-vel/mier-hard/train:0 twice",
        ),
        (
            ["Hopper-v5", "CartPole-v1"],
            InvalidEnvError,
            "in the list tasks: env CartPole-v1: action_space = .* only continuous actions",
        ),
        (["Hopper-v5", CountingEnv()], InvalidEnvError, "env CountingEnv in the list was given as an object of which"),
        (["Hopper-v5", lambda: MADE, lambda: MADE], InvalidEnvError, "two functions among .* returned the same env"),
        (["Hopper-v5", "Hoper-v5"], UnknownNameError, "in the list tasks: env = 'Hoper-v5' is not .*'Hopper-v5'"),
        (["Hopper-v5", 5], InvalidEnvError, "in the list tasks: env = 5 is a int; expected an id"),
        (["Hopper-v5", None], InvalidEnvError, "in the list tasks: env = None is a NoneType; expected an id"),
        (["Hopper-v5", ["Pendulum-v1"]], InvalidEnvError, "in the list tasks: env is a list with 'Pendulum-v1' in it"),
        (["Hopper-v5"] * 4097, ConfigError, "the list tasks has 4,097 envs; expected at most 4,096"),
    ],
    ids=words,
)
def test_envs_that_cannot_be_learned_together_are_refused_by_name(given, error, message, tmp_path):
    with pytest.raises(error, match=message):
        meta_train(given, small_backbone(), run_dir=tmp_path / "run", **{**SMALL, "total_timesteps": 300})
    assert not [*tmp_path.iterdir()], "nothing was written"


def test_a_function_that_gives_the_env_that_is_learned_in_for_evaluation_is_refused():
    only = SizedEnv()
    options = {**SMALL, "total_timesteps": 300, "eval_freq": 50, "n_eval_episodes": 1}
    with pytest.raises(InvalidEnvError, match=r"the very env object .*: a function has to make a new env"):
        meta_train(["Pendulum-v1", lambda: only], small_backbone(), **options)


@pytest.mark.parametrize(
    "broken",
    [
        {"envs": 5},
        {"envs": []},
        {"envs": [1, 2]},
        {"parts": None},
        {"parts": [{}]},
        {"parts": [{"recreatable": True}, {"recreatable": "yes"}]},
        {"envs": [{"id": "Pendulum-v1", "kwargs": {}}, {"id": 7, "kwargs": {}}]},
        {"envs": [{"id": "Pendulum-v1", "kwargs": {}}, {"id": "Hopper-v5", "kwargs": 3}]},
    ],
    ids=str,
)
def test_recorded_envs_that_are_malformed_are_refused(broken):
    identity = resolve_all(["Pendulum-v1", "Hopper-v5"]).identity
    with pytest.raises(InvalidEnvError, match=r"pass (the env|the list|a list of the envs) again"):
        source_again(None, identity | broken)


def test_several_envs_are_no_env():
    with pytest.raises(InvalidEnvError, match="Pendulum-v1 and Hopper-v5 are 2 envs, and this needs one"):
        resolve_all(["Pendulum-v1", "Hopper-v5"]).make()
