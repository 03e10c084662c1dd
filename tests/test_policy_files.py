"""Promises of a saved policy: it comes back alike, needs nothing else, and what was done to its files is noticed."""

import json
import os
import shutil

import apb.policy
import numpy as np
import pytest
import safetensors.numpy
from apb import files
from apb.adapter import Adapter
from apb.backbone import Backbone
from apb.errors import ApbError, ConfigError, FileFormatError, InvalidEnvError, MismatchError, RunFolderError
from apb.files import model_folders
from apb.policy import Policy
from gymnasium.spaces import Box
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policies import action_box, make_policy, policies, random_adapter, sign


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a saved policy, to be copied and spoilt."""
    path = tmp_path_factory.mktemp("saved") / "policy"
    make_policy(5, 3, normalize=True, metadata={"env_id": "Thing-v1", "timesteps": 7}).save_pretrained(path)
    return path


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "policy")


def edit_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    sign(folder)


def edit_tensors(folder, change):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    sign(folder)


# --- what comes back


@settings(max_examples=20)
@given(policies())
def test_a_loaded_policy_acts_like_the_saved_one_to_the_bit(tmp_path_factory, policy):
    loaded = Policy.from_pretrained(policy.save_pretrained(tmp_path_factory.mktemp("p") / "policy"))
    observations = np.random.default_rng(0).normal(0, 3, (7, policy.adapter.shape.observation_size))
    assert np.array_equal(loaded(observations), policy(observations))
    assert loaded.backbone.hash == policy.backbone.hash
    assert loaded.action_space == policy.action_space
    assert repr(loaded) == repr(policy)


def test_metadata_spaces_and_normaliser_come_back(folder):
    original, loaded = make_policy(5, 3, normalize=True), Policy.from_pretrained(folder)
    assert loaded.metadata == {"env_id": "Thing-v1", "timesteps": 7}
    assert loaded.observation_space == original.observation_space
    assert loaded.normalizer.clip == original.normalizer.clip
    assert np.array_equal(loaded.normalizer.inverse_std, original.normalizer.inverse_std)


def test_bounds_that_decimal_digits_cannot_hold_come_back_exactly(tmp_path):
    policy = make_policy(2, 2)
    low, high = np.array([-0.1, 1e-45], np.float32), np.array([np.float32(1) / 3, 3.4e38], np.float32)
    policy = Policy(policy.backbone, policy.adapter, Box(-np.inf, 0.3, (2,), np.float64), Box(low, high))
    loaded = Policy.from_pretrained(policy.save_pretrained(tmp_path / "p"))
    assert loaded.action_space.low.tobytes() == low.tobytes()
    assert loaded.action_space.high.tobytes() == high.tobytes()
    assert loaded.observation_space.high[0] == 0.3


def test_the_folder_holds_all_that_is_needed_and_a_card_for_people(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (folder / "README.md").read_text()
    assert "Policy for Thing-v1" in card
    assert make_policy(5, 3).backbone.hash in card
    (folder / "README.md").unlink()
    Policy.from_pretrained(folder)


def test_saving_over_a_policy_replaces_it_as_a_whole(folder):
    other = make_policy(4, 2, seed=1)
    other.save_pretrained(folder)
    assert repr(Policy.from_pretrained(folder)) == repr(other)
    assert sorted(file.name for file in folder.parent.iterdir()) == ["policy"]


def test_saving_over_files_of_the_user_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"):
        make_policy().save_pretrained(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
@pytest.mark.parametrize("content", ["mine", '{"format": "gguf"}', '{"format": null}', "[]"])
def test_saving_over_files_of_the_user_that_have_our_names_is_refused(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(RunFolderError, match=f"{tmp_path} already holds {name}.*give another name"):
        make_policy().save_pretrained(tmp_path)
    with pytest.raises(RunFolderError, match=f"already holds .*{name}"):
        make_policy().backbone.save_pretrained(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: content}


def test_saving_over_something_of_another_kind_is_refused(folder, tmp_path):
    policy = make_policy(5, 3)
    saved = {"policy": policy, "backbone": policy.backbone, "adapter": policy.adapter}
    for kind in ("backbone", "adapter"):
        saved[kind].save_pretrained(tmp_path / kind)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"job": "adapt"}')
    for held in (*saved, "run"):
        before = {path.name: path.read_bytes() for path in (tmp_path / held).iterdir()}
        for kind in saved.keys() - {held}:
            with pytest.raises(
                RunFolderError, match=f"{tmp_path / held} already holds an? {held}, .*give another name"
            ):
                saved[kind].save_pretrained(tmp_path / held)
        assert {path.name: path.read_bytes() for path in (tmp_path / held).iterdir()} == before


def test_a_folder_of_another_version_of_the_same_kind_is_replaced(folder):
    edit_config(folder, lambda config: config.update(format_version=99))
    make_policy().save_pretrained(folder)
    Policy.from_pretrained(folder)


@pytest.mark.parametrize("name", [".", "../policy", "link"])
def test_the_current_folder_is_not_replaced_under_whoever_works_in_it(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder.parent / "link").symlink_to(folder)
    place = folder.parent / name if name == "link" else name
    with pytest.raises(RunFolderError, match=r"is the current folder, .* give the name of a folder in it"):
        make_policy().save_pretrained(place)
    assert folder.samefile(".")
    make_policy().save_pretrained("within")
    shutil.rmtree(folder)
    for _ in range(2):  # a current folder that is no more does not matter
        make_policy().save_pretrained(folder)


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunFolderError, match=r"file/policy cannot be written: .*what was there before is kept"):
        make_policy().save_pretrained(tmp_path / "file" / "policy")
    with pytest.raises(RunFolderError, match=r"file is a file"):
        make_policy().save_pretrained(tmp_path / "file")


def test_a_policy_that_is_replaced_while_it_is_read_is_read_anew(folder, monkeypatch):
    busy, others = [], [make_policy(4, 2, seed=seed) for seed in (1, 2)]

    def replaced_meanwhile(path):
        if others and not busy:
            busy.append(True)
            others.pop().save_pretrained(folder)
            busy.clear()
        return sha256(path)

    sha256 = model_folders.sha256_file
    monkeypatch.setattr(model_folders, "sha256_file", replaced_meanwhile)
    assert repr(Policy.from_pretrained(folder)) == repr(make_policy(4, 2, seed=1))


def test_a_write_that_fails_half_way_leaves_the_old_policy_and_no_debris(folder, monkeypatch):
    before = repr(Policy.from_pretrained(folder))
    new = make_policy(4, 2, seed=1)
    for failing in range(1, 8):
        remaining = [None] * failing

        def failing_fsync(descriptor, remaining=remaining):
            remaining.pop()
            if not remaining:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing_fsync)
            with pytest.raises(RunFolderError, match="No space left"):
                new.save_pretrained(folder)
        assert repr(Policy.from_pretrained(folder)) in (before, repr(new))
        assert [file.name for file in folder.parent.iterdir()] == ["policy"]


def test_the_adapter_of_a_policy_can_be_saved_alone(tmp_path):
    policy = make_policy(5, 3)
    loaded = Adapter.from_pretrained(policy.adapter.save_pretrained(tmp_path / "a"), policy.backbone)
    again = Policy(policy.backbone, loaded, policy.observation_space, policy.action_space)
    assert np.array_equal(again(np.ones(5)), policy(np.ones(5)))


# --- what is noticed


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


def test_metadata_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="nan"):
        make_policy(metadata={"score": float("nan")})
    with pytest.raises(ConfigError, match="object"):
        make_policy(metadata={"score": object()})


# --- what could not be read back


def wide_policy(shape, bound, metadata=None):
    size = int(np.prod(shape))
    backbone = Backbone.random(0, input_size=1, hidden_sizes=(1, 1))
    adapter = random_adapter(backbone, size, 1)
    return Policy(backbone, adapter, Box(-bound, bound, shape, np.float32), action_box(1), metadata=metadata)


@pytest.mark.parametrize(
    ("shape", "bound", "metadata", "error", "words"),
    [
        ((1,) * 9, 1.0, {}, InvalidEnvError, "has 9 dimensions and 1 elements; expected at most 8 and 1,000,000"),
        ((1001, 1000), 1.0, {}, InvalidEnvError, "2 dimensions and 1,001,000 elements; expected at most 8"),
        ((300_000,), 3.4e38, {}, ConfigError, r"cannot be saved: value has [0-9,]+ bytes.*spaces of fewer"),
        ((2,), 1.0, {"a": "x" * 2**24}, ConfigError, r"cannot be saved: value has [0-9,]+ bytes.*less metadata"),
        ((2,), 1.0, {"a": json.loads("[" * 63 + "]" * 63)}, ConfigError, "cannot be saved: .*deeper than 64 levels"),
    ],
    ids=["dimensions", "elements", "bounds", "metadata", "depth"],
)
def test_a_policy_that_could_not_be_read_back_is_refused_when_it_is_made(shape, bound, metadata, error, words):
    with pytest.raises(error, match=words):
        wide_policy(shape, bound, metadata)


def test_a_policy_as_large_as_can_be_comes_back(tmp_path):
    config = make_policy(metadata={"a": ""})._config()
    room = model_folders.MAX_CONFIG_BYTES - model_folders.STAMP_BYTES - len(files.dump_json_file(config))
    policy = make_policy(metadata={"a": "x" * room})
    assert Policy.from_pretrained(policy.save_pretrained(tmp_path / "p")).metadata == policy.metadata
    with pytest.raises(ConfigError, match="cannot be saved"):
        make_policy(metadata={"a": "x" * (room + 1)})
