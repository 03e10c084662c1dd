"""Behavior Transfer: a prior acts in flights, and where its action is worth more."""

import gymnasium
import numpy as np
import pytest
import torch
from apb import FileFormatError, adapt
from apb.prior_actions import PriorActions
from apb.strategies.behavior_transfer import flight_lengths
from hypothesis import given
from hypothesis import strategies as st
from learning import OBSERVATION_SIZE, draw_batch, small_backbone
from strategy_rig import SEEDS, Rig, small_prior, uneven

NAME = "behavior_transfer"
FLIGHTS = {"extra_action": "off", "action_noise": 0.0}
NO_FLIGHTS = {"flight_prob": 0.0, "action_noise": 0.0}


# --- flights ---------------------------------------------------------------------------------------------------------


@given(st.floats(0, 10), st.integers(1, 500))
def test_the_probability_of_a_flight_of_n_steps_is_proportional_to_a_power_of_n(exponent, longest):
    found = flight_lengths(exponent, longest)
    assert found.shape == (longest,)
    assert found.sum() == pytest.approx(1)
    n = np.arange(1, longest + 1)
    np.testing.assert_allclose(found / found[0], n**-exponent, rtol=1e-9)


def flying(rig, steps):
    """Whether each simulation was in a flight, step by step (T, K, S): the actor of the rig does nothing."""
    found = []
    for _ in range(steps):
        actions = rig.step()
        found.append((actions == small_prior(rig.seen.observation)).all(axis=2))
        assert (found[-1] | (actions == 0).all(axis=2)).all()
    return np.array(found)


def test_flights_begin_with_their_probability_and_last_as_long_as_the_law_says():
    rig = Rig(
        NAME,
        slots=50,
        length=lambda lane, slot, episode: 10**9,
        flight_prob=0.1,
        flight_exponent=2,
        flight_max_length=6,
        **FLIGHTS,
    )
    found = flying(rig, 1500).reshape(1500, -1).T
    mean = (flight_lengths(2, 6) * np.arange(1, 7)).sum()
    # A flight begins in one of ten steps outside of flights, also in the step right after one.
    share = mean / (mean + (1 - 0.1) / 0.1)
    assert found.mean() == pytest.approx(share, rel=0.03)
    runs = [len(piece) for row in found for piece in "".join(".#"[int(on)] for on in row).split(".") if piece]
    assert np.mean(np.array(runs) == 1) == pytest.approx(flight_lengths(2, 6)[0] * 0.9, rel=0.03)


def test_longer_flights_come_with_a_smaller_exponent_and_none_is_longer_than_the_longest():
    long = Rig(
        NAME,
        length=lambda lane, slot, episode: 10**9,
        flight_prob=0.01,
        flight_exponent=0,
        flight_max_length=9,
        **FLIGHTS,
    )
    found = flying(long, 3000).reshape(3000, -1).T
    runs = [len(piece) for row in found for piece in "".join(".#"[int(on)] for on in row).split(".") if piece]
    assert np.mean(runs) == pytest.approx(5, abs=0.8)
    assert max(runs) <= 9 + 9  # one that follows at once


def test_a_flight_lasts_as_long_as_was_drawn_when_it_began():
    rig = Rig(NAME, length=lambda lane, slot, episode: 10**9, flight_prob=1.0, flight_max_length=9, **FLIGHTS)
    left = []
    for _ in range(60):
        rig.step()
        left.append(rig.arrays()["left"])
    before, after = np.array(left[:-1]), np.array(left[1:])
    np.testing.assert_array_equal(after[before > 0], before[before > 0] - 1)
    assert set(after[before == 0]) <= set(range(9))
    assert len(set(after[before == 0])) > 3


def test_a_flight_ends_with_its_episode():
    rig = Rig(
        NAME,
        length=lambda lane, slot, episode: 4,
        flight_prob=0.05,
        flight_exponent=0,
        flight_max_length=1000,
        **FLIGHTS,
    )
    found = flying(rig, 2000)
    in_first, in_last = found[0::4], found[3::4]
    # Most flights would last hundreds of steps. One that did not end would be seen in all later steps.
    assert in_last.mean() > 3 * in_first.mean()
    assert in_first.mean() == pytest.approx(0.05, abs=0.01)


def test_where_episodes_are_cut_short_flights_end_too():
    rig = Rig(NAME, flight_prob=1.0, flight_exponent=0, flight_max_length=1000, **FLIGHTS)
    rig.step()
    assert (rig.strategy.state()[0]["left"] > 0).any()
    rig.strategy.restarted(np.ones((len(SEEDS), rig.slots), dtype=np.bool_))
    assert (rig.strategy.state()[0]["left"] == 0).all()


def test_the_prior_is_not_noisy_in_a_flight_and_the_actor_is_outside_of_it():
    options = {"flight_prob": 0.3, "extra_action": "off", "action_noise": 0.2, "length": uneven}
    rig, flights = Rig(NAME, **options), []
    for _ in range(50):
        actions = rig.step()
        flights.append((actions == small_prior(rig.seen.observation)).all(axis=2))
        assert (actions[~flights[-1]] != 0).all()
    # The same flights as without noise, step by step: none of the prior's actions is another one for the noise.
    np.testing.assert_array_equal(flights, flying(Rig(NAME, **options | {"action_noise": 0.0}), 50))
    assert 0.3 < np.mean(flights) < 0.9


