"""What pictures of tasks show: each row as it is now, whatever OpenGL library there is, and where a grid puts it."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import gymnasium
import numpy as np
import pytest
from apb.errors import ConfigError, SimulationError
from apb.mujoco_quiet import quiet
from apb.rendering import OFFSCREEN_BACKENDS
from apb.tasks import FAMILIES
from apb.tasks.film import Camera, grid
from task_rig import actions_for, batched, drawn, of_row, run, same_bits, single


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
    envs = [batched("ant-dir", 1, width=1200, height=500), batched("cheetah-vel", 1, width=30, height=20)]
    for env in envs:
        env.reset(seed=0)
    first = [env.picture(0) for env in envs]
    assert [picture.shape[:2] for picture in first] == [(500, 1200), (20, 30)]
    for picture in first:
        edges = picture[0], picture[-1], picture[:, 0], picture[:, -1]
        assert all(edge.any() for edge in edges)
    for env, picture in zip(envs, first, strict=True):
        assert same_bits(env.picture(0), picture)
        env.close()


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


def alike(first, second):
    """Where two pictures are the same, as far as the eye can tell."""
    return np.abs(first.astype(int) - second) < 3


def test_a_picture_follows_the_robot_and_there_is_ground_wherever_it_is(opengl):
    env = batched("cheetah-dir", 2, width=96, height=96)
    env.reset(seed=0)
    first = env.picture(0)
    env._batch.bind("qpos")[0, 0] += 140  # in m, seven times what the pattern of the ground repeats after
    same = alike(first, env.picture(0))
    assert same[40:56].mean() > 0.99  # the robot
    assert same[60:].mean() > 0.9
    env.close()


def test_a_picture_is_that_of_gymnasiums_own_env_but_for_a_wider_ground(opengl):
    size = {"width": 96, "height": 96}
    with quiet:  # MuJoCo has a remark on its file
        theirs = gymnasium.make("HalfCheetah-v5", render_mode="rgb_array", camera_name="track", **size).unwrapped
    env = batched("cheetah-dir", 1, **size)
    theirs.reset(seed=0)
    env.reset(seed=0)
    theirs.set_state(env._physics.qpos[0].copy(), env._physics.qvel[0].copy())
    # Theirs first, since Gymnasium draws in whatever context of OpenGL is there.
    assert alike(theirs.render(), env.picture(0)).mean() > 0.9
    theirs.close()
    env.close()


@pytest.mark.parametrize("name", ["humanoid-dir", "ant-dir", "hopper-mass"])
def test_what_is_drawn_between_steps_changes_no_bit_of_them(opengl, name):
    seen, other = (single(name, render_mode="rgb_array", width=32, height=32) for _ in range(2))
    seen.reset(seed=0)
    other.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1, 1, (8, *other.action_space.shape)):
        seen.render()
        found, expected = seen.step(action), other.step(action)
        assert same_bits(found[0], expected[0])
        assert found[1:] == expected[1:]
    seen.close()


def test_pictures_in_another_thread_or_a_fork_are_refused_and_never_waited_for(opengl):
    name = "cheetah-vel"
    env = batched(name, 1, render_mode="rgb_array", width=32, height=32)
    env.reset(seed=0)
    expected = env.picture(0)
    with ThreadPoolExecutor(1) as pool, pytest.raises(SimulationError, match="drawn in another thread"):
        pool.submit(env.picture, 0).result()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            new = single(name, render_mode="rgb_array")
            new.reset(seed=0)
            new.render()
        except SimulationError as error:
            os._exit(7 if "fork of one that has drawn" in str(error) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert same_bits(env.picture(0), expected)
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
