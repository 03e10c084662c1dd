"""What is written as JSON comes back equal, and what standard JSON has not is neither written nor read."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apb import files
from apb.errors import ConfigError, FileFormatError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(JSON)
def test_json_comes_back_equal(tmp_path: Path, value: Any) -> None:
    files.write_json_atomic(tmp_path / "j", value)
    found = files.read_json(tmp_path / "j")
    assert found == value
    assert json.dumps(found) == json.dumps(value)  # == takes 1, 1.0 and True for equal


def test_numpy_scalars_are_written_as_numbers(tmp_path: Path) -> None:
    files.write_json_atomic(tmp_path / "j", {"f": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True)})
    assert files.read_json(tmp_path / "j") == {"f": 0.5, "i": 3, "b": True}


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


@given(st.integers(60, 68), st.sampled_from([1, [], {}, "a", {"k": None}]), st.booleans())
def test_what_is_written_is_as_deep_as_what_is_read(depth: int, innermost: Any, as_list: bool) -> None:
    value = innermost
    for _ in range(depth):
        value = [value] if as_list else {"k": value}
    content = json.dumps(value).encode()
    try:
        files.parse_json(content, "value")
    except FileFormatError:
        with pytest.raises(ConfigError, match="nested deeper than 64 levels"):
            files.dump_json(value)
    else:
        assert files.dump_json(value).encode() == content


def test_a_file_is_written_up_to_the_size_that_is_read(tmp_path: Path) -> None:
    value = {"a": ["\u00e9" * 10, 3]}
    files.write_json_atomic(tmp_path / "j", value)
    size = (tmp_path / "j").stat().st_size
    assert files.dump_json_file(value, max_bytes=size).encode() == (tmp_path / "j").read_bytes()
    assert files.read_json(tmp_path / "j", max_bytes=size) == value
    with pytest.raises(ConfigError, match=f"has {size} bytes as a line of JSON; expected at most {size - 1}"):
        files.dump_json_file(value, max_bytes=size - 1)
    with pytest.raises(FileFormatError, match=f"has {size} bytes; expected JSON of at most {size - 1}"):
        files.read_json(tmp_path / "j", max_bytes=size - 1)


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


def test_a_missing_file_a_folder_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        for read in (files.read_json, files.read_tensors, files.sha256_file):
            with pytest.raises(FileFormatError):
                read(path)


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
