"""Promises of `apb.files`: what is written comes back, damage is refused, an interruption leaves old or new."""

import errno
import json
import math
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import disk_events
import numpy as np
import pytest
import safetensors.numpy
from apb import files
from apb.errors import ApbError, ConfigError, FileFormatError, RunFolderError
from apb.files import atomic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)

DTYPES = ["float64", "float32", "int64", "uint64", "int32", "uint8", "bool"]


def arrays() -> st.SearchStrategy[np.ndarray]:
    def of(dtype: str) -> st.SearchStrategy[np.ndarray]:
        shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
        finite = {"allow_nan": False, "allow_infinity": False} if dtype.startswith("float") else {}
        return hnp.arrays(dtype, shapes, elements=hnp.from_dtype(np.dtype(dtype), **finite))

    return st.sampled_from(DTYPES).flatmap(of)


NAMES = st.lists(st.text("abcXYZ019_-.é ", min_size=1, max_size=6), min_size=1, max_size=3).map("/".join)
NAMES = NAMES.filter(lambda name: not {".", ".."} & set(name.split("/")))
TENSORS = st.dictionaries(NAMES, arrays(), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def container(header: Any, values: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def one(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# --- tensors -----------------------------------------------------------------------------------------------------


@ONE_FOLDER
@given(TENSORS)
def test_tensors_come_back_bit_for_bit_as_writable_memory_of_their_own(tmp_path: Path, tensors: Any) -> None:
    files.write_tensors(tmp_path / "t", tensors)
    found = files.read_tensors(tmp_path / "t")
    assert_same(found, tensors)
    assert all(array.flags.writeable and array.flags.c_contiguous for array in found.values())


@ONE_FOLDER
@given(TENSORS)
def test_the_safetensors_library_reads_our_files_and_we_read_its(tmp_path: Path, tensors: Any) -> None:
    files.write_tensors(tmp_path / "ours", tensors)
    assert_same(safetensors.numpy.load_file(tmp_path / "ours"), tensors)
    safetensors.numpy.save_file(tensors, tmp_path / "theirs", metadata={"a": "b"})
    assert_same(files.read_tensors(tmp_path / "theirs"), tensors)


def test_the_same_tensors_in_any_order_and_any_memory_layout_give_the_same_bytes(tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    files.write_tensors(tmp_path / "1", {"a": base[::2, ::-1], "b": np.array(3), "c": np.array(True)})
    files.write_tensors(tmp_path / "2", {"c": np.array(True), "b": np.array(3), "a": base[::2, ::-1].copy()})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert np.array_equal(files.read_tensors(tmp_path / "1")["a"], base[::2, ::-1])


@ONE_FOLDER
@given(st.data())
def test_a_truncated_tensor_file_is_refused_at_every_length(tmp_path: Path, data: Any) -> None:
    files.write_tensors(tmp_path / "t", {"a": np.arange(5.0), "b": np.array([True, False])})
    whole = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(FileFormatError):
        files.read_tensors(tmp_path / "t")


@ONE_FOLDER
@given(st.data())
def test_flipped_bits_give_valid_tensors_that_fill_the_file_or_an_error_of_ours(tmp_path: Path, data: Any) -> None:
    tensors = {"a": np.ones((2, 3), np.float32), "b": np.ones(2, np.bool_), "c": np.ones((), np.uint64)}
    files.write_tensors(tmp_path / "t", tensors)
    content = bytearray((tmp_path / "t").read_bytes())
    for position in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=4)):
        content[position // 8] ^= 1 << position % 8
    (tmp_path / "t").write_bytes(content)
    try:
        found = files.read_tensors(tmp_path / "t")
    except FileFormatError:
        return
    assert sum(array.nbytes for array in found.values()) == sum(array.nbytes for array in tensors.values())
    for array in found.values():
        assert np.isfinite(array).all()
        assert array.dtype != np.bool_ or set(array.view(np.uint8).ravel()) <= {0, 1}


@ONE_FOLDER
@given(st.binary(max_size=60) | st.binary(max_size=60).map(container))
def test_arbitrary_bytes_never_raise_anything_but_a_format_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    for read in (files.read_tensors, files.read_json):
        with suppress(FileFormatError):
            read(tmp_path / "t")


BAD_TENSOR_FILES = {
    "a header of 2^60 bytes": (2**60).to_bytes(8, "little") + b"{}",
    "a header beyond the cap": container(b"{" + b" " * (17 * 2**20) + b"}"),
    "a header that is a list": container([]),
    "a header nested 100,000 deep": container(b"[" * 100_000 + b"]" * 100_000),
    "a header with a key twice": container(b'{"a":%s,"a":%s}' % (2 * (json.dumps(one()).encode(),)), bytes(8)),
    "an entry that is a list": container({"a": [1]}),
    "an entry with a field too many": container({"a": {**one(), "code": "x"}}, bytes(8)),
    "an unknown dtype": container({"a": one("F16", [4])}, bytes(8)),
    "a dtype that is a number": container({"a": one(4)}, bytes(8)),
    "a dtype that is a list": container({"a": one(["F32"])}, bytes(8)),
    "a shape whose product overflows 64 bits": container({"a": one(shape=[2**32, 2**32, 2**32])}, bytes(8)),
    "a shape whose product overflows to 8": container({"a": one(shape=[2**62 + 2])}, bytes(8)),
    "a shape that is huge beside a zero": container({"a": one(shape=[0, 2**39, 2**39], offsets=[0, 0])}),
    "a shape of 1000 sides": container({"a": one(shape=[1] * 1000, offsets=[0, 4])}, bytes(4)),
    "a negative shape": container({"a": one(shape=[-2])}, bytes(8)),
    "a shape of fractions": container({"a": one(shape=[2.0])}, bytes(8)),
    "a shape of booleans": container({"a": one(shape=[True, 2])}, bytes(8)),
    "offsets beyond the file": container({"a": one(shape=[200], offsets=[0, 800])}, bytes(8)),
    "offsets backwards": container({"a": one(offsets=[8, 0])}, bytes(8)),
    "three offsets": container({"a": one(offsets=[0, 8, 8])}, bytes(8)),
    "overlapping tensors": container({"a": one(), "b": one(offsets=[4, 12])}, bytes(12)),
    "a gap between tensors": container({"a": one(), "b": one(offsets=[12, 20])}, bytes(20)),
    "bytes after the last tensor": container({"a": one()}, bytes(9)),
    "a name above its folder": container({"../a": one()}, bytes(8)),
    "a name with .. inside": container({"x/../../a": one()}, bytes(8)),
    "an absolute name": container({"/etc/a": one()}, bytes(8)),
    "a Windows path": container({"C:\\a": one()}, bytes(8)),
    "an empty name": container({"": one()}, bytes(8)),
    "a name of 10,000 characters": container({"a" * 10_000: one()}, bytes(8)),
    "a name with a NUL": container({"a\0b": one()}, bytes(8)),
    "a bool of 2": container({"a": one("BOOL", [2], [0, 2])}, b"\1\2"),
    "a NaN": container({"a": one()}, np.array([0, math.nan], "<f4").tobytes()),
    "an infinity": container({"a": one("F64", [1])}, np.array([-math.inf], "<f8").tobytes()),
}


@pytest.mark.parametrize("content", BAD_TENSOR_FILES.values(), ids=BAD_TENSOR_FILES.keys())
def test_a_tensor_file_is_refused_that_has(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(FileFormatError, match="bad"):
        files.read_tensors(tmp_path / "bad.safetensors")


def test_a_missing_file_a_folder_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        for read in (files.read_json, files.read_tensors, files.sha256_file):
            with pytest.raises(FileFormatError):
                read(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": np.zeros(2, np.float16)}, "float16"),
        ({"a": np.zeros(2, ">f4")}, "dtype"),
        ({"a": np.array(["x"])}, "dtype"),
        ({"a": np.array([object()])}, "dtype"),
        ({"../a": np.zeros(2)}, "path outside"),
        ({"__metadata__": np.zeros(2)}, "path outside"),
        ({"a": np.array([math.nan])}, "NaN or infinite"),
    ],
)
def test_tensors_that_cannot_be_read_back_are_not_written(tmp_path: Path, tensors: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        files.write_tensors(tmp_path / "t", tensors)
    assert list(tmp_path.iterdir()) == []


# --- JSON --------------------------------------------------------------------------------------------------------


@ONE_FOLDER
@given(JSON)
def test_json_comes_back_equal(tmp_path: Path, value: Any) -> None:
    files.write_json_atomic(tmp_path / "j", value)
    found = files.read_json(tmp_path / "j")
    assert found == value
    assert json.dumps(found) == json.dumps(value)  # == takes 1, 1.0 and True for equal


BAD_JSON = {
    "NaN": b'{"a": NaN}',
    "Infinity": b"[-Infinity]",
    "a float that overflows": b"1e999",
    "an integer of 10,000 digits": b"1" * 10_000,
    "a key twice": b'{"a": 1, "a": 2}',
    "65 levels": b"[" * 65 + b"]" * 65,
    "a million levels": b'{"a":' * 10**6 + b"1" + b"}" * 10**6,
    "bytes that are not UTF-8": b'"\xff"',
    "a value cut short": b'{"a": [1, 2',
    "two values": b"1 2",
    "nothing": b"",
}


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_a_json_file_is_refused_that_has(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(FileFormatError, match="bad"):
        files.read_json(tmp_path / "bad.json")


def test_a_json_file_larger_than_the_cap_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "j").open("wb") as file:
        file.truncate(2**40)  # sparse: reading it would take a terabyte
    with pytest.raises(FileFormatError, match="1099511627776"):
        files.read_json(tmp_path / "j")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, math.nan]}, r"value.a\[1\]"),
        ({"a": np.float32(math.inf)}, "value.a"),
        ({1: 2}, "key 1"),
        ({"a": {"b": object()}}, "value.a.b"),
        ({"a": np.zeros(2)}, "value.a"),
    ],
)
def test_what_json_has_not_is_refused_by_its_place(tmp_path: Path, value: Any, place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        files.write_json_atomic(tmp_path / "j", value)
    assert list(tmp_path.iterdir()) == []


def test_numpy_scalars_are_written_as_numbers(tmp_path: Path) -> None:
    files.write_json_atomic(tmp_path / "j", {"f": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True)})
    assert files.read_json(tmp_path / "j") == {"f": 0.5, "i": 3, "b": True}


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_part_of_itself(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; from apb import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "files.append_jsonl(sys.argv[1], {'a': 1})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))\n"
        "try: files.append_jsonl(sys.argv[1], {'b': 'x' * 100})\n"
        "except OSError: print('refused')\n"
    )
    result = subprocess.run([sys.executable, "-c", script, tmp_path / "l"], capture_output=True, text=True, check=True)
    assert result.stdout == "refused\n"
    assert (tmp_path / "l").read_bytes() == b'{"a": 1}\n'


