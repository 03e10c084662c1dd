"""Adaptive policy backbones: adapt a frozen network to a new control task by learning two linear layers around it.

Importing the package registers its envs with Gymnasium, "apb/CheetahVel-v0" and so on, and loads neither torch nor
MuJoCo; each name is loaded at its first use. Saved policies run without torch.
"""

from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING

from apb.errors import (
    ApbError,
    ApbWarning,
    ConfigError,
    DivergenceError,
    FileFormatError,
    InvalidEnvError,
    MismatchError,
    RunFolderError,
    SimulationError,
    UnknownNameError,
    nearest,
)
from apb.registration import register_envs

if TYPE_CHECKING:
    from apb import callbacks, plotting, rendering, rng, simulation, statistics, strategies, tasks
    from apb.adaptation import AdaptResult, adapt, resume
    from apb.adapter import Adapter, AdapterShape
    from apb.backbone import Backbone
    from apb.callbacks import Callback
    from apb.evaluation import EvalResult, evaluate
    from apb.policy import Policy
    from apb.progress import ProgressBarCallback

__version__ = version("apb")

__all__ = [
    "AdaptResult",
    "Adapter",
    "AdapterShape",
    "ApbError",
    "ApbWarning",
    "Backbone",
    "Callback",
    "ConfigError",
    "DivergenceError",
    "EvalResult",
    "FileFormatError",
    "InvalidEnvError",
    "MismatchError",
    "Policy",
    "ProgressBarCallback",
    "RunFolderError",
    "SimulationError",
    "UnknownNameError",
    "__version__",
    "adapt",
    "callbacks",
    "evaluate",
    "plotting",
    "rendering",
    "resume",
    "rng",
    "simulation",
    "statistics",
    "strategies",
    "tasks",
]

register_envs()


def __getattr__(name: str) -> object:
    home = _home(name)
    value = home if home.__name__ == f"apb.{name}" else getattr(home, name)
    globals()[name] = value
    return value


def _home(name: str) -> ModuleType:
    # One import statement per module, not a table of module names: nothing is ever imported by a computed name.
    match name:
        case "adapt" | "resume" | "AdaptResult":
            from apb import adaptation

            return adaptation
        case "Adapter" | "AdapterShape":
            from apb import adapter

            return adapter
        case "Backbone":
            from apb import backbone

            return backbone
        case "Callback" | "callbacks":
            import apb.callbacks

            return apb.callbacks
        case "evaluate" | "EvalResult":
            from apb import evaluation

            return evaluation
        case "Policy":
            from apb import policy

            return policy
        case "ProgressBarCallback":
            from apb import progress

            return progress
        # `from apb import rng` would ask for the attribute, and so come here again.
        case "plotting":
            import apb.plotting

            return apb.plotting
        case "rendering":
            import apb.rendering

            return apb.rendering
        case "rng":
            import apb.rng

            return apb.rng
        case "simulation":
            import apb.simulation

            return apb.simulation
        case "statistics":
            import apb.statistics

            return apb.statistics
        case "strategies":
            import apb.strategies

            return apb.strategies
        case "tasks":
            import apb.tasks

            return apb.tasks
    raise AttributeError(f"module 'apb' has no attribute {name!r}; {nearest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