@pytest.mark.parametrize("extra_action", ["hard", "soft"])
def test_in_a_flight_the_prior_acts_without_noise_whatever_its_action_is_worth(extra_action):
    options = {"slots": 3, "flight_prob": 0.3, "flight_max_length": 9, "length": uneven}
    rig = Rig(NAME, extra_action=extra_action, action_noise=0.2, **options)
    flights = flying(Rig(NAME, **options, **FLIGHTS), 50)
    for _ in range(3):
        rig.learner.td3.update(draw_batch(len(SEEDS)))
    worse = []
    for in_flight in flights:
        actions = rig.step()
        prior = small_prior(rig.seen.observation)
        np.testing.assert_array_equal(actions[in_flight], prior[in_flight])
        worse += (values_of(rig, prior) < values_of(rig, np.zeros_like(prior)))[in_flight].tolist()
    assert 0.1 < np.mean(worse) < 0.9


@pytest.mark.parametrize("left", [-1, 10])
def test_a_state_of_a_flight_that_cannot_be_is_refused_with_what_can(left):
    rig = Rig(NAME, flight_max_length=9)
    loaded, _ = rig.strategy.state()
    loaded["left"][...] = 9
    rig.strategy.load_state(loaded, {})
    loaded["left"][1, 0] = left
    with pytest.raises(
        FileFormatError, match=rf"(?s)has left = array\(.*{left}.*; expected steps of a flight, 0 to 9; use"
    ):
        rig.strategy.load_state(loaded, {})
    assert (rig.arrays()["left"] == 9).all()


# --- the extra action ------------------------------------------------------------------------------------------------


def values_of(rig, actions):
    observation = rig.seen.observation
    state, chosen = torch.from_numpy(observation), torch.from_numpy(actions)
    td3 = rig.learner.td3
    return td3._values(td3.networks.q_target, state, chosen).amin(dim=1).numpy()


def test_the_better_of_two_actions_by_the_lower_target_critic_is_taken():
    rig = Rig(NAME, slots=3, extra_action="hard", length=uneven, **NO_FLIGHTS)
    for number in range(3):
        rig.learner.td3.update(draw_batch(len(SEEDS), seed=number))
    taken = []
    for _ in range(40):
        actions = rig.step()
        prior, own = small_prior(rig.seen.observation), np.zeros_like(actions)
        better = values_of(rig, prior) > values_of(rig, own)
        np.testing.assert_array_equal(actions, np.where(better[:, :, None], prior, own))
        taken.append(better)
    assert 0.05 < np.mean(taken) < 0.95


def test_a_soft_choice_takes_the_priors_action_as_often_as_the_softmax_of_the_values_says():
    rig = Rig(NAME, slots=200, extra_action="soft", length=lambda lane, slot, episode: 10**9, **NO_FLIGHTS)
    expected, taken = [], []
    for _ in range(60):
        actions = rig.step()
        prior = small_prior(rig.seen.observation)
        both = np.stack([values_of(rig, np.zeros_like(actions)), values_of(rig, prior)]).astype(np.float64)
        expected.append((np.exp(10 * both) / np.exp(10 * both).sum(axis=0))[1])
        taken.append((actions == prior).all(axis=2))
    expected, taken = np.array(expected), np.array(taken)
    assert 0.1 < expected.mean() < 0.9
    assert taken.mean() == pytest.approx(expected.mean(), abs=0.01)
    likely = expected > np.median(expected)
    assert taken[likely].mean() == pytest.approx(expected[likely].mean(), abs=0.015)


def test_batches_have_the_priors_actions_at_the_next_observations():
    batch = draw_batch(2, seed=3)
    PriorActions(small_prior).prepare(batch)
    np.testing.assert_array_equal(batch.prior_action.numpy(), small_prior(batch.next_observation.numpy()))


def test_a_prior_that_knows_the_task_is_taken_over():
    """The env pays for being near to a place that only the prior knows the way to; see `Corridor`."""
    plain, explored = (
        adapt(Corridor, small_backbone(), **LEARNS, **options)
        for options in ({}, {"strategy": NAME, "prior": lambda o: np.ones((len(o), 1)), "flight_prob": 0.05})
    )
    assert explored.final[0].mean > 8
    assert plain.final[0].mean < 1


LEARNS = {
    "total_timesteps": 3_000,
    "learning_starts": 200,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "eval_freq": 3_000,
    "n_eval_episodes": 1,
    "num_threads": 1,
    "action_noise": 0.05,
}


class Corridor(gymnasium.Env):
    """A walk of 40 steps of at most 1 each; beyond 25, which no noise reaches, each pays 1."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = 0.0, 0
        return self._observe(), {}

    def step(self, action):
        self.place += float(action[0])
        self.steps += 1
        return self._observe(), float(self.place > 25), False, self.steps == 40, {}

    def _observe(self):
        return np.full(OBSERVATION_SIZE, self.place / 25, dtype=np.float32)