# --- atomic files and folders ------------------------------------------------------------------------------------


def fill(folder: Path, generation: int) -> None:
    for name in ("config.json", "weights.json"):
        files.write_json_atomic(folder / name, generation)


def test_a_failing_writer_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with suppress(ZeroDivisionError), files.atomic_file(tmp_path / "f") as file:
        file.write(b"new")
        _ = 1 / 0
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


def test_a_failing_writer_leaves_the_old_folder_and_no_debris(tmp_path: Path) -> None:
    with files.staged_folder(tmp_path / "p") as staging:
        fill(staging, 1)
    with suppress(ZeroDivisionError), files.staged_folder(tmp_path / "p") as staging:
        files.write_json_atomic(staging / "config.json", 2)
        _ = 1 / 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]
    assert files.read_json(tmp_path / "p" / "config.json") == 1


def test_a_folder_with_files_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"), files.staged_folder(tmp_path) as staging:
        fill(staging, 1)
    with pytest.raises(RunFolderError, match="is a file"), files.staged_folder(tmp_path / "thesis.tex") as staging:
        fill(staging, 1)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for generation in (1, 2):
        with files.staged_folder(tmp_path / "link") as staging:
            fill(staging, generation)
    assert (tmp_path / "link").is_symlink()
    assert files.read_json(tmp_path / "disk" / "config.json") == 2


