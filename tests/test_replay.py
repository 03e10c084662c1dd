"""`Replay`: K rings that hold the latest transitions, and batches that are a pure function of seed and draw."""

import os
import shutil
import tempfile
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from apb import _native, rng
from apb import replay as replay_module
from apb.errors import ConfigError
from apb.replay import Replay
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import FIELDS, filled_replay


def rows_of(replay, lane):
    """The rows of a lane from the oldest to the newest."""
    size, position, capacity = replay.size[lane], replay.position[lane], replay.table.shape[1]
    return [tuple(replay.table[lane, (position - size + i) % capacity]) for i in range(size)]


@settings(max_examples=60)
@given(
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(st.integers(1, 15), max_size=8),
    st.integers(0, 2**31),
)
def test_a_ring_holds_the_latest_valid_transitions_in_order(lanes, capacity, obs, act, steps, seed):
    generator = np.random.default_rng(seed)
    replay = Replay(range(lanes), capacity, obs, act, batch_size=2)
    expected = [deque(maxlen=capacity) for _ in range(lanes)]
    added = np.zeros(lanes, dtype=np.int64)
    for slots in steps:
        observation, following = (generator.standard_normal((lanes, slots, obs)).astype(np.float32) for _ in range(2))
        action = generator.standard_normal((lanes, slots, act)).astype(np.float32)
        reward = generator.standard_normal((lanes, slots)).astype(np.float32)
        terminated, valid = (generator.random((lanes, slots)) < 0.5 for _ in range(2))
        replay.add(observation, action, reward, following, terminated, valid)
        for lane, slot in np.argwhere(valid):
            row = (*observation[lane, slot], *following[lane, slot], *action[lane, slot], reward[lane, slot])
            expected[lane].append((*row, np.float32(not terminated[lane, slot])))
        added += valid.sum(axis=1)
    assert (replay.added == added).all()
    assert (replay.size == np.minimum(added, capacity)).all()
    assert (replay.position == added % capacity).all()
    for lane in range(lanes):
        assert rows_of(replay, lane) == list(expected[lane])


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True), st.integers(0, 2**40), st.integers(1, 40)
)
def test_a_batch_is_drawn_uniformly_by_philox_from_seed_and_draw(seeds, draw, batch_size):
    replay = filled_replay([seed % 1000 for seed in seeds], rows=50, capacity=40, batch_size=batch_size)
    replay._keys[:] = [rng.key(seed, rng.Stream.REPLAY) for seed in seeds]
    batch = replay.sample(draw)
    for lane, seed in enumerate(seeds):
        raw = np.random.Philox(key=rng.key(seed, rng.Stream.REPLAY), counter=[0, draw, 0, 0]).random_raw(batch_size)
        rows = replay.table[lane, [int(word) * 40 >> 64 for word in raw]]
        found = np.concatenate(
            [
                getattr(batch, name)[lane].numpy().reshape(batch_size, -1)
                for name in ("observation", "next_observation", "action")
            ]
            + [getattr(batch, name)[lane].numpy()[:, None] for name in ("reward", "not_terminated")],
            axis=1,
        )
        assert (found == rows).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_lane_gets_the_same_batch_beside_others_as_alone_on_any_number_of_threads(threads):
    replay = filled_replay([4, 5, 6], pool=_native.ThreadPool(threads))
    together = replay.sample(9)
    for lane, seed in enumerate([4, 5, 6]):
        alone = filled_replay([seed]).sample(9)
        for name in FIELDS:
            assert (getattr(together, name)[lane] == getattr(alone, name)[0]).all()


def test_a_replay_that_was_cleared_holds_and_draws_new_rows_only_and_counts_on():
    replay = filled_replay([4, 5], rows=50, capacity=40)
    for number in (80, 120):
        replay.clear()
        assert (replay.added.tolist(), replay.position.tolist(), replay.size.tolist()) == ([number] * 2, [0, 0], [0, 0])
        rewards = number + np.arange(6, dtype=np.float32).reshape(2, 3)
        zeros = (np.zeros((2, 3, size), dtype=np.float32) for size in (5, 2, 5))
        observation, action, following = zeros
        ended = np.zeros((2, 3), dtype=np.bool_)
        replay.add(observation, action, rewards, following, ended, ~ended)
        assert replay.added.tolist() == [number + 3] * 2
        for lane, drawn in enumerate(replay.sample(7).reward.tolist()):
            assert set(drawn) == set(rewards[lane].tolist())


