"""Files of demonstrations: what is saved is what is loaded, from other libraries too, and damage is told."""

import struct
import zipfile

import apb
import numpy as np
import pytest
from apb.cloning import demonstration_files
from apb.cloning.demonstrations import Demonstrations
from cli_runs import ENV, PointEnv, register_env
from clone_cases import demonstrated_arrays
from gymnasium.spaces import Box
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _point():
    register_env()


def test_what_is_saved_is_loaded_again_and_never_overwritten(tmp_path):
    space = Box(-3, 2, (2,), np.float32)
    shown = Demonstrations(**demonstrated_arrays(), returns=[4, 5], action_space=space)
    path = shown.save(tmp_path / "demos.npz")
    found = Demonstrations.load(path)
    for name in ("observations", "actions", "episode_lengths", "returns"):
        np.testing.assert_array_equal(getattr(found, name), getattr(shown, name))
    assert found.action_space == space
    before = path.read_bytes()
    with pytest.raises(apb.RunFolderError, match="exists; expected a new name"):
        shown.save(path)
    assert path.read_bytes() == before
    with pytest.raises(apb.ConfigError, match=r"ends with \.npz"):
        shown.save(tmp_path / "demos.csv")


@given(ends=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_episodes_end_where_terminals_timeouts_or_dones_say_and_at_the_end(tmp_path_factory, ends):
    terminals, timeouts = np.array(ends).T
    expected, steps = [], 0
    for number, each in enumerate(ends):
        steps += 1
        if any(each) or number == len(ends) - 1:
            expected.append(steps)
            steps = 0
    given = demonstrated_arrays([len(ends)])
    del given["episode_lengths"]
    rewards = np.arange(len(ends)) ** 2
    folder = tmp_path_factory.mktemp("ends")
    np.savez(folder / "d4rl.npz", terminals=terminals, timeouts=timeouts, rewards=rewards, **given)
    np.savez(folder / "dones.npz", dones=(terminals | timeouts).astype(float), **given)
    found = Demonstrations.load(folder / "d4rl.npz")
    assert found.episode_lengths.tolist() == expected
    assert Demonstrations.load(folder / "dones.npz").episode_lengths.tolist() == expected
    assert found.returns.tolist() == [part.sum() for part in np.split(rewards, np.cumsum(expected)[:-1])]


def saved(folder, **changes):
    given = {name: value for name, value in (demonstrated_arrays() | changes).items() if value is not None}
    np.savez(folder / "demos.npz", **given)


def with_bounds(low, high):
    return lambda folder: saved(folder, action_low=np.array(low), action_high=np.array(high))


def with_rewards(rewards=(0, 0, 0, 0, 0), **changes):
    return lambda folder: saved(folder, rewards=np.array(rewards), **changes)


def with_member(name, content):
    """An archive with `content` in place of an array."""

    def write(folder):
        ends = None if name == "dones" else np.array([3, 2])
        bounds = {"action_high": np.ones(2)} if name == "action_low" else {}
        saved(folder, **{name: None, **bounds} | ({} if name == "episode_lengths" else {"episode_lengths": ends}))
        with zipfile.ZipFile(folder / "demos.npz", "a") as archive:
            archive.writestr(f"{name}.npy", content)

    return write


def with_header(shape, text="{'descr': '<f4', 'fortran_order': False, 'shape': %s}"):
    header = (text % shape).encode() + b"\n"
    return with_member("observations", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(80))


def with_flipped_bit(compression):
    def write(folder):
        with zipfile.ZipFile(folder / "demos.npz", "w", compression) as archive:
            for name, array in demonstrated_arrays().items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.save(file, array)
        content = bytearray((folder / "demos.npz").read_bytes())
        content[60] ^= 1
        (folder / "demos.npz").write_bytes(content)

    return write


def encrypted(folder):
    saved(folder)
    content = (folder / "demos.npz").read_bytes()
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        first, *members = content.split(signature)
        flagged = (each[: flags - 4] + bytes([each[flags - 4] | 1]) + each[flags - 3 :] for each in members)
        content = signature.join([first, *flagged])
    (folder / "demos.npz").write_bytes(content)


NO_ARRAY = "is no array in NumPy's format; expected a .npz file with"

BAD_FILES = [
    (lambda folder: saved(folder, actions=np.array([{}] * 5)), "cannot be read (ValueError: Object arrays cannot be"),
    (lambda folder: (folder / "demos.npz").write_text("no archive"), "cannot be read (BadZipFile"),
    (lambda folder: (folder / "demos.npz").write_bytes(b"\x80\x04N."), "cannot be read (BadZipFile"),
    (lambda folder: saved(folder, actions=None), "has no array actions; expected a .npz file with observations"),
    (lambda folder: saved(folder, episode_lengths=None), "does not tell where episodes end"),
    (lambda folder: saved(folder, episode_lengths=None, dones=np.zeros(4)), "dones is float64 of shape (4,)"),
    (lambda folder: saved(folder, episode_lengths=None, dones=np.full(5, np.nan)), "expected booleans of shape (5,)"),
    (with_rewards([0, 0, 0]), "rewards is int64 of shape (3,)"),
    (with_rewards([0, np.nan, 0, 0, 0]), "rewards[1] = nan; expected finite numbers: leave that episode out, or save"),
    (with_rewards([1j, 0, 0, 0, 0]), "rewards is complex128 of shape (5,); expected real numbers, shape (5,)"),
    (with_rewards([1.7e308] * 5), "returns[0] = inf; expected finite numbers"),
    (with_rewards(episode_lengths=[5, 0]), "episode_lengths[1] = 0; expected at least 1 step"),
    (with_rewards(episode_lengths=[6, -1]), "episode_lengths[0] = 6; expected at least 1 step"),
    (with_rewards(episode_lengths=[3.0, 2.0]), "episode_lengths is float64 of shape (2,); expected integers"),
    (with_rewards(episode_lengths=["3", "2"]), "episode_lengths is <U1 of shape (2,); expected integers"),
    (with_rewards(episode_lengths=[[3, 2]]), "episode_lengths is int64 of shape (1, 2); expected integers"),
    (lambda folder: saved(folder, returns=np.array(["a", "b"])), "returns has dtype <U1; expected real numbers"),
    *((with_member(name, "text"), f"{name} {NO_ARRAY}") for name in ("dones", "rewards", "action_low", "observations")),
    (with_member("returns", ""), f"returns {NO_ARRAY}"),
    (with_bounds([1, 1], [-1, -1]), "action_low[0] = 1 and action_high[0] = -1; expected finite numbers, the first"),
    (with_bounds([-1, np.nan], [1, 1]), "action_low[1] = nan and action_high[1] = 1; expected finite"),
    (with_bounds([-1, -1], [1, np.inf]), "action_low[1] = -1 and action_high[1] = inf; expected finite"),
    (encrypted, "observations cannot be read (RuntimeError: File 'observations.npy' is encrypted"),
    (with_flipped_bit(zipfile.ZIP_LZMA), "observations cannot be read (LZMAError"),
    (with_flipped_bit(zipfile.ZIP_BZIP2), "observations cannot be read (OSError"),
    (with_header(f"({10**30}, 4)"), "observations cannot be read (OverflowError"),
    (with_header("(True, 4)"), "observations cannot be read (TypeError"),
    (with_header("[" * 9000, "%s"), "observations cannot be read (TokenError"),
    (lambda folder: saved(folder, action_low=np.zeros(2)), "action_high is missing"),
    (lambda folder: saved(folder, action_low=[0, 0, 0], action_high=[1, 1, 1]), "action_low is int64 of shape (3,)"),
    (lambda folder: None, "is no file"),
]


@pytest.mark.parametrize(("write", "words"), BAD_FILES, ids=[words[:40] for _, words in BAD_FILES])
def test_a_file_that_holds_no_demonstrations_is_explained(tmp_path, write, words):
    write(tmp_path)
    with pytest.raises(apb.ApbError) as failure:
        Demonstrations.load(tmp_path / "demos.npz")
    assert words in str(failure.value)
    assert str(tmp_path / "demos.npz") in str(failure.value)


def test_a_name_that_is_too_long_for_a_file_is_explained():
    with pytest.raises(apb.RunFolderError, match="cannot be read: File name too long; choose another file"):
        Demonstrations.load("x" * 5000 + ".npz")


def test_a_file_whose_arrays_find_no_room_is_refused_before_they_are_read(tmp_path, monkeypatch):
    rows = 2**18
    saved(tmp_path, observations=np.zeros((rows, 4)), actions=np.zeros((rows, 1)), episode_lengths=[rows], other=[0])
    with np.load(tmp_path / "demos.npz") as archive:
        np.savez_compressed(tmp_path / "small.npz", **archive)
    assert (tmp_path / "small.npz").stat().st_size < 2**18
    monkeypatch.setattr(demonstration_files, "available_memory", lambda: 2**23)
    words = r"small\.npz needs 10 MiB of memory for .*; 8 MiB are free; choose a file of fewer episodes"
    with monkeypatch.context() as patch:
        patch.setattr(np, "load", lambda *args, **options: pytest.fail("nothing is read"))
        with pytest.raises(apb.ConfigError, match=words):
            Demonstrations.load(tmp_path / "small.npz")
    monkeypatch.setattr(demonstration_files, "available_memory", lambda: 2**24)
    assert len(Demonstrations.load(tmp_path / "small.npz")) == rows


def test_any_cut_of_a_file_is_refused(tmp_path):
    path = Demonstrations(**demonstrated_arrays()).save(tmp_path / "demos.npz")
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(apb.FileFormatError):
            Demonstrations.load(path)


def test_a_file_is_held_to_the_spaces_of_the_env_that_it_is_said_to_be_of(tmp_path):
    path = Demonstrations(**demonstrated_arrays(observation_size=2, action_size=1)).save(tmp_path / "demos.npz")
    found = Demonstrations.load(path, ENV)
    assert (found.env.env_id, found.observation_space) == (ENV, PointEnv.observation_space)
    with pytest.raises(apb.MismatchError, match=r"observations has shape \(5, 2\); expected \(N, 3\)"):
        Demonstrations.load(path, "Pendulum-v1")
