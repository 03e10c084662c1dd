"""What a batched simulation promises of its state: exact continuation, blow-ups that stay alone, pictures."""

import logging
import os
import sys

import mujoco
import numpy as np
import pytest
from apb import _native, rng
from apb.errors import ApbWarning, ConfigError, MismatchError, SimulationError
from apb.mujoco_log import quiet
from apb.rendering import OFFSCREEN_BACKENDS
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from apb.tasks.film import Camera, grid
from apb.tasks.single import TaskEnv
from gymnasium.vector import AutoresetMode
from safetensors.numpy import load, save
from task_rig import EVERY, FALLING, actions_for, assert_same_step, batched, drawn, of_row, run, same_bits, single

MODES = list(AutoresetMode)


def go(env, actions):
    """Results of steps; rows that ended are reset where the env leaves that to the caller."""
    results = []
    for each in actions:
        results.append(env.step(each))
        ended = results[-1][2] | results[-1][3]
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and ended.any():
            results[-1][0][...] = env.reset(options={"reset_mask": ended})[0]
    return results


def copied(state, way):
    if way == "bytes":
        return {key: np.frombuffer(each.tobytes(), each.dtype).reshape(each.shape) for key, each in state.items()}
    return load(save(state))


@pytest.mark.parametrize("name", EVERY)
def test_a_state_from_the_middle_of_episodes_goes_on_with_the_same_bits_in_a_new_env(name):
    env, actions = batched(name, 3, max_episode_steps=7), actions_for(batched(name, 3), 24)
    env.reset(seed=3)
    for step, mode in ((4, "bytes"), (11, "safetensors")):
        run(env, actions[: step - env._steps.max() % 3])
        state = copied(env.state(), mode)
        other = batched(name, 3, max_episode_steps=7, num_threads=1)
        other.load_state(state)
        for first, second in zip(run(env, actions), run(other, actions), strict=True):
            assert_same_step(second, first)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [FALLING, "ant-goal", "humanoid-dir"])
def test_a_state_after_every_step_goes_on_with_the_same_bits_in_every_mode(name, mode):
    options = {"max_episode_steps": 4, "autoreset_mode": mode}
    env, other = batched(name, 3, **options), batched(name, 3, num_threads=1, **options)
    env.reset(seed=8)
    other.reset(seed=99)
    actions = actions_for(env, 14)
    states = [env.state()]
    results = []
    for each in actions:
        results += go(env, [each])
        states.append(env.state())
    for step in range(len(actions)):
        other.load_state(states[step])
        for first, second in zip(results[step:], go(other, actions[step:]), strict=True):
            assert_same_step(second, first)


def test_a_state_is_a_copy_and_loading_it_twice_is_possible():
    env, actions = batched("cheetah-vel", 2), actions_for(batched("cheetah-vel", 2), 5)
    env.reset(seed=0)
    state = env.state()
    before = {key: each.copy() for key, each in state.items()}
    first = run(env, actions)
    assert all(same_bits(state[key], before[key]) for key in state)
    env.load_state(state)
    for ours, theirs in zip(run(env, actions), first, strict=True):
        assert_same_step(ours, theirs)


def test_a_row_that_was_never_seeded_goes_on_as_it_would_have():
    env, other = batched(FALLING, 3, max_episode_steps=3), batched(FALLING, 3, max_episode_steps=3)
    env.reset()
    other.load_state(env.state())
    for first, second in zip(*(run(each, actions_for(env, 12)) for each in (env, other)), strict=True):
        assert_same_step(first, second)


def test_what_was_seen_last_is_a_part_of_the_state():
    env, other = (batched(FALLING, 3) for _ in range(2))
    env.reset(seed=0)
    last = run(env, actions_for(env, 2))[-1][0]
    other.load_state(env.state())
    mask = np.array([False, True, False])
    assert same_bits(other.reset(options={"reset_mask": mask})[0][[0, 2]], last[[0, 2]])
    other.load_state(env.state())
    other._physics.qvel[1] = 1e9
    with pytest.warns(ApbWarning):
        assert same_bits(other.step(np.zeros((3, 3)))[0][1], last[1])


