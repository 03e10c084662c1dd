"""Adaptive policy backbones: adapt a frozen network to a new control task by learning two linear layers around it.

Importing the package is instant and loads neither torch nor Gymnasium; each name is loaded at its first use. Saved
policies run without torch.
"""

from importlib.metadata import version
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
    # One import statement per module, rather than a table of module names: nothing is ever imported by a computed name.
    match name:
        case "adapt" | "resume" | "AdaptResult":
            from apb import adaptation as home
        case "Adapter" | "AdapterShape":
            from apb import adapter as home
        case "Backbone":
            from apb import backbone as home
        case "Callback":
            from apb import callbacks as home
        case "evaluate" | "EvalResult":
            from apb import evaluation as home
        case "Policy":
            from apb import policy as home
        case _:
            raise AttributeError(f"module 'apb' has no attribute {name!r}; {nearest(name, __all__)}")
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
