"""A backbone that all lanes learn together follows the mean of their gradients, each divided by the lane's values."""

import copy

import numpy as np
import pytest
import torch
from apb import _native, rng
from apb.lane_networks import LaneNetworks
from apb.meta_training.settings import MetaSettings
from apb.shared_backbone import SMALLEST_SCALE, SharedBackbone
from apb.td3 import TD3
from hypothesis import given
from hypothesis import strategies as st
from learning import FIELDS, draw_batch, lane_of, same_arrays, small_backbone, small_settings, small_shape
from plain_td3 import OracleActor, OracleCritic, assert_same_weights
from torch import nn

SEEDS = (7, 8, 21)
SCALES = (0.1, 1.0, 100.0)
"""How large the values of each lane are, so that a mean that is not of lanes that count alike is another."""

SETTINGS = {"learning_rate": 3e-3, "critic_learning_rate": 1e-3, "tau": 0.5, "gamma": 0.9, "policy_delay": 2}
"""A large tau, so that a target that does not follow is far from one that does."""

native_and_torch = pytest.mark.parametrize("native", [True, False], ids=["native", "torch"])


def make(seeds=SEEDS, reading="B", native=True, pool=None, **changes):
    backbone, settings = small_backbone(reading), small_settings(MetaSettings, **SETTINGS | changes)
    options = {"backbone_training": "shared", "native": native, "pool": pool}
    return TD3(LaneNetworks(backbone, small_shape(backbone), seeds, settings, **options))


def make_shared(lanes, **options):
    defaults = {"learning_rate": 1e-3, "tau": 0.5, "max_grad_norm": 0.0, "device": torch.device("cpu"), "native": True}
    return SharedBackbone(small_backbone(), lanes, **{**defaults, **options})


def of_group(td3, group):
    return {name: value for name, value in td3.state().items() if name.startswith(f"{group}.")}


def flat(arrays):
    return np.concatenate([value.ravel() for value in arrays.values()])


def moved(before, after):
    """The change of all arrays of a group, as one vector."""
    return flat(after) - flat(before)


def assert_same_vector(found, expected, tolerance=1e-3):
    """They differ by less than this part of their length: what a sum in another order makes of it."""
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def scale_values(td3, factors):
    """Make the values of each lane's critics so many times as large."""
    for critics in (td3.networks.critics, td3.networks.target_critics):
        for lane, factor in enumerate(factors):
            critics["2.weight"][lane] *= factor
            critics["2.bias"][lane] *= factor


# --- the equations ---------------------------------------------------------------------------------------------------


