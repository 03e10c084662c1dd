"""What is written as tensors comes back bit for bit, and a file that cannot have been written so is refused."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from apb import files
from apb.errors import ConfigError, FileFormatError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


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


# --- what comes back -------------------------------------------------------------------------------------------------


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


# --- what is refused -------------------------------------------------------------------------------------------------


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
    (tmp_path / "good.safetensors").write_bytes(container({"a": one()}, bytes(8)))
    assert files.read_tensors(tmp_path / "good.safetensors")["a"].tolist() == [0, 0], "what the bad ones spoil"
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(FileFormatError, match="bad"):
        files.read_tensors(tmp_path / "bad.safetensors")
