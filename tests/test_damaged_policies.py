"""What was done to the files of a saved policy is noticed: cut short, changed, blown up, signed anew or missing."""

import json
import os
import shutil

import apb.policy
import numpy as np
import pytest
import safetensors.numpy
from apb.backbone import Backbone
from apb.errors import ApbError, FileFormatError, MismatchError
from apb.policy import Policy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policies import edit_config, make_policy, sign


def edit_tensors(folder, change):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    sign(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_short_anywhere_is_refused(folder, saved, file, data):
    content = (saved / file).read_bytes()
    length = data.draw(st.integers(0, len(content) - 1 - content.endswith(b"\n")))
    (folder / file).write_bytes(content[:length])
    with pytest.raises(FileFormatError):
        Policy.from_pretrained(folder)
    (folder / file).write_bytes(content)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_of_the_arrays_is_refused(folder, saved, position, bit):
    content = bytearray((saved / "model.safetensors").read_bytes())
    content[position % len(content)] ^= 1 << bit
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(FileFormatError):
        Policy.from_pretrained(folder)


def test_a_changed_value_is_refused_by_its_checksum_and_a_file_blown_up_before_it_is_read(folder, monkeypatch):
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(FileFormatError, match="SHA-256"):
        Policy.from_pretrained(folder)
    hashed = []
    monkeypatch.setattr("apb.files.model_folders.sha256_file", hashed.append)
    os.truncate(folder / "model.safetensors", 2**40)
    with pytest.raises(FileFormatError, match=r"holds 10[0-9]* bytes of values; its header describes"):
        Policy.from_pretrained(folder)
    assert hashed == []


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0), byte=st.integers(0, 255))
def test_any_changed_byte_of_the_config_is_refused_unless_it_says_the_same(folder, saved, position, byte):
    content = bytearray((saved / "config.json").read_bytes())
    content[position % len(content)] = byte
    (folder / "config.json").write_bytes(content)
    try:
        Policy.from_pretrained(folder)
    except (FileFormatError, MismatchError):
        return
    assert json.loads(content) == json.loads((saved / "config.json").read_text())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=json_values, remove=st.booleans())
def test_any_value_anywhere_in_the_config_gives_a_policy_or_an_error_of_ours(folder, saved, data, value, remove):
    config = json.loads((saved / "config.json").read_text())
    place = config
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        break
    if remove:
        del place[key]
    else:
        place[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    sign(folder)
    try:
        loaded = Policy.from_pretrained(folder)
    except ApbError:
        return
    assert loaded.action_space.contains(loaded(np.zeros(5)))


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["normalizer"].update(clip=11.0),
        lambda config: config["normalizer"].update(clip=9.0),
        lambda config: config["action_space"]["high"].__setitem__(1, 1.01),
        lambda config: config["action_space"]["low"].__setitem__(2, -0.99),
        lambda config: config.update(normalizer=None),
        lambda config: config["backbone"].update(input_activation=True),
    ],
)
def test_a_config_that_changes_the_actions_is_noticed_even_when_signed_anew(folder, change):
    edit_config(folder, change)
    with pytest.raises((MismatchError, FileFormatError)):
        Policy.from_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("adapter.pre.bias"),
        lambda t: t.pop("backbone.layers.1.weight"),
        lambda t: t.pop("normalizer.mean"),
        lambda t: t.pop("parity.actions"),
        lambda t: t.update(extra=np.zeros(3, np.float32)),
        lambda t: t.update({"backbone.extra": np.zeros(3, np.float32)}),
        lambda t: t.update({"normalizer.extra": np.zeros(3, np.float32)}),
        lambda t: t.update({"adapter.pre.bias": t["adapter.pre.bias"].astype(np.float64)}),
        lambda t: t.update({"adapter.pre.bias": t["adapter.pre.bias"].astype(np.float16)}),
        lambda t: t.update({"adapter.pre.bias": t["adapter.pre.bias"].astype(np.int64)}),
        lambda t: t.update({"adapter.pre.weight": t["adapter.pre.weight"].T.copy()}),
        lambda t: t.update({"adapter.post.bias": np.full(3, np.nan, np.float32)}),
        lambda t: t.update({"normalizer.inverse_std": np.zeros(5, np.float32)}),
        lambda t: t.update({"normalizer.mean": np.zeros(4, np.float32)}),
        lambda t: t.update(
            {"parity.observations": t["parity.observations"][:0], "parity.actions": t["parity.actions"][:0]}
        ),
        lambda t: t.update({"parity.actions": t["parity.actions"].astype(np.float64)}),
    ],
)
def test_arrays_that_make_no_policy_are_refused_even_when_signed_anew(folder, change):
    edit_tensors(folder, change)
    with pytest.raises((FileFormatError, MismatchError)):
        Policy.from_pretrained(folder)


