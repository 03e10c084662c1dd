"""What films promise: the frames of the episode that was asked for, on machines with and without a screen."""

import os
import subprocess
import sys

import gymnasium
import imageio.v3 as imageio
import numpy as np
import pytest
from apb import tasks
from apb.errors import (
    ConfigError,
    InvalidEnvError,
    MismatchError,
    RunFolderError,
    SimulationError,
    UnknownNameError,
)
from apb.evaluation import evaluate
from apb.policy import Policy
from apb.rendering import choose_opengl, render
from apb.tasks.single import TaskEnv
from cli_runs import ENV, PointEnv, register_env
from naming import words
from policies import make_policy

reads_mp4 = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""imageio-ffmpeg's reader, which only the tests use, leaves its pipes to the garbage collector."""


@pytest.fixture
def policy(monkeypatch):
    register_env()
    monkeypatch.setenv("MUJOCO_GL", "egl")
    return make_policy(2, 1)


def greys(path):
    """The mean grey level of each frame."""
    return [float(frame.mean()) for frame in imageio.imread(path)]


def test_a_gif_shows_the_start_and_every_second_step_of_an_env_of_50_steps_per_second(policy, tmp_path):
    film = render(policy, ENV, tmp_path / "film.gif")
    assert greys(film) == [10.0 * step for step in range(0, 21, 2)]
    assert imageio.immeta(film)["duration"] == 40


@reads_mp4
def test_an_mp4_has_the_same_frames_up_to_compression(policy, tmp_path):
    film = render(policy, ENV, tmp_path / "film.mp4")
    np.testing.assert_allclose(greys(film), [10.0 * step for step in range(0, 21, 2)], atol=4)
    assert imageio.immeta(film)["fps"] == 25


@reads_mp4
def test_frames_are_cut_to_even_sizes_and_not_scaled(policy, tmp_path):
    film = render(policy, ENV, tmp_path / "film.mp4", env_kwargs={"size": [35, 51]})
    assert imageio.imread(film).shape[1:] == (34, 50, 3)


def test_a_film_ends_after_the_seconds_that_were_asked_for(policy, tmp_path):
    # 0.2 s of 50 steps per second are 10 steps.
    assert greys(render(policy, ENV, tmp_path / "film.gif", seconds=0.2)) == [10.0 * step for step in range(0, 11, 2)]


def test_a_film_shows_the_first_episode_of_the_evaluation_with_the_same_seed(policy, tmp_path, monkeypatch):
    starts = []
    reset = PointEnv.reset

    def record(env, *, seed=None, options=None):
        starts.append(seed)
        return reset(env, seed=seed, options=options)

    monkeypatch.setattr(PointEnv, "reset", record)
    render(policy, ENV, tmp_path / "film.gif", seed=5)
    evaluate(policy, ENV, 1, seed=5)
    assert starts[0] == starts[1] is not None


# --- tasks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn_tasks(monkeypatch):
    """What was drawn: family with switches, values, and size of each picture. A picture is black."""
    drawn = []

    def picture(env):
        drawn.append((env.family, dict(env.values), env._camera._size))
        return np.zeros((*env._camera._size[::-1], 3), np.uint8)

    monkeypatch.setattr(TaskEnv, "render", picture)
    return drawn


@pytest.mark.parametrize("name", ["cheetah-vel/mier-hard:5", "cheetah-vel/mier-hard/train:2"])
@pytest.mark.parametrize("given", [str, tasks.get], ids=["name", "task"])
def test_a_task_is_filmed_by_its_name_and_as_an_object_in_the_size_that_is_asked_for(
    policy, tmp_path, drawn_tasks, name, given
):
    task = tasks.get(name)
    film = render(
        make_policy(20, 6), given(name), tmp_path / "f.gif", env_kwargs={"width": 32, "height": 16}, seconds=0.2
    )
    assert drawn_tasks == [(task.made_family, task.values, (32, 16))] * 5
    assert imageio.imread(film).shape[1:] == (16, 32, 3)


