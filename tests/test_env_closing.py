"""Every env that is made is closed, whatever fails; one that cannot be closed costs no result."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from adapt_runs import run
from apb import ApbError, ApbWarning, ConfigError, InvalidEnvError, SimulationError, evaluate
from envs_for_tests import CountingEnv


class Ledger(CountingEnv):
    """Counts the envs that are made, and notes which are closed. `fails` maps the number of an env to what fails."""

    made: ClassVar[int] = 0
    closed: ClassVar[list[int]] = []
    fails: ClassVar[dict[int, str]] = {}

    def __init__(self):
        super().__init__()
        self.number = Ledger.made + 1
        if Ledger.fails.get(self.number) == "made":
            raise OSError("no more robots")
        if Ledger.fails.get(self.number) == "spaces":
            self.action_space = gymnasium.spaces.Discrete(3)
        Ledger.made += 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        if Ledger.fails.get(self.number) == "reset":
            raise ValueError("stuck")
        return super().reset(seed=seed)

    def close(self):
        Ledger.closed.append(self.number)
        if Ledger.fails.get(self.number) == "close":
            raise RuntimeError("the viewer is gone")


@pytest.fixture(autouse=True)
def ledger():
    Ledger.made, Ledger.closed, Ledger.fails = 0, [], {}
    yield
    assert sorted(Ledger.closed) == list(range(1, Ledger.made + 1)), "all that were made are closed, and once"


POPULATION = {"strategy": "param_noise", "population_size": 4}


def test_envs_are_closed_at_the_end():
    run(Ledger, eval_freq=50, n_eval_episodes=2, **POPULATION)
    assert Ledger.made == 1 + 4 + 2, "one to look at, those to learn in, those to evaluate in"


@pytest.mark.parametrize(
    ("number", "what", "error"),
    [
        (1, "spaces", InvalidEnvError),
        (3, "spaces", InvalidEnvError),
        (4, "made", InvalidEnvError),
        (3, "reset", SimulationError),
        (6, "spaces", InvalidEnvError),
        (7, "made", InvalidEnvError),
        (7, "reset", SimulationError),
    ],
)
def test_envs_are_closed_where_one_of_them_fails(number, what, error):
    Ledger.fails = {number: what}
    with pytest.raises(error):
        run(Ledger, eval_freq=50, n_eval_episodes=2, **POPULATION)
    assert Ledger.made >= number - 1


def test_envs_are_closed_where_the_memory_does_not_suffice():
    with pytest.raises(ConfigError, match="buffer_size"):
        run(Ledger, total_timesteps=10**12, buffer_size=10**12)


def test_envs_are_closed_where_the_evaluation_env_does_not_fit():
    with pytest.raises(InvalidEnvError, match="of eval_env has shape"):
        run(Ledger, eval_env="HalfCheetah-v5", eval_freq=50)


@pytest.mark.parametrize("number", [1, 2, 4, 6, 7])
def test_an_env_that_cannot_be_closed_is_told_and_costs_nothing(number):
    Ledger.fails = {number: "close"}
    with pytest.warns(ApbWarning, match=r"close\(\) of env Ledger raised RuntimeError: the viewer is gone"):
        result = run(Ledger, eval_freq=50, n_eval_episodes=2, **POPULATION)
    assert result.stopped_by == "budget"
    assert len(result.final[0].returns) == 2


def test_an_env_that_cannot_be_closed_does_not_hide_what_went_wrong():
    Ledger.fails = {2: "close", 3: "reset"}
    with pytest.warns(ApbWarning, match="the viewer is gone"), pytest.raises(ApbError, match="stuck"):
        run(Ledger, **POPULATION)


def test_an_env_that_cannot_be_closed_costs_no_evaluation():
    Ledger.fails = {2: "close"}
    with pytest.warns(ApbWarning, match="the viewer is gone"):
        assert len(evaluate(lambda observations: np.zeros((len(observations), 1)), Ledger, 3).returns) == 3
