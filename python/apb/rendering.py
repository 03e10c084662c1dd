"""`render`: a policy at work in an env, as an mp4 or GIF; also on a machine without a screen."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb import rng, tasks
from apb.env_rows import EnvRows, RowError
from apb.env_source import EnvSource
from apb.env_spaces import AnyEnv
from apb.errors import (
    ConfigError,
    InvalidEnvError,
    RunFolderError,
    raised,
    require_arguments,
    require_integer,
    require_range,
)
from apb.evaluation import no_policy
from apb.policy import Policy

FORMATS = ("mp4", "gif")
MAX_FPS = 30.0
"""Frames per second at most; of an env with a shorter time step only every n-th step is drawn."""

OFFSCREEN_BACKENDS = ("egl", "osmesa")

_PROBE = """
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
"""


def render(
    policy: Policy,
    env: str | tasks.Task,
    path: str | Path,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    seed: int = 0,
    seconds: float = 20.0,
) -> Path:
    """Write a film of the start of an episode under `policy`; returns its path.

    Args:
        policy: What acts.
        env: A Gymnasium id, the name of a task, or a `Task`. The env must offer the render mode "rgb_array".
        path: The film, `.mp4` or `.gif`; replaced if it exists.
        env_kwargs: Further arguments of `gymnasium.make`, for example `{"width": 640, "height": 480}`; beside the name
            of a task switches of its family too.
        seed: Seed of the episode, in [0, 2^63): the first episode of `evaluate(policy, env, seed=seed)`.
        seconds: Length of the film at most, in the env's own time, in (0, 3600]; it ends earlier if the episode does.

    Raises:
        MismatchError: the policy is of other spaces. InvalidEnvError: the env cannot draw itself here; the message
            tells what to install. UnknownNameError: no such env or task. SimulationError: it raised, or returned
            something malformed. ConfigError: an argument is out of range, several tasks, or another ending.
            RunFolderError: the film cannot be written.
    """
    if not isinstance(policy, Policy):
        raise no_policy(policy, "an apb.Policy")
    target = Path(path)
    kind = target.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"{str(target)!r} is not a film; expected a name that ends with .{' or .'.join(FORMATS)}")
    require_range("seconds", seconds, 0, 3600, low_open=True)
    seed = require_integer("seed", seed, 0, rng.MAX_SEED)
    kwargs = require_arguments("env_kwargs", env_kwargs)
    first_seed = rng.derive_seed(seed, rng.Stream.EVALUATE, 0, 0)
    hint = _opengl_hint(os.environ.get("MUJOCO_GL"), choose_opengl())
    source = _drawing(env, kwargs)
    policy.check_env(source)
    with closing(EnvRows([source.make()], owned=True)) as rows:
        steps_per_second = float(rows.envs[0].metadata.get("render_fps") or MAX_FPS)
        stride = max(1, round(steps_per_second / MAX_FPS))
        steps = max(1, round(seconds * steps_per_second))
        frames = _frames(policy, rows, first_seed, steps, stride, source, hint)
        _write(frames, target, kind, steps_per_second / stride)
    return target


def _drawing(env: str | tasks.Task, kwargs: Mapping[str, Any]) -> EnvSource:
    """The env with the render mode "rgb_array"."""
    arguments = {**kwargs, "render_mode": "rgb_array"}
    if isinstance(env, str):
        return EnvSource.resolve(env, arguments)
    if not isinstance(env, tasks.Task):
        raise ConfigError(f"env = {env!r:.100}; expected an id, the name of a task, or a Task")
    if others := arguments.keys() - set(tasks.ARGUMENTS_OF_MAKE):
        raise ConfigError(f"env_kwargs has {', '.join(sorted(others))} beside {env}; expected a Task that has them")
    return EnvSource.resolve(env.env_id, {**env.arguments, **arguments})


def choose_opengl() -> dict[str, str]:
    """Set MUJOCO_GL to an OpenGL library that works without a screen; returns why those tried before it failed.

    Only on Linux, and only where the user has not set it. MuJoCo's own default needs a screen. Each candidate is tried
    in a process of its own, since one that fails may take its process with it.
    """
    if "MUJOCO_GL" in os.environ or not sys.platform.startswith("linux"):
        return {}
    failures: dict[str, str] = {}
    for backend in OFFSCREEN_BACKENDS:
        environment = os.environ | {"MUJOCO_GL": backend}
        try:
            probe = subprocess.run(  # noqa: S603
                [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
        except subprocess.TimeoutExpired:
            failures[backend] = "no answer within a minute"
            continue
        if probe.returncode == 0:
            os.environ["MUJOCO_GL"] = backend
            return failures
        failures[backend] = (probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"])[-1]
    return failures


def _frames(
    policy: Policy, rows: EnvRows, seed: int, steps: int, stride: int, source: EnvSource, hint: str
) -> Iterator[NDArray[np.uint8]]:
    (env,) = rows.envs
    shape = source.observation_space.shape
    step = 0
    try:
        observations = rows.reset([seed])
        yield _draw(env, source.name, hint)
        for step in range(1, steps + 1):
            made = rows.step(policy(observations.reshape(1, *shape)))
            observations = made.observations
            ended = bool(made.terminated[0] or made.truncated[0])
            if ended or step % stride == 0:
                yield _draw(env, source.name, hint)
            if ended:
                return
    except RowError as failure:
        raise failure.in_env(f"env {source.name}, in step {step} of the film") from failure.__cause__


def _draw(env: AnyEnv, name: str, hint: str) -> NDArray[np.uint8]:
    try:
        frame = np.asarray(env.render())
    except Exception as error:
        raise InvalidEnvError(f"env {name} cannot draw itself: {raised(error)}{hint}") from error
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise InvalidEnvError(
            f"env {name} drew {frame.dtype} {frame.shape}; expected uint8 (height, width, 3), as rgb_array promises"
        )
    # The usual encoding of mp4 halves the resolution of colour, so that heights and widths must be even.
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]


def _opengl_hint(users_choice: str | None, failures: Mapping[str, str]) -> str:
    """The end of an error message: what to install or change, if OpenGL can be the reason."""
    if users_choice:
        return f". MUJOCO_GL = {users_choice!r} is set; expected egl or osmesa on a machine without a screen"
    if len(failures) == len(OFFSCREEN_BACKENDS):
        reasons = "; ".join(f"with MUJOCO_GL={backend}: {reason}" for backend, reason in failures.items())
        return (
            f". No OpenGL library works here without a screen ({reasons}). MuJoCo needs EGL or OSMesa:"
            " `apt install libegl1 libgl1`, or `apt install libosmesa6` (conda: `mesalib`)"
        )
    return ""


def _write(frames: Iterator[NDArray[np.uint8]], target: Path, kind: str, fps: float) -> None:
    import imageio.v2 as imageio

    # Written beside its destination under the same ending, by which encoders go.
    partial = target.with_name(f".{target.stem}.{os.getpid()}.{kind}")
    mp4: dict[str, Any] = {"fps": fps, "macro_block_size": 2}
    gif: dict[str, Any] = {"duration": 1000 / fps, "loop": 0}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with imageio.get_writer(partial, **(mp4 if kind == "mp4" else gif)) as writer:
            for frame in frames:
                writer.append_data(frame)  # type: ignore[attr-defined]
        partial.replace(target)
    except OSError as error:
        raise RunFolderError(f"{target} cannot be written: {error}; choose another place") from error
    finally:
        with suppress(OSError):
            partial.unlink()
