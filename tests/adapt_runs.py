"""Short runs of `adapt`, for the tests of what they do, return and refuse."""

import pytest
from apb import adapt
from apb.environments import EnvSource
from apb.loop import LearningLoop
from apb.runner import run_to_end
from apb.runs import StopSignals
from apb.settings import AdaptSettings
from learning import SMALL, small_backbone

STRATEGY_OPTIONS = [
    {"strategy": "action_noise"},
    {"strategy": "param_noise", "population_size": 3},
    {"strategy": "adaptive_param_noise"},
]


def strategies(test):
    """Run the test with the `options` of each strategy."""
    return pytest.mark.parametrize("options", STRATEGY_OPTIONS, ids=lambda options: options["strategy"])(test)


def run(env="Pendulum-v1", backbone=None, **options):
    """`adapt` for 100 timesteps with a small backbone and the options `SMALL`, unless others are given."""
    backbone = small_backbone() if backbone is None else backbone
    return adapt(env, backbone, **{**SMALL, "total_timesteps": 100, **options})


def finished_loop(env="Pendulum-v1", **options):
    """The loop of such a run, at its end, to be looked into."""
    loop = LearningLoop(EnvSource.resolve(env), None, small_backbone(), AdaptSettings(**{**SMALL, **options}))
    run_to_end(loop, None, StopSignals())
    return loop


def same_policies(first, second):
    """Whether the adapters of two lists of policies are the same bytes."""
    return [p.adapter.parameters.tobytes() for p in first] == [p.adapter.parameters.tobytes() for p in second]
