"""What the objectives of a pre-training promise: the rewards and steps of their equations, lane by lane."""

import numpy as np
import pytest
import torch
from apb import ConfigError, InvalidEnvError, UnknownNameError, _native, rng
from apb.adapter_shape import AdapterShape
from apb.evaluation import EvalResult
from apb.intrinsic import OBJECTIVES, ParticleEntropy, RandomNetworkDistillation, objective_named
from apb.intrinsic.coverage import Visited, compared, evenly, particle_entropy
from apb.intrinsic.elements import elements_of
from apb.intrinsic.rewards import CLIP, IntrinsicRewards
from apb.intrinsic.rnd import draw_networks
from apb.learner import Learner
from hypothesis import given
from hypothesis import strategies as st
from learning import ACTION_SIZE, OBSERVATION_SIZE, draw_batch, filled_replay, lane_of, small_backbone, small_settings
from pretrain_runs import pretrain_settings

SIZES = [OBSERVATION_SIZE, 12, 12, 5]


def states(lanes, seed=0, rows=16, size=OBSERVATION_SIZE):
    drawn = np.random.default_rng(seed).standard_normal((lanes, rows, size))
    return torch.from_numpy(drawn.clip(-CLIP, CLIP).astype(np.float32))


def companion(seeds, objective="rnd", pool=None, **options):
    backbone = small_backbone()
    settings = pretrain_settings(objective=objective, **options)
    learner = Learner(
        backbone,
        AdapterShape.of(backbone, OBSERVATION_SIZE, ACTION_SIZE),
        seeds,
        small_settings(),
        backbone_training="per_lane",
        pool=pool,
    )
    return IntrinsicRewards(learner, settings, pool)