def test_a_task_is_filmed_with_the_switches_that_are_given_beside_its_name(policy, tmp_path, drawn_tasks):
    kwargs = {"include_torso_position": False}
    render(make_policy(17, 6), "cheetah-vel/mier-hard:5", tmp_path / "f.gif", env_kwargs=kwargs, seconds=0.05)
    assert drawn_tasks[0][0].include_torso_position is False


def test_the_film_of_a_task_is_its_first_episode_in_an_evaluation_with_the_same_seed(policy, tmp_path, drawn_tasks):
    acted = []

    class Recording(Policy):
        def __call__(self, observations):
            acted.append(np.array(observations, np.float32)[0])
            return super().__call__(observations)

    made = make_policy(20, 6)
    parts = made.backbone, made.adapter, made.observation_space, made.action_space
    recording = Recording(*parts)
    render(recording, "cheetah-vel/mier-hard:5", tmp_path / "f.gif", seed=7, seconds=0.5)
    filmed, acted[:] = list(acted), []
    evaluate(lambda observations: recording(observations), "cheetah-vel/mier-hard:5", 1, seed=7)
    assert len(filmed) == 10
    np.testing.assert_array_equal(filmed, acted[:10])


@pytest.mark.parametrize(
    ("env", "kwargs", "error", "words"),
    [
        ("cheetah-vel/mier-hard", {}, ConfigError, "has 30 tasks, .* expected one of cheetah-vel/mier-hard:0 to"),
        ("cheetah-vel/mier-hrad:5", {}, UnknownNameError, "did you mean 'mier-hard'"),
        ("cheetah-vel/mier-hard:5", {"velocity": 1.0}, UnknownNameError, "velocity = 1.0 is no switch"),
        ("cheetah-vel/mier-hard:5", {"width": 0}, InvalidEnvError, "width = 0"),
        (tasks.get("cheetah-vel/mier-hard:5"), {"velocity": 1.0}, ConfigError, "env_kwargs has velocity beside"),
        (lambda: PointEnv(), {}, ConfigError, "expected an id, the name of a task, or a Task"),
        (7, {}, ConfigError, "env = 7; expected an id"),
    ],
    ids=words,
)
def test_what_is_no_task_to_film_is_explained(policy, tmp_path, env, kwargs, error, words):
    with pytest.raises(error, match=words):
        render(make_policy(20, 6), env, tmp_path / "f.gif", env_kwargs=kwargs)
    assert not any(tmp_path.iterdir())


# --- files and errors ------------------------------------------------------------------------------------------------


