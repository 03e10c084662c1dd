"""`register_env`, `register_envs`: families as "apb/<Name>-v0" of Gymnasium, `env_id`. Loads no simulator."""

import gymnasium

ORIGINAL_NAMES = (
    "cheetah-vel",
    "cheetah-dir",
    "ant-dir",
    "ant-goal",
    "humanoid-dir",
    "hopper-rand-params",
    "walker-rand-params",
    "cheetah-negated-joints",
    "cheetah-permuted-joints",
    "ant-negated-joints",
    "hopper-mass",
    "walker-mass",
    "sparse-cheetah-vel",
    "sparse-ant-goal",
)

NAMESPACE = "apb/"

ARGUMENTS_OF_MAKE = ("max_episode_steps", "render_mode", "width", "height")
"""Arguments of `gymnasium.make` that are no part of a task: what has them is an env of its own, no row of a batch."""


def env_id(family: str) -> str:
    """Gymnasium's id of a family: "apb/CheetahVel-v0" of "cheetah-vel"."""
    return f"{NAMESPACE}{''.join(word.capitalize() for word in family.split('-'))}-v0"


def register_env(family: str, horizon: int = 200) -> None:
    """Make `gymnasium.make` and `gymnasium.make_vec` know the env of a family, and after how many steps it ends."""
    gymnasium.register(
        id=env_id(family),
        entry_point="apb.tasks.single:TaskEnv",
        vector_entry_point="apb.simulation:BatchedEnv",
        kwargs={"family": family},
        max_episode_steps=horizon,
    )


def register_envs() -> None:
    """Register the families of the package."""
    for name in ORIGINAL_NAMES:
        for each in (name, f"{name}-permuted-state"):
            register_env(each)
