"""Lanes whose envs observe and act in different numbers learn in one program, each what it learns alone."""

import copy
import json
import sys
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from apb import adapt, meta_train, resume, rng, tasks
from apb.adapter import draw_initial
from apb.adapter_shape import AdapterShape
from apb.callbacks import Callback
from apb.env_source import EnvSource
from apb.env_spaces import flat_size
from apb.errors import ConfigError, InvalidEnvError, MismatchError, SimulationError, UnknownNameError
from apb.jobs import Job
from apb.lane_noise import LaneNoise
from apb.policy import Policy
from apb.replay import Batch
from apb.runs import RunFolder
from apb.settings import AdaptSettings
from apb.several_envs import SeveralEnvs, resolve_all, source_again
from apb.simulations import Simulations
from apb.td3 import TD3
from envs_for_tests import CountingEnv, ScriptedEnv
from gymnasium.spaces import Box
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from learning import SMALL, same_arrays, small_backbone, small_settings

SIZES = [(5, 2), (7, 1), (2, 3)]
"""Numbers that an env observes and acts in."""


def shapes_of(backbone, sizes):
    """The shapes of lanes of these sizes, and that of the largest."""
    common = AdapterShape.of(backbone, *np.max(sizes, axis=0).tolist())
    return [AdapterShape.of(backbone, *each) for each in sizes], common


def pad(tensor, size):
    return torch.nn.functional.pad(tensor, (0, size - tensor.shape[-1]))


