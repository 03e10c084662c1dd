"""Promises of `Simulations`: no transition is lost or invented, and actions stay in bounds."""

from contextlib import nullcontext

import gymnasium
import numpy as np
import pytest
from apb import ApbWarning, rng
from apb.environments import ActionBounds, EnvSource, Simulations
from envs_for_tests import CountingEnv, ScriptedEnv
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def numbered(lengths: list[tuple[int, ...]]) -> tuple[list[CountingEnv], EnvSource]:
    """A source whose envs are numbered in the order in which they are made, and the list of those that were."""
    made: list[CountingEnv] = []

    def factory() -> CountingEnv:
        env = CountingEnv(lengths[len(made) % len(lengths)], name=len(made))
        made.append(env)
        return env

    source = EnvSource.resolve(factory)
    made.clear()  # The source has made one, to look at its spaces.
    return made, source


def run(simulations: Simulations, steps: int) -> tuple[list[list[tuple]], list]:
    """The valid transitions of each row, written as `CountingEnv` writes them, and the episodes."""
    rows: list[list[tuple]] = [[] for _ in range(simulations.lanes * simulations.slots)]
    episodes = []
    generator = np.random.default_rng(0)
    for _ in range(steps):
        actions = generator.uniform(-1, 1, (simulations.lanes, simulations.slots, 1)).astype(np.float32)
        acted_on = simulations.observations.copy()
        transition = simulations.step(actions)
        np.testing.assert_array_equal(transition.observation, acted_on)
        np.testing.assert_array_equal(transition.action, actions)
        episodes += transition.episodes
        for row, journal in enumerate(rows):
            lane, slot = divmod(row, simulations.slots)
            if transition.valid[lane, slot]:
                journal.append(
                    (
                        *transition.observation[lane, slot],
                        float(simulations.bounds.to_env(actions.reshape(-1, 1))[row, 0]),
                        float(transition.reward[lane, slot]),
                        *transition.next_observation[lane, slot],
                        bool(transition.terminated[lane, slot]),
                        bool(transition.truncated[lane, slot]),
                    )
                )
    return rows, episodes


def expected_episodes(journal: list[tuple]) -> list[tuple[float, int, bool]]:
    episodes, total, length = [], 0.0, 0
    for entry in journal:
        total, length = total + entry[4], length + 1
        if entry[-2] or entry[-1]:
            episodes.append((total, length, entry[-2]))
            total, length = 0.0, 0
    return episodes


def assert_same_as_journals(simulations: Simulations, envs: list[CountingEnv], steps: int) -> None:
    simulations.reset()
    rows, episodes = run(simulations, steps)
    assert [list(map(tuple, row)) for row in rows] == [env.journal for env in envs]
    for row, env in enumerate(envs):
        lane, slot = divmod(row, simulations.slots)
        found = [(e.return_, e.length, e.terminated) for e in episodes if (e.lane, e.slot) == (lane, slot)]
        assert found == expected_episodes(env.journal)
    assert simulations.total_steps == sum(len(env.journal) for env in envs)


@given(st.lists(LENGTHS, min_size=1, max_size=3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 15))
def test_own_simulations_report_exactly_the_transitions_that_happened(lengths, lanes, slots, steps):
    envs, source = numbered(lengths)
    assert_same_as_journals(Simulations(source, lanes, slots, range(lanes)), envs, steps)
    assert all(len(env.journal) == steps for env in envs)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@given(st.lists(LENGTHS, min_size=1, max_size=3), st.integers(1, 15))
def test_vector_env_reports_exactly_the_transitions_that_happened(mode, lengths, steps):
    envs = [CountingEnv(row, name) for name, row in enumerate(lengths)]
    vector = SyncVectorEnv([lambda env=env: env for env in envs], autoreset_mode=mode)
    assert_same_as_journals(Simulations(EnvSource.resolve(vector), 1, len(envs), [7]), envs, steps)
    if mode is not AutoresetMode.NEXT_STEP:
        assert all(len(env.journal) == steps for env in envs)


class TalkativeVector(SyncVectorEnv):
    """A next-step `VectorEnv` whose steps that only reset return a reward and flags, which mean nothing."""

    def step(self, actions):
        resets = self._autoreset_envs.copy()
        observations, rewards, terminated, truncated, info = super().step(actions)
        rewards[resets] = 77.0
        said = {"terminated": terminated, "truncated": truncated}[self.flag]
        said[resets] = True
        return observations, rewards, terminated, truncated, info


