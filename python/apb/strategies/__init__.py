"""How an agent explores while it adapts: the registry of strategies, one file each."""

from apb.errors import require_name
from apb.strategies.action_noise import ActionNoise
from apb.strategies.adaptive_param_noise import AdaptiveParamNoise
from apb.strategies.base import Strategy, StrategyContext
from apb.strategies.behavior_transfer import BehaviorTransfer
from apb.strategies.checking import check_strategy
from apb.strategies.param_noise import ParamNoise

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (ActionNoise, ParamNoise, AdaptiveParamNoise, BehaviorTransfer)
}

__all__ = [
    "STRATEGIES",
    "ActionNoise",
    "AdaptiveParamNoise",
    "BehaviorTransfer",
    "ParamNoise",
    "Strategy",
    "StrategyContext",
    "check_strategy",
    "strategy_named",
]


def strategy_named(name: object) -> type[Strategy]:
    """The strategy that is registered under `name`; raises `UnknownNameError`, with the nearest one, if none is."""
    return STRATEGIES[require_name("strategy", name, STRATEGIES)]
