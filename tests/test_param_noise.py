"""A population keeps its distance from the policy, and credits, ranks and moves by its equations."""

import numpy as np
import pytest
from apb import ApbWarning, Backbone, adapt, tasks
from apb.adapter import Adapter
from apb.errors import FileFormatError
from apb.reference import reference_forward
from apb.strategies.param_noise import DAMPING, PROBE_ROWS, VARIANCE_RATE, rank_weights
from apb.transitions import Episode, Transition
from learning import ACTION_SIZE, OBSERVATION_SIZE, same_arrays
from strategy_rig import Rig, uneven

# --- members ---------------------------------------------------------------------------------------------------------


def rms_distance(rig, lane, rows):
    arrays = rig.arrays()
    probe = arrays["probe"][lane, :rows]

    def actions(parameters):
        return reference_forward(rig.backbone, Adapter(rig.shape, parameters), probe)[0]

    center = actions(rig.learner.adapters()[lane])
    members = np.stack([actions(member) for member in rig.members()[lane]])
    return np.sqrt(np.mean((members - center) ** 2))


@pytest.mark.parametrize("param_noise", [0.02, 0.2, 0.6])
def test_members_act_as_far_from_the_policy_as_param_noise_says(param_noise):
    rig = Rig("param_noise", population_size=8, param_noise=param_noise)
    rig.act()
    assert rms_distance(rig, 0, 1) == pytest.approx(param_noise, rel=0.05), (
        "before any observation, at an observation of 0"
    )
    for steps in (3, 40, 40):
        for _ in range(steps):
            rig.step()
        rig.until_told()
        rows = min(rig.steps, PROBE_ROWS)
        rig.act()
        for lane in range(2):
            assert rms_distance(rig, lane, rows) == pytest.approx(param_noise, rel=0.05)


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_the_distance_is_measured_on_recent_observations_of_all_simulations_alike(slots):
    rig = Rig("param_noise", population_size=6, slots=slots)
    seen = []
    for _ in range(PROBE_ROWS + 5):
        rig.step()
        seen.append(rig.seen.observation)
    for lane, probe in enumerate(rig.arrays()["probe"]):
        places = {}
        for step, observations in enumerate(seen):
            places |= {row.tobytes(): (step, slot) for slot, row in enumerate(observations[lane])}
        steps, chosen = zip(*(places[row.tobytes()] for row in probe), strict=True)
        assert sorted(steps) == list(range(5, PROBE_ROWS + 5)), "the last ones, one of each step"
        counts = np.bincount(chosen, minlength=slots)
        assert counts.max() - counts.min() <= 1


def test_members_come_in_pairs_around_the_policy():
    rig = Rig("param_noise", population_size=6)
    rig.act()
    directions = rig.arrays()["directions"]
    assert (directions[:, 0::2] == -directions[:, 1::2]).all()
    assert np.unique(directions[0], axis=0).shape[0] == 6
    assert (rig.act() == rig.members()).all()


def test_members_move_with_the_policy_while_td3_improves_it():
    rig = Rig("param_noise", population_size=4)
    before = rig.act()
    drift = np.random.default_rng(0).standard_normal(rig.learner.adapters().shape).astype(np.float32)
    rig.learner.set_adapters(rig.learner.adapters() + drift)
    np.testing.assert_allclose(rig.act(), before + drift[:, None], rtol=1e-5, atol=1e-5)


def test_the_distance_is_kept_while_the_policy_changes():
    rig = Rig("param_noise", population_size=8, length=lambda lane, slot, episode: 10_000)
    for factor in (4, 0.25):
        rig.learner.set_adapters(np.float32(factor) * rig.learner.adapters())
        for _ in range(PROBE_ROWS):
            rig.step()
        rig.act()
        assert rms_distance(rig, 0, PROBE_ROWS) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("saturation", [1.0, 1e4])
def test_no_perturbation_is_larger_than_the_weights_themselves_where_the_distance_is_out_of_reach(saturation):
    rig = Rig("param_noise", population_size=4, param_noise=1.0)
    rig.learner.set_adapters(np.float32(saturation) * rig.learner.adapters())
    for _ in range(2 * PROBE_ROWS):
        rig.step()
    assert (rig.arrays()["scale"] <= 1).all()


