"""Tasks with parameters drawn for every family, single and batched envs of them, and how their steps are compared."""

import gymnasium
import numpy as np
from apb.registration import env_id
from apb.simulation import BatchedEnv
from apb.tasks import FAMILIES
from gymnasium.vector import AutoresetMode

EVERY = tuple(FAMILIES)
"""The families of the package: a test may register more."""
ORIGINAL = tuple(name for name in EVERY if not name.endswith("-permuted-state"))
"""The families without those of `permuted_state`, which simulate the same."""
FALLING = "hopper-rand-params"
"""A family whose episodes end at different times under random actions."""


def drawn(name, rows, seed=0, **switches):
    """Parameters of a family that differ in all of `rows`, each (rows, *shape)."""
    generator = np.random.default_rng(seed)
    family = FAMILIES[name](**switches)
    return {key: _values(parameter, rows, generator) for key, parameter in family.parameters.items()}


def _values(parameter, rows, generator):
    shape = (rows, *parameter.shape)
    if parameter.permutation:
        return generator.permuted(np.tile(np.arange(parameter.shape[0], dtype=float), (rows, 1)), axis=1)
    if parameter.allowed:
        return generator.choice(parameter.allowed, shape)
    if parameter.low > 0:
        return np.exp(generator.uniform(-1, 1, shape))
    return generator.uniform(max(parameter.low, -3), min(parameter.high, 3), shape)


def of_row(values, row):
    """The parameters of one row, as a single env takes them."""
    return {key: value[row] for key, value in values.items()}


def single(name, **arguments):
    """A single env of Gymnasium's `make`, without its checker of spaces, which knows nothing of promises."""
    return gymnasium.make(env_id(name), disable_env_checker=True, **arguments)


def singles(name, values, rows, mode, steps, **switches):
    """Gymnasium's own vector of single envs, one per row."""
    makers = [
        lambda row=row: single(name, max_episode_steps=steps, **switches, **of_row(values, row)) for row in range(rows)
    ]
    return gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=mode)


def batched(name, rows=3, seed=0, **options):
    """A batched env with drawn parameters."""
    return BatchedEnv(name, rows, num_threads=options.pop("num_threads", 2), **drawn(name, rows, seed), **options)


def actions_for(env, steps, seed=0, bound=1.5):
    """Uniform actions, (steps, rows, act), some of them beyond the bounds of the space."""
    return np.random.default_rng(seed).uniform(-bound, bound, (steps, *env.action_space.shape))


def same_bits(first, second):
    """Whether two arrays have the same bits, NaN and signs of zeros included, or neither is there."""
    if first is None or second is None:
        return first is second
    first, second = np.asarray(first), np.asarray(second)
    return (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())


def assert_same_step(found, expected):
    """That two results of `step` are the same to the bit; entries of `info` that are for no row may be left out."""
    for part, (ours, theirs) in enumerate(zip(found[:4], expected[:4], strict=True)):
        assert same_bits(ours, theirs), (("observation", "reward", "terminated", "truncated")[part], ours, theirs)
    assert_same_info(found[4], expected[4])


def assert_same_info(found, expected):
    """See `assert_same_step`."""
    for key in {*found, *expected}:
        if key.startswith("_"):
            ours, theirs = (np.asarray(info.get(key, False)) | np.zeros(1, bool) for info in (found, expected))
            assert np.array_equal(*np.broadcast_arrays(ours, theirs)), (key, ours, theirs)
        elif key not in expected or key not in found:
            assert not (found | expected)[f"_{key}"].any(), key
        elif isinstance(expected[key], dict):
            assert_same_info(found[key], expected[key])
        elif expected[key].dtype == object:
            for ours, theirs in zip(found[key], expected[key], strict=True):
                assert same_bits(ours, theirs), key
        else:
            assert same_bits(found[key], expected[key]), (key, found[key], expected[key])


def run(env, actions, seed=None):
    """Results of `step` for each of the actions, after a reset if there is a seed."""
    if seed is not None:
        env.reset(seed=seed)
    return [env.step(each) for each in actions]


def go(env, actions):
    """Results of steps; rows that ended are reset where the env leaves that to the caller."""
    results = []
    for each in actions:
        results.append(env.step(each))
        ended = results[-1][2] | results[-1][3]
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and ended.any():
            results[-1][0][...] = env.reset(options={"reset_mask": ended})[0]
    return results
