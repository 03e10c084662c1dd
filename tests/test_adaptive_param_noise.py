"""One perturbation acts per episode, and sigma follows the distance of actions that is wanted."""

import numpy as np
import pytest
from apb import _native, rng
from apb.adapter import Adapter
from apb.errors import FileFormatError
from apb.reference import reference_forward
from apb.strategies import adaptive_param_noise
from apb.strategies.action_distance import PROBE_ROWS
from learning import same_arrays
from strategy_rig import SEEDS, Rig, uneven

NAME = "adaptive_param_noise"


def make_rig(steps=1, **options):
    """A rig that has taken some steps: the first sigma wants an observation."""
    rig = Rig(NAME, **{"slots": 3, "length": uneven, **options})
    for _ in range(steps):
        rig.step()
    return rig


def perturbations(rig):
    return rig.act() - rig.learner.adapters()[:, None]


def direction(rig, lane, *position):
    """Standard normal numbers, a function of the lane's seed and the position alone."""
    drawn = np.empty(rig.shape.num_parameters, dtype=np.float32)
    _native.philox_normal(rng.key(SEEDS[lane], rng.Stream.PERTURBATION), rng.counter(*position), drawn)
    return drawn


def distance(rig, lane, sigma, directions):
    """Root mean square over perturbed actors, recent observations and action dimensions, in NumPy."""
    arrays = rig.arrays()
    probe = arrays["probe"][lane, : min(int(arrays["probed"][0]), PROBE_ROWS)]
    actor = rig.learner.adapters()[lane]

    def actions(parameters):
        return reference_forward(rig.backbone, Adapter(rig.shape, parameters.astype(np.float32)), probe)[0]

    apart = [actions(actor + sigma * each) - actions(actor) for each in directions]
    return np.sqrt(np.mean(np.square(apart)))


def with_sigma(rig, factor):
    """Multiply the sigma of all lanes."""
    rig.act()
    arrays, values = rig.strategy.state()
    arrays["sigma"] *= factor
    rig.strategy.load_state(arrays, values)


# --- perturbations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3])
def test_a_simulation_acts_with_one_perturbation_for_an_episode_and_with_others_in_others(slots):
    rig, seen = make_rig(slots=slots), {}
    for _ in range(60):
        episodes = rig.episode.copy()
        for (lane, slot), episode in np.ndenumerate(episodes):
            found = perturbations(rig)[lane, slot]
            np.testing.assert_allclose(found, seen.setdefault((lane, slot, episode), found), atol=1e-6)
        # TD3 goes on: what acts moves with the actor.
        drift = np.random.default_rng(rig.steps).standard_normal(rig.learner.adapters().shape).astype(np.float32)
        rig.learner.set_adapters(rig.learner.adapters() + np.float32(0.01) * drift)
        rig.step()
    rows = np.stack(list(seen.values()))
    alike = np.corrcoef(rows) - np.eye(len(rows))
    assert len(rows) > 30
    assert np.abs(alike).max() < 6 / np.sqrt(rows.shape[1]), "independent draws"


def test_a_perturbation_is_a_function_of_seed_simulation_and_episode_and_of_size_sigma():
    rig = make_rig(40)
    found, size = perturbations(rig), rig.arrays()["size"]
    assert (rig.episode > 0).all()
    for lane, slot in np.ndindex(size.shape):
        expected = size[lane, slot] * direction(rig, lane, 0, slot, rig.episode[lane, slot])
        np.testing.assert_allclose(found[lane, slot], expected, atol=1e-6)


@pytest.mark.parametrize("cut", ["restarted", "reset"])
def test_what_cuts_an_episode_short_ends_its_perturbation(cut):
    rig = make_rig(length=lambda *_: 10_000)
    before = perturbations(rig)
    rows = np.array([[True, False, True], [False, False, True]])
    if cut == "restarted":
        rig.strategy.restarted(rows)
    else:
        rig.strategy.reset()
        rows[...] = True
    changed = (np.abs(perturbations(rig) - before) > 1e-4).any(axis=2)
    assert (changed == rows).all()


@pytest.mark.parametrize(("learned", "other"), [("pre", "post"), ("post", "pre")])
def test_only_the_layers_that_are_learned_are_perturbed(learned, other):
    rig = make_rig(learned_layers=learned)
    actor = rig.shape.split(rig.learner.adapters()[:, None])
    acting = rig.shape.split(rig.act())
    for kind in ("weight", "bias"):
        assert (acting[f"{other}.{kind}"] == actor[f"{other}.{kind}"]).all()
        assert (acting[f"{learned}.{kind}"] != actor[f"{learned}.{kind}"]).all()


# --- sigma -----------------------------------------------------------------------------------------------------------


def test_lanes_act_as_their_actors_until_there_is_an_observation():
    rig = make_rig(0)
    assert (perturbations(rig) == 0).all()
    rig.step()
    assert (perturbations(rig) != 0).any(axis=2).all()


@pytest.mark.parametrize("param_noise", [0.02, 0.2, 0.4])
def test_the_first_sigma_lets_perturbed_actors_act_param_noise_away(param_noise):
    rig = Rig(NAME, param_noise=param_noise)
    for _ in range(PROBE_ROWS):  # a warm-up: nobody asks for adapters
        rig.strategy.observe(make_rig().seen)
    rig.act()
    sigma = rig.arrays()["sigma"]
    for lane in range(2):
        copies = [direction(rig, lane, 1, copy, PROBE_ROWS) for copy in range(adaptive_param_noise.FIRST_COPIES)]
        assert distance(rig, lane, sigma[lane], copies) == pytest.approx(param_noise, rel=0.02)
        others = [direction(rig, lane, 7, copy) for copy in range(200)]
        assert distance(rig, lane, sigma[lane], others) == pytest.approx(param_noise, rel=0.3)


