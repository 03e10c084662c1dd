"""Promises of `threads` and `memory`: what the machine, its container and the user allow is what is used."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from apb import threads
from apb._native import ThreadPool
from apb.errors import ConfigError
from apb.memory import available_memory


def machine(system: Path, cgroup: str, groups: dict[str, dict[str, str]], **proc: str) -> None:
    """Write what /proc and /sys say; "__" in a file's name is a dot."""
    files = {"proc/self/cgroup": cgroup} | {f"proc/{name}": content for name, content in proc.items()}
    for name, contents in groups.items():
        files |= {f"sys/fs/cgroup/{name}/{file.replace('__', '.')}": content for file, content in contents.items()}
    for name, content in files.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(content)


@pytest.mark.parametrize(
    ("cgroup", "groups", "quota"),
    [
        ("0::/a/b\n", {"a/b": {"cpu__max": "150000 100000\n"}}, 1.5),
        ("0::/a/b\n", {"a/b": {"cpu__max": "max 100000\n"}, "a": {"cpu__max": "50000 100000\n"}}, 0.5),
        ("0::/hidden\n", {"": {"cpu__max": "200000 100000\n"}}, 2.0),
        ("0::/a\n", {"a": {"cpu__max": "max 100000\n"}}, None),
        ("0::/a\n", {"a": {"cpu__max": "nonsense\n"}}, None),
        ("4:cpu,cpuacct:/x\n0::/\n", {"cpu/x": {"cpu__cfs_quota_us": "300000", "cpu__cfs_period_us": "100000"}}, 3.0),
        ("1:cpu:/x\n", {"cpu/x": {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000"}}, None),
        ("2:memory:/x\n", {"cpu/x": {"cpu__cfs_quota_us": "100000", "cpu__cfs_period_us": "100000"}}, None),
    ],
)
def test_the_smallest_quota_of_all_control_groups_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, groups: Any, quota: float | None
) -> None:
    machine(tmp_path, cgroup, groups)
    assert threads.cgroup_quota(tmp_path) == quota
    monkeypatch.delenv("APB_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert threads.available_cpus(tmp_path) == (8 if quota is None else math.ceil(quota))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5}, raising=False)
    assert threads.available_cpus(tmp_path) == 1


def test_the_environment_variable_overrides_the_count_and_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda system: 2)
    for number in (1, 7, 8):
        monkeypatch.setenv("APB_NUM_THREADS", str(number))
        assert threads.available_cpus() == number
    for wrong in ("0", "-1", "9", "two", "1.5", "²", "9" * 30):
        monkeypatch.setenv("APB_NUM_THREADS", wrong)
        with pytest.raises(ConfigError, match=r"APB_NUM_THREADS = .* in \[1, 8\], up to four times the 2 cores"):
            threads.available_cpus()


def test_no_machine_gives_more_threads_than_the_native_core_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda system: 300)
    assert threads.require_threads("num_threads", 1024) == threads.most_threads() == 1024
    ThreadPool(1)
    with pytest.raises(ValueError, match="1024"):
        ThreadPool(1025)


MIB = 2**20


@pytest.mark.parametrize(
    ("cgroup", "groups", "available"),
    [
        ("0::/\n", {}, 900),
        ("0::/a/b\n", {"a/b": {"memory__max": "max\n", "memory__current": "5"}}, 900),
        ("0::/a/b\n", {"a": {"memory__max": f"{500 * MIB}\n", "memory__current": f"{200 * MIB}\n"}}, 300),
        ("0::/hidden\n", {"": {"memory__max": f"{500 * MIB}\n", "memory__current": f"{200 * MIB}\n"}}, 300),
        ("0::/a\n", {"a": {"memory__max": f"{2000 * MIB}\n", "memory__current": "0\n"}}, 900),
        ("0::/a\n", {"a": {"memory__max": f"{100 * MIB}\n", "memory__current": f"{200 * MIB}\n"}}, 0),
        (
            "3:memory:/x\n",
            {"memory/x": {"memory__limit_in_bytes": str(400 * MIB), "memory__usage_in_bytes": str(100 * MIB)}},
            300,
        ),
        (
            "0::/a\n",
            {
                "a": {
                    "memory__max": str(500 * MIB),
                    "memory__current": str(450 * MIB),
                    "memory__stat": f"anon 7\ninactive_file {250 * MIB}\n",
                }
            },
            300,
        ),
    ],
)
def test_memory_is_what_is_free_and_what_the_limits_of_all_control_groups_leave(
    tmp_path: Path, cgroup: str, groups: Any, available: int
) -> None:
    machine(tmp_path, cgroup, groups, meminfo=f"MemTotal: 1 kB\nMemAvailable:  {900 * 1024} kB\n")
    assert available_memory(tmp_path) == available * MIB


def test_memory_is_not_limited_where_nothing_is_known(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == 2**62
