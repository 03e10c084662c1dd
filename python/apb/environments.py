"""Everything about running envs that the rest of the package needs, from one place."""

from apb.env_source import EnvLike, EnvSource
from apb.env_spaces import ActionBounds
from apb.simulations import Simulations
from apb.transitions import Episode, Transition

__all__ = ["ActionBounds", "EnvLike", "EnvSource", "Episode", "Simulations", "Transition"]
