"""Promises of `import apb`: instant, complete, typed, and free of torch until something learns."""

import ast
import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import apb
import pytest
from apb import errors
from apb.backbone import Initialization
from apb.cli import VERBS
from apb.errors import USUAL_NAMES


@pytest.mark.parametrize("name", apb.__all__)
def test_every_public_name_is_there_and_knows_its_home(name):
    value = getattr(apb, name)
    if inspect.ismodule(value):
        assert value.__name__ == f"apb.{name}"
    elif name != "__version__":
        assert value.__module__.startswith("apb.")
    assert value.__doc__


def test_dir_lists_the_public_names_and_no_others():
    assert dir(apb) == sorted(apb.__all__)


@pytest.mark.parametrize("name", [name for name in apb.__all__ if inspect.ismodule(getattr(apb, name))])
def test_a_public_module_is_there_right_after_the_import(name):
    """In a new process, where nothing else has loaded it."""
    subprocess.run([sys.executable, "-c", f"import apb; assert apb.{name}.__name__ == 'apb.{name}'"], check=True)


def test_type_checkers_see_every_public_name():
    tree = ast.parse(Path(apb.__file__).read_text())
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
    assert set(apb.__all__) - {"__version__"} <= imported


def test_the_version_is_that_of_the_distribution():
    assert apb.__version__ == version("apb")


def test_a_misspelt_name_gets_the_nearest_one():
    with pytest.raises(AttributeError, match="did you mean 'Policy'"):
        apb.Polcy  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean 'adapt'"):
        apb.train  # noqa: B018
    for name in ("wrappers", "make"):
        with pytest.raises(AttributeError, match=r"has no attribute '[a-z]+'; known: AdaptResult, "):
            getattr(apb, name)


def test_the_package_is_the_command_too():
    ran = subprocess.run([sys.executable, "-m", "apb", "--version"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, f"apb {apb.__version__}\n")


def test_what_other_libraries_call_a_thing_is_known_only_for_names_of_this_one():
    known = set(inspect.signature(apb.adapt).parameters) | set(VERBS) | set(get_args(Initialization))
    assert {usual.partition("=")[0] for usual in USUAL_NAMES.values()} <= known
    assert not set(USUAL_NAMES) & known


def test_importing_the_package_imports_no_heavy_dependency():
    program = (
        "import sys, apb; dir(apb); print([m for m in ('torch', 'mujoco', 'matplotlib', 'rich') if m in sys.modules])"
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
    raised = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert raised - {"ApbError", "ApbWarning"} == refined.keys()
    for name, builtin in refined.items():
        assert issubclass(getattr(apb, name), apb.ApbError)
        assert issubclass(getattr(apb, name), builtin)