VELOCITIES = {"velocity": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("cheetah-vel", 3, VELOCITIES), ("cheetah-dir", 3, {})),
        (("cheetah-vel", 3, VELOCITIES), ("sparse-cheetah-vel", 3, VELOCITIES)),
        (("cheetah-vel", 3, VELOCITIES), ("cheetah-vel-permuted-state", 3, VELOCITIES)),
        (("cheetah-vel", 3, VELOCITIES), ("ant-dir", 3, {})),
        (("cheetah-vel", 3, VELOCITIES), ("cheetah-vel", 2, {})),
        (("cheetah-vel", 3, VELOCITIES), ("cheetah-vel", 3, {"velocity": [1.0, 2.0, 2.5]})),
        (("cheetah-vel", 3, {}), ("cheetah-vel", 3, {"include_torso_position": False})),
        (("hopper-mass", 3, {}), ("hopper-mass", 3, {"consistent_inertia": True})),
        (("hopper-mass", 3, {}), ("hopper-mass", 3, {"timestep_of_pearl": False})),
    ],
)
def test_a_state_of_another_family_of_other_tasks_or_rows_is_refused_and_nothing_is_changed(ours, theirs):
    env, other = (BatchedEnv(name, rows, num_threads=1, **options) for name, rows, options in (ours, theirs))
    for seed, each in enumerate((env, other)):
        each.reset(seed=seed)
    before = env.state()
    with pytest.raises(MismatchError, match=r"saved simulations.*another family|saved simulations.*other tasks"):
        env.load_state(other.state())
    assert all(same_bits(each, before[key]) for key, each in env.state().items())


def test_a_state_with_a_part_missing_or_of_another_kind_is_refused_and_nothing_is_changed():
    env = batched(FALLING, 2)
    env.reset(seed=0)
    before = env.state()
    for name in before:
        for wrong in (None, before[name].astype(np.float32), before[name][:1], "text"):
            state = {key: each + (each.dtype != bool) for key, each in before.items()} | {name: wrong}
            with pytest.raises(MismatchError, match=f"saved simulations: {name} is"):
                env.load_state(state if wrong is not None else {k: v for k, v in state.items() if k != name})
    assert all(same_bits(each, before[key]) for key, each in env.state().items())


def test_starts_are_drawn_from_the_packages_own_stream_by_seed_and_episode():
    # What was saved, and every published return, depends on these numbers.
    env = single("cheetah-vel").unwrapped
    for episode in range(3):
        env.reset(seed=None if episode else 21)
        uniform, normal = np.empty(18), np.empty(9, np.float32)
        key = rng.key(21, rng.Stream.TASK_START)
        _native.philox_uniform(key, rng.counter(episode, 0), uniform)
        _native.philox_normal(key, rng.counter(episode, 1), normal)
        np.testing.assert_allclose(env.data.qpos, 0.1 * (2 * uniform[:9] - 1), rtol=0, atol=1e-15)
        np.testing.assert_allclose(env.data.qvel, 0.1 * normal.astype(float), rtol=0, atol=1e-15)


# --- simulations that blow up ----------------------------------------------------------------------------------------

BREAKAGES = {
    "huge speed": lambda env, row: env._physics.qvel[row].fill(1e9),
    "NaN": lambda env, row: env._physics.qpos[row].fill(np.nan),
    "infinite": lambda env, row: env._physics.qvel[row].fill(np.inf),
}


