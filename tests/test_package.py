"""Promises of `import apb`: instant, complete, typed, and free of torch until something learns."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import apb
import pytest


@pytest.mark.parametrize("name", apb.__all__)
def test_every_public_name_is_there_and_knows_its_home(name):
    value = getattr(apb, name)
    assert name in dir(apb)
    if name != "__version__":
        assert value.__module__.startswith("apb.")
        assert value.__doc__


def test_type_checkers_see_every_public_name():
    tree = ast.parse(Path(apb.__file__).read_text())
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
    assert set(apb.__all__) - {"__version__"} <= imported


def test_the_version_is_that_of_the_distribution():
    assert apb.__version__ == version("apb")


def test_a_misspelt_name_gets_the_nearest_one():
    with pytest.raises(AttributeError, match="did you mean 'Policy'"):
        apb.Polcy  # noqa: B018


def test_importing_the_package_imports_no_heavy_dependency():
    program = (
        "import sys, apb; dir(apb); print([m for m in ('torch', 'gymnasium', 'mujoco', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_error_is_an_apb_error_and_the_builtin_that_it_refines():
    refined = {
        "ConfigError": ValueError,
        "UnknownNameError": LookupError,
        "InvalidEnvError": ValueError,
        "SimulationError": RuntimeError,
        "DivergenceError": ArithmeticError,
        "MismatchError": ValueError,
        "FileFormatError": ValueError,
        "RunFolderError": OSError,
    }
    for name, builtin in refined.items():
        assert issubclass(getattr(apb, name), apb.ApbError)
        assert issubclass(getattr(apb, name), builtin)
