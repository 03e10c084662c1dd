"""Adaptive policy backbones: adapt a frozen network to a new control task by learning two linear layers around it.

Importing the package is instant and loads neither torch nor Gymnasium; each name is loaded at its first use. Saved
policies run without torch.
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

if TYPE_CHECKING:
    from apb.adaptation import AdaptResult, adapt, resume
    from apb.adapter import Adapter, AdapterShape
    from apb.backbone import Backbone
    from apb.callbacks import Callback
    from apb.evaluation import EvalResult, evaluate
    from apb.policy import Policy

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
    "RunFolderError",
    "SimulationError",
    "UnknownNameError",
    "__version__",
    "adapt",
    "evaluate",
    "resume",
]


def __getattr__(name: str) -> object:
    value = getattr(_home(name), name)
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
        case "Callback":
            from apb import callbacks

            return callbacks
        case "evaluate" | "EvalResult":
            from apb import evaluation

            return evaluation
        case "Policy":
            from apb import policy

            return policy
    raise AttributeError(f"module 'apb' has no attribute {name!r}; {nearest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
