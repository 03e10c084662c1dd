"""The promise that files are data: nothing in the package can execute a file, and loading one runs no code."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import apb
import pytest
from policies import make_policy

PACKAGE = Path(apb.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What the package may import at all. A harmless module that it comes to need is added; one that turns bytes into
# objects or code (pickle, marshal, runpy, pkgutil, ...) is not.
LIBRARIES = "apb gymnasium imageio matplotlib minari mujoco numpy rich safetensors torch tyro"
STANDARD_LIBRARY = """
_typeshed abc ast bisect collections contextlib copy csv ctypes dataclasses datetime decimal difflib enum errno fcntl
functools gc hashlib heapq importlib inspect io itertools json logging math numbers operator os pathlib platform random
re secrets shlex shutil signal stat statistics string struct subprocess sys tempfile textwrap threading time traceback
types typing warnings weakref zipfile zlib
"""
ALLOWED_MODULES = {"builtins", *LIBRARIES.split(), *STANDARD_LIBRARY.split()}
# Of modules that can run code, the names that may be used.
ALLOWED_NAMES = {
    "ctypes": {"get_errno"},
    "importlib": {"metadata.PackageNotFoundError", "metadata.version", "util.find_spec"},
    "subprocess": {"TimeoutExpired"},
}
FORBIDDEN_BUILTINS = {"__import__", "compile", "eval", "exec"}
# With all that lies in them.
FORBIDDEN_NAMES = {
    *(f"builtins.{name}" for name in FORBIDDEN_BUILTINS),
    *(f"numpy.{name}" for name in ("ctypeslib", "f2py", "lib.format", "lib.npyio")),
    *(f"os.{name}" for name in dir(os) if name.startswith(("exec", "popen", "posix_spawn", "spawn", "system"))),
    *(f"torch.{name}" for name in ("_C", "export", "hub", "jit", "package", "serialization", "utils.cpp_extension")),
    *("sys.modules", "types.CodeType", "types.FunctionType"),
}
LOADERS = {"load", "load_library"}  # of torch, numpy and what lies in them


def is_forbidden(name):
    """Whether something with this full name could run code from a file, or is not known to be unable to."""
    module, _, rest = name.partition(".")
    allowed = ALLOWED_NAMES.get(module)
    return (
        module not in ALLOWED_MODULES
        or any(f"{name}.".startswith(f"{bad}.") for bad in FORBIDDEN_NAMES)
        or (module in ("torch", "numpy") and name.rpartition(".")[2] in LOADERS)
        or (allowed is not None and not any(f"{use}.".startswith(f"{rest}." if rest else "") for use in allowed))
    )


def is_harmless(call, name):
    """Whether a call of something forbidden runs no code from a file all the same: the C library, a program but no
    shell, a module of a constant name, NumPy's arrays without objects."""
    constants = [getattr(argument, "value", ...) for argument in call.args]
    options = {keyword.arg for keyword in call.keywords}
    return (
        (name == "numpy.load" and len(call.args) == 1 and [*map(ast.unparse, call.keywords)] == ["allow_pickle=False"])
        or (name == "ctypes.CDLL" and constants == [None] and options <= {"use_errno"})
        or (name == "subprocess.run" and not options & {"shell", "executable", None})
        or (name == "importlib.import_module" and not options and [type(value) for value in constants] == [str])
    )