@pytest.mark.parametrize("factor", [0.25, 0.9, 1.1, 4])
def test_every_fifty_steps_sigma_shrinks_where_a_perturbed_copy_acts_too_far_away_and_else_grows(factor):
    rig = make_rig()
    with_sigma(rig, factor)
    moves = []
    for _ in range(400):
        before = rig.arrays()["sigma"]
        rig.step()
        after = rig.arrays()["sigma"]
        if rig.steps % 50:
            assert (after == before).all()
            continue
        for lane in range(2):
            far = distance(rig, lane, before[lane], [direction(rig, lane, 1, 0, rig.steps)]) > 0.2
            assert after[lane] == pytest.approx(before[lane] / 1.01 if far else before[lane] * 1.01, rel=1e-12)
            moves.append(far)
    assert len(moves) == 16
    if factor in (0.25, 4):
        assert set(moves) == {factor == 4}


@pytest.mark.parametrize("factor", [0.4, 2.5])
@pytest.mark.parametrize("param_noise", [0.1, 0.3])
def test_the_distance_of_a_frozen_actor_settles_at_param_noise(factor, param_noise, monkeypatch):
    monkeypatch.setattr(adaptive_param_noise, "ADAPTED_EVERY", 1)
    rig = make_rig(PROBE_ROWS, param_noise=param_noise)
    with_sigma(rig, factor)
    found = []
    for step in range(600):
        rig.step()
        if step >= 300 and step % 10 == 0:
            sigma = rig.arrays()["sigma"]
            found += [
                [distance(rig, lane, sigma[lane], [direction(rig, lane, 7, copy)]) for lane in range(2)]
                for copy in range(10)
            ]
    # Half of the copies act farther away, half less far.
    np.testing.assert_allclose(np.median(found, axis=0), param_noise, rtol=0.15)


def test_an_episode_keeps_the_size_that_it_began_with_and_the_next_has_the_present_one(monkeypatch):
    monkeypatch.setattr(adaptive_param_noise, "ADAPTED_EVERY", 1)
    rig = make_rig()
    rig.act()
    for _ in range(30):
        before, episodes = rig.arrays()["size"], rig.episode.copy()
        rig.step()
        after, sigma = rig.arrays()["size"], rig.arrays()["sigma"]
        began = rig.episode > episodes
        assert (after[~began] == before[~began]).all()
        assert (after[began] == np.broadcast_to(sigma[:, None], after.shape)[began]).all()


def test_sigma_stays_at_the_size_of_the_weights_where_no_perturbation_reaches_the_distance(monkeypatch):
    monkeypatch.setattr(adaptive_param_noise, "ADAPTED_EVERY", 1)
    rig = make_rig(0, param_noise=1.0)
    rig.learner.set_adapters(np.float32(1e4) * rig.learner.adapters())  # tanh is saturated
    for _ in range(20):
        rig.step()
    assert (rig.arrays()["sigma"] == 1).all()


def test_after_a_reset_sigma_is_found_anew_for_the_new_actor():
    rig = make_rig(PROBE_ROWS)
    with_sigma(rig, 1e-3)
    rig.learner.reset()
    rig.strategy.reset()
    rig.act()
    fresh = Rig(NAME, slots=3)
    fresh.learner.reset()
    arrays, values = rig.strategy.state()
    fresh.strategy.load_state({**arrays, "sigma": np.zeros(2)}, values)
    fresh.act()
    assert (rig.arrays()["sigma"] == fresh.arrays()["sigma"]).all()
    assert (rig.arrays()["sigma"] > 1e-2).all()


# --- what it keeps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 49, 50, 77])
def test_several_simulations_continue_bit_for_bit_and_a_lane_goes_the_way_that_it_goes_alone(steps):
    """Past the steps at which sigma moves."""
    lengths = {"length": lambda lane, slot, episode: uneven(0, slot, episode)}
    original, alone = make_rig(steps, **lengths), make_rig(steps, seeds=SEEDS[:1], **lengths)
    resumed = Rig(NAME, slots=3, **lengths)
    resumed.strategy.load_state(*original.strategy.state())
    resumed.steps, resumed.age, resumed.episode = original.steps, original.age.copy(), original.episode.copy()
    for _ in range(60):
        acting = original.act()
        assert acting.tobytes() == resumed.act().tobytes()
        assert acting[0].tobytes() == alone.act()[0].tobytes()
        for rig in (original, resumed, alone):
            rig.step()
    assert same_arrays(original.arrays(), resumed.arrays())


@pytest.mark.parametrize(("name", "place"), [("episode", (0, 0)), ("probed", 0)])
def test_a_saved_state_that_cannot_be_is_refused(name, place):
    rig = make_rig()
    arrays, values = rig.strategy.state()
    arrays[name][place] = -1
    before = rig.arrays()
    with pytest.raises(FileFormatError, match=rf"(?s){name} = .*use another checkpoint"):
        rig.strategy.load_state(arrays, values)
    assert same_arrays(rig.arrays(), before)
