"""Promises of a saved policy: it comes back alike, needs nothing else, and takes the place of its own kind only."""

import json
import os
import shutil

import numpy as np
import pytest
from apb import files
from apb.adapter import Adapter
from apb.backbone import Backbone
from apb.errors import ConfigError, InvalidEnvError, RunFolderError
from apb.files import model_folders
from apb.policy import Policy
from gymnasium.spaces import Box
from hypothesis import given, settings
from policies import action_box, edit_config, make_policy, policies, random_adapter

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


# --- what could not be read back


def test_metadata_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="nan"):
        make_policy(metadata={"score": float("nan")})
    with pytest.raises(ConfigError, match="object"):
        make_policy(metadata={"score": object()})


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