@pytest.mark.parametrize(
    "name",
    [
        "backbone.layers.0.weight",
        "adapter.pre.weight",
        "adapter.pre.bias",
        "adapter.post.weight",
        "adapter.post.bias",
        "normalizer.mean",
        "normalizer.inverse_std",
        "parity.observations",
        "parity.actions",
    ],
)
def test_changed_weights_are_noticed_by_the_replay_even_when_signed_anew(folder, name):
    edit_tensors(folder, lambda tensors: tensors.update({name: tensors[name] + np.float32(0.01)}))
    with pytest.raises(MismatchError, match="the folder was changed"):
        Policy.from_pretrained(folder)


def test_the_replay_forgives_the_rounding_of_another_machine(folder):
    # Another instruction set may be off in the last bits, not more.
    edit_tensors(folder, lambda t: t.update({"parity.actions": np.nextafter(t["parity.actions"], np.float32(2))}))
    Policy.from_pretrained(folder)


def test_a_native_core_that_computes_something_else_is_noticed(folder, monkeypatch):
    class Wrong:
        def __init__(self, *sizes):
            self.population = genuine(*sizes)

        def __getattr__(self, name):
            attribute = getattr(self.population, name)
            return (lambda rows: attribute(rows) * np.float32(0.99)) if name == "act" else attribute

    genuine = apb.policy._native.Population
    monkeypatch.setattr(apb.policy._native, "Population", Wrong)
    with pytest.raises(MismatchError, match=r"stored observation \d gives action"):
        Policy.from_pretrained(folder)


@pytest.mark.parametrize(("version", "error"), [(2, MismatchError), (0, FileFormatError), ("1", FileFormatError)])
def test_a_format_version_that_is_not_known_is_refused(folder, version, error):
    edit_config(folder, lambda config: config.update(format_version=version))
    with pytest.raises(error, match="format_version"):
        Policy.from_pretrained(folder)


def test_a_backbone_is_not_loaded_as_a_policy_nor_the_other_way_round(folder, tmp_path):
    backbone_folder = make_policy().backbone.save_pretrained(tmp_path / "b")
    with pytest.raises(FileFormatError, match=r"holds a backbone, .*; expected .* 'apb\.policy'"):
        Policy.from_pretrained(backbone_folder)
    with pytest.raises(FileFormatError, match=r"holds a policy, .*; expected .* 'apb\.backbone'"):
        Backbone.from_pretrained(folder)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "."])
def test_missing_files_are_named(folder, missing):
    target = folder / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(FileFormatError, match="there is no"):
        Policy.from_pretrained(folder)


def test_a_header_that_announces_an_exabyte_is_refused_without_allocating_it(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes((2**60).to_bytes(8, "little") + content[8:])
    sign(folder)
    with pytest.raises(FileFormatError, match="announces a header"):
        Policy.from_pretrained(folder)


def test_an_oversized_config_is_refused_without_reading_it(folder):
    with (folder / "config.json").open("r+b") as file:
        file.truncate(2**40)  # sparse: it takes no room on the disk
    with pytest.raises(FileFormatError, match="1099511627776 bytes"):
        Policy.from_pretrained(folder)


def test_a_config_of_a_million_levels_is_refused(folder):
    (folder / "config.json").write_text("[" * 10**6)
    with pytest.raises(FileFormatError, match="nested too deeply"):
        Policy.from_pretrained(folder)


def test_a_space_that_would_fill_the_memory_is_refused(folder):
    edit_config(folder, lambda config: config["observation_space"].update(shape=[2**31, 2**31]))
    with pytest.raises(FileFormatError, match="expected at most"):
        Policy.from_pretrained(folder)
