"""Policies around small backbones, and what they do, for the tests of what is cloned of them."""

import apb
import numpy as np
from apb.adapter import Adapter
from apb.adapter_shape import AdapterShape
from apb.cloning.demonstrations import Demonstrations
from policies import action_box, observation_box, random_adapter


def backbone(seed=0, reading="B", input_size=6):
    return apb.Backbone.random(
        seed, reading=reading, input_size=input_size if reading == "B" else None, hidden_sizes=(24, 20)
    )


def teacher(own, observation_size=6, action_size=3, scale=0.3, permutation=None):
    """A policy around `own` whose pre-layer is an identity, or that of observations in another order."""
    parameters = random_adapter(own, observation_size, action_size, 5, scale).parameters.copy()
    shape = AdapterShape.of(own, observation_size, action_size)
    layers = shape.split(parameters)
    layers["pre.weight"][...] = np.eye(own.input_size, observation_size)
    layers["pre.bias"][...] = 0
    if permutation is not None:
        layers["pre.weight"][...] = layers["pre.weight"][:, permutation]
    return apb.Policy(own, Adapter(shape, parameters), observation_box(observation_size), action_box(action_size))


def shown_by(policy, episodes=12, length=150, seed=0):
    """What a policy does on normal observations."""
    size = policy.adapter.shape.observation_size
    observations = np.random.default_rng(seed).normal(size=(episodes * length, size)).astype(np.float32)
    return Demonstrations(observations, policy(observations), [length] * episodes)


def demonstrated_arrays(lengths=(3, 2), observation_size=4, action_size=2, seed=0):
    """Arguments of `Demonstrations`, drawn."""
    generator, rows = np.random.default_rng(seed), sum(lengths)
    return {
        "observations": generator.normal(size=(rows, observation_size)),
        "actions": generator.uniform(-1, 1, (rows, action_size)),
        "episode_lengths": np.array(lengths),
    }
