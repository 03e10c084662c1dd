"""The committed type stubs describe the native modules as they are built."""

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "apb"


@pytest.mark.parametrize("module", ["_core_baseline", "_cpuid"])
def test_the_committed_stub_is_the_one_that_the_module_gives(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pybind11_stubgen", f"apb.{module}", "-o", str(tmp_path), "--exit-code"]
    subprocess.run(command, check=True, capture_output=True)
    committed = (PACKAGE / f"{module}.pyi").read_text(encoding="utf-8")
    assert committed == (tmp_path / "apb" / f"{module}.pyi").read_text(encoding="utf-8"), "run .ci/stubs"