@pytest.mark.parametrize("flag", ["terminated", "truncated"])
def test_a_step_that_only_resets_pays_nothing_and_ends_nothing_whatever_the_vector_env_says(flag):
    envs = [CountingEnv((2, 3), 0), CountingEnv((1, 4), 1)]
    vector = TalkativeVector([lambda env=env: env for env in envs])
    vector.flag = flag
    assert_same_as_journals(Simulations(EnvSource.resolve(vector), 1, 2, [7]), envs, 20)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_async_vector_env_ends_the_same_episodes_as_own_simulations(mode):
    lengths = [(2,), (3, 1)]
    vector = gymnasium.vector.AsyncVectorEnv(
        [lambda row=row, name=name: CountingEnv(row, name) for name, row in enumerate(lengths)], autoreset_mode=mode
    )
    try:
        simulations = Simulations(EnvSource.resolve(vector), 1, 2, [0])
        simulations.reset()
        rows, _ = run(simulations, 9)
    finally:
        vector.close()
    _, source = numbered(lengths)
    own = Simulations(source, 1, 2, [0])
    own.reset()
    reference, _ = run(own, 9)
    for row, full in zip(rows, reference, strict=True):
        # Other actions meet the same steps in next-step mode, which spends calls on resets.
        assert [entry[:3] + entry[4:] for entry in row] == [entry[:3] + entry[4:] for entry in full[: len(row)]]


def test_a_reset_of_a_next_step_vector_env_leaves_no_reset_pending():
    simulations = Simulations(EnvSource.resolve(SyncVectorEnv([lambda: CountingEnv((2,))])), 1, 1, [0])
    simulations.reset()
    rows, _ = run(simulations, 2)
    assert rows[0][-1][-2]
    simulations.reset()
    assert simulations.step(np.zeros((1, 1, 1), np.float32)).valid.all()


def test_every_episode_starts_from_a_seed_of_its_own_place():
    envs, source = numbered([(2,)])
    simulations = Simulations(source, 2, 2, [10, 11], rng.Stream.EVAL_EPISODE)
    simulations.reset()
    run(simulations, 5)
    for row, env in enumerate(envs):
        lane, slot = divmod(row, 2)
        stream = rng.Stream.EVAL_EPISODE
        assert env.seeds == [rng.derive_seed(10 + lane, stream, 2 * episode + slot) for episode in range(3)]


def test_reset_starts_the_episodes_again_from_a_given_index():
    envs, source = numbered([(2,)])
    simulations = Simulations(source, 1, 1, [10])
    simulations.reset()
    run(simulations, 5)
    first_seeds = envs[0].seeds.copy()
    simulations.reset(first_episode=1)
    run(simulations, 3)
    assert envs[0].seeds == first_seeds + first_seeds[1:]


def test_vector_env_without_auto_reset_is_reset_with_seeds_and_only_where_episodes_ended():
    envs = [CountingEnv((2,)), CountingEnv((5,))]
    vector = SyncVectorEnv([lambda env=env: env for env in envs], autoreset_mode=AutoresetMode.DISABLED)
    simulations = Simulations(EnvSource.resolve(vector), 1, 2, [3])
    simulations.reset()
    run(simulations, 4)
    stream = rng.Stream.TRAIN_EPISODE
    assert envs[0].seeds == [rng.derive_seed(3, stream, 2 * episode) for episode in range(3)]
    assert envs[1].seeds == [rng.derive_seed(3, stream, 1)]


class Reusing(CountingEnv):
    """Writes all observations into one array."""

    def __init__(self, lengths):
        super().__init__(lengths)
        self.buffer = np.zeros(3)

    def _observe(self):
        self.buffer[:] = super()._observe()
        return self.buffer


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_lost_final_observation_is_told_once(mode):
    simulations = Simulations(EnvSource.resolve(SyncVectorEnv([lambda: Reusing((2,))], autoreset_mode=mode)), 1, 1, [0])
    simulations.reset()
    expected = pytest.warns(ApbWarning, match=r"final_obs.*let it return copies, or use AutoresetMode.NEXT_STEP")
    with expected if mode is AutoresetMode.SAME_STEP else nullcontext() as told:
        run(simulations, 6)
    assert told is None or len(told) == 1


def test_an_env_that_reuses_its_buffer_does_not_change_what_was_returned():
    simulations = Simulations(EnvSource.resolve(lambda: Reusing((3,))), 1, 1, [0])
    simulations.reset()
    transitions = [simulations.step(np.zeros((1, 1, 1), np.float32)) for _ in range(4)]
    assert [t.observation[0, 0, 2] for t in transitions] == [0, 1, 2, 0]
    assert [t.next_observation[0, 0, 2] for t in transitions] == [1, 2, 3, 1]


