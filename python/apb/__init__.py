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
    from apb import callbacks, intrinsic, plotting, rendering, rng, simulation, statistics, strategies, tasks
    from apb.adaptation import adapt
    from apb.adapter import Adapter
    from apb.adapter_set import AdapterSet
    from apb.adapter_shape import AdapterShape
    from apb.backbone import Backbone
    from apb.callbacks import Callback
    from apb.cloning.clone import CloneResult, clone
    from apb.cloning.demonstrations import Demonstrations
    from apb.evaluation import EvalResult, evaluate
    from apb.meta_training.job import MetaResult
    from apb.meta_training.meta_train import meta_train
    from apb.policy import Policy
    from apb.pretraining.job import PretrainResult
    from apb.pretraining.pretrain import pretrain
    from apb.progress import ProgressBarCallback
    from apb.resumption import resume
    from apb.runner import AdaptResult

__version__ = version("apb")

__all__ = [
    "AdaptResult",
    "Adapter",
    "AdapterSet",
    "AdapterShape",
    "ApbError",
    "ApbWarning",
    "Backbone",
    "Callback",
    "CloneResult",
    "ConfigError",
    "Demonstrations",
    "DivergenceError",
    "EvalResult",
    "FileFormatError",
    "InvalidEnvError",
    "MetaResult",
    "MismatchError",
    "Policy",
    "PretrainResult",
    "ProgressBarCallback",
    "RunFolderError",
    "SimulationError",
    "UnknownNameError",
    "__version__",
    "adapt",
    "callbacks",
    "clone",
    "evaluate",
    "intrinsic",
    "meta_train",
    "plotting",
    "pretrain",
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
        case "adapt":
            from apb import adaptation

            return adaptation
        case "AdaptResult":
            from apb import runner

            return runner
        case "Adapter":
            from apb import adapter

            return adapter
        case "AdapterSet":
            from apb import adapter_set

            return adapter_set
        case "AdapterShape":
            from apb import adapter_shape

            return adapter_shape
        case "Backbone":
            from apb import backbone

            return backbone
        case "Callback" | "callbacks":
            import apb.callbacks

            return apb.callbacks
        case "clone" | "CloneResult":
            from apb.cloning import clone

            return clone
        case "Demonstrations":
            from apb.cloning import demonstrations

            return demonstrations
        case "evaluate" | "EvalResult":
            from apb import evaluation

            return evaluation
        case "meta_train" | "MetaResult":
            from apb.meta_training import meta_train

            return meta_train
        case "Policy":
            from apb import policy

            return policy
        case "pretrain":
            from apb.pretraining import pretrain

            return pretrain
        case "PretrainResult":
            from apb.pretraining import job

            return job
        case "ProgressBarCallback":
            from apb import progress

            return progress
        case "resume":
            from apb import resumption

            return resumption
        # `from apb import rng` would ask for the attribute, and so come here again.
        case "intrinsic":
            import apb.intrinsic

            return apb.intrinsic
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
