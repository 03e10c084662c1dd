"""Promises of snapshots: a restored simulation continues with the same bits, and states that do not fit are refused."""

import json

import gymnasium
import numpy as np
import pytest
from apb.environments import EnvSource, Simulations
from apb.errors import ConfigError, FileFormatError, MismatchError
from envs_for_tests import CountingEnv
from gymnasium import wrappers
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

MUJOCO_IDS = [
    "Ant-v5",
    "HalfCheetah-v5",
    "Hopper-v5",
    "Humanoid-v5",
    "HumanoidStandup-v5",
    "InvertedDoublePendulum-v5",
    "InvertedPendulum-v5",
    "Pusher-v5",
    "Reacher-v5",
    "Swimmer-v5",
    "Walker2d-v5",
]


def as_from_a_file(snapshot):
    """The snapshot after its values went through JSON and its arrays through bytes."""
    arrays = {
        name: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape).copy()
        for name, array in snapshot["arrays"].items()
    }
    return {"arrays": arrays, "values": json.loads(json.dumps(snapshot["values"]))}


def actions_for(simulations, step):
    shape = (simulations.lanes, simulations.slots, simulations.bounds.size)
    return np.random.default_rng(step).uniform(-1, 1, shape).astype(np.float32)


def trace(simulations, steps):
    """Everything that `steps` steps return, as bytes and numbers."""
    result = []
    for step in steps:
        t = simulations.step(actions_for(simulations, step))
        arrays = (t.observation, t.reward, t.next_observation, t.terminated, t.truncated, t.valid)
        result.append((*(array.tobytes() for array in arrays), t.episodes))
    return result, simulations.total_steps


def assert_continues_the_same(source, before, after, lanes=1, slots=2):
    """Interrupts after `before` steps, goes on for `after` steps in new envs that have a past of their own."""
    seeds = range(lanes)
    with Simulations(source, lanes, slots, seeds) as first, Simulations(source, lanes, slots, seeds) as second:
        first.reset()
        trace(first, range(before))
        snapshot = as_from_a_file(first.snapshot())
        second.reset(first_episode=5)
        trace(second, range(3))
        second.restore(snapshot)
        np.testing.assert_array_equal(first.observations, second.observations)
        assert first.at_episode_start == second.at_episode_start
        assert trace(first, range(before, before + after)) == trace(second, range(before, before + after))


@pytest.mark.parametrize("env_id", [*MUJOCO_IDS, "Pendulum-v1"])
def test_gymnasium_env_continues_with_the_same_bits_in_the_middle_of_episodes(env_id):
    source = EnvSource.resolve(env_id)
    for before in (0, 7, 60):
        assert_continues_the_same(source, before, 60)


@pytest.mark.parametrize("env_id", MUJOCO_IDS)
def test_what_an_env_reads_between_two_steps_is_restored_too(env_id):
    source = EnvSource.resolve(env_id)
    env, restored = source.make(), source.make()
    first, second = Simulations(EnvSource.resolve(env), 1, 1, [0]), Simulations(EnvSource.resolve(restored), 1, 1, [0])
    first.reset()
    trace(first, range(20))
    second.restore(first.snapshot())
    np.testing.assert_array_equal(env.unwrapped._get_obs(), restored.unwrapped._get_obs())
    for reading in ("xpos", "xipos", "geom_xpos", "site_xpos", "cvel", "cfrc_ext", "qacc", "actuator_force"):
        np.testing.assert_array_equal(getattr(env.unwrapped.data, reading), getattr(restored.unwrapped.data, reading))


@given(st.integers(0, 120))
@settings(max_examples=15)
def test_walking_robots_continue_with_the_same_bits_from_any_step(before):
    for env_id in ("Ant-v5", "Humanoid-v5", "Walker2d-v5"):
        assert_continues_the_same(EnvSource.resolve(env_id), before, 12, slots=1)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", MUJOCO_IDS)
def test_gymnasium_env_continues_with_the_same_bits_over_whole_episodes(env_id):
    source = EnvSource.resolve(env_id)
    for before in (333, 999, 1000):
        assert_continues_the_same(source, before, 1100, lanes=2, slots=1)