def torch_network(layers, lane):
    modules = []
    for i in range(len(layers) // 2):
        weight = torch.from_numpy(layers[f"{i}.weight"][lane].copy())
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(torch.from_numpy(layers[f"{i}.bias"][lane].copy()))
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


# --- random network distillation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [1, 3])
def test_steps_and_rewards_of_rnd_are_those_of_torch(lanes):
    seeds = list(range(5, 5 + lanes))
    objective = RandomNetworkDistillation(seeds, OBSERVATION_SIZE, pretrain_settings(learning_rate=1e-3))
    for lane in range(lanes):
        target, predictor = (torch_network(draw_networks(SIZES, seeds, draw), lane) for draw in range(2))
        optimizer = torch.optim.Adam(predictor.parameters(), 1e-3)
        again = RandomNetworkDistillation(seeds, OBSERVATION_SIZE, pretrain_settings(learning_rate=1e-3))
        met = []
        for step in range(4):
            batch = states(lanes, step)
            rewards = again.rewards(batch)
            errors = (predictor(batch[lane]) - target(batch[lane]).detach()).square().mean(dim=1)
            met.extend(errors.tolist())
            np.testing.assert_allclose(rewards[lane], errors.detach() / np.std(met), rtol=2e-3)
            np.testing.assert_allclose(again.losses()["rnd_loss"][lane], np.mean(errors.tolist()), rtol=1e-4)
            optimizer.zero_grad()
            errors.mean().backward()
            optimizer.step()
        found = again.state()
        for name, value in predictor.state_dict().items():
            index, part = name.split(".")
            np.testing.assert_allclose(found[f"predictor.layers.{int(index) // 2}.{part}"][lane], value, atol=1e-5)
            moment = optimizer.state[predictor.get_parameter(name)]["exp_avg"]  # a step does not tell the scale
            np.testing.assert_allclose(
                found[f"predictor.exp_avg.{int(index) // 2}.{part}"][lane], moment, rtol=1e-3, atol=1e-6
            )
    assert objective.state()["predictor.steps"] == 0


def test_the_random_network_stays_and_what_is_seen_often_is_worth_less_than_what_is_new():
    objective = RandomNetworkDistillation([0], OBSERVATION_SIZE, pretrain_settings())
    target = [weight.clone() for weight, _ in objective._target.chain]
    seen, new = states(1, 1), states(1, 2)
    for _ in range(1500):
        last = objective.rewards(seen)
    assert all((weight == before).all() for (weight, _), before in zip(objective._target.chain, target, strict=True))
    assert objective.rewards(new).mean() > 5 * last.mean()


def test_networks_differ_from_lane_to_lane_and_the_target_from_the_predictor():
    first, second = (draw_networks(SIZES, [1, 2], draw) for draw in range(2))
    flat = [layers["0.weight"][lane].tobytes() for layers in (first, second) for lane in range(2)]
    assert len(set(flat)) == 4
    assert all(abs(draw_networks([400, 300], [seed], 0)["0.weight"].var() * 400 / 2 - 1) < 0.05 for seed in range(3))


# --- particle entropy -------------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 6), st.integers(0, 2**31))
def test_rewards_of_knn_are_those_of_brute_force(lanes, neighbors, size, seed):
    batch = states(lanes, seed, rows=9, size=size)
    batch[:, 1] = batch[:, 0]  # drawn twice: a neighbour at distance 0
    settings = pretrain_settings(batch_size=9, knn_neighbors=neighbors)
    found = ParticleEntropy(range(lanes), size, settings).rewards(batch)
    rows = batch.numpy().astype(np.float64)
    for lane in range(lanes):
        for row in range(9):
            others = np.delete(rows[lane], row, axis=0)
            distances = np.sort(np.linalg.norm(others - rows[lane, row], axis=1))
            wanted = np.log(1 + distances[:neighbors].mean())
            np.testing.assert_allclose(found[lane, row], wanted, rtol=1e-5, atol=1e-6)


# --- both, in the place of rewards ------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rewards_are_of_next_observations_scaled_by_running_statistics_and_clipped(objective, monkeypatch):
    given_states = []
    of = OBJECTIVES[objective]
    rewards = of.rewards
    monkeypatch.setattr(of, "rewards", lambda self, batch: given_states.append(batch.clone()) or rewards(self, batch))
    learning, met = companion([3, 4], objective), [[], []]
    for number in range(3):
        batch = draw_batch(2, seed=number)
        batch.next_observation *= torch.logspace(0, OBSERVATION_SIZE - 1, OBSERVATION_SIZE)
        batch.next_observation[:, 0] *= 1e4  # beyond the clip
        before = batch.observation.clone(), batch.reward.clone()
        learning.prepare(batch)
        assert (batch.observation == before[0]).all()
        assert (batch.reward != before[1]).all()
        for lane in range(2):
            met[lane].append(batch.next_observation[lane].numpy().astype(np.float64))
            all_of_it = np.concatenate(met[lane])
            scaled = (met[lane][-1] - all_of_it.mean(axis=0)) / np.sqrt(all_of_it.var(axis=0) + 1e-8)
            np.testing.assert_allclose(given_states[-1][lane], scaled.clip(-5, 5), rtol=1e-4, atol=1e-5)
    assert abs(given_states[-1]).max() <= CLIP
    np.testing.assert_allclose(learning.losses()["intrinsic_reward"], batch.reward.mean(dim=1), rtol=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_lane_gets_the_same_bits_beside_others_as_alone_and_with_any_number_of_threads(objective):
    seeds = [7, 8, 9]
    together = [companion(seeds, objective, _native.ThreadPool(threads)) for threads in (1, 3)]
    alone = [companion([seed], objective) for seed in seeds]
    for number in range(4):
        batches = [draw_batch(3, seed=number) for _ in together]
        parts = [lane_of(batches[0], lane) for lane in range(3)]
        for learning, batch in zip([*together, *alone], [*batches, *parts], strict=True):
            learning.prepare(batch)
        assert (batches[0].reward == batches[1].reward).all()
        for lane, part in enumerate(parts):
            assert (part.reward[0] == batches[0].reward[lane]).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_state_that_is_loaded_goes_on_with_the_same_bits(objective):
    learning, other = companion([3, 4], objective), companion([3, 4], objective)
    for number in range(3):
        learning.prepare(draw_batch(2, seed=number))
    other.load_state(learning.state())
    assert {name: value.tolist() for name, value in other.losses().items()} == {
        name: value.tolist() for name, value in learning.losses().items()
    }
    first, second = draw_batch(2, seed=9), draw_batch(2, seed=9)
    learning.prepare(first)
    other.prepare(second)
    assert (first.reward == second.reward).all()


def test_the_random_steps_give_the_first_statistics():
    learning, replay = companion([3, 4]), filled_replay([3, 4])
    learning.warmed_up(replay)
    following = replay.table[:, :200, OBSERVATION_SIZE : 2 * OBSERVATION_SIZE]
    np.testing.assert_allclose(learning._observations.mean, following.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(learning._observations.variance, following.var(axis=1), rtol=1e-4)
    assert learning._observations.count.tolist() == [200, 200]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_elements_that_do_not_count_change_nothing(objective):
    first, second = companion([3, 4], objective, elements="0,3:"), companion([3, 4], objective, elements="0,3:")
    replay, one = filled_replay([3, 4]), draw_batch(2, seed=1)
    first.warmed_up(replay)
    replay.table[:, :, [OBSERVATION_SIZE + 1, OBSERVATION_SIZE + 2]] = 7
    second.warmed_up(replay)
    other = draw_batch(2, seed=1)
    other.next_observation[..., 1:3] = -3
    first.prepare(one)
    second.prepare(other)
    assert (one.reward == other.reward).all()
    other.next_observation[..., 3] += 1
    second.prepare(other)
    assert (one.reward != other.reward).any()


@pytest.mark.parametrize(
    ("text", "chosen"), [("all", range(6)), ("0:2", [0, 1]), ("5", [5]), ("4:, 0,1:2", [0, 1, 4, 5]), (":", range(6))]
)
def test_elements_are_indices_and_slices(text, chosen):
    assert elements_of(text, 6).tolist() == list(chosen)


@pytest.mark.parametrize(
    "text", ["", "0:7", "6", "-1", "a", "1:1", "3:2", "0;1", "0,", "²", 3, "6:", "9" * 5000, "0:" + "9" * 5000]
)
def test_what_names_no_elements_is_told(text):
    with pytest.raises(
        ConfigError, match=r"elements = .*; expected 'all', or indices and slices of 6 elements, from 0"
    ):
        elements_of(text, 6)


def test_observations_that_never_change_are_told_with_what_they_are_and_what_to_do():
    learning, replay = companion([3, 4]), filled_replay([3, 4])
    replay.table[1, :, : 2 * OBSERVATION_SIZE] = 0.25
    with pytest.raises(InvalidEnvError) as error:
        learning.warmed_up(replay)
    for words in ("lane 1 (seed 4)", "[0.25, 0.25, 0.25, 0.25, 0.25]", "200 random steps", "put into the observation"):
        assert words in str(error.value)


def test_an_unknown_objective_is_told_with_the_nearest():
    with pytest.raises(UnknownNameError, match="objective = 'rdn' is unknown; did you mean 'rnd'"):
        objective_named("rdn")


@pytest.mark.parametrize(
    ("objective", "options", "words"),
    [
        ("rnd", {"rnd_width": 16_384, "rnd_depth": 16}, "rnd_width = 16384 needs .* random networks and predictors"),
        ("knn", {"batch_size": 1_000_000}, "batch_size = 1000000 needs .* distances between the states of a batch"),
    ],
)
def test_what_no_memory_holds_is_told_before_anything_is_made(objective, options, words):
    with pytest.raises(ConfigError, match=words):
        OBJECTIVES[objective](range(64), OBSERVATION_SIZE, pretrain_settings(**options))


def test_the_stream_of_random_numbers_keeps_its_number():
    assert rng.Stream.INTRINSIC == 21


# --- coverage ---------------------------------------------------------------------------------------------------------


def episode(seed, length, spread, path=True):
    places = spread * np.random.default_rng(seed).standard_normal((length, 2)).cumsum(axis=0)
    return Visited(np.column_stack([places, np.ones(length)]).astype(np.float32), places if path else None)


NOTHING = EvalResult(np.zeros(1), np.ones(1, dtype=np.int64))


def test_coverage_is_greater_the_wider_states_are_spread_whatever_the_units_and_the_number_of_states():
    ways = {"policy": [episode(0, 300, 10.0)], "noisy": [episode(1, 90, 1.0)], "random": [episode(2, 100, 1.0)]}
    found = compared({way: (episodes, NOTHING) for way, episodes in ways.items()})
    assert found["policy"].entropy > 2 * found["random"].entropy
    deviation = ways["random"][0].states.std(axis=0)
    for way, (each,) in ways.items():
        few = evenly(each.states, 90) / np.where(deviation > 0, deviation, 1)
        assert found[way].entropy == pytest.approx(particle_entropy(few), rel=1e-4)
    scaled = {
        way: ([Visited(each.states * np.float32([4, 0.5, 1]), each.path) for each in episodes], NOTHING)
        for way, episodes in ways.items()
    }
    again = compared(scaled)
    for way, coverage in found.items():
        assert again[way].entropy == pytest.approx(coverage.entropy, rel=1e-5)
        path = ways[way][0].path
        assert coverage.distance == pytest.approx(np.linalg.norm(path - path[0], axis=1).max())


def test_at_most_two_thousand_states_of_each_way_are_compared():
    ways = {"policy": [episode(0, 2100, 2.0)], "noisy": [episode(1, 2600, 1.0)], "random": [episode(2, 2300, 1.0)]}
    found = compared({way: (episodes, NOTHING) for way, episodes in ways.items()})
    deviation = ways["random"][0].states.std(axis=0)
    for way, (each,) in ways.items():
        chosen = evenly(each.states, 2_000) / np.where(deviation > 0, deviation, 1)
        assert found[way].entropy == pytest.approx(particle_entropy(chosen), rel=1e-5)


def test_coverage_of_an_env_without_places_has_no_distance_and_a_single_state_covers_nothing():
    found = compared({way: ([episode(3, 1, 1.0, path=False)], NOTHING) for way in ("policy", "noisy", "random")})
    assert {(each.entropy, each.distance) for each in found.values()} == {(0.0, None)}
    assert set(found["policy"].to_json()) == {"entropy", "mean_reward"}


@given(st.integers(1, 50), st.integers(1, 50))
def test_rows_are_chosen_evenly(number, rows):
    chosen = evenly(np.arange(rows), min(number, rows))
    assert chosen[0] == 0
    assert set(np.diff(chosen)) <= {rows // len(chosen), rows // len(chosen) + 1}


def test_the_particle_entropy_is_the_mean_over_the_states():
    line = np.arange(40.0)[:, None]
    nearest = [np.sort(np.abs(line[:, 0] - place))[1:13].mean() for place in range(40)]
    assert particle_entropy(line) == pytest.approx(np.log(1 + np.array(nearest)).mean(), rel=1e-6)