class PlainMetaTD3:
    """TD3 of several lanes around one backbone with `nn.Module`, autograd and `optim.Adam`, from the state of `td3`."""

    def __init__(self, td3):
        self.settings, self.seeds, self.lanes = td3.settings, td3.networks.seeds, range(len(td3.networks.seeds))
        learned = td3.settings.learned_layers
        self.actors = [
            OracleActor(td3.networks.actor, lane, td3.networks.backbone, False, learned) for lane in self.lanes
        ]
        self.target_actors = [
            OracleActor(td3.networks.target_actor, lane, td3.networks.backbone, False) for lane in self.lanes
        ]
        self.body, self.target_body = self.actors[0].body, copy.deepcopy(self.actors[0].body)
        self.body.requires_grad_(True)
        for actor, target in zip(self.actors, self.target_actors, strict=True):
            actor.body, target.body = self.body, self.target_body
        self.critics, self.target_critics = (
            [nn.ModuleList(OracleCritic(layers, lane, twin) for twin in range(2)) for lane in self.lanes]
            for layers in (td3.networks.critics, td3.networks.target_critics)
        )
        rate, critic_rate = td3.settings.learning_rate, td3.settings.critic_learning_rate
        adapters = [p for actor in self.actors for p in self.adapter(actor) if p.requires_grad]
        critics = [p for pair in self.critics for p in pair.parameters()]
        self.adapter_adam, self.critic_adam = torch.optim.Adam(adapters, rate), torch.optim.Adam(critics, critic_rate)
        self.body_adam = torch.optim.Adam(self.body.parameters(), rate)
        self.updates = 0
        self.norms = []

    def adapter(self, actor):
        return [*actor.pre.parameters(), *actor.post.parameters()]

    def update(self, batch):
        s = self.settings
        self.updates += 1
        self.critic_losses = [self.critic_loss(lane, lane_of(batch, lane)) for lane in self.lanes]
        self.step(self.critic_adam, sum(self.critic_losses))
        if self.updates % s.policy_delay:
            return
        values = [
            self.critics[lane][0](batch.observation[lane], self.actors[lane](batch.observation[lane]))
            for lane in self.lanes
        ]
        self.actor_losses = [-q.mean() for q in values]
        meta_loss = sum(-q.mean() / q.abs().mean().detach() for q in values) / len(values)
        body_gradient = torch.autograd.grad(meta_loss, [*self.body.parameters()], retain_graph=True)
        self.step(self.adapter_adam, sum(self.actor_losses))  # the loss of no lane depends on another's adapter
        for parameter, gradient in zip(self.body.parameters(), body_gradient, strict=True):
            parameter.grad = gradient.clone()
        limit = s.max_grad_norm or float("inf")
        self.norms.append(nn.utils.clip_grad_norm_(self.body.parameters(), limit).item())
        self.body_adam.step()
        networks = (
            [self.body, *self.actors, *self.critics],
            [self.target_body, *self.target_actors, *self.target_critics],
        )
        with torch.no_grad():
            for net, target in zip(*networks, strict=True):
                own = self.adapter if isinstance(net, OracleActor) else nn.Module.parameters
                for value, target_value in zip(own(net), own(target), strict=True):
                    target_value.lerp_(value, s.tau)

    def critic_loss(self, lane, batch):
        s = self.settings
        observation, action, reward, following, alive = (getattr(batch, name)[0] for name in FIELDS)
        with torch.no_grad():
            noise = np.empty(action.shape, np.float32)
            key = rng.key(self.seeds[lane], rng.Stream.TARGET_NOISE)
            _native.philox_normal(key, rng.counter(self.updates), noise.reshape(-1))
            noise = (torch.from_numpy(noise) * s.target_policy_noise).clamp(-s.target_noise_clip, s.target_noise_clip)
            next_action = (self.target_actors[lane](following) + noise).clamp(-1, 1)
            following_values = torch.minimum(*(critic(following, next_action) for critic in self.target_critics[lane]))
            target = reward + s.gamma * alive * following_values
        return sum(nn.functional.mse_loss(critic(observation, action), target) for critic in self.critics[lane])

    @staticmethod
    def step(adam, loss):
        adam.zero_grad()
        loss.backward()
        adam.step()

    def parts(self, td3):
        """Name in a state of `td3`, index there, own parameter, and its optimiser, if it has one."""
        for group, body, adam in (("backbone", self.body, self.body_adam), ("target_backbone", self.target_body, None)):
            for name, parameter in body.named_parameters():
                yield group, f"layers.{name}", 0, parameter, adam
        for group, actors, adam in (
            ("actor", self.actors, self.adapter_adam),
            ("target_actor", self.target_actors, None),
        ):
            for lane, actor in enumerate(actors):
                for name, parameter in actor.named_parameters():
                    if not name.startswith("body."):
                        yield group, name, lane, parameter, adam
        for group, critics, adam in (
            ("critics", self.critics, self.critic_adam),
            ("target_critics", self.target_critics, None),
        ):
            for lane, twins in enumerate(critics):
                for twin, critic in enumerate(twins):
                    for name, parameter in critic.layers.named_parameters():
                        yield group, name, (lane, twin), parameter, adam

    def assert_equals_and_adopt(self, td3):
        """Compare, and take over weights and moments, so that a difference of rounding does not grow."""
        state = {name: torch.from_numpy(value) for name, value in td3.state().items()}
        compared = set()
        for group, name, at, parameter, adam in self.parts(td3):
            found = state[f"{group}.{name}"][at]
            assert_same_weights(found, parameter.data, f"{group}.{name}")
            parameter.data.copy_(found)
            compared.add(f"{group}.{name}")
            for moment in ("exp_avg", "exp_avg_sq") if adam is not None else ():
                saved = f"{group}_adam.{moment}.{name}"
                own = adam.state[parameter].get(moment, torch.zeros_like(parameter))  # none of what is not learned
                assert_same_vector(state[saved][at].numpy(), own.detach().numpy())
                own.data.copy_(state[saved][at])
                compared.add(saved)
        torch.testing.assert_close(td3.critic_loss, torch.stack(self.critic_losses).detach(), rtol=1e-4, atol=1e-5)
        if self.norms:
            torch.testing.assert_close(td3.actor_loss, torch.stack(self.actor_losses).detach(), rtol=1e-4, atol=1e-5)
            assert compared == state.keys() - {"actor_loss", "critic_loss"}


