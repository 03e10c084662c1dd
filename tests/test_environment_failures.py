"""Promises of `Simulations` when something goes wrong: the error says what, in which env, episode and step."""

import math
import sys

import gymnasium
import numpy as np
import pytest
from apb.environments import EnvSource, Simulations
from apb.errors import ConfigError, InvalidEnvError, SimulationError
from envs_for_tests import CountingEnv, ScriptedEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv


class NoNumber(float):
    """A float by its class only."""

    def __float__(self):
        raise ValueError("ask me later")


BAD_STEPS = [
    pytest.param((np.array([0, np.nan]), 1.0), r"observation of step\(\) is nan at index 1", id="nan observation"),
    pytest.param((np.array([np.inf, 0]), 1.0), r"observation of step\(\) is inf at index 0", id="inf observation"),
    pytest.param((np.array([0, -1e100]), 1.0), r"is -1e\+100 at index 1", id="observation beyond float32"),
    pytest.param((np.zeros(2), float("nan")), "the reward is nan", id="nan reward"),
    pytest.param((np.zeros(2), float("-inf")), "the reward is -inf", id="inf reward"),
    pytest.param((np.zeros(2), NoNumber(1)), "reward = 1.0; expected one number", id="float that is no number"),
    pytest.param((np.zeros(2), None), "reward = None; expected one number", id="no reward"),
    pytest.param((np.zeros(3), 1.0), r"observation of shape \(3,\); expected \(2,\)", id="longer observation"),
    pytest.param((np.float32(0), 1.0), r"observation of shape \(\); expected \(2,\)", id="scalar observation"),
    pytest.param(
        ({"a": 1}, 1.0), "returned an observation = {'a': 1}; expected numbers of shape", id="dict observation"
    ),
    pytest.param((["a", "b"], 1.0), r"an observation = \['a', 'b'\]; expected numbers", id="text observation"),
    pytest.param((np.array([1j, 0]), 1.0), "an observation = array.*; expected numbers", id="complex observation"),
    pytest.param(([[1.0], [1.0, 2.0]], 1.0), "an observation = .*; expected numbers of shape", id="ragged observation"),
    pytest.param(([10**400, 0], 1.0), "an observation = .*; expected numbers", id="integer beyond floats observed"),
    pytest.param((np.zeros(2), 10**400), r"reward = 10+; expected one number", id="integer beyond floats as reward"),
    pytest.param((np.zeros(2), 10**5000), r"reward = a int; expected one number", id="integer of too many digits"),
    pytest.param((np.zeros(2), np.complex64(1j)), r"reward = .*1j.*; expected one number", id="complex reward"),
    pytest.param((np.zeros(2), "1.0"), r"reward = '1.0'; expected one number", id="text reward"),
    pytest.param((np.zeros(2), [1.0, 2.0]), r"reward of shape \(2,\); expected \(\)", id="two rewards"),
    pytest.param((np.zeros(2), 1.0, math.nan), "terminated = nan; expected True or False", id="nan terminated"),
    pytest.param((np.zeros(2), 1.0, "False"), "terminated = 'False'; expected one number", id="text terminated"),
    pytest.param((np.zeros(2), 1.0, None), "terminated = None; expected one number", id="terminated is nothing"),
    pytest.param((np.zeros(2), 1.0, False, 2), "truncated = 2; expected True or False", id="truncated beyond one"),
    pytest.param(SystemExit("bye"), r"step\(\) raised SystemExit: bye", id="leaves"),
    pytest.param(OSError("motor 3 is hot"), r"step\(\) raised OSError: motor 3 is hot", id="raises"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_STEPS)
def test_a_step_that_goes_wrong_is_located(bad, message):
    good = (np.zeros(2), 1.0)
    script = [good, good, good]
    envs = [ScriptedEnv([good, bad, good]) if number == 3 else ScriptedEnv(script) for number in range(5)]
    made = iter(envs)
    simulations = Simulations(EnvSource.resolve(lambda: next(made)), 2, 2, [0, 1])
    simulations.reset()
    action = np.zeros((2, 2, 1), np.float32)
    simulations.step(action)
    with pytest.raises(SimulationError, match=message) as caught:
        simulations.step(action)
    for place in ("lane 1, slot 0", "episode 0 after 1 steps of it", "after 4 steps in total"):
        assert place in str(caught.value)
    if isinstance(bad, BaseException):
        assert caught.value.__cause__ is bad


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (ValueError("no robot"), r"reset\(\) raised ValueError: no robot"),
        ((np.nan, 0.0), r"observation of reset\(\) is nan at index 0"),
        ((1.0, 2.0, 3.0), r"observation of shape \(3,\)"),
        (SystemExit(3), r"reset\(\) raised SystemExit: 3"),
        (None, "an observation = None; expected numbers"),
    ],
)
def test_a_reset_that_goes_wrong_is_located(start, message):
    env = ScriptedEnv([(np.zeros(2), 0.0)])
    simulations = Simulations(EnvSource.resolve(env), 1, 1, [0])
    simulations.reset()
    env.start = start
    with pytest.raises(SimulationError, match=message) as caught:
        simulations.step(np.zeros((1, 1, 1), np.float32))
    assert "episode 1 after 0 steps of it" in str(caught.value)
    with pytest.raises(SimulationError, match=message):
        simulations.reset()


