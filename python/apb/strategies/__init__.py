"""How an agent explores while it adapts: the registry of strategies, one file each."""

from apb.strategies.action_noise import ActionNoise
from apb.strategies.base import Strategy, StrategyContext
from apb.strategies.param_noise import ParamNoise

STRATEGIES: dict[str, type[Strategy]] = {strategy.name: strategy for strategy in (ActionNoise, ParamNoise)}

__all__ = ["STRATEGIES", "ActionNoise", "ParamNoise", "Strategy", "StrategyContext"]