@native_and_torch
@pytest.mark.parametrize("reading", ["A", "B"])
@pytest.mark.parametrize(
    ("max_grad_norm", "learned"), [(0.0, "both"), (0.02, "both"), (0.2, "both"), (0.2, "pre"), (0.2, "post")]
)
def test_updates_are_those_of_the_losses_written_plainly_in_torch(max_grad_norm, learned, reading, native):
    """The adapters' gradients are of their own losses, the backbone's of the mean of the scaled ones, and all are of
    the same batch before anything moves; targets are computed with the target backbone."""
    settings = {"max_grad_norm": max_grad_norm, "learned_layers": learned, "target_policy_noise": 0.6}
    td3 = make(reading=reading, native=native, **settings)
    scale_values(td3, SCALES)
    plain = PlainMetaTD3(td3)
    for number in range(6):
        batch = draw_batch(3, seed=number)
        batch.reward.mul_(torch.tensor(SCALES)[:, None])
        td3.update(batch)
        plain.update(batch)
        plain.assert_equals_and_adopt(td3)
    # The comparison says something on clipping only if gradients are longer, at first or always.
    assert len(plain.norms) == 3
    assert max(plain.norms) > 0.2
    assert min(plain.norms) > 0.02


@native_and_torch
def test_a_lane_with_a_thousand_times_the_values_moves_the_backbone_no_farther(native):
    """And its adapter by the gradient of its own loss, a thousand times as long."""
    found = []
    for factor in (1.0, 1000.0):
        td3 = make(native=native, policy_delay=1, critic_learning_rate=1e-12)
        scale_values(td3, (1.0, factor, 1.0))
        td3.update(draw_batch(3))
        found.append((flat(of_group(td3, "backbone_adam.exp_avg")), td3.state()["actor_adam.exp_avg.post.weight"]))
    (psi, adapters), (psi_scaled, adapters_scaled) = found
    assert_same_vector(psi_scaled, psi)
    for lane, factor in enumerate((1, 1000, 1)):
        assert_same_vector(adapters_scaled[lane], factor * adapters[lane])


def test_every_lane_has_a_part_in_the_step():
    before = make(policy_delay=1)
    before.update(draw_batch(3))
    for lane in range(3):
        td3, batch = make(policy_delay=1), draw_batch(3)
        batch.observation[lane] *= 0.5
        td3.update(batch)
        gradients = of_group(before, "backbone_adam.exp_avg"), of_group(td3, "backbone_adam.exp_avg")
        assert np.linalg.norm(moved(*gradients)) > 0.05 * np.linalg.norm(flat(gradients[0])), lane


@given(
    powers=st.lists(st.integers(-18, 20), min_size=1, max_size=4),
    seed=st.integers(0, 100),
    max_grad_norm=st.sampled_from([0.0, 0.1]),
)
def test_parts_and_scales_that_grow_together_give_the_same_step(powers, seed, max_grad_norm):
    """By powers of two, which round nothing: down to the last bit, as far as no scale is below the smallest one."""
    lanes, random = len(powers), np.random.default_rng(seed)
    scales = torch.from_numpy(random.uniform(0.5, 2, lanes))
    as_they_are, grown = (make_shared(lanes, max_grad_norm=max_grad_norm) for _ in range(2))
    parts = torch.from_numpy(random.standard_normal(as_they_are.parts.flat.shape).astype(np.float32))
    for shared in (as_they_are, grown):
        shared.parts.flat.copy_(parts)
    factors = 2.0 ** torch.tensor(powers)
    for part in grown.parts.values():
        part *= factors.view(-1, *[1] * (part.ndim - 1))
    as_they_are.step(scales)
    grown.step(scales * factors)
    first, second = ({n: v.numpy() for n, v in s.saved_layers()["backbone"].items()} for s in (as_they_are, grown))
    assert same_arrays(first, second)
    assert (first["layers.0.weight"] != small_backbone().weights[0]).any()