def full_name(node, names):
    """The full name of what `node` names, such as "torch.jit.load" for `j.load` after `from torch import jit as j`;
    None where it names nothing that was imported."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        inner, attribute = node.value, node.attr
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and isinstance(node.args[1], ast.Constant):
        inner, attribute = node.args[0], node.args[1].value
    else:
        return None
    inner = full_name(inner, names)
    return None if inner is None else f"{inner}.{attribute}"


def names_of(tree):
    """Name in the source -> the full name of what was imported, or assigned from it, under that name."""
    names = {name: f"builtins.{name}" for name in FORBIDDEN_BUILTINS} | {"__builtins__": "builtins"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.asname or each.name.split(".")[0]: imported_as(each) for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = full_name(node.value, names)
            names |= {node.targets[0].id: name} if name is not None else {}
    return names


def imported_as(alias):
    return alias.name if alias.asname else alias.name.split(".")[0]


def faults(source):
    """What in `source` could run code from a file: (line, what)."""
    tree = ast.parse(source)
    names, found, harmless = names_of(tree), [], set()
    for node in ast.walk(tree):  # a call comes before the name in it
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = "" if isinstance(node, ast.Import) else f"{node.module}."
            found += [(node.lineno, each.name) for each in node.names if is_forbidden(module + each.name)]
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only") and node not in harmless:
            found.append((node.value.lineno, node.arg))
        if isinstance(node, ast.Call) and is_harmless(node, full_name(node.func, names)):
            harmless |= {node.func, *node.keywords}
        elif isinstance(node, ast.Name | ast.Attribute | ast.Call) and node not in harmless:
            name = full_name(node, names)
            found += [(node.lineno, name)] if name is not None and is_forbidden(name) else []
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(PACKAGE)) for path in SOURCES])
def test_no_source_file_can_execute_a_data_file(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "import dill",
        "from joblib import load",
        "import yaml",
        "import marshal",
        "import runpy",
        "import code_of_somebody",
        "import torch; torch.load(path)",
        "import torch; load = torch.load",
        "from torch import load",
        "import torch as t; t.load(p)",
        "import torch; t = torch; t.load(p)",
        "import torch; getattr(torch, 'load')(p)",
        "import torch; torch.serialization.load(p)",
        "from torch.serialization import load",
        "from torch import jit; jit.load(p)",
        "import torch.jit as j; j.load(p)",
        "import torch; torch.ops.load_library(p)",
        "import numpy as np; np.load(path)",
        "import numpy as xp; xp.load(p)",
        "from numpy import load",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "import numpy as np; np.load(path, allow_pickle=flag)",
        "import numpy as np; np.load(path, None, True)",
        "import numpy as np; np.lib.format.read_array(f, True)",
        "from numpy.lib import format",
        "import numpy as np; np.savez(path, allow_pickle=True)",
        "eval('1')",
        "f = exec",
        "compile(text, 'x', 'exec')",
        "import builtins as b; b.exec(text)",
        "__builtins__.eval(text)",
        "__import__(name)",
        "import importlib; importlib.import_module(name)",
        "import importlib; importlib.import_module(f'apb.{name}')",
        "from importlib import import_module",
        "import importlib.util; importlib.util.spec_from_file_location(name, path)",
        "from importlib.metadata import entry_points",
        "import pkgutil; pkgutil.resolve_name(n)",
        "import ctypes; ctypes.CDLL(path)",
        "from ctypes import CDLL",
        "import ctypes; ctypes.cdll.LoadLibrary(path)",
        "import subprocess; subprocess.run(text, shell=True)",
        "import subprocess; subprocess.run(text, **options)",
        "import subprocess as s; s.getoutput(text)",
        "from subprocess import run",
        "import os; os.system(text)",
        "from os import execv",
        "import sys; sys.modules['pickle']",
    ],
)
def test_the_scan_sees_each_way_to_execute_a_file(line):
    assert faults(line)


@pytest.mark.parametrize(
    "line",
    [
        "import re; re.compile('x')",
        "import torch; torch.compile(f)",
        "import importlib; importlib.import_module('apb.policy')",
        "model.eval()",
        "native.load(weights)",
        "import numpy as np; np.loadtxt; np.lib.stride_tricks",
        "import json; json.loads(text)",
        "import numpy as np; np.load(path, allow_pickle=False)",
        "import ctypes; ctypes.CDLL(None, use_errno=True).rename",
        "import subprocess; subprocess.run(['nvidia-smi'], timeout=1)",
        "from importlib.metadata import version; from importlib import metadata, util",
    ],
)
def test_the_scan_lets_pass_what_only_looks_alike(line):
    assert faults(line) == []


# Audit events cannot be taken back, so this runs in a process of its own. Everything is imported and loaded once before
# the hook is set: what Python itself imports at first use is not the files' doing.
PROGRAM = """
import pickle, marshal, sys
import numpy, torch
import apb

def load(folder):
    backbone = apb.Backbone.from_pretrained(folder + "/backbone")
    apb.Adapter.from_pretrained(folder + "/adapter", backbone)
    return apb.Policy.from_pretrained(folder + "/policy")

load(sys.argv[1])

def forbidden(*args, **kwargs):
    raise SystemExit("a loader of objects was called")

for module, names in ((pickle, "load loads Unpickler"), (marshal, "load loads"), (torch, "load"), (numpy, "load")):
    for name in names.split():
        setattr(module, name, forbidden)

def audit(event, args):
    if event in ("exec", "compile", "import", "marshal.loads", "marshal.load", "pickle.find_class", "code.__new__",
                 "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "ctypes.dlopen", "socket.connect"):
        raise SystemExit(f"loading raised the audit event {event} {args}")
    if event == "open" and isinstance(args[2], int) and args[2] & 0o3:
        raise SystemExit(f"loading opened {args[0]} for writing")

sys.addaudithook(audit)
policy = load(sys.argv[1])
print(policy([0.0] * 5).shape)
"""


def test_loading_executes_imports_unpickles_and_writes_nothing(tmp_path):
    policy = make_policy(5, 3, normalize=True)
    policy.save_pretrained(tmp_path / "policy")
    policy.backbone.save_pretrained(tmp_path / "backbone")
    policy.adapter.save_pretrained(tmp_path / "adapter")
    finished = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True)
    assert finished.stdout == "(3,)\n", finished.stderr
