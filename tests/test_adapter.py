"""Promises of `Adapter`: where its layers lie, how they start, and which backbone they belong to."""

import json

import numpy as np
import pytest
from apb.adapter import Adapter, AdapterShape, draw_initial
from apb.backbone import Backbone
from apb.errors import ConfigError, FileFormatError, MismatchError
from hypothesis import given
from hypothesis import strategies as st
from policies import sign

BACKBONE = Backbone.random(0, input_size=4, hidden_sizes=(6, 5))
sizes = st.integers(1, 12)


@given(sizes, sizes, sizes, sizes)
def test_layers_lie_in_the_flat_vector_as_pre_weight_pre_bias_post_weight_post_bias(obs, d_in, features, act):
    shape = AdapterShape(obs, d_in, features, act)
    flat = np.arange(shape.num_parameters, dtype=np.float32)
    layers = shape.split(flat)
    assert shape.num_parameters == d_in * obs + d_in + act * features + act
    assert [layer.shape for layer in layers.values()] == [(d_in, obs), (d_in,), (act, features), (act,)]
    assert list(layers) == ["pre.weight", "pre.bias", "post.weight", "post.bias"]
    assert np.array_equal(np.concatenate([layer.ravel() for layer in layers.values()]), flat)


@given(st.integers(1, 3), st.integers(1, 4))
def test_a_population_is_split_into_views_of_its_own_memory(lanes, members):
    shape = AdapterShape(3, 4, 5, 2)
    flat = np.zeros((lanes, members, shape.num_parameters), np.float32)
    layers = shape.split(flat)
    assert layers["post.weight"].shape == (lanes, members, 2, 5)
    layers["pre.bias"][-1, -1, 2] = 7
    assert flat[-1, -1, 4 * 3 + 2] == 7
    assert np.count_nonzero(flat) == 1


@pytest.mark.parametrize("observation_size", [1, 3, 4, 9])
def test_the_pre_layer_of_reading_b_starts_as_the_identity_cut_or_padded(observation_size):
    layers = Adapter.initial(BACKBONE, observation_size, 2).layers
    observation = np.arange(1, observation_size + 1, dtype=np.float32)
    entered = layers["pre.weight"] @ observation + layers["pre.bias"]
    common = min(4, observation_size)
    assert np.array_equal(entered, [*observation[:common], *[0] * (4 - common)])


def test_the_pre_layer_of_reading_a_starts_as_a_linear_layer_of_torch_would():
    backbone = Backbone.random(0, reading="A")
    layers = Adapter.initial(backbone, 16, 2).layers
    assert 0.24 < np.abs(layers["pre.weight"]).max() <= 0.25
    assert layers["pre.bias"].any()


@pytest.mark.parametrize("reading", ["A", "B"])
def test_the_post_layer_starts_uniform_in_one_over_root_features(reading):
    layers = Adapter.initial(Backbone.random(0, reading=reading), 3, 8).layers
    bound = 1 / np.sqrt(256)
    assert 0.99 * bound < np.abs(layers["post.weight"]).max() <= bound
    assert 0 < np.abs(layers["post.bias"]).max() <= bound


def test_every_reset_of_every_seed_draws_another_adapter_and_draws_it_again_alike():
    shape = AdapterShape.of(BACKBONE, 3, 2)
    drawn = [draw_initial(BACKBONE, shape, seed, draw) for seed in (0, 1) for draw in (0, 1)]
    again = [draw_initial(BACKBONE, shape, seed, draw) for seed in (0, 1) for draw in (0, 1)]
    assert len({parameters.tobytes() for parameters in drawn}) == 4
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_parameters_cannot_be_written_and_do_not_follow_their_source():
    shape = AdapterShape.of(BACKBONE, 3, 2)
    source = np.zeros(shape.num_parameters, np.float32)
    adapter = Adapter(shape, source)
    source[0] = 1
    assert not adapter.parameters.any()
    with pytest.raises(ValueError, match="read-only"):
        adapter.layers["pre.weight"][0, 0] = 1