@native_and_torch
@pytest.mark.parametrize("max_grad_norm", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("norm", [0.02, 0.9, 30.0, 1e21])
def test_a_gradient_is_scaled_down_to_the_largest_norm_and_a_shorter_one_stays(norm, max_grad_norm, native):
    shared = make_shared(1, max_grad_norm=max_grad_norm, native=native)
    direction = torch.randn(shared.parts.flat.shape, generator=torch.Generator().manual_seed(1))
    gradient = direction * (norm / direction.norm())
    shared.parts.flat.copy_(gradient)
    shared.step(torch.ones(1))
    kept = shared.adam.exp_avg.flat.numpy() / 0.1  # the first step's moment is a tenth of the gradient
    # A little less than the limit: the division is guarded by 1e-6.
    assert_same_vector(kept, gradient.numpy() * min(1, max_grad_norm / norm), 2e-3)
    assert np.linalg.norm(kept) <= max_grad_norm * (1 + 1e-5)


# --- the target and the optimiser ------------------------------------------------------------------------------------


@native_and_torch
def test_the_backbone_and_its_target_move_with_the_policies_only(native):
    td3 = make(native=native, policy_delay=3)
    for number in range(1, 8):
        before = of_group(td3, "backbone"), of_group(td3, "target_backbone")
        td3.update(draw_batch(3, seed=number))
        after = of_group(td3, "backbone"), of_group(td3, "target_backbone")
        assert [not same_arrays(old, new) for old, new in zip(before, after, strict=True)] == [number % 3 == 0] * 2
        assert td3.counters()["backbone_steps"] == number // 3
        if number % 3 == 0:
            assert_same_vector(moved(before[1], after[1]), 0.5 * moved(before[1], after[0]))


@native_and_torch
def test_targets_are_computed_with_the_target_backbone(native):
    """With another one, the first critic loss is another; with another backbone, it is the same."""
    first = []
    for group in (None, "backbone", "target_backbone"):
        td3 = make(native=native)
        state = td3.state()
        if group is not None:
            for name in of_group(td3, group):
                state[name] = -state[name]
        td3.load_state(state, td3.counters())
        td3.update(draw_batch(3))
        first.append(td3.critic_loss.numpy().copy())
    as_it_is, other_backbone, other_target = first
    assert (as_it_is == other_backbone).all()
    assert (as_it_is != other_target).all()


def test_a_reset_draws_adapters_and_critics_anew_and_leaves_what_all_share():
    td3 = make()
    for number in range(4):
        td3.update(draw_batch(3, seed=number))
    before = td3.state()
    td3.reset(1)
    after = td3.state()
    fresh = make()
    fresh.reset(1)
    shared = {name for name in before if name.startswith(("backbone", "target_backbone"))}
    assert {name.partition(".layers.")[0] for name in shared} == {
        "backbone",
        "target_backbone",
        "backbone_adam.exp_avg",
        "backbone_adam.exp_avg_sq",
    }
    for name, value in after.items():
        expected = before if name in shared or name.endswith("_loss") else fresh.state()
        assert value.tobytes() == expected[name].tobytes(), name
        assert name not in shared or value.any(), name
    counts = td3.counters()
    assert [counts[name] for name in ("backbone_steps", "actor_steps", "critic_steps")] == [2, 0, 0]
    assert (before["actor.post.weight"] != after["actor.post.weight"]).any()
    td3.update(draw_batch(3, seed=4))
    td3.update(draw_batch(3, seed=5))
    assert td3.counters()["backbone_steps"] == 3


# --- what is seen of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["A", "B"])
def test_all_lanes_have_one_backbone_as_it_was_when_it_was_asked_for(reading):
    td3 = make(reading=reading)
    first = td3.networks.backbones()[0]
    assert first.hash == small_backbone(reading).hash
    td3.update(draw_batch(3, seed=0))  # of the critics only
    assert td3.networks.backbones()[0].hash == first.hash
    td3.update(draw_batch(3, seed=1))
    second, *others = td3.networks.backbones()
    assert second.hash != first.hash == small_backbone(reading).hash
    assert len(others) == 2
    assert all(other is second for other in others), "its K copies would take memory"
    found = {f"backbone.{name}": value[None] for name, value in second.tensors().items()}
    assert same_arrays(found, of_group(td3, "backbone"))
    assert second.input_activation == (reading == "A")
    td3.load_state(make(reading=reading).state(), make(reading=reading).counters())
    assert td3.networks.backbones()[1].hash == first.hash


def test_the_given_backbone_is_never_written_to():
    td3 = make()
    before = copy.deepcopy(td3.networks.backbone.tensors())
    for number in range(4):
        td3.update(draw_batch(3, seed=number))
    assert same_arrays(before, td3.networks.backbone.tensors())
    assert td3.networks.backbone.hash == small_backbone().hash
    assert td3.networks.backbones()[0].hash != td3.networks.backbone.hash


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_are_learned_on_any_number_of_threads(threads, lanes):
    found = []
    for pool in (None, _native.ThreadPool(threads)):
        td3 = make(SEEDS[:lanes], pool=pool, max_grad_norm=0.2)
        for number in range(4):
            td3.update(draw_batch(lanes, batch_size=16, seed=number))
        found.append(td3.state())
    assert same_arrays(*found)


def test_a_lane_whose_values_are_all_zero_counts_as_one_with_the_smallest_scale():
    given, floored = make_shared(2), make_shared(2)
    for shared in (given, floored):
        for part in shared.parts.values():
            part[0], part[1] = 1.0, 1e-12
    given.step(torch.tensor([2.0, 0.0]))
    floored.step(torch.tensor([2.0, SMALLEST_SCALE]))
    assert torch.equal(given.layers.flat, floored.layers.flat)
