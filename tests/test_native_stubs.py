"""The committed type stubs describe the native modules as they are built."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "apb"


def outline(stub: Path) -> str:
    """Names, arguments, defaults and docstrings of a stub; how annotations are spelt depends on the tools' versions."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = inspect.cleandoc(node.value)
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return ast.unparse(tree)


@pytest.mark.parametrize("module", ["_core_baseline", "_cpuid"])
def test_the_committed_stub_is_the_one_that_the_module_gives(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pybind11_stubgen", f"apb.{module}", "-o", str(tmp_path), "--exit-code"]
    subprocess.run(command, check=True, capture_output=True)
    assert outline(PACKAGE / f"{module}.pyi") == outline(tmp_path / "apb" / f"{module}.pyi"), "run .ci/stubs"