# --- credit ----------------------------------------------------------------------------------------------------------


def some_values(observation):
    """A value of each observation (K, R, obs), in place of the critics'."""
    return np.float32(10) * observation[..., 0] + np.float32(3)


@pytest.mark.parametrize("slots", [1, 3, 6, 8])
@pytest.mark.parametrize("length", [lambda lane, slot, episode: 10_000, uneven], ids=["endless", "uneven"])
def test_a_member_is_credited_with_what_it_won_beyond_the_value_of_where_it_began(slots, length, monkeypatch):
    # Without a change of scale within a generation, so that a member's adapter is its name.
    monkeypatch.setattr("apb.strategies.param_noise.PROBE_ROWS", 10_000)
    gamma = 0.9
    rig = Rig("param_noise", population_size=6, slots=slots, length=length, gamma=gamma, segment_length=5)
    rig.learner.values = some_values
    segments, told = {}, 0
    credit, discounts = np.zeros((2, 6)), np.zeros((2, 6))
    steps = np.zeros((2, 6), dtype=np.int64)
    for _ in range(400):
        asked = rig.arrays()["asked"]
        acting = rig.act()
        for lane in np.flatnonzero(~asked):
            credit[lane], discounts[lane], steps[lane] = 0, 0, 0
            segments = {where: segment for where, segment in segments.items() if where[0] != lane}
        members, before = rig.members(), rig.arrays()["generation"]
        rig.step()
        ended = {(episode.lane, episode.slot) for episode in rig.seen.episodes}
        for where in np.ndindex(2, slots):
            names = [member.tobytes() for member in members[where[0]]]
            segment = segments.setdefault(where, {"member": names.index(acting[where].tobytes()), "rewards": []})
            assert names[segment["member"]] == acting[where].tobytes(), "a segment belongs to one member"
            segment.setdefault("start", rig.seen.observation[where])
            segment["rewards"].append(float(rig.seen.reward[where]))
            count = len(segment["rewards"])
            if count == 5 or where in ended:
                won = sum(gamma**k * reward for k, reward in enumerate(segment["rewards"]))
                if not rig.seen.terminated[where]:
                    won += gamma**count * some_values(rig.seen.next_observation[where])
                credit[where[0], segment["member"]] += won - some_values(segment["start"])
                discounts[where[0], segment["member"]] += sum(gamma**k for k in range(count))
                steps[where[0], segment["member"]] += count
                del segments[where]
        arrays = rig.arrays()
        assert (arrays["judged"] == steps).all()
        np.testing.assert_allclose(arrays["advantage"], credit, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(arrays["discounts"], discounts)
        for lane in np.flatnonzero(arrays["generation"] > before):
            told += 1
            assert steps[lane].min() >= 5, "no generation ends before every member has acted segment_length steps"
    assert told >= 8


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_members_share_few_simulations_evenly(slots):
    rig = Rig("param_noise", (3,), population_size=5, slots=slots, segment_length=7, length=lambda *where: 10_000)
    rig.until_told()
    assert sorted(rig.arrays()["judged"][0])[:-1] == [7] * 4, "at most one acts twice"
    assert rig.steps == 7 * -(-5 // slots)


def test_lanes_go_through_generations_at_their_own_pace():
    rig = Rig("param_noise", population_size=4, segment_length=3, length=lambda *where: 10_000)
    for step in range(36):
        rig.step(valid=np.repeat([[True], [step % 2 == 0]], 4, axis=1))
    assert (rig.arrays()["generation"] == [12, 6]).all()


def test_a_segment_that_the_loop_cut_off_is_credited_to_nobody_and_begins_anew():
    gamma = 0.5
    options = {"population_size": 4, "segment_length": 4, "gamma": gamma}
    rig = Rig("param_noise", (3,), length=lambda *where: 10_000, **options)
    rig.learner.values = lambda observation: np.zeros(observation.shape[:2], dtype=np.float32)
    rig.step()
    rig.strategy.restarted(np.array([[True, True, False, False]]))
    for _ in range(3):
        rig.step()
    arrays = rig.arrays()
    assert (arrays["judged"] == [[0, 0, 4, 4]]).all()
    assert (arrays["advantage"][0, :2] == 0).all()
    rig.step()
    assert rig.generation() == 1
    arrays = rig.arrays()
    assert (arrays["judged"] == [[4, 4, 4, 4]]).all()
    four_steps = rig.seen.reward * sum(gamma**k for k in range(4))  # a member is paid the same at every step
    np.testing.assert_allclose(arrays["advantage"][:, :2], four_steps[:, :2], rtol=1e-5)


def test_a_step_in_which_a_vector_env_only_resets_belongs_to_no_segment():
    rig = Rig("param_noise", (3,), population_size=4, segment_length=4, length=lambda *where: 10_000)
    rig.step(valid=np.array([[False, True, True, True]]))
    assert (rig.arrays()["steps"] == [[0, 1, 1, 1]]).all()
    rig.step()
    assert (rig.arrays()["start"][0, 0] == rig.seen.observation[0, 0]).all()


def test_transitions_of_the_warm_up_are_credited_to_nobody():
    rig = Rig("param_noise", (3,), population_size=4)
    shape = (1, 4)
    flags, valid = np.zeros(shape, dtype=np.bool_), np.ones(shape, dtype=np.bool_)
    observation = np.ones((*shape, OBSERVATION_SIZE), dtype=np.float32)
    actions, reward = np.zeros((*shape, ACTION_SIZE), dtype=np.float32), np.ones(shape, dtype=np.float32)
    ended = [Episode(0, 1, 99.0, 5, terminated=False)]
    for episodes in ([], ended, []):
        transition = Transition(observation, actions, reward, observation, flags, flags, valid, episodes)
        rig.strategy.observe(transition)
    rig.act()
    arrays = rig.arrays()
    assert arrays["judged"].sum() == arrays["advantage"].sum() == arrays["steps"].sum() == arrays["reward"].sum() == 0


# --- evolution -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [2, 3, 5, 10])
def test_rank_weights_are_logarithmic_for_the_better_half_and_zero_for_the_rest(members):
    fitness = np.random.default_rng(members).standard_normal(members)
    weights = rank_weights(fitness)
    ranks = (-fitness).argsort().argsort() + 1
    parents = members // 2
    expected = np.where(ranks <= parents, np.log((1 + parents) / ranks), 0)
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6)
    assert weights.sum() == pytest.approx(1)
    assert weights.argmax() == fitness.argmax()


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_a_told_generation_moves_actor_and_variance_as_its_equations_say(rate):
    rig = Rig("param_noise", population_size=6, evolution_rate=rate, length=uneven, segment_length=6)
    for _ in range(3):
        rig.act()
        variance = rig.arrays()["variance"][0].astype(np.float64)
        drift = np.random.default_rng(0).standard_normal(variance.size).astype(np.float32)
        moved = rig.learner.adapters() + drift  # TD3 goes on while the members act
        rig.learner.set_adapters(moved)
        directions = rig.arrays()["directions"][0].astype(np.float64)
        before = rig.generation(0)
        while rig.generation(0) == before:  # the other lane acts, too slowly to end a generation of its own
            rig.step(valid=np.repeat([[True], [rig.steps % 5 == 0]], rig.slots, axis=1))
        assert rig.generation(1) == 0
        arrays = rig.arrays()
        weights = rank_weights(arrays["advantage"][0] / arrays["discounts"][0]).astype(np.float64)
        expected = moved[0] + rate * arrays["scale"][0] * (weights @ directions)
        np.testing.assert_allclose(rig.learner.adapters()[0], expected, rtol=1e-4, atol=1e-5)
        assert (rig.learner.adapters()[1] == moved[1]).all(), "another lane's actor stays"
        estimate = variance + VARIANCE_RATE * (weights @ directions**2 + DAMPING - variance)
        np.testing.assert_allclose(arrays["variance"][0], estimate / estimate.mean(), rtol=1e-4)


@pytest.mark.parametrize(("learned", "other"), [("pre", "post"), ("post", "pre")])
def test_a_population_varies_and_moves_the_layers_that_are_learned_only(learned, other):
    rig = Rig("param_noise", population_size=6, evolution_rate=1.0, segment_length=4, learned_layers=learned)
    before = rig.shape.split(rig.learner.adapters()[:, None])
    members = rig.shape.split(rig.act())
    for _ in range(3):
        rig.until_told()
    after = rig.shape.split(rig.learner.adapters()[:, None])
    for kind in ("weight", "bias"):
        assert (members[f"{other}.{kind}"] == before[f"{other}.{kind}"]).all()
        assert (after[f"{other}.{kind}"] == before[f"{other}.{kind}"]).all()
        assert (members[f"{learned}.{kind}"] != before[f"{learned}.{kind}"]).any()
        assert (after[f"{learned}.{kind}"] != before[f"{learned}.{kind}"]).any()


def test_the_population_moves_the_policy_towards_what_pays():
    rig = Rig("param_noise", (3,), population_size=10, evolution_rate=1.0, segment_length=4)
    rig.learner.values = lambda observation: np.zeros(observation.shape[:2], dtype=np.float32)
    start = rig.learner.adapters().sum()
    for _ in range(10):
        rig.until_told()
    assert rig.learner.adapters().sum() > start + 1, "each step pays the sum of the adapter"


def test_critics_that_know_nothing_yet_move_no_policy():
    """As with the gradient: where learning begins with what was learned before, the critics come first."""
    start = {"adapter_init": "nearest", "learning_starts": 0, "strategy": "param_noise", "population_size": 2}
    budget = {"total_timesteps": 60, "segment_length": 5, "eval_freq": 0, "batch_size": 8, "num_threads": 1}
    task, psi = "cheetah-vel/mier-hard:0", Backbone.from_pretrained("cheetah-vel")
    nearest = psi.adapters.parameters[psi.adapters.nearest(tasks.get(task))]
    with pytest.warns(ApbWarning, match="the policy stays as it begins"):
        still = adapt(task, psi, **start, **budget, policy_starts=60)
    assert still.adapter.parameters.tobytes() == nearest.tobytes()
    moved = adapt(task, psi, **start, **budget, policy_starts=30, policy_delay=1_000)
    assert moved.adapter.parameters.tobytes() != nearest.tobytes(), "the members have moved it"


def test_fitness_that_is_all_noise_leaves_the_variance_near_even():
    rig = Rig("param_noise", (3,), population_size=10, segment_length=1)
    rig.learner.values = lambda observation: rng.standard_normal(observation.shape[:2]).astype(np.float32)
    rng = np.random.default_rng(0)
    for _ in range(300):
        rig.step()
    assert rig.generation() == 300
    variance = rig.arrays()["variance"][0].astype(np.float64)
    assert variance.sum() ** 2 / (variance.size * (variance**2).sum()) > 0.8, "the share of dimensions that count"


# --- what it keeps ---------------------------------------------------------------------------------------------------


def test_a_reset_forgets_what_generations_learned_about_the_old_policy():
    rig = Rig("param_noise", population_size=4)
    rig.until_told()
    for _ in range(2):
        rig.step()
    assert (rig.arrays()["variance"] != 1).any()
    rig.strategy.reset()
    rig.act()
    arrays = rig.arrays()
    assert (arrays["variance"] == 1).all()
    for forgotten in ("judged", "advantage", "steps", "reward"):
        assert (arrays[forgotten] == 0).all(), "segments under way began with the old members"


@pytest.mark.parametrize(("name", "value"), [("acting", 4), ("acting", -1), ("steps", -1), ("judged", -7)])
def test_a_saved_population_that_cannot_be_is_refused(name, value):
    rig = Rig("param_noise", population_size=4)
    rig.step()
    arrays, values = rig.strategy.state()
    arrays[name][0, 0] = value
    before = rig.arrays()
    with pytest.raises(FileFormatError, match=rf"(?s){name} = .*use another checkpoint"):
        rig.strategy.load_state(arrays, values)
    assert same_arrays(rig.arrays(), before)
