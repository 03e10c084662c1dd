"""`system_info`: what a run ran on, for reports and for the question why two runs differ."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from apb.threads import available_cpus, cgroup_quota

PACKAGES = ("apb", "numpy", "torch", "mujoco", "gymnasium")


def system_info() -> dict[str, Any]:
    """Versions, CPU, limits, instruction set and commit, as a JSON object. No host, user or path is in it.

    Packages that are not installed, and whatever the system does not tell, are None. Nothing heavy is imported.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "cgroup_quota": cgroup_quota(),
        "apb_num_threads": os.environ.get("APB_NUM_THREADS") or None,
        "available_cpus": available_cpus(),
        "isa": _native_isa(),
        "git_commit": _git_commit(Path.cwd()),
    }


def package_version(name: str) -> str | None:
    """The version of an installed distribution, without importing it; None when it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line]
    return models[0] if models else platform.processor() or None


def _native_isa() -> str | None:
    """The instruction set of the native module that import chose."""
    try:
        from apb import _native
    except ImportError:
        return None
    return str(_native.ISA)


def _git_commit(folder: Path) -> str | None:
    """The commit of the repository around `folder`, with "-dirty" when files differ from it."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        command = [git, "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
