"""Every strategy keeps one protocol, and adds Gaussian noise of the given deviation to its actions."""

import json

import numpy as np
import pytest
from apb import _native, rng
from apb.settings import AdaptSettings
from apb.strategies import STRATEGIES
from learning import ACTION_SIZE, same_arrays
from strategy_rig import NOISE_ALONE, SEEDS, Rig, uneven

# --- the protocol ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=sorted(STRATEGIES))
def name(request):
    return request.param


def test_a_strategy_is_registered_under_its_name(name):
    assert STRATEGIES[name].name == name
    assert STRATEGIES[name].slots(AdaptSettings(strategy=name)) >= 1


def test_adapters_are_one_per_lane_or_one_per_simulation_and_actions_stay_in_bounds(name):
    rig = Rig(name, action_noise=0.9, population_size=4, length=uneven)
    for _ in range(20):
        adapters = rig.strategy.adapters()
        assert adapters.dtype == np.float32
        assert adapters.shape[0] == len(SEEDS)
        assert adapters.shape[1] in (1, rig.slots)
        assert adapters.shape[2] == rig.shape.num_parameters
        assert np.isfinite(adapters).all()
        assert np.abs(rig.step()).max() <= 1


def test_asking_twice_for_the_adapters_of_a_step_changes_nothing(name):
    rig = Rig(name, population_size=4, length=uneven)
    for _ in range(15):
        first = rig.act().copy()
        assert (rig.act() == first).all()
        rig.step()


def test_a_lane_explores_as_it_would_alone(name):
    together = Rig(name, population_size=4, length=lambda lane, slot, episode: uneven(0, slot, episode))
    alone = [Rig(name, (seed,), population_size=4, length=uneven) for seed in SEEDS]
    for _ in range(40):
        adapters = together.act()
        for lane, rig in enumerate(alone):
            assert rig.act()[0].tobytes() == adapters[lane].tobytes()
        actions = together.step()
        for lane, rig in enumerate(alone):
            assert rig.step()[0].tobytes() == actions[lane].tobytes()


@pytest.mark.parametrize("steps", [0, 1, 7, 23])
def test_a_saved_strategy_continues_bit_for_bit_from_the_middle_of_anything(name, steps):
    original = Rig(name, population_size=4, length=uneven)
    for _ in range(steps):
        original.step()
    arrays, values = original.strategy.state()
    kept = {key: value.copy() for key, value in arrays.items()}
    assert json.loads(json.dumps(values)) == values
    resumed = Rig(name, population_size=4, length=uneven)
    resumed.learner.load_state(original.learner.state(), original.learner.counters())
    resumed.strategy.load_state(arrays, values)
    resumed.steps, resumed.age, resumed.paid = original.steps, original.age.copy(), original.paid.copy()
    resumed.episode = original.episode.copy()
    for _ in range(40):
        assert original.act().tobytes() == resumed.act().tobytes()
        assert original.step().tobytes() == resumed.step().tobytes()
    assert same_arrays(original.arrays(), resumed.arrays())
    assert same_arrays(arrays, kept), "a state is a copy, which neither run writes to"


def test_after_a_reset_a_strategy_acts_around_the_new_policy(name):
    rig = Rig(name, population_size=4, param_noise=1e-4)
    for _ in range(6):
        rig.step()
    rig.learner.reset()
    rig.strategy.reset()
    new = rig.learner.adapters()
    assert np.abs(rig.act().mean(axis=1) - new).max() < 0.01 * np.abs(new).max()


# --- action noise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 0.1, 0.3])
def test_action_noise_is_gaussian_of_the_given_deviation_with_every_strategy(name, scale):
    rig = Rig(name, slots=7, action_noise=scale, **NOISE_ALONE.get(name, {}))
    noise = np.stack([rig.step() for _ in range(2000)])
    assert noise.std() == pytest.approx(scale, rel=0.03, abs=1e-9)
    # Six standard errors of the mean.
    assert abs(noise.mean()) <= 6 * scale / np.sqrt(noise.size)
    if scale:
        normalised = noise.ravel() / scale
        assert (np.abs(normalised) < 1).mean() == pytest.approx(0.6827, abs=0.01)
        independent = np.corrcoef(noise.reshape(2000, -1).T) - np.eye(noise[0].size)
        assert np.abs(independent).max() < 6 / np.sqrt(2000)


def test_noisy_actions_are_clipped_and_noise_is_a_function_of_seed_and_step(name):
    rig, again = (Rig(name, slots=1, action_noise=0.5, **NOISE_ALONE.get(name, {})) for _ in range(2))
    actions = np.full((2, 1, ACTION_SIZE), 0.9, dtype=np.float32)
    first, second = actions.copy(), actions.copy()
    rig.strategy.perturb(first, rig.observations, 17)
    again.strategy.perturb(second, rig.observations, 3)
    assert (first != second).any()
    second = actions.copy()
    again.strategy.perturb(second, rig.observations, 17)
    assert (first == second).all()
    many = np.concatenate([rig.step() for _ in range(50)])
    assert np.abs(many).max() == 1


def test_the_noise_of_a_step_is_drawn_from_a_stream_of_its_own(name):
    rig = Rig(name, slots=3, action_noise=0.25, **NOISE_ALONE.get(name, {}))
    actions = np.zeros((2, 3, ACTION_SIZE), dtype=np.float32)
    rig.strategy.perturb(actions, rig.observations, 17)
    normal = np.empty(3 * ACTION_SIZE, dtype=np.float32)
    for lane, seed in enumerate(SEEDS):
        _native.philox_normal(rng.key(seed, rng.Stream.ACTION_NOISE), rng.counter(17), normal)
        assert (actions[lane].ravel() == (0.25 * normal).clip(-1, 1)).all()


def test_action_noise_acts_with_the_current_policy():
    rig = Rig("action_noise")
    assert (rig.strategy.adapters()[:, 0] == rig.learner.adapters()).all()
    rig.learner.reset()
    assert (rig.strategy.adapters()[:, 0] == rig.learner.adapters()).all()
