"""What a batched simulation promises beside single envs: each row is one of them, to the bit, to its end and beyond."""

import gymnasium
import numpy as np
import pytest
from apb.batch_rows import BatchRows
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES, Task, register
from apb.tasks.families.cheetah_vel import CheetahVel
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st
from task_rig import (
    EVERY,
    FALLING,
    ORIGINAL,
    actions_for,
    assert_same_info,
    assert_same_step,
    batched,
    drawn,
    of_row,
    run,
    same_bits,
    single,
    singles,
)

MODES = list(AutoresetMode)
SWITCHES = {
    "cheetah-vel": {"include_torso_position": False},
    "ant-dir": {"include_contact_forces": True},
    "hopper-rand-params": {"timestep_of_pearl": False, "consistent_inertia": True},
    "walker-rand-params": {"classic_feet": True},
    "walker-mass": {"timestep_of_pearl": False, "consistent_inertia": True},
}


def compare(name, rows, mode, steps, horizon, threads=2, resets=(), **switches):
    """Both vectors through the same resets and steps; returns how often episodes ended by a fall and by time."""
    values = drawn(name, rows, **switches)
    ours = BatchedEnv(
        name, rows, max_episode_steps=horizon, autoreset_mode=mode, num_threads=threads, **switches, **values
    )
    theirs = singles(name, values, rows, mode, horizon, **switches)
    ends = np.zeros(2, int)
    assert same_bits(ours.reset(seed=11)[0], theirs.reset(seed=11)[0])
    for step, actions in enumerate(actions_for(ours, steps)):
        if step in resets:
            seed = resets[step]
            assert same_bits(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        found, expected = ours.step(actions), theirs.step(actions)
        assert_same_step(found, expected)
        ends += found[2].sum(), (found[3] & ~found[2]).sum()
        ended = found[2] | found[3]
        if mode is AutoresetMode.DISABLED and ended.any():
            seeds = [step if row % 2 else None for row in range(rows)]
            # Gymnasium takes the mask out of the options that it is given.
            first, second = (env.reset(seed=seeds, options={"reset_mask": ended.copy()}) for env in (ours, theirs))
            assert same_bits(first[0], second[0])
            assert_same_info(first[1], second[1])
    theirs.close()
    ours.close()
    return ends


@pytest.mark.parametrize("name", EVERY)
def test_every_row_of_every_family_is_the_single_env_with_its_task_to_the_bit(name):
    fallen, truncated = compare(name, 3, AutoresetMode.NEXT_STEP, 20, 8)
    assert fallen + truncated > 3


@pytest.mark.parametrize("name", SWITCHES)
def test_rows_are_single_envs_with_switches_too(name):
    compare(name, 2, AutoresetMode.SAME_STEP, 12, 5, **SWITCHES[name])


@pytest.mark.parametrize("name", [FALLING, "ant-goal", "cheetah-permuted-joints"])
def test_a_list_of_tasks_is_a_batch_with_a_row_for_each(name):
    values = drawn(name, 3)
    tasks = [Task(name, {key: value.tolist() for key, value in of_row(values, row).items()}) for row in range(3)]
    ours, theirs = BatchedEnv.of_tasks(tasks, num_threads=2), BatchedEnv(name, 3, num_threads=1, **values)
    assert same_bits(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    for actions in actions_for(ours, 5):
        assert_same_step(ours.step(actions), theirs.step(actions))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "horizon"), [(FALLING, 9), ("ant-dir", 22), ("walker-mass", 9)])
def test_episodes_end_and_begin_as_in_gymnasiums_own_vector_in_every_mode(name, horizon, mode):
    fallen, truncated = compare(name, 5, mode, 80, horizon, resets={25: None, 40: 3, 45: [None, 8, None, 2, 2]})
    assert fallen >= 3
    assert truncated >= 3


@pytest.mark.parametrize("mode", MODES)
def test_a_horizon_of_one_step_ends_every_step(mode):
    _, truncated = compare("cheetah-vel", 2, mode, 6, 1)
    assert truncated == (6 if mode is AutoresetMode.NEXT_STEP else 12)