def draw_batch(observation_size, action_size, seed):
    """Transitions (1, 16, ...) of unit scale, a third of them terminated."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(1, 16, *shape, generator=generator)

    not_terminated = (torch.rand(1, 16, generator=generator) > 1 / 3).float()
    return Batch(
        normal(observation_size), normal(action_size).tanh(), normal(), normal(observation_size), not_terminated
    )


def batches_of(sizes, number):
    """A batch for each lane alone, and the padded ones in one."""
    alone = [draw_batch(*each, seed=100 * lane + number) for lane, each in enumerate(sizes)]
    observation_size, action_size = np.max(sizes, axis=0).tolist()
    widths = {"observation": observation_size, "action": action_size, "next_observation": observation_size}
    columns = [
        torch.cat([pad(getattr(each, name), widths[name]) if name in widths else getattr(each, name) for each in alone])
        for name in Batch.__slots__
    ]
    return alone, Batch(*columns)


def unpadded(td3, lane):
    """The state of one lane with only what its own sizes have; and the largest number that stands at other places."""
    own, common = td3.own_shapes[lane], td3.shape
    state, beyond = {}, 0.0
    inputs = np.r_[: own.observation_size, common.observation_size : common.observation_size + own.action_size]
    for name, array in td3.state().items():
        value, rest = array[lane : lane + 1], array[lane : lane + 1].copy()
        kind = name.rpartition(".")[0].rpartition(".")[2]
        if name.endswith("0.weight") and "critics" in name:
            place = (..., inputs)
        elif kind in ("pre", "post"):
            place = (slice(None), *map(slice, own.layers[f"{kind}.{name.rpartition('.')[2]}"]))
        else:
            place = ...
        state[name] = np.ascontiguousarray(value[place])
        rest[place] = 0
        beyond = max(beyond, float(np.abs(rest).max()))
    return state, beyond


# --- the update rule -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])
@pytest.mark.parametrize("training", ["frozen", "per_lane"])
@pytest.mark.parametrize("reading", ["A", "B"])
def test_a_lane_that_is_padded_learns_what_it_learns_alone(reading, training, native):
    """Bit for bit natively; torch adds up in an order that depends on the sizes."""
    backbone, seeds = small_backbone(reading), (3, 8, 21)
    own, common = shapes_of(backbone, SIZES)
    options = {"backbone_training": training, "native": native}
    hyper = small_settings(learning_rate=1e-2)
    together = TD3(backbone, common, seeds, hyper, own_shapes=own, **options)
    alone = [TD3(backbone, shape, (seed,), hyper, **options) for shape, seed in zip(own, seeds, strict=True)]
    for number in range(7):
        if number == 5:
            for td3 in (together, *alone):
                td3.reset(1)
        each, padded = batches_of(SIZES, number)
        together.update(padded)
        for td3, batch in zip(alone, each, strict=True):
            td3.update(batch)
        for lane, td3 in enumerate(alone):
            found, beyond = unpadded(together, lane)
            assert beyond == 0, "what pads a lane never moves"
            if native:
                assert same_arrays(found, td3.state())
                assert together.own_adapters()[lane].tobytes() == td3.adapters()[0].tobytes()
            else:
                for name, value in td3.state().items():
                    np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 20)), min_size=1, max_size=4),
    st.integers(1, 20),
    st.integers(0, 2**62),
)
def test_a_lane_is_drawn_as_alone_whatever_stands_beside_it(sizes, rows, seed):
    backbone = small_backbone()
    own, common = shapes_of(backbone, sizes)
    seeds = [seed + lane for lane in range(len(sizes))]
    together = TD3(backbone, common, seeds, small_settings(), own_shapes=own)
    noise = LaneNoise(seeds, rng.Stream.PROBE, rows, [action for _, action in sizes])
    for lane, shape in enumerate(own):
        assert (together.own_adapters()[lane] == draw_initial(backbone, shape, seeds[lane])).all()
        state, beyond = unpadded(together, lane)
        assert same_arrays(state, TD3(backbone, shape, seeds[lane : lane + 1], small_settings()).state())
        assert beyond == 0
        alone = LaneNoise(seeds[lane : lane + 1], rng.Stream.PROBE, rows, [shape.action_size])
        for draw in ("normal", "uniform"):
            padded = getattr(noise, draw)(7)[lane]
            assert padded[:, : shape.action_size].tobytes() == getattr(alone, draw)(7)[0].tobytes()
            assert not padded[:, shape.action_size :].any()


def test_warm_up_actions_fill_the_range():
    drawn = LaneNoise([4], rng.Stream.PROBE, 1000, [2]).uniform(0)
    assert -1 <= drawn.min() < -0.99
    assert 0.99 < drawn.max() < 1
    assert abs(drawn.mean()) < 0.05


# --- the loop --------------------------------------------------------------------------------------------------------


class SizedEnv(gymnasium.Env):
    """Observes and acts in arrays of any shape; what it observes depends on all that was done. Its seed decides how
    long an episode is, up to 12 steps."""

    def __init__(self, observed=(3,), acted=(1,), low=-1.0, high=1.0):
        self.observation_space = Box(-np.inf, np.inf, observed, np.float64)
        self.action_space = Box(low, high, acted, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 13))
        self.observation = self.np_random.normal(size=self.observation_space.shape)
        return self.observation, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        weights = np.cos(np.arange(action.size) + self.left)
        self.observation = np.roll(np.tanh(self.observation + float(weights @ action.ravel())), 1)
        return self.observation, float(np.square(action).sum()), self.left == 0, False, {}


ENVS = [
    "Pendulum-v1",
    "hopper-mass/tavt/train:1",
    partial(SizedEnv, (2, 3), (2, 1), -3.0, 1.0),
    "cheetah-vel/mier-hard/train:0",
    "hopper-mass/tavt/train:2",
    partial(SizedEnv, (30,), (9,)),
]
"""Rank 1 and 2, bounds that are not -1 and 1, two tasks of one family, episodes that end early and late."""


def finished_loop(source, **options):
    settings = AdaptSettings(**{**SMALL, "total_timesteps": 110, **options})
    loop = Job(source, None, small_backbone(), settings, [], {}).loop()
    loop.start()
    while not loop.finished:
        loop.step()
    return loop


def critics_of(loop, lane):
    return unpadded(loop.learner.td3, lane)[0]


def assert_lanes_learned_what_they_learn_alone(source, **options):
    together = finished_loop(source, **options)
    seeds = options.get("n_seeds", 1)
    results = together.evaluate() if options.get("eval_freq") else None
    observed = together.simulations.observation_size
    acted = together.simulations.bounds.size
    for number, part in enumerate(source.parts):
        alone = finished_loop(part, **options)
        expected = alone.evaluate() if results else None
        size, action_size = flat_size(part.observation_space), flat_size(part.action_space)
        for seed in range(seeds):
            lane = number * seeds + seed
            assert together.lanes[lane].seed == alone.lanes[seed].seed
            assert together.learner.own_adapters()[lane].tobytes() == alone.learner.adapters()[seed].tobytes()
            assert same_arrays(critics_of(together, lane), critics_of(alone, seed))
            pairs = ((0, size), (observed, size), (2 * observed, action_size), (2 * observed + acted, 2))
            columns = np.concatenate([np.arange(start, start + count) for start, count in pairs])
            table = together.replay.table[lane]
            np.testing.assert_array_equal(table[:, columns], alone.replay.table[seed])
            assert not np.delete(table, columns, axis=1).any(), "what pads a lane is zero in its replay"
            if results:
                assert results[lane].returns.tolist() == expected[seed].returns.tolist()
                assert results[lane].lengths.tolist() == expected[seed].lengths.tolist()
            policy, own = together.policies()[lane], alone.policies()[seed]
            assert (policy.observation_space, policy.action_space) == (own.observation_space, own.action_space)
            assert policy.adapter.parameters.tobytes() == own.adapter.parameters.tobytes()
            observation = np.random.default_rng(lane).normal(size=policy.observation_space.shape)
            assert policy(observation).tobytes() == own(observation).tobytes()
            assert policy.metadata == {**own.metadata, **together.lanes[lane].key}
        alone.close()
    together.close()


@pytest.mark.parametrize(
    "options",
    [
        {"n_seeds": 2, "eval_freq": 50, "n_eval_episodes": 3},
        {"normalize_observations": True, "reset_interval": 80},
        {"strategy": "param_noise", "population_size": 3, "segment_length": 3, "total_timesteps": 150},
        {"trainable_backbone": True},
    ],
    ids=["action_noise", "normalized", "param_noise", "trained backbones"],
)
def test_a_lane_beside_other_envs_goes_the_way_that_it_goes_alone(options):
    """Bit for bit: warm-up, exploration, replay, updates, evaluations and policies."""
    assert_lanes_learned_what_they_learn_alone(resolve_all(ENVS), **options)


@settings(deadline=None, max_examples=5, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 20), st.floats(-5, -0.1), st.floats(0.1, 5)),
        min_size=2,
        max_size=4,
    )
)
def test_so_it_does_at_any_sizes_and_bounds(sizes):
    made = [partial(SizedEnv, (observed,), (acted,), low, high) for observed, acted, low, high in sizes]
    assert_lanes_learned_what_they_learn_alone(resolve_all(made), total_timesteps=80)


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


# --- run folders -----------------------------------------------------------------------------------------------------

KNOWN = ["Pendulum-v1", "hopper-mass/tavt/train:1", "InvertedPendulum-v5"]
RUN = {**SMALL, "total_timesteps": 3 * 130, "eval_freq": 50, "n_eval_episodes": 2, "checkpoint_freq": 1000}


class StopAt(Callback):
    def __init__(self, timestep):
        self.timestep = timestep

    def on_step(self, state):
        return state.timesteps != self.timestep


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
    with pytest.raises(InvalidEnvError, match=r"env 2 of the list was given .*; pass the list again"):
        resume(tmp_path / "run", callback=stop)
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
        (["Hopper-v5", "CartPole-v1"], InvalidEnvError, "env CartPole-v1: action_space = .* only continuous actions"),
        (["Hopper-v5", CountingEnv()], InvalidEnvError, "env CountingEnv in the list was given as an object of which"),
        (["Hopper-v5", lambda: MADE, lambda: MADE], InvalidEnvError, "two functions among .* returned the same env"),
        (["Hopper-v5", "Hoper-v5"], UnknownNameError, "'Hoper-v5' is not registered; did you mean 'Hopper-v5'"),
        (["Hopper-v5", 5], InvalidEnvError, "env = 5 is a int; expected an id"),
        (["Hopper-v5", None], InvalidEnvError, "env = None is a NoneType; expected an id"),
    ],
    ids=str,
)
def test_envs_that_cannot_be_learned_together_are_refused_by_name(given, error, message, tmp_path):
    with pytest.raises(error, match=message):
        meta_train(given, small_backbone(), run_dir=tmp_path / "run", **{**SMALL, "total_timesteps": 300})
    assert not [*tmp_path.iterdir()], "nothing was written"


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