def wrapped_in_everything():
    env = gymnasium.make("Hopper-v5", max_episode_steps=40)
    env = wrappers.RecordEpisodeStatistics(wrappers.RescaleAction(env, np.float32(-2), np.float32(2)))
    env = wrappers.TimeAwareObservation(wrappers.NormalizeObservation(wrappers.FlattenObservation(env)))
    return wrappers.DtypeObservation(wrappers.NormalizeReward(wrappers.ClipReward(env, -5, 5)), np.float32)


@pytest.mark.filterwarnings("ignore:.*precision lowered by casting")
@pytest.mark.parametrize("before", [0, 5, 95])
def test_states_of_wrappers_continue_too(before):
    source = EnvSource.resolve(wrapped_in_everything)
    with Simulations(source, 1, 1, [0]) as simulations:
        assert simulations.can_snapshot
    assert_continues_the_same(source, before, 60)


def test_an_env_object_is_restored_in_place():
    env = gymnasium.make("Hopper-v5")
    simulations = Simulations(EnvSource.resolve(env), 1, 1, [0])
    simulations.reset()
    trace(simulations, range(30))
    snapshot = simulations.snapshot()
    expected = trace(simulations, range(30, 60))
    simulations.restore(snapshot)
    assert trace(simulations, range(30, 60)) == expected


def test_layers_that_only_check_may_come_and_go_between_a_snapshot_and_its_restoration():
    checked = Simulations(EnvSource.resolve(gymnasium.make("Hopper-v5")), 1, 1, [0])
    assert isinstance(checked.source.instance.env.env, wrappers.PassiveEnvChecker)
    checked.reset()
    trace(checked, range(30))
    snapshot = as_from_a_file(checked.snapshot())
    with Simulations(EnvSource.resolve("Hopper-v5"), 1, 1, [0]) as plain:
        plain.restore(snapshot)
        assert trace(plain, range(30, 60)) == trace(checked, range(30, 60))


class HopperWithMemory(HopperEnv):
    """A subclass, which may keep a state of its own."""


@pytest.mark.parametrize(
    "env",
    [
        CountingEnv,
        HopperWithMemory,
        lambda: wrappers.StickyAction(gymnasium.make("Hopper-v5"), 0.5),
        lambda: wrappers.TransformReward(gymnasium.make("Hopper-v5"), lambda reward: reward),
        SyncVectorEnv([lambda: gymnasium.make("Hopper-v5")]),
    ],
    ids=["unknown env", "subclass", "stateful wrapper", "user function", "VectorEnv"],
)
def test_a_state_that_is_not_known_in_full_is_not_saved_in_the_middle_of_an_episode(env):
    simulations = Simulations(EnvSource.resolve(env), 1, 1, [0])
    assert not simulations.can_snapshot
    simulations.reset()
    assert simulations.at_episode_start
    simulations.snapshot()
    trace(simulations, range(1))
    assert not simulations.at_episode_start
    with pytest.raises(ConfigError, match=r"restart_unfinished\(\)"):
        simulations.snapshot()


@given(st.integers(0, 12))
def test_an_unknown_env_continues_the_same_from_starts_of_episodes(before):
    def source(lengths=(2, 5, 3)):
        return EnvSource.resolve(lambda: SeededEnv(lengths))

    first, second = Simulations(source(), 2, 2, [0, 1]), Simulations(source(), 2, 2, [0, 1])
    first.reset()
    trace(first, range(before))
    first.restart_unfinished()
    second.restore(as_from_a_file(first.snapshot()))
    assert trace(first, range(before, before + 20)) == trace(second, range(before, before + 20))


class SeededEnv(CountingEnv):
    """Observes random numbers instead of its name and episode, and ends at random."""

    def _observe(self):
        return self.np_random.normal(size=3)

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.episode = 0
        self.lengths = (int(self.np_random.integers(1, 6)),)
        return observation, info


def test_restarting_cuts_off_exactly_the_episodes_under_way():
    lengths = iter([(9,), (2,), (4,), (9,)])
    simulations = Simulations(EnvSource.resolve(lambda: CountingEnv(next(lengths))), 1, 3, [0])
    simulations.reset()
    trace(simulations, range(4))
    assert simulations.observations[0, :, 2].tolist() == [0, 0, 4]
    np.testing.assert_array_equal(simulations.restart_unfinished(), [[False, False, True]])
    assert simulations.at_episode_start
    assert simulations.observations[0, :, 1].tolist() == [2, 1, 1]
    assert simulations.observations[0, :, 2].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(simulations.restart_unfinished(), [[False, False, False]])


