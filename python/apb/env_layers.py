"""What an env object is made of: its wrappers by name, and those that keep statistics of their own."""

from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorWrapper

from apb.env_spaces import AnyEnv, AnyVectorEnv


def entry_point(spec: EnvSpec | None) -> str | None:
    """What makes the env: "module:Class" as it was registered, or the name of the function or class."""
    made_by = None if spec is None else spec.entry_point
    return made_by if isinstance(made_by, str) else getattr(made_by, "__qualname__", None)


def layer_names(env: AnyEnv | AnyVectorEnv) -> list[str]:
    """The classes of the wrappers from the outermost one inwards, and of the env, but for those that decide nothing.

    Without their modules: what a script calls `__main__.MyEnv` has another module where the script is imported.
    """
    layers: list[Any] = [env]
    while isinstance(layers[-1], gymnasium.Wrapper | VectorWrapper):
        layers.append(layers[-1].env)
    return [type(layer).__qualname__ for layer in layers if type(layer) not in _DECIDE_NOTHING]


_DECIDE_NOTHING = (
    gymnasium.wrappers.OrderEnforcing,
    gymnasium.wrappers.PassiveEnvChecker,
    SyncVectorEnv,
    AsyncVectorEnv,
)


def running_statistics(env: AnyEnv | AnyVectorEnv) -> list[str]:
    """Names of wrappers around the env that normalise by statistics of their own."""
    found = []
    while isinstance(env, gymnasium.Wrapper | VectorWrapper):
        if isinstance(env, _WITH_STATISTICS):
            found.append(type(env).__name__)
        env = env.env
    return found


_WITH_STATISTICS = tuple(
    getattr(module, name)
    for module in (gymnasium.wrappers, gymnasium.wrappers.vector)
    for name in ("NormalizeObservation", "NormalizeReward")
)
