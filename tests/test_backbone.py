"""Promises of `Backbone`: what is drawn, what is frozen, what is equal, and what a file gives back."""

import contextlib

import numpy as np
import pytest
import safetensors.numpy
import torch
from apb.backbone import Backbone
from apb.errors import ConfigError, FileFormatError, MismatchError, UnknownNameError
from hypothesis import given, settings
from hypothesis import strategies as st

SMALL = {"input_size": 4, "hidden_sizes": (6, 5)}


def test_the_same_seed_gives_the_same_weights_and_another_seed_gives_others():
    one, same, other = Backbone.random(3), Backbone.random(3), Backbone.random(4)
    assert one.hash == same.hash
    assert one.hash != other.hash
    assert all(np.array_equal(a, b) for a, b in zip(one.weights, same.weights, strict=True))


def test_drawn_weights_are_the_same_in_every_release():
    # Published results name a seed; this seed's weights are part of them.
    assert Backbone.random(0).hash == "442d1fc66d593536873d2d0f3eb2121b42effef1e7305d0994ac0169d90721b0"


def test_reading_b_maps_32_inputs_through_two_layers_of_256():
    backbone = Backbone.random(0)
    assert backbone.layer_sizes == (32, 256, 256)
    assert not backbone.input_activation
    assert backbone.num_parameters == 32 * 256 + 256 + 256 * 256 + 256


def test_reading_a_is_a_relu_and_one_matrix_between_relus():
    backbone = Backbone.random(0, reading="A")
    assert backbone.layer_sizes == (256, 256)
    assert backbone.input_activation


def test_pytorch_initialisation_fills_plus_minus_one_over_root_fan_in():
    backbone = Backbone.random(1, input_size=16)
    for weight, bias in zip(backbone.weights, backbone.biases, strict=True):
        bound = 1 / np.sqrt(weight.shape[1])
        assert 0.95 * bound < np.abs(weight).max() <= bound
        assert 0.9 * bound < np.abs(bias).max() <= bound
        assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_he_initialisation_has_variance_two_over_fan_in():
    backbone = Backbone.random(1, init="he")
    for weight, bias in zip(backbone.weights, backbone.biases, strict=True):
        assert weight.std() == pytest.approx(np.sqrt(2 / weight.shape[1]), rel=0.05)
        assert not bias.any()


@pytest.mark.parametrize("sizes", [(32, 256), (256, 32), (64, 64)])
def test_orthogonal_initialisation_is_an_isometry_times_root_two(sizes):
    weight = Backbone.random(1, init="orthogonal", input_size=sizes[0], hidden_sizes=sizes[1:]).weights[0]
    gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    np.testing.assert_allclose(gram, 2 * np.eye(len(gram)), atol=1e-5)


def test_orthogonal_initialisation_prefers_no_sign():
    # Householder's QR alone makes the first entry negative for every seed.
    first = {
        np.sign(Backbone.random(seed, init="orthogonal", hidden_sizes=(4,)).weights[0][0, 0]) for seed in range(20)
    }
    assert first == {-1, 1}


def test_weights_cannot_be_written_and_do_not_follow_the_arrays_they_came_from():
    source = np.ones((2, 3), np.float32)
    backbone = Backbone((source,), (np.zeros(2, np.float32),))
    before = backbone.hash
    source[:] = 7
    assert backbone.weights[0].max() == 1
    with pytest.raises(ValueError, match="read-only"):
        backbone.weights[0][0, 0] = 2
    assert backbone.hash == before


@given(st.integers(0, 1), st.integers(0, 100), st.booleans())
def test_the_hash_sees_every_weight_and_the_first_relu_but_not_metadata(layer, position, in_bias):
    backbone = Backbone.random(0, **SMALL)
    arrays = [[w.copy() for w in backbone.weights], [b.copy() for b in backbone.biases]]
    flat = arrays[in_bias][layer].reshape(-1)
    flat[position % flat.size] = np.nextafter(flat[position % flat.size], np.float32(9))
    assert Backbone(tuple(arrays[0]), tuple(arrays[1])).hash != backbone.hash
    assert Backbone(backbone.weights, backbone.biases, input_activation=True).hash != backbone.hash
    assert Backbone(backbone.weights, backbone.biases, metadata={"note": "x"}).hash == backbone.hash


def test_two_shapes_that_share_their_bytes_have_different_hashes():
    flat = np.arange(6, dtype=np.float32)
    wide = Backbone((flat[:4].reshape(1, 4), flat[4:5].reshape(1, 1)), (flat[:1], flat[:1]))
    tall = Backbone((flat[:4].reshape(4, 1), flat[:4].reshape(1, 4)), (flat[:4], flat[:1]))
    assert wide.hash != tall.hash


@pytest.mark.parametrize("reading", ["A", "B"])
def test_features_are_those_of_the_same_layers_in_torch(reading):
    backbone = Backbone.random(2, reading=reading, input_size=7, hidden_sizes=(7, 11, 5))
    modules: list[torch.nn.Module] = [torch.nn.ReLU()] if reading == "A" else []
    for weight, bias in zip(backbone.weights, backbone.biases, strict=True):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = torch.tensor(weight), torch.tensor(bias)
        modules += [linear, torch.nn.ReLU()]
    inputs = np.random.default_rng(0).standard_normal((4, 3, 7)).astype(np.float32)
    with torch.no_grad():
        expected = torch.nn.Sequential(*modules)(torch.tensor(inputs)).numpy()
    np.testing.assert_allclose(backbone(inputs), expected, atol=1e-6)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.sampled_from("AB"), st.integers(0, 2**63 - 1))
