"""`LayerPredictor` is the mean of what an MLP says of single transitions, and comes back from a file as it was."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from apb.adapter_shape import AdapterShape, learned_layers
from apb.backbone import Backbone
from apb.errors import ConfigError, FileFormatError, MismatchError
from apb.files import model_folders
from apb.flap import layer_predictor
from apb.flap.layer_predictor import LayerPredictor
from flap_runs import drawn_backbone, drawn_predictor
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.integers(1, 6)


def drawn_transitions(shape, rows, seed=0):
    generator = np.random.default_rng(seed)
    sizes = ((rows, shape.observation_size), (rows, shape.action_size), (rows,), (rows, shape.observation_size))
    return [generator.standard_normal(size).astype(np.float32) for size in sizes]


def predicted_by_numpy(predictor, observation, action, reward, following):
    """Transition by transition, in float64."""
    found = []
    for s, a, r, n in zip(observation, action, reward, following, strict=True):
        x = np.concatenate([s, a, [r], n if predictor.next_observation else []]).astype(np.float64)
        x = np.clip((x - predictor.inputs.mean) * predictor.inputs.inverse_std, -10, 10)
        for number, (weight, bias) in enumerate(zip(predictor.weights, predictor.biases, strict=True)):
            x = weight.astype(np.float64) @ x + bias
            x = x if number == len(predictor.weights) - 1 else np.maximum(x, 0)
        found.append(predictor.mean + predictor.deviation * x)
    return np.mean(found, axis=0)


@given(SIZES, SIZES, SIZES, SIZES, st.lists(SIZES, max_size=3), st.integers(1, 9), st.booleans(), st.integers(0, 9))
def test_what_is_predicted_is_the_mean_of_the_predictions_of_single_transitions(
    observations, inputs, outputs, actions, hidden, rows, next_observation, seed
):
    shape = AdapterShape(observations, inputs, outputs, actions)
    predictor = drawn_predictor(shape, ("post", "both", "pre")[seed % 3], next_observation, tuple(hidden), seed)
    met = drawn_transitions(shape, rows, seed)
    found = predictor.predict(*met)
    assert found.dtype == np.float32
    expected = predicted_by_numpy(predictor, *met)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("layers", ["post", "pre", "both"])
def test_the_places_of_what_is_predicted_are_those_of_the_learned_layers(layers):
    shape = AdapterShape(3, 4, 5, 2)
    marked = np.zeros(shape.num_parameters)
    marked[drawn_predictor(shape, layers).places] = 1
    for name, values in shape.split(marked).items():
        assert (values == (name.partition(".")[0] in learned_layers(layers))).all(), name


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_backbone_is_saved_with_its_predictor_and_read_back_to_the_bit(tmp_path):
    psi = drawn_backbone()
    psi.save_pretrained(tmp_path / "b")
    read = Backbone.from_pretrained(tmp_path / "b").predictor
    assert read.description() == psi.predictor.description()
    own = psi.predictor.tensors()
    assert {name: array.tobytes() for name, array in read.tensors().items()} == {
        name: array.tobytes() for name, array in own.items()
    }
    assert read.hash == psi.predictor.hash
    met = drawn_transitions(read.shape, 11)
    assert read.predict(*met).tobytes() == psi.predictor.predict(*met).tobytes()


def test_the_hash_is_of_every_number_and_of_what_is_read(tmp_path):
    predictor = drawn_predictor(AdapterShape(3, 4, 5, 2))
    others = {predictor.hash, drawn_predictor(AdapterShape(3, 4, 5, 2), seed=1).hash}
    for name in ("mean", "deviation"):
        moved = getattr(predictor, name).copy()
        moved[0] += 1
        others.add(replace(predictor, **{name: moved}).hash)
    others.add(replace(predictor, biases=(predictor.biases[0] + 1, *predictor.biases[1:])).hash)
    others.add(replace(predictor, inputs=replace(predictor.inputs, clip=3.0)).hash)
    assert len(others) == 6


def test_a_backbone_without_a_predictor_has_none_when_it_is_read(tmp_path):
    replace(drawn_backbone(), predictor=None).save_pretrained(tmp_path / "b")
    assert Backbone.from_pretrained(tmp_path / "b").predictor is None


def changed(folder, monkeypatch, change):
    """A folder whose configuration and tensors were changed by somebody who knows how."""
    config, tensors = model_folders.read_folder(folder, "apb.backbone", 1)
    tensors = {name: array.copy() for name, array in tensors.items()}
    change(config, tensors)
    monkeypatch.setattr("apb.files.read_folder", lambda *arguments: (config, tensors))
    return folder


CHANGES = {
    "no description": (lambda told, held: told.pop("predictor"), "does not hold a valid predictor"),
    "another description": (lambda told, held: told.update(predictor=[3]), "does not hold a valid predictor"),
    "no tensors": (lambda told, held: [held.pop(n) for n in [*held] if n.startswith("predictor.")], "expected float32"),
    "a tensor less": (lambda told, held: held.pop("predictor.1.bias"), "expected float32 tensors .*1.bias"),
    "a tensor more": (lambda told, held: held.update({"predictor.x": np.zeros(1, np.float32)}), "found .*'x'"),
    "doubles": (lambda told, held: held.update({"predictor.mean": held["predictor.mean"].astype(float)}), "float32"),
    "another size": (lambda told, held: held.update({"predictor.0.bias": np.zeros(3, np.float32)}), "layers have the"),
    "a short mean": (lambda told, held: held.update({"predictor.mean": held["predictor.mean"][1:]}), "mean has shape"),
    "NaN": (lambda told, held: held["predictor.1.weight"].fill(np.nan), "NaN or infinity"),
    "no deviation of inputs": (lambda told, held: held["predictor.inputs.inverse_std"].fill(0), "all > 0"),
    "other layers": (lambda told, held: told["predictor"].update(layers="pots"), "did you mean 'post'"),
    "both layers": (lambda told, held: told["predictor"].update(layers="both"), "parameters"),
    "no next observation": (lambda told, held: told["predictor"].update(next_observation=False), "have the shapes"),
    "a word for a flag": (lambda told, held: told["predictor"].update(next_observation="no"), "expected true or false"),
    "no layers": (lambda told, held: told["predictor"].update(layer_sizes=[]), "expected float32"),
    "a word for sizes": (lambda told, held: told["predictor"].update(layer_sizes=7), "valid predictor"),
    "a clip of text": (lambda told, held: told["predictor"].update(clip="10"), "valid predictor"),
    "no adapters": (lambda told, held: held.pop("adapters"), "a predictor of layers and no adapters"),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_what_does_not_fit_a_predictor_in_a_file_is_refused(tmp_path, monkeypatch, change, words):
    folder = drawn_backbone().save_pretrained(tmp_path / "b")
    changed(folder, monkeypatch, change)
    with pytest.raises(FileFormatError, match=words) as raised:
        Backbone.from_pretrained(folder)
    assert str(folder) in str(raised.value)
    assert "write the folder anew" in str(raised.value)


def test_a_byte_that_was_changed_in_the_file_is_told(tmp_path):
    folder = drawn_backbone().save_pretrained(tmp_path / "b")
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=re.escape(str(path))):
        Backbone.from_pretrained(folder)


def test_the_description_is_what_the_docs_say_is_in_the_file(tmp_path):
    folder = drawn_backbone().save_pretrained(tmp_path / "b")
    told = json.loads((folder / "config.json").read_text())["predictor"]
    assert told.keys() == {"layers", "next_observation", "layer_sizes", "clip"}
    assert told["layer_sizes"] == [20 + 6 + 1 + 20, 7, 6, 6 * 9]


@pytest.mark.parametrize("name", ["mean", "deviation"])
def test_a_predictor_of_numbers_that_do_not_fit_is_not_made(name):
    predictor = drawn_predictor(AdapterShape(3, 4, 5, 2))
    with pytest.raises(MismatchError, match=rf"{name} has shape \(11,\); expected \(12,\)"):
        replace(predictor, **{name: getattr(predictor, name)[1:]})
    assert isinstance(predictor, LayerPredictor)


def test_any_number_of_transitions_goes_through_in_parts_and_none_is_told(monkeypatch):
    predictor = drawn_backbone().predictor
    met = drawn_transitions(predictor.shape, 11)
    whole = predictor.predict(*met)
    monkeypatch.setattr(layer_predictor, "CHUNK", 4)
    np.testing.assert_allclose(predictor.predict(*met), whole, rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="no transition to predict layers from; expected at least one"):
        predictor.predict(*(array[:0] for array in met))