@pytest.fixture
def silent(tmp_path, monkeypatch, capfd):
    """An empty working directory; at the end it is empty still, nothing was printed and no handler was left behind."""
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    yield
    assert mujoco.get_mju_user_warning() is before
    assert not any(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", BREAKAGES)
@pytest.mark.parametrize("name", ["cheetah-vel", FALLING, "ant-goal", "humanoid-dir"])
def test_a_simulation_that_blows_up_ends_its_own_episode_only(name, how, mode, silent):
    broken, whole = (batched(name, 3, max_episode_steps=50, autoreset_mode=mode) for _ in range(2))
    actions = actions_for(whole, 6)
    for env in (broken, whole):
        env.reset(seed=5)
        last = run(env, actions[:2])[-1][0]
    BREAKAGES[how](broken, 1)
    with pytest.warns(
        ApbWarning, match=rf"row 1 of {name} \(.*\), step 3 of the episode: .*unstable.*other rows go on"
    ):
        found = broken.step(actions[2])
    expected = whole.step(actions[2])
    others = [0, 2]
    for ours, theirs in zip(found[:4], expected[:4], strict=True):
        assert same_bits(ours[others], theirs[others])
    final = found[4]["final_obs"][1] if mode is AutoresetMode.SAME_STEP else found[0][1]
    assert same_bits(final, last[1])
    assert [part[1] for part in found[1:4]] == [0.0, False, True]
    text = found[4]["simulation_error"][1]
    assert text.startswith(f"row 1 of {name} (")
    assert "step 3 of the episode" in text
    assert found[4]["_simulation_error"].tolist() == [False, True, False]
    terms = found[4]["final_info"] if mode is AutoresetMode.SAME_STEP else found[4]
    assert all(terms[key][1] == 0 for key in terms if key.startswith("reward_"))
    # The row begins its next episode as the mode has it, and the others never notice.
    if mode is AutoresetMode.DISABLED:
        with pytest.raises(SimulationError, match=r"rows \[1\] have no episode under way"):
            broken.step(actions[3])
        started = broken.reset(options={"reset_mask": np.array([False, True, False])})[0][1]
    else:
        started = found[0][1] if mode is AutoresetMode.SAME_STEP else broken.step(actions[3])[0][1]
    fresh = single(name, **of_row(drawn(name, 3), 1))
    fresh.reset(seed=6)
    assert same_bits(started, fresh.reset()[0])
    skip = 4 if mode is AutoresetMode.NEXT_STEP else 3
    if skip == 4:
        whole.step(actions[3])
    for each in actions[skip:]:
        ours, theirs, alone = broken.step(each), whole.step(each), fresh.step(each[1])
        assert "simulation_error" not in ours[4]
        assert same_bits(ours[0][1], alone[0])
        assert ours[1][1] == alone[1]
        for first, second in zip(ours[:4], theirs[:4], strict=True):
            assert same_bits(first[others], second[others])


def test_all_rows_may_blow_up_at_once_and_in_turn(silent):
    env = batched("ant-dir", 4, max_episode_steps=9)
    env.reset(seed=0)
    env._physics.qvel[:] = 1e9
    with pytest.warns(ApbWarning) as caught:
        truncated = env.step(np.zeros((4, 8)))[3]
    assert [f"row {row} of" in str(each.message) for row, each in enumerate(caught)] == [True] * 4
    assert truncated.all()
    env.step(np.zeros((4, 8)))
    for row in range(4):
        env._physics.qpos[row] = np.nan
        with pytest.warns(ApbWarning, match=f"row {row} of"):
            info = env.step(np.zeros((4, 8)))[4]
        assert info["_simulation_error"].tolist() == [each == row for each in range(4)]


def test_a_row_that_is_to_start_anew_is_not_simulated(silent):
    env = batched("cheetah-vel", 2, max_episode_steps=2)
    env.reset(seed=0)
    env.step(np.zeros((2, 6)))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.step(np.zeros((2, 6)))[3].tolist() == [False, True]
    env._physics.qvel[1] = 1e9
    assert "simulation_error" not in env.step(np.zeros((2, 6)))[4]


def test_a_state_that_mujoco_would_refuse_next_gives_no_reward(silent):
    # Runge-Kutta can leave the last substep of a step with numbers beyond MuJoCo's limit of 1e10, which MuJoCo sees in
    # the next step only; until then rewards of 1e18 came of it.
    env = BatchedEnv("ant-goal", 400, num_threads=2, autoreset_mode="disabled")
    env.reset(seed=0)
    generator = np.random.default_rng(1)
    env._physics.qvel[:] = generator.normal(0, 1, env._physics.qvel.shape) * 10 ** generator.uniform(1, 4, (400, 1))
    before, actions = np.array(env._batch.state), actions_for(env, 4)
    step, warned = env._batch.step, []
    env._batch.step = lambda *given: (step(*given), warned.append(env._batch.warning[:, :, 1].any(axis=1)))
    with pytest.warns(ApbWarning, match="unstable"):
        results = go(env, actions)
    ended = [result[4].get("_simulation_error", np.zeros(400, bool)) for result in results]
    unseen = np.flatnonzero(ended[0] & ~warned[0])
    assert unseen.size
    assert max(np.abs(result[0]).max() for result in results) <= 1e10
    assert max(np.abs(result[1]).max() for result in results) <= 1e12
    alone = single("ant-goal").unwrapped
    alone.reset(seed=0)
    mujoco.mj_setState(alone.model, alone.data, before[unseen[0]], mujoco.mjtState.mjSTATE_INTEGRATION)
    with pytest.raises(SimulationError, match="unstable"):
        alone.step(actions[0, unseen[0]])


def test_an_error_that_mujoco_raises_in_some_rows_ends_them_too():
    env, whole = (batched("cheetah-vel", 3) for _ in range(2))
    for each in (env, whole):
        each.reset(seed=0)
    step, error = env._batch.step, env._batch.error

    def failing(rows, count):
        step(np.array([0, 1]), count)
        raise mujoco.batch.SimulationError(np.array([2]), "stack overflow", 3)

    env._batch.step, env._batch.error = failing, lambda row: f"stack overflow in {row}"
    with pytest.warns(ApbWarning, match="row 2 of cheetah-vel.*stack overflow in 2"):
        found = env.step(np.zeros((3, 6)))
    expected = whole.step(np.zeros((3, 6)))
    assert found[3].tolist() == [False, False, True]
    assert all(same_bits(ours[:2], theirs[:2]) for ours, theirs in zip(found[:4], expected[:4], strict=True))
    env._batch.step, env._batch.error = step, error
    assert not env.step(np.zeros((3, 6)))[3].any()


def test_warnings_as_errors_leave_the_batch_as_it_would_be():
    env, same = (batched(FALLING, 3) for _ in range(2))
    for each in (env, same):
        each.reset(seed=0)
        each._physics.qvel[1] = 1e9
    with pytest.raises(ApbWarning):
        env.step(np.zeros((3, 3)))
    with pytest.warns(ApbWarning):
        same.step(np.zeros((3, 3)))
    assert all(same_bits(each, same.state()[key]) for key, each in env.state().items())


def test_a_single_env_that_blows_up_says_so_and_can_be_reset(silent):
    for name in ("cheetah-vel", "ant-goal"):
        env, fresh = (single(name).unwrapped for _ in range(2))
        env.reset(seed=0)
        env.data.qvel[:] = 1e9
        with pytest.raises(SimulationError, match=f"{name} with its defaults: .*unstable at .* s; reset it"):
            env.step(np.zeros(env.action_space.shape))
        assert same_bits(env.reset(seed=4)[0], fresh.reset(seed=4)[0])
        zero = np.zeros(env.action_space.shape)
        assert same_bits(env.step(zero)[0], fresh.step(zero)[0])


def test_remarks_of_mujoco_go_to_the_log_and_to_the_handler_of_a_user_who_has_one(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)

    def blow_up():
        env = batched("cheetah-vel", 2)
        env.reset(seed=0)
        env._physics.qvel[0] = 1e9
        with pytest.warns(ApbWarning):
            env.step(np.zeros((2, 6)))

    with caplog.at_level(logging.DEBUG, logger="apb"):
        blow_up()
    assert "simulation is unstable" in caplog.text
    remarks = []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(remarks.append)
    try:
        blow_up()
        assert len(remarks) == 1
        remarks.clear()
        env = TaskEnv("hopper-mass")
        env.reset(seed=0)
        env.data.qpos[:] = np.nan
        with pytest.raises(SimulationError):
            env.step(np.zeros(3))
        assert len(remarks) == 1
    finally:
        mujoco.set_mju_user_warning(before)
    assert not any(tmp_path.iterdir())


def test_the_handler_of_remarks_is_put_back_by_the_last_of_several_that_overlap():
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(None)
    try:
        first, second = quiet(), quiet()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert mujoco.get_mju_user_warning() is not None
        second.__exit__(None, None, None)
        assert mujoco.get_mju_user_warning() is None
    finally:
        mujoco.set_mju_user_warning(before)


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def opengl(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")


def test_each_row_has_a_picture_of_its_own_and_a_grid_puts_them_side_by_side(opengl):
    env = batched("ant-goal", 3, render_mode="rgb_array", width=64, height=48)
    env.reset(seed=0)
    run(env, actions_for(env, 10))
    before = env.state()
    pictures = env.render()
    assert [(picture.shape, picture.dtype) for picture in pictures] == [((48, 64, 3), np.uint8)] * 3
    assert len({picture.tobytes() for picture in pictures}) == 3
    assert same_bits(env.picture(1), pictures[1])
    assert all(np.ptp(picture) > 50 for picture in pictures)
    # Looking changes nothing.
    assert all(same_bits(each, before[key]) for key, each in env.state().items())
    canvas = grid(pictures)
    assert canvas.shape == (96, 128, 3)
    for (line, column), picture in zip(((0, 0), (0, 1), (1, 0)), pictures, strict=True):
        assert same_bits(canvas[48 * line : 48 * line + 48, 64 * column : 64 * column + 64], picture)
    assert not canvas[48:, 64:].any()
    assert same_bits(grid(pictures, columns=1), np.concatenate(pictures))
    assert same_bits(grid(pictures, columns=3), np.concatenate(pictures, axis=1))
    env.close()


def test_a_row_looks_as_the_single_env_with_its_task(opengl):
    name, size = "walker-rand-params", {"width": 80, "height": 60, "render_mode": "rgb_array"}
    batch = batched(name, 2, **size)
    env = single(name, **size, **of_row(drawn(name, 2), 1))
    batch.reset(seed=0)
    env.reset(seed=1)
    for actions in actions_for(batch, 3):
        batch.step(actions)
        env.step(actions[1])
    assert same_bits(batch.picture(1), env.render())
    batch.close()
    env.close()
    assert batch.picture(1).any()
    batch.close()


def test_cameras_of_several_sizes_draw_in_turns(opengl):
    envs = [batched("ant-dir", 1, width=1200, height=100), batched("cheetah-vel", 1, width=30, height=20)]
    for env in envs:
        env.reset(seed=0)
    first = [env.picture(0) for env in envs]
    for env, picture in zip(envs, first, strict=True):
        assert same_bits(env.picture(0), picture)
        env.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere OpenGL works with a screen alone")
def test_without_a_screen_an_opengl_library_is_chosen_also_after_mujoco_was_imported(monkeypatch):
    # Set and deleted, so that the variable is put back as it was after the test.
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.delenv("DISPLAY", raising=False)
    env = batched("cheetah-vel", 1, width=32, height=32)
    env.reset(seed=0)
    assert np.ptp(env.picture(0)) > 50
    assert os.environ["MUJOCO_GL"] in OFFSCREEN_BACKENDS
    env.close()


def test_a_picture_follows_the_robot(opengl):
    env = batched("cheetah-dir", 2, width=96, height=96)
    env.reset(seed=0)
    first = env.picture(0)
    env._physics.qpos[0, 0] += 40
    robot = np.abs(first.astype(int) - env.picture(0)) < 3
    assert robot[40:56].mean() > 0.3
    env.close()


def test_without_a_render_mode_there_is_no_picture():
    env = batched("cheetah-vel", 2)
    env.reset(seed=0)
    assert env.render() is None
    assert single("cheetah-vel").unwrapped.render() is None


@pytest.mark.parametrize(
    ("pictures", "columns", "words"),
    [
        ([], None, "no pictures"),
        ([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)], None, "expected one size"),
        ([np.zeros((2, 2, 3), np.uint8)], 0, "columns = 0"),
        ([np.zeros((2, 2, 3), np.uint8)], -1, "columns = -1"),
    ],
)
def test_a_grid_of_nothing_or_of_several_sizes_is_refused(pictures, columns, words):
    with pytest.raises(ConfigError, match=words):
        grid(pictures, columns)


@pytest.mark.parametrize("size", [{"width": 0}, {"height": -3}, {"width": 10**6}, {"height": 2.5}])
def test_a_size_of_pictures_that_cannot_be_is_refused(size):
    with pytest.raises(ConfigError, match=next(iter(size))):
        Camera(FAMILIES["cheetah-vel"]().model, **size)
