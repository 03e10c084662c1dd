"""`robot_source`: the robots of `apb.tasks` by their names, as envs in which they can be pre-trained."""

from collections.abc import Mapping
from typing import Any

from apb.environments import EnvLike, EnvSource
from apb.errors import UnknownNameError, nearest_name
from apb.registration import env_id

ROBOTS = {
    "ant": "ant-goal",
    "cheetah": "cheetah-vel",
    "hopper": "hopper-rand-params",
    "humanoid": "humanoid-dir",
    "walker": "walker-rand-params",
}
"""The name of a robot -> the first of the families of tasks that have it and that a prior can be meant for."""


def robot_source(env: EnvLike | EnvSource, env_kwargs: Mapping[str, Any] | None = None) -> EnvSource:
    """See `EnvSource.resolve`; the name of a robot stands for a task of its family.

    Raises:
        UnknownNameError: a name is neither; with the robot that may have been meant.
    """
    if not isinstance(env, str):
        return EnvSource.resolve(env, env_kwargs)
    try:
        return EnvSource.resolve(env_id(ROBOTS[env]) if env in ROBOTS else env, env_kwargs)
    except UnknownNameError as error:
        robot = nearest_name(env, ROBOTS)
        hint = f"did you mean the robot {robot!r}? " if robot else ""
        raise UnknownNameError(f"{error}; {hint}robots: {', '.join(ROBOTS)}") from error