def test_a_film_replaces_an_older_one_and_leaves_nothing_else(policy, tmp_path):
    (tmp_path / "film.gif").write_bytes(b"old")
    render(policy, ENV, tmp_path / "film.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]
    assert (tmp_path / "film.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize(
    ("env", "name", "options", "error", "words"),
    [
        (ENV, "film.avi", {}, ConfigError, r"film\.avi.*\.mp4 or \.gif"),
        (ENV, "film", {}, ConfigError, "not a film"),
        (ENV, "f.gif", {"seconds": 0.0}, ConfigError, "seconds"),
        (ENV, "f.gif", {"seconds": float("nan")}, ConfigError, "seconds"),
        (ENV, "f.gif", {"seed": -1}, ConfigError, "seed"),
        (ENV, "f.gif", {"env_kwargs": {"nonsense": 1}}, InvalidEnvError, "nonsense"),
        ("apb-tests/Pint-v0", "f.gif", {}, UnknownNameError, "Point-v0"),
        ("Pendulum-v1", "f.gif", {}, MismatchError, "observation_space"),
    ],
)
def test_what_cannot_be_filmed_is_explained_and_no_file_is_left(policy, tmp_path, env, name, options, error, words):
    with pytest.raises(error, match=words):
        render(policy, env, tmp_path / name, **options)
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(policy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"film\.gif cannot be written"):
        render(policy, ENV, tmp_path / "file" / "film.gif")


def test_without_pygame_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    made, env = make_policy(3, 1), gymnasium.make("Pendulum-v1")
    policy = Policy(made.backbone, made.adapter, env.observation_space, env.action_space)
    with pytest.raises(InvalidEnvError, match=r"cannot draw itself: .*pygame.*pip install .*gymnasium\[classic"):
        render(policy, "Pendulum-v1", tmp_path / "a.mp4")


@pytest.mark.parametrize("frame", [None, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_an_env_that_draws_something_else_is_refused(policy, tmp_path, monkeypatch, frame):
    monkeypatch.setattr(PointEnv, "render", lambda env: frame)
    with pytest.raises(InvalidEnvError, match="expected uint8"):
        render(policy, ENV, tmp_path / "film.gif")


def raises(env, returned):
    raise RuntimeError("no more")


@pytest.mark.parametrize("method", ["reset", "step"])
@pytest.mark.parametrize(
    ("fail", "words"),
    [(raises, "RuntimeError: no more"), (lambda env, returned: returned[:1], "not enough values to unpack")],
)
def test_an_env_that_misbehaves_is_told_by_its_name_as_in_an_evaluation(
    policy, tmp_path, monkeypatch, method, fail, words
):
    whole = getattr(PointEnv, method)
    monkeypatch.setattr(PointEnv, method, lambda env, *given, **named: fail(env, whole(env, *given, **named)))
    with pytest.raises(SimulationError, match=rf"env {ENV}, in step \d of the film: {method}\(\) raised .*{words}"):
        render(policy, ENV, tmp_path / "film.gif")
    assert not any(tmp_path.iterdir())


def fail_to_draw(env):
    raise RuntimeError("no OpenGL")


def test_a_film_that_breaks_off_leaves_the_older_one(policy, tmp_path, monkeypatch):
    draw = PointEnv.render
    monkeypatch.setattr(PointEnv, "render", lambda env: draw(env) if env.time < 10 else fail_to_draw(env))
    (tmp_path / "film.gif").write_bytes(b"old")
    with pytest.raises(InvalidEnvError, match="no OpenGL"):
        render(policy, ENV, tmp_path / "film.gif")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_without_opengl_the_message_tells_what_failed_and_what_to_install(policy, tmp_path, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(subprocess, "run", probe_that_works_with(()))
    monkeypatch.setattr(PointEnv, "render", fail_to_draw)
    with pytest.raises(InvalidEnvError, match=r"no OpenGL.*egl: no egl here.*osmesa: no osmesa here.*apt install"):
        render(policy, ENV, tmp_path / "film.gif")


def test_a_choice_of_the_user_that_fails_is_named(policy, tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setattr(PointEnv, "render", fail_to_draw)
    with pytest.raises(InvalidEnvError, match="MUJOCO_GL = 'glfw' is set"):
        render(policy, ENV, tmp_path / "film.gif")


def probe_that_works_with(backends):
    def run(command, *, env, **options):
        backend = env["MUJOCO_GL"]
        if backend in backends:
            return subprocess.CompletedProcess(command, 0, "", "")
        return subprocess.CompletedProcess(command, 1, "", f"noise\nno {backend} here\n")

    return run


@pytest.mark.parametrize(
    ("working", "chosen", "failed"),
    [(("egl", "osmesa"), "egl", []), (("osmesa",), "osmesa", ["egl"]), ((), None, ["egl", "osmesa"])],
)
def test_the_first_opengl_that_works_is_chosen(monkeypatch, working, chosen, failed):
    # Set and deleted, so that the variable is put back as it was after the test.
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(subprocess, "run", probe_that_works_with(working))
    assert list(choose_opengl()) == failed
    assert os.environ.get("MUJOCO_GL") == chosen


def test_a_choice_of_the_user_is_not_questioned(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setattr(subprocess, "run", None)
    assert choose_opengl() == {}
    assert os.environ["MUJOCO_GL"] == "glfw"