def test_an_episode_that_begins_does_not_end_before_its_first_step(monkeypatch):
    monkeypatch.setattr(CheetahVel, "terminated", lambda self, physics: np.ones(len(physics.qpos), bool))
    env = batched("cheetah-vel", 2)
    env.reset(seed=0)
    assert [env.step(np.zeros((2, 6)))[2].tolist() for _ in range(3)] == [[True] * 2, [False] * 2, [True] * 2]


@pytest.mark.parametrize(("rows", "threads"), [(1, 1), (1, 4), (4, 1), (9, 3)])
@pytest.mark.parametrize("name", [FALLING, "ant-goal", "humanoid-dir", "cheetah-permuted-joints"])
def test_neither_the_number_of_rows_nor_of_threads_changes_a_bit(name, rows, threads):
    values = drawn(name, 9)
    full = BatchedEnv(name, 9, num_threads=2, max_episode_steps=7, **values)
    some = [of_row(values, slice(rows))] if rows > 1 else [of_row(values, 0)]
    part = BatchedEnv(name, rows, num_threads=threads, max_episode_steps=7, **some[0])
    actions = actions_for(full, 15)
    for whole, own in zip(run(full, actions, seed=2), run(part, actions[:, :rows], seed=2), strict=True):
        assert all(same_bits(first[:rows], second) for first, second in zip(whole[:4], own[:4], strict=True))


def test_rows_are_stepped_by_as_many_threads_as_were_asked_for():
    rows, few = (BatchedEnv("cheetah-vel", rows, num_threads=3) for rows in (8, 2))
    assert (rows._batch.nthread, few._batch.nthread) == (3, 2)
    for threads in (1, 2):
        assert BatchRows([Task("cheetah-vel", {})] * 4, threads).envs[0]._batch.nthread == threads


# --- what the caller holds and gives ---------------------------------------------------------------------------------


def arrays_in(result):
    """All arrays of a result of `reset` or `step`, those inside `info` included."""
    for part in result:
        if isinstance(part, dict):
            yield from arrays_in(part.values())
        elif isinstance(part, np.ndarray):
            yield part
            if part.dtype == object:
                yield from arrays_in(part)


@settings(max_examples=25)
@given(st.sampled_from(MODES), st.integers(0, 2**20), st.lists(st.booleans(), min_size=3, max_size=3))
def test_what_was_returned_or_given_never_changes_later(mode, seed, flags):
    env = batched(FALLING, 3, autoreset_mode=mode, max_episode_steps=6)
    held = []

    def hold(*result):
        held.extend((array, array.copy()) for array in arrays_in(result) if array.dtype != object)
        return result

    hold(*env.reset(seed=seed))
    for step, actions in enumerate(actions_for(env, 14, seed)):
        hold(actions)
        _, _, terminated, truncated, _ = hold(*env.step(actions))
        (mask,) = hold(np.array(flags) if mode is not AutoresetMode.DISABLED else terminated | truncated)
        if mask.any() and (mode is AutoresetMode.DISABLED or step % 5 == 0):
            hold(*env.reset(seed=[1, None, 3], options={"reset_mask": mask}))
    assert len(held) > 100
    assert all(same_bits(array, copy) for array, copy in held)


@settings(max_examples=25)
@given(st.sampled_from(MODES), st.integers(0, 2**20))
def test_writing_into_what_was_returned_changes_nothing_in_the_simulation(mode, seed):
    kept, spoilt = (batched(FALLING, 3, autoreset_mode=mode, max_episode_steps=6) for _ in range(2))
    first, second = kept.reset(seed=seed), spoilt.reset(seed=seed)
    for actions in actions_for(kept, 14, seed):
        for array in arrays_in(second):
            array[...] = 7 if array.dtype != object else None
        first, second = kept.step(actions), spoilt.step(actions)
        assert_same_step(second, first)
        ended = first[2] | first[3]
        if mode is AutoresetMode.DISABLED and ended.any():
            first, second = (env.reset(options={"reset_mask": ended.copy()}) for env in (kept, spoilt))
            assert same_bits(first[0], second[0])