def test_a_saved_adapter_comes_back_bit_for_bit_and_holds_no_backbone(tmp_path):
    adapter = Adapter.initial(BACKBONE, 3, 2, seed=5)
    adapter.save_pretrained(tmp_path / "a")
    loaded = Adapter.from_pretrained(tmp_path / "a", BACKBONE)
    assert loaded.shape == adapter.shape
    assert np.array_equal(loaded.parameters, adapter.parameters)
    assert loaded.backbone_hash == BACKBONE.hash
    assert (tmp_path / "a" / "model.safetensors").stat().st_size < 4 * adapter.num_parameters + 1000


def test_another_backbone_of_the_same_sizes_is_refused_unless_forced(tmp_path):
    adapter = Adapter.initial(BACKBONE, 3, 2)
    adapter.save_pretrained(tmp_path / "a")
    other = Backbone.random(1, input_size=4, hidden_sizes=(6, 5))
    with pytest.raises(MismatchError, match=f"{BACKBONE.hash[:12]}, the given one is {other.hash[:12]}"):
        Adapter.from_pretrained(tmp_path / "a", other)
    forced = Adapter.from_pretrained(tmp_path / "a", other, force=True)
    assert forced.backbone_hash == other.hash
    assert np.array_equal(forced.parameters, adapter.parameters)


def test_a_backbone_of_other_sizes_is_refused_even_by_force(tmp_path):
    Adapter.initial(BACKBONE, 3, 2).save_pretrained(tmp_path / "a")
    wider = Backbone.random(0, input_size=4, hidden_sizes=(6, 7))
    with pytest.raises(MismatchError, match="output_size=7"):
        Adapter.from_pretrained(tmp_path / "a", wider, force=True)


def test_an_adapter_of_no_backbone_is_saved_only_after_it_is_bound(tmp_path):
    shape = AdapterShape.of(BACKBONE, 3, 2)
    adapter = Adapter(shape, np.zeros(shape.num_parameters, np.float32))
    with pytest.raises(ConfigError, match=r"adapter\.bind\(backbone\)"):
        adapter.save_pretrained(tmp_path / "a")
    adapter.bind(BACKBONE).save_pretrained(tmp_path / "a")


def test_parameters_of_wrong_length_or_not_finite_are_refused():
    shape = AdapterShape.of(BACKBONE, 3, 2)
    with pytest.raises(MismatchError, match=r"has shape \(4,\)"):
        Adapter(shape, np.zeros(4, np.float32))
    with pytest.raises(ConfigError, match="NaN"):
        Adapter(shape, np.full(shape.num_parameters, np.nan, np.float32))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("observation_size", 4),
        ("action_size", "2"),
        ("backbone_hash", None),
        ("backbone_hash", 3),
        ("format", "apb.policy"),
    ],
)
def test_a_config_that_was_changed_is_refused(tmp_path, field, value):
    Adapter.initial(BACKBONE, 3, 2).save_pretrained(tmp_path / "a")
    file = tmp_path / "a" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    sign(tmp_path / "a")
    with pytest.raises(FileFormatError):
        Adapter.from_pretrained(tmp_path / "a", BACKBONE)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("pre.bias"),
        lambda t: t.pop("post.weight"),
        lambda t: t.update(extra=np.zeros(1, np.float32)),
        lambda t: t.update({"pre.bias": t["pre.bias"].astype(np.float64)}),
        lambda t: t.update({"pre.weight": t["pre.weight"][0]}),
        lambda t: t.update({"post.bias": np.zeros(9, np.float32)}),
    ],
)
def test_tensors_that_are_not_the_four_layers_are_refused(change):
    adapter = Adapter.initial(BACKBONE, 3, 2)
    tensors = dict(adapter.layers)
    change(tensors)
    with pytest.raises(FileFormatError, match="memory does not hold a valid adapter"):
        Adapter.from_description(adapter.description(), tensors, "memory")