def test_a_diverged_policy_is_not_blamed_on_the_env():
    env = gymnasium.make("Pendulum-v1")
    simulations = Simulations(EnvSource.resolve(env), 1, 1, [0])
    simulations.reset()
    with pytest.raises(SimulationError, match="action that it was given was not finite"):
        simulations.step(np.full((1, 1, 1), np.nan, np.float32))


def test_large_but_finite_observations_pass():
    huge = np.array([3e38, -3e38])
    simulations = Simulations(EnvSource.resolve(lambda: ScriptedEnv([(huge, 1e30)] * 3)), 1, 1, [0])
    simulations.reset()
    transition = simulations.step(np.zeros((1, 1, 1), np.float32))
    np.testing.assert_array_equal(transition.next_observation[0, 0], huge.astype(np.float32))


def test_a_vector_env_that_raises_is_named():
    script = [(np.zeros(2), 0.0), RuntimeError("lost")]
    vector = SyncVectorEnv([lambda: ScriptedEnv(script, start=np.zeros(2))])
    simulations = Simulations(EnvSource.resolve(vector), 1, 1, [0])
    simulations.reset()
    simulations.step(np.zeros((1, 1, 1), np.float32))
    with pytest.raises(SimulationError, match=r"SyncVectorEnv, after 1 steps in total: step\(\) raised RuntimeError"):
        simulations.step(np.zeros((1, 1, 1), np.float32))


def test_a_same_step_vector_env_must_give_final_observations():
    vector = SyncVectorEnv([lambda: CountingEnv((1,))])  # resets in the next step, but says otherwise
    vector.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
    simulations = Simulations(EnvSource.resolve(vector), 1, 1, [0])
    simulations.reset()
    with pytest.raises(SimulationError, match="final_obs"):
        simulations.step(np.zeros((1, 1, 1), np.float32))


class OddVector(SyncVectorEnv):
    """Two envs whose episodes end at each step; `odd` are the parts of what `step` returns that are replaced."""

    def __init__(self, **odd):
        super().__init__([lambda: CountingEnv((1,))] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
        self.odd = odd

    def step(self, actions):
        names = ("observations", "rewards", "terminations", "truncations", "info")
        return tuple(self.odd.get(name, value) for name, value in zip(names, super().step(actions), strict=True))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"info": None}, r"with info = None; expected the final observation, of shape \(3,\), in info\['final_obs'\]"),
        ({"info": {"final_obs": None}}, "expected the final observation"),
        ({"info": {"final_obs": [np.zeros(3)]}}, r"slot 1.*in info\['final_obs'\]\[1\]"),
        ({"info": {"final_obs": [np.zeros(3), np.zeros(2)]}}, r"info\['final_obs'\]\[1\] of shape \(2,\); expected"),
        ({"info": {"final_obs": [np.zeros(3), None]}}, r"info\['final_obs'\]\[1\] = None; expected numbers of shape"),
        ({"observations": [[1.0], [1.0, 2.0]]}, "observations = .*; expected numbers of shape"),
        ({"rewards": ["a", "b"]}, "rewards = .*; expected numbers of shape"),
        ({"rewards": [1.0]}, r"rewards of shape \(1,\); expected \(2,\)"),
        ({"terminations": [math.nan, 0]}, "terminations = .*; expected True or False"),
        ({"truncations": None}, "truncations = None; expected numbers"),
    ],
    ids=str,
)
def test_odd_returns_of_a_vector_env_are_named(odd, message):
    simulations = Simulations(EnvSource.resolve(OddVector(**odd)), 1, 2, [0])
    simulations.reset()
    with pytest.raises(SimulationError, match=message) as caught:
        simulations.step(np.zeros((1, 2, 1), np.float32))
    assert "OddVector" in str(caught.value)


def test_a_factory_that_leaves_the_program_is_an_env_that_cannot_be_made():
    with pytest.raises(InvalidEnvError, match="calling it raised SystemExit: 7"):
        EnvSource.resolve(lambda: sys.exit(7))


def test_a_vector_env_must_tell_its_auto_reset_mode():
    vector = SyncVectorEnv([CountingEnv])
    vector.metadata = {}
    with pytest.raises(InvalidEnvError, match="autoreset_mode"):
        Simulations(EnvSource.resolve(vector), 1, 1, [0])


@pytest.mark.parametrize(
    ("lanes", "slots", "seeds", "message"),
    [
        (0, 1, [], "lanes = 0"),
        (1, 0, [1], "slots = 0"),
        (2, 1, [1], "expected 2 integers"),
        (1, 1, [-1], "seeds"),
        (1, 1, [2**64], "seeds"),
    ],
)
def test_counts_and_seeds_out_of_range_are_refused(lanes, slots, seeds, message):
    with pytest.raises(ConfigError, match=message):
        Simulations(EnvSource.resolve(CountingEnv), lanes, slots, seeds)


@pytest.mark.parametrize(("lanes", "slots"), [(2, 1), (1, 1), (1, 3)])
def test_a_vector_env_object_serves_one_lane_of_its_own_size(lanes, slots):
    source = EnvSource.resolve(SyncVectorEnv([CountingEnv, CountingEnv]))
    with pytest.raises(ConfigError, match="num_envs = 2"):
        Simulations(source, lanes, slots, range(lanes))


def test_a_factory_must_return_a_new_env_each_time():
    env = CountingEnv()
    with pytest.raises(InvalidEnvError, match="the same env twice"):
        Simulations(EnvSource.resolve(lambda: env), 1, 2, [0])