def test_different_draws_and_seeds_give_different_batches():
    replay = filled_replay([4, 5])
    first = replay.sample(1).reward.clone()
    assert (replay.sample(2).reward != first).any()
    assert (replay.sample(1).reward == first).all()
    replay.table[1] = replay.table[0]
    batch = replay.sample(1)
    assert (batch.reward[0] != batch.reward[1]).any()


def test_a_batch_is_written_into_memory_that_is_allocated_once():
    replay = filled_replay([4])
    first, second = replay.sample(1), replay.sample(2)
    for name in FIELDS:
        assert getattr(first, name).data_ptr() == getattr(second, name).data_ptr()
        assert getattr(first, name).is_contiguous()


def test_the_bytes_of_the_rings_are_logged_before_they_are_allocated(monkeypatch, caplog):
    def full(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(np, "zeros", full)
    with caplog.at_level("INFO", "apb"), pytest.raises(MemoryError):
        Replay([1, 2], 1_000_000, 17, 6, 4)
    assert caplog.messages == ["replay: 336 MB when full, for 2 lanes with 1,000,000 transitions"]


def test_the_bytes_of_the_rings_are_known_and_a_ring_that_does_not_fit_is_refused(monkeypatch):
    assert Replay.required_bytes(2, 1000, 17, 6) == 2 * 1000 * (17 + 17 + 6 + 2) * 4
    assert Replay([1, 2], 1000, 17, 6, 4).table.nbytes == Replay.required_bytes(2, 1000, 17, 6)
    assert Replay.required_bytes(1, 10**6, 17, 6) <= 175 * 2**20
    monkeypatch.setattr(replay_module, "available_memory", lambda: 10 * 2**20)
    with pytest.raises(ConfigError, match=r"buffer_size = 100000 needs 16 MiB .* 10 MiB are free; choose a smaller"):
        Replay([1], 100_000, 17, 6, 4)


# --- on disk ---------------------------------------------------------------------------------------------------------


def test_a_replay_on_disk_holds_and_draws_what_one_in_memory_does_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    replays = [Replay([1, 2], 7, 3, 2, 5, on_disk=on_disk) for on_disk in (False, True)]
    assert not list(tmp_path.iterdir())
    generator = np.random.default_rng(0)
    for _ in range(11):
        rows = [generator.standard_normal((2, 1, size)).astype(np.float32) for size in (3, 2, 3)]
        flags = generator.random((2, 1)) < 0.5, generator.random((2, 1)) < 0.8
        reward = generator.standard_normal((2, 1)).astype(np.float32)
        for replay in replays:
            replay.add(rows[0], rows[1], reward, rows[2], *flags)
    memory, disk = replays
    assert memory.table.tobytes() == disk.table.tobytes()
    assert disk.table.flags.writeable
    for draw in range(3):
        one, other = memory.sample(draw), disk.sample(draw)
        for name in FIELDS:
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_a_replay_that_the_disk_has_no_room_for_is_refused_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10 * 2**20))
    with pytest.raises(ConfigError, match=r"needs 16 MiB on the disk of .*; 10 MiB are free; .* set TMPDIR"):
        Replay([1], 100_000, 17, 6, 4, on_disk=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match=r"no file of 16 MiB can be made for the replay in .*: .*No space left"):
        Replay([1], 100_000, 17, 6, 4, on_disk=True)


@pytest.mark.parametrize("kind", ["missing", "file", "closed"])
def test_a_tmpdir_that_cannot_be_written_to_is_told_and_not_passed_over(kind, monkeypatch, tmp_path):
    folder = tmp_path / kind
    if kind == "file":
        folder.touch()
    elif kind == "closed":
        folder = Path("/proc")  # nobody makes files there, root neither
    monkeypatch.setenv("TMPDIR", str(folder))
    with pytest.raises(ConfigError, match=rf"TMPDIR = '{folder}', where replay_on_disk keeps .*; expected a folder"):
        Replay([1], 10, 3, 2, 4, on_disk=True)
    Replay([1], 10, 3, 2, 4)


def test_without_tmpdir_the_replay_lies_in_the_systems_folder_of_temporary_files(monkeypatch, tmp_path, caplog):
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with caplog.at_level("INFO", logger="apb.replay"):
        Replay([1], 10, 3, 2, 4, on_disk=True)
    assert f"in a file in {tmp_path}," in caplog.text