def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = disk_events.record(monkeypatch)
    files.write_json_atomic(tmp_path / "f", 1)
    content, folder = (tmp_path / "f").stat().st_ino, tmp_path.stat().st_ino
    assert events == [("sync", content), ("rename", "f"), ("sync", folder)]


def test_every_file_is_on_the_disk_before_the_name_that_publishes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for generation in (1, 2):
        with monkeypatch.context() as patch, files.staged_folder(tmp_path / "p") as staging:
            for name in ("config.json", "notes.md"):
                (staging / name).write_text(str(generation))
            wanted = {path.stat().st_ino for path in (staging, *staging.iterdir())}
            events = disk_events.record(patch)
        published = events.index(("rename", "p"))
        assert wanted <= {inode for kind, inode in events[:published] if kind == "sync"}
        assert ("sync", tmp_path.stat().st_ino) in events[published:]
        assert (tmp_path / "p" / "config.json").read_text() == str(generation)


def test_old_leftovers_are_removed_and_those_of_a_living_writer_are_not(tmp_path: Path) -> None:
    for name, age in ((".p.0123abcd.tmp", 2 * atomic.ABANDONED_SECONDS), (".p.89abcdef.tmp", 0), (".q.tmp", 1e7)):
        (tmp_path / name).mkdir()
        now = (tmp_path / name).stat().st_mtime
        os.utime(tmp_path / name, (now - age, now - age))
    with files.staged_folder(tmp_path / "p") as staging:
        fill(staging, 1)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".p.89abcdef.tmp", ".q.tmp", "p"]