def test_observations_are_float32_whatever_the_env_returns():
    script = [(kind([1, 2]), 1) for kind in (list, tuple, np.array, np.float64, np.float16)]
    simulations = Simulations(EnvSource.resolve(lambda: ScriptedEnv(script)), 1, 1, [0])
    simulations.reset()
    for _ in script:
        transition = simulations.step(np.zeros((1, 1, 1), np.float32))
        for array in (transition.observation, transition.next_observation, transition.reward, simulations.observations):
            assert array.dtype == np.float32
        np.testing.assert_array_equal(transition.next_observation, [[[1, 2]]])


def test_spaces_of_higher_rank_are_flattened_row_by_row():
    class Matrix(gymnasium.Env):
        observation_space = Box(-1, 1, (2, 3), np.float32)
        action_space = Box(np.array([[0.0], [1.0]]), np.array([[2.0], [5.0]]), dtype=np.float64)

        def reset(self, *, seed=None, options=None):
            return np.arange(6.0).reshape(2, 3), {}

        def step(self, action):
            assert action.shape == (2, 1)
            assert action.dtype == np.float64
            self.action = action
            return np.arange(6.0).reshape(2, 3), 0.0, False, False, {}

    env = Matrix()
    simulations = Simulations(EnvSource.resolve(env), 1, 1, [0])
    np.testing.assert_array_equal(simulations.reset(), [[np.arange(6)]])
    simulations.step(np.array([[[-1, 1]]], np.float32))
    np.testing.assert_array_equal(env.action, [[0], [5]])


@given(
    st.lists(
        st.tuples(st.floats(-(2.0**99), 2.0**99, width=32), st.floats(2.0**-20, 2.0**99, width=32)),
        min_size=1,
        max_size=4,
    ).filter(lambda pairs: all(np.float32(low) < np.float32(low + width) for low, width in pairs)),
    st.floats(-1, 1, width=32),
)
def test_actions_land_inside_the_bounds_where_the_formula_says(pairs, action):
    low = np.array([pair[0] for pair in pairs], np.float32)
    high = np.array([pair[0] + pair[1] for pair in pairs], np.float32)
    bounds = ActionBounds(Box(low, high, dtype=np.float32))
    found = bounds.to_env(np.full((3, len(pairs)), action, np.float32))
    assert found.dtype == np.float32
    assert (found >= low).all()
    assert (found <= high).all()
    exact = low + (high.astype(np.float64) - low) * (np.float64(action) + 1) / 2
    # scale, offset, scale * a and the sum are rounded once each; the error of scale passes on. Halving is exact.
    largest = np.maximum(abs(low), abs(high)).astype(np.float64)
    assert (abs(found[0] - exact) <= 6 * 2.0**-24 * largest).all()


def test_actions_outside_the_unit_cube_are_clipped_to_the_bounds_exactly():
    bounds = ActionBounds(Box(np.array([-0.4, 0.1], np.float32), np.array([0.4, 0.3], np.float32), dtype=np.float32))
    np.testing.assert_array_equal(bounds.to_env(np.array([[-3, -3], [3, 3]], np.float32)), [bounds.low, bounds.high])


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Ant-v5", "Hopper-v5", "Walker2d-v5", "Pendulum-v1"])
def test_gymnasium_envs_run_in_lanes_that_only_their_seeds_tell_apart(env_id):
    source = EnvSource.resolve(env_id)
    with Simulations(source, 3, 2, [5, 6, 5]) as simulations:
        simulations.reset()
        for _ in range(30):
            actions = np.full((3, 2, simulations.bounds.size), 0.3, np.float32)
            transition = simulations.step(actions)
        assert transition.next_observation.shape == (3, 2, simulations.observation_size)
        np.testing.assert_array_equal(transition.next_observation[0], transition.next_observation[2])
        assert not np.array_equal(transition.next_observation[0], transition.next_observation[1])
        assert not np.array_equal(transition.next_observation[0, 0], transition.next_observation[0, 1])


def test_an_env_of_another_package_runs_by_its_module_and_id():
    source = EnvSource.resolve("gymnasium_robotics:AdroitHandDoor-v1")
    with Simulations(source, 1, 2, [0]) as simulations:
        simulations.reset()
        transition = simulations.step(np.zeros((1, 2, simulations.bounds.size), np.float32))
    assert transition.next_observation.shape == (1, 2, 39)
    assert not simulations.can_snapshot


def test_an_env_object_is_used_itself_and_stays_open_while_made_envs_are_closed():
    given_env = CountingEnv()
    with Simulations(EnvSource.resolve(given_env), 1, 1, [0]) as simulations:
        simulations.reset()
        run(simulations, 2)
    assert len(given_env.journal) == 2
    assert not given_env.closed
    envs, source = numbered([(2,)])
    with Simulations(source, 1, 2, [0]):
        pass
    assert [env.closed for env in envs] == [True, True]
