"""Small backbones, adapters and policies for the tests, and hypothesis strategies that draw them."""

import hashlib
import json

import numpy as np
from apb.adapter import Adapter, AdapterShape
from apb.backbone import Backbone
from apb.files.model_folders import config_sha256
from apb.normalization import Normalizer
from apb.policy import Policy
from apb.reference import reference_forward
from gymnasium.spaces import Box
from hypothesis import strategies as st


def sign(folder):
    """Make the checksums of a changed folder right again, as a careful adversary would."""
    config = json.loads((folder / "config.json").read_text())
    config["tensors_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    config["config_sha256"] = config_sha256(config)
    (folder / "config.json").write_text(json.dumps(config))


def observation_box(size, dtype=np.float64):
    return Box(-np.inf, np.inf, (size,), dtype)


def action_box(size, bound=1.0, dtype=np.float32):
    return Box(-bound, bound, (size,), dtype)


def random_adapter(backbone, observation_size, action_size, seed=0, scale=0.3):
    """An adapter whose every parameter is N(0, scale^2): no zeros, no structure."""
    shape = AdapterShape.of(backbone, observation_size, action_size)
    parameters = scale * np.random.default_rng(seed).standard_normal(shape.num_parameters)
    return Adapter(shape, parameters.astype(np.float32))


def random_normalizer(size, seed=0, clip=10.0):
    generator = np.random.default_rng(seed)
    return Normalizer(generator.normal(0, 3, size), generator.uniform(0.1, 4, size), clip)


def make_policy(observation_size=5, action_size=3, *, seed=0, reading="B", normalize=False, bound=1.0, metadata=None):
    backbone = Backbone.random(seed, reading=reading, input_size=12, hidden_sizes=(12, 9))
    return Policy(
        backbone,
        random_adapter(backbone, observation_size, action_size, seed),
        observation_box(observation_size),
        action_box(action_size, bound),
        random_normalizer(observation_size, seed) if normalize else None,
        metadata,
    )


@st.composite
def policies(draw):
    """Policies of any small sizes, readings, with and without normalisation, with random bounds."""
    observation_size, action_size = draw(st.integers(1, 40)), draw(st.integers(1, 20))
    seed = draw(st.integers(0, 2**32 - 1))
    reading = draw(st.sampled_from("AB"))
    hidden = tuple(draw(st.lists(st.integers(1, 40), min_size=2, max_size=3)))
    input_size = hidden[0] if reading == "A" else draw(st.integers(1, 40))
    backbone = Backbone.random(seed, reading=reading, input_size=input_size, hidden_sizes=hidden, init="he")
    generator = np.random.default_rng(seed)
    low = generator.normal(0, 2, action_size).astype(np.float32)
    high = (low + generator.uniform(0.01, 3, action_size)).astype(np.float32)
    return Policy(
        backbone,
        random_adapter(backbone, observation_size, action_size, seed),
        observation_box(observation_size),
        Box(low, high),
        random_normalizer(observation_size, seed) if draw(st.booleans()) else None,
    )


def reference(policy, observations):
    """The exact actions of `policy`, and how far float32 may lie from them."""
    return reference_forward(
        policy.backbone, policy.adapter, observations, policy.normalizer, policy.scale, policy.offset
    )


def draw_observations(policy, rows, seed=0, dtype=np.float64):
    """Normal observations (rows, obs) of a size that neither vanishes nor saturates."""
    size = policy.adapter.shape.observation_size
    return np.random.default_rng(seed).normal(0, 2, (rows, size)).astype(dtype)


def edit_config(folder, change):
    """Change the JSON values of a saved model by `change`, and sign them as `save_pretrained` does."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    sign(folder)