KILLED_SAVE = """
import itertools, os, sys
from contextlib import suppress
from pathlib import Path
from apb import files
from apb.files import atomic
place, can_exchange = Path(sys.argv[1]), sys.argv[2] == "exchange"
if not can_exchange:
    atomic._exchange = lambda one, other: False
def fill(folder, generation):
    for name in ("config.json", "weights.json"):
        files.write_json_atomic(folder / name, generation)
def save(generation):
    with files.staged_folder(place) as staging:
        fill(staging, generation)
save(0)
generation = 0
for deadline in itertools.count(1):
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)
        def guard(event, arguments):
            relevant = event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "apb.step")
            if relevant and next(calls) == deadline:
                os._exit(9)
        sync, exchange = os.fsync, atomic._exchange
        os.fsync = lambda descriptor: (sys.audit("apb.step"), sync(descriptor))
        atomic._exchange = lambda *names: (sys.audit("apb.step"), exchange(*names), sys.audit("apb.step"))[1]
        sys.addaudithook(guard)
        save(generation + 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = files.published_folder(place)
    content = {files.read_json(found / name) for name in ("config.json", "weights.json")}
    assert len(content) == 1, (deadline, content)
    assert can_exchange <= place.is_dir(), deadline
    assert content <= {generation, generation + 1}, (deadline, content, generation)
    if content == {generation + 1}:
        generation += 1
    if status == 0:
        print(deadline, generation)
        break
"""


@pytest.mark.parametrize("how", ["exchange", "rename"])
def test_a_kill_at_any_step_of_replacing_a_folder_leaves_the_old_or_the_new(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", KILLED_SAVE, str(tmp_path / "p"), how]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    steps, generations = map(int, result.stdout.split())
    assert steps > 15  # the kills really happened at many places
    assert generations > 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_write_leaves_the_old_folder_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with files.staged_folder(tmp_path / "p") as staging:
        fill(staging, 0)
    original = os.fsync
    for failing in range(1, 100):
        calls = iter(range(1, 1000))

        def fail(descriptor: int, calls: Any = calls, failing: int = failing) -> None:
            if next(calls) == failing:
                raise OSError(code, os.strerror(code))
            original(descriptor)

        monkeypatch.setattr(os, "fsync", fail)
        done = False
        with suppress(OSError), files.staged_folder(tmp_path / "p") as staging:
            fill(staging, failing)
            done = True
        if done and next(calls) <= failing:  # nothing failed: every write has had its turn
            break
        assert [entry.name for entry in tmp_path.iterdir()] == ["p"]
        assert {files.read_json(tmp_path / "p" / name) for name in ("config.json", "weights.json")} <= {0, failing}
    assert 4 < failing < 99


def test_errors_of_files_are_errors_of_the_package_and_of_python() -> None:
    assert issubclass(FileFormatError, ApbError)
    assert issubclass(FileFormatError, ValueError)