def test_a_saved_backbone_comes_back_bit_for_bit(tmp_path_factory, sizes, reading, seed):
    path = tmp_path_factory.mktemp("backbone") / "b"
    backbone = Backbone.random(seed, reading=reading, hidden_sizes=sizes)
    backbone.save_pretrained(path)
    with contextlib.chdir(path):
        loaded = Backbone.from_pretrained(".")
    assert loaded.hash == backbone.hash
    assert loaded.metadata == backbone.metadata
    assert loaded.input_activation == backbone.input_activation


def test_the_safetensors_library_reads_the_weights_under_their_names(tmp_path):
    backbone = Backbone.random(0, **SMALL)
    backbone.save_pretrained(tmp_path / "b")
    tensors = safetensors.numpy.load_file(tmp_path / "b" / "model.safetensors")
    assert set(tensors) == {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"}
    assert np.array_equal(tensors["layers.1.weight"], backbone.weights[1])


def test_saving_over_a_backbone_replaces_it(tmp_path):
    Backbone.random(0, **SMALL).save_pretrained(tmp_path / "b")
    Backbone.random(1, **SMALL).save_pretrained(tmp_path / "b")
    assert Backbone.from_pretrained(tmp_path / "b").hash == Backbone.random(1, **SMALL).hash


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": -1}, ConfigError, "seed = -1"),
        ({"seed": 2**63}, ConfigError, "seed = 9223372036854775808"),
        ({"reading": "C"}, UnknownNameError, "reading = 'C'"),
        ({"reading": "b"}, UnknownNameError, "did you mean 'B'"),
        ({"init": "kaiming"}, UnknownNameError, "did you mean 'he'"),
        ({"init": "pytorc"}, UnknownNameError, "did you mean 'pytorch'"),
        ({"hidden_sizes": ()}, ConfigError, "hidden_sizes is empty"),
        ({"seed": 1.5}, ConfigError, "seed = 1.5 is a float; expected an integer"),
        ({"seed": "Pendulum-v1"}, ConfigError, "seed = 'Pendulum-v1' is a str; expected an integer"),
        ({"input_size": 3.5}, ConfigError, "input_size = 3.5 is a float; expected an integer"),
        ({"hidden_sizes": 256}, ConfigError, "hidden_sizes = 256; expected a sequence"),
        ({"hidden_sizes": (256, 0)}, ConfigError, "= 0 is out of range"),
        ({"hidden_sizes": (16_385,)}, ConfigError, "16385 is out of range"),
        ({"input_size": -3}, ConfigError, "-3 is out of range"),
        ({"reading": "A", "hidden_sizes": (8,)}, ConfigError, "needs two"),
        ({"reading": "A", "input_size": 3}, ConfigError, "contradicts"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        Backbone.random(**arguments)


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ([], [], "0 weights"),
        ([np.ones((2, 3))], [], "1 weights and 0 biases"),
        ([np.ones((2, 3))], [np.ones(3)], "has 2 rows; expected 3"),
        ([np.ones((2, 3)), np.ones((4, 3))], [np.ones(2), np.ones(4)], "has 3 columns; expected 2"),
        ([np.ones(3)], [np.ones(3)], "expected 2 non-empty dimensions"),
        ([np.ones((0, 3))], [np.ones(0)], "expected 2 non-empty dimensions"),
        ([np.array([[np.nan]])], [np.ones(1)], "NaN or infinity"),
    ],
)
def test_layers_that_do_not_fit_are_named(weights, biases, message):
    with pytest.raises(ConfigError, match=message):
        Backbone(tuple(weights), tuple(biases))


def test_a_folder_whose_weights_are_not_those_it_names_is_refused(tmp_path):
    backbone = Backbone.random(0, **SMALL)
    description, tensors = backbone.description(), {k: v.copy() for k, v in backbone.tensors().items()}
    tensors["layers.0.weight"][0, 0] += 1
    with pytest.raises(MismatchError, match="weights of hash"):
        Backbone.from_description(description, tensors, "memory")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer_sizes", None),
        ("layer_sizes", 3),
        ("layer_sizes", [4, 6, 6]),
        ("layer_sizes", [4, 6]),
        ("layer_sizes", list(range(1000))),
        ("metadata", [1]),
        ("metadata", "ab"),
    ],
)
def test_a_description_that_does_not_fit_the_tensors_is_refused(field, value):
    backbone = Backbone.random(0, **SMALL)
    with pytest.raises(FileFormatError, match="memory does not hold a valid backbone"):
        Backbone.from_description({**backbone.description(), field: value}, backbone.tensors(), "memory")


def test_weights_of_another_dtype_are_refused_not_cast():
    backbone = Backbone.random(0, **SMALL)
    tensors = {name: array.astype(np.float64) for name, array in backbone.tensors().items()}
    with pytest.raises(FileFormatError, match="expected float32"):
        Backbone.from_description(backbone.description(), tensors, "memory")