def test_one_simulation_waits_for_the_end_of_its_episode_without_being_cut_off():
    simulations = Simulations(EnvSource.resolve(lambda: CountingEnv((3,))), 1, 1, [0])
    simulations.reset()
    starts = []
    for step in range(7):
        trace(simulations, [step])
        if simulations.at_episode_start:
            starts.append(step)
            assert not simulations.restart_unfinished().any()
            simulations.snapshot()
    assert starts == [2, 5]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_env_continues_the_same_after_a_restart(mode):
    def simulations():
        vector = SyncVectorEnv([lambda: SeededEnv((4,)) for _ in range(3)], autoreset_mode=mode)
        return Simulations(EnvSource.resolve(vector), 1, 3, [0])

    first, second = simulations(), simulations()
    first.reset()
    trace(first, range(5))
    under_way = first.restart_unfinished()
    assert under_way.shape == (1, 3)
    assert not first.restart_unfinished().any()
    second.restore(as_from_a_file(first.snapshot()))
    assert trace(first, range(5, 25)) == trace(second, range(5, 25))


@pytest.fixture
def hopper():
    with Simulations(EnvSource.resolve("Hopper-v5"), 1, 2, [0]) as simulations:
        simulations.reset()
        trace(simulations, range(3))
        yield simulations


def replaced(snapshot, kind, name, value):
    return snapshot | {kind: snapshot[kind] | {name: value}}


@pytest.mark.parametrize(
    ("kind", "name", "value", "error"),
    [
        ("values", "lanes", 2, MismatchError),
        ("values", "slots", None, FileFormatError),
        ("values", "total_steps", "6", FileFormatError),
        ("values", "envs", [], FileFormatError),
        ("values", "envs", [1, 2], FileFormatError),
        ("values", "envs", [{}, {}], MismatchError),
        ("arrays", "observations", np.zeros((2, 12), np.float32), MismatchError),
        ("arrays", "observations", np.zeros((2, 11), np.float64), MismatchError),
        ("arrays", "observations", None, MismatchError),
        ("arrays", "episode_index", np.array([0, -1]), FileFormatError),
        ("arrays", "envs.1.1.integration_state", np.zeros(3), MismatchError),
        ("arrays", "envs.1.1.readings", np.zeros(3), MismatchError),
        ("arrays", "envs.1.1.unknown", np.zeros(3), MismatchError),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(hopper, kind, name, value, error):
    assert "envs.1.1.readings" in hopper.snapshot()["arrays"]
    with pytest.raises(error):
        hopper.restore(replaced(hopper.snapshot(), kind, name, value))


@pytest.mark.parametrize("broken", [{}, {"arrays": {}}, {"arrays": 3, "values": {}}])
def test_a_malformed_snapshot_is_refused(hopper, broken):
    with pytest.raises(FileFormatError):
        hopper.restore(broken)


@pytest.mark.parametrize(
    ("name", "value"),
    [("1.np_random", {}), ("1.np_random", 7), ("1.np_random", {"bit_generator": "PCG64"}), ("0._elapsed_steps", "3")],
)
def test_a_malformed_value_of_an_env_is_refused(hopper, name, value):
    snapshot = hopper.snapshot()
    snapshot["values"]["envs"][0] = snapshot["values"]["envs"][0] | {name: value}
    with pytest.raises(FileFormatError, match=name):
        hopper.restore(snapshot)


@pytest.mark.parametrize("field", ["integration_state", "readings"])
def test_a_state_that_is_not_finite_is_refused(hopper, field):
    snapshot = hopper.snapshot()
    snapshot["arrays"][f"envs.0.1.{field}"][1] = np.nan
    with pytest.raises(FileFormatError, match="not finite"):
        hopper.restore(snapshot)


def test_a_snapshot_of_another_env_is_refused(hopper):
    with Simulations(EnvSource.resolve("Walker2d-v5"), 1, 2, [0]) as walker:
        walker.reset()
        with pytest.raises(MismatchError, match="another env"):
            hopper.restore(walker.snapshot())