def test_terms_that_a_family_reads_off_the_running_simulation_are_copies(monkeypatch):
    monkeypatch.setattr(CheetahVel, "reward_terms", lambda self, physics, *_: {"speed": physics.qvel[:, 0]})
    env = batched("cheetah-vel", 3)
    env.reset(seed=0)
    info = env.step(np.ones((3, 6)))[4]
    speed = info["reward_speed"].copy()
    env.step(np.ones((3, 6)))
    assert same_bits(info["reward_speed"], speed)


def test_actions_parameters_and_masks_are_never_written_to():
    values = drawn("cheetah-permuted-joints", 3)
    actions, mask = np.full((3, 6), 1.5), np.array([True, False, True])
    for array in (*values.values(), actions, mask):
        array.flags.writeable = False
    options = {"reset_mask": mask}
    env = BatchedEnv("cheetah-permuted-joints", 3, max_episode_steps=2, **values)
    env.reset(seed=0)
    run(env, [actions] * 4)
    env.reset(options=options)
    assert options == {"reset_mask": mask}
    assert not any(env.parameters[name] is values[name] for name in values)


# --- Gymnasium's tools -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:gymnasium")
def test_gymnasiums_own_check_of_envs_passes(name):
    check_env(single(name).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_statistics_of_episodes_are_those_of_gymnasiums_own_vector(mode):
    values = drawn(FALLING, 3)
    ours = BatchedEnv(FALLING, 3, max_episode_steps=7, autoreset_mode=mode, **values)
    both = [RecordEpisodeStatistics(env) for env in (ours, singles(FALLING, values, 3, mode, 7))]
    episodes = 0
    for env in both:
        env.reset(seed=4)
    for actions in actions_for(ours, 40):
        first, second = (env.step(actions)[4] for env in both)
        assert ("episode" in first) == ("episode" in second)
        if "episode" in first:
            episodes += int(first["_episode"].sum())
            for key in ("r", "l"):
                np.testing.assert_array_equal(first["episode"][key], second["episode"][key])
    assert episodes > 6


def test_gymnasiums_normalisation_of_observations_runs_on_a_batch():
    env = NormalizeObservation(batched("cheetah-vel", 4))
    env.reset(seed=0)
    observations = [env.step(actions)[0] for actions in actions_for(env, 60)]
    assert env.observation_space.shape == (4, 20)
    assert 0.3 < np.std(observations[30:]) < 3


@pytest.mark.parametrize("horizon", [{}, {"max_episode_steps": 50}])
def test_make_and_make_vec_agree_on_task_and_horizon(horizon):
    task = {"velocity": 2.75, "include_torso_position": False}
    env = gymnasium.make("apb/CheetahVel-v0", **task, **horizon)
    vector = gymnasium.make_vec("apb/CheetahVel-v0", num_envs=2, **task, **horizon)
    assert isinstance(vector, BatchedEnv)
    assert vector.single_observation_space == env.observation_space
    assert vector.single_action_space == env.action_space
    assert env.metadata["render_fps"] == vector.metadata["render_fps"] == 20
    steps = horizon.get("max_episode_steps", 200)
    assert same_bits(env.reset(seed=1)[0], vector.reset(seed=0)[0][1])
    for step, actions in enumerate(actions_for(vector, steps), start=1):
        found, expected = vector.step(actions), env.step(np.clip(actions[1], -1, 1))
        assert [part[1] for part in found[1:4]] == [*expected[1:4]]
        assert expected[3] == (step == steps)


def test_every_family_is_known_to_gymnasium_with_a_horizon_of_200():
    for name in EVERY:
        spec = single(name).spec
        assert spec.max_episode_steps == FAMILIES[name].horizon == 200
        assert spec.vector_entry_point == "apb.simulation:BatchedEnv"
    assert len(ORIGINAL) * 2 == len(EVERY) == 28


def test_a_family_of_a_user_ends_after_its_own_horizon():
    register(type("ShortVel", (CheetahVel,), {"name": "short-vel", "horizon": 3}))
    try:
        env, vector = gymnasium.make("apb/ShortVel-v0"), gymnasium.make_vec("apb/ShortVel-v0", num_envs=1)
    finally:
        del FAMILIES["short-vel"], gymnasium.registry["apb/ShortVel-v0"]
    env.reset(seed=0)
    vector.reset(seed=0)
    ends = [(env.step(np.zeros(6))[3], vector.step(np.zeros((1, 6)))[3].item()) for _ in range(3)]
    assert ends == [(False, False), (False, False), (True, True)]


# --- seeds -----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=4), st.integers(1, 4), st.data())
def test_a_start_depends_on_the_rows_seed_and_the_number_of_the_episode_alone(seeds, episodes, data):
    env = BatchedEnv("cheetah-dir", len(seeds), num_threads=1, autoreset_mode="disabled")
    starts = [[row] for row in env.reset(seed=seeds)[0]]
    # Rows go on to their next episode in any order, in any company.
    turns = [row for row in range(len(seeds)) for _ in range(episodes)]
    for row in data.draw(st.permutations(turns)):
        mask = np.arange(len(seeds)) == row
        mask |= np.array(data.draw(st.lists(st.booleans(), min_size=len(seeds), max_size=len(seeds))))
        observations = env.reset(options={"reset_mask": mask})[0]
        for each in np.flatnonzero(mask):
            starts[each].append(observations[each])
    alone = single("cheetah-dir")
    for seed, own in zip(seeds, starts, strict=True):
        for episode, start in enumerate(own):
            assert same_bits(start, alone.reset(seed=None if episode else seed)[0])


def test_rows_and_episodes_start_differently_and_equal_seeds_equally():
    env = BatchedEnv("hopper-mass", 4, num_threads=1)
    starts = [env.reset(seed=[5, 5, 6, 2**63 - 1])[0], *(env.reset()[0] for _ in range(3))]
    assert all(same_bits(start[0], start[1]) for start in starts)
    assert len({row.tobytes() for start in starts for row in start[1:]}) == 12


def test_a_batch_that_was_never_seeded_starts_anew_in_every_row_and_every_time():
    starts = [BatchedEnv("hopper-mass", 3, num_threads=1).reset()[0] for _ in range(2)]
    assert len({row.tobytes() for start in starts for row in start}) == 6


def test_a_seed_for_the_rows_of_a_mask_leaves_the_others_as_they_are():
    env, other = (batched("cheetah-vel", 3) for _ in range(2))
    for each in (env, other):
        each.reset(seed=0)
        run(each, actions_for(each, 3))
    before = other.step(np.zeros((3, 6)))[0]
    env.step(np.zeros((3, 6)))
    after = env.reset(seed=[7, 7, 7], options={"reset_mask": np.array([False, True, False])})[0]
    assert same_bits(after[[0, 2]], before[[0, 2]])
    assert same_bits(after[1], batched("cheetah-vel", 3).reset(seed=7)[0][0])
    # The seed of a row that was not reset does not wait for its next episode.
    assert same_bits(env.reset()[0][0], other.reset()[0][0])


@pytest.mark.parametrize(
    ("name", "noise", "gaussian"),
    [
        ("cheetah-vel", 0.1, True),
        ("ant-dir", 0.1, True),
        ("hopper-mass", 0.005, False),
        ("walker-rand-params", 0.005, False),
        ("humanoid-dir", 0.01, False),
    ],
)
def test_starts_are_spread_as_in_gymnasiums_own_envs(name, noise, gaussian):
    rows = 400
    env = BatchedEnv(name, rows, num_threads=2)
    env.reset(seed=0)
    positions, velocities = env._physics.qpos - env.family.model.qpos0, np.array(env._physics.qvel)
    uniform = noise / np.sqrt(3)
    assert 0.99 * noise < np.abs(positions).max() <= noise
    # Within 4 standard errors of the means and of the deviations of that many draws.
    assert np.abs(positions.mean(axis=0)).max() < 4 * uniform / np.sqrt(rows)
    assert np.abs(positions.std() / uniform - 1) < 4 / np.sqrt(positions.size)
    assert np.abs(velocities.std() / (noise if gaussian else uniform) - 1) < 4 / np.sqrt(velocities.size)
    assert (np.abs(velocities).max() > noise) == gaussian
    # Nor do velocities follow positions: 5, since there are some hundred pairs of them.
    together = np.corrcoef(positions.T, velocities.T)[: positions.shape[1], positions.shape[1] :]
    assert np.abs(together).max() < 5 / np.sqrt(rows)
