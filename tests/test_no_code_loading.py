"""The promise that files are data: nothing in the package can execute a file, and loading one runs no code."""

import ast
import subprocess
import sys
from pathlib import Path

import apb
import pytest
from policies import make_policy

PACKAGE = Path(apb.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Modules that turn bytes into objects or code; most are pickle in other clothes.
FORBIDDEN_MODULES = {
    "_pickle",
    "cloudpickle",
    "code",
    "codeop",
    "copyreg",
    "dbm",
    "dill",
    "h5py",
    "imp",
    "joblib",
    "jsonpickle",
    "marshal",
    "pickle",
    "pickletools",
    "runpy",
    "shelve",
    "yaml",
    "zipimport",
}
FORBIDDEN_BUILTINS = {"__import__", "compile", "eval", "exec"}
FORBIDDEN_NAMES = {
    "torch.load",
    "torch.jit.load",
    "torch.package",
    "torch.hub",
    "torch.export.load",
    "torch.ops.load_library",
    "np.load",
    "numpy.load",
    "builtins.eval",
    "builtins.exec",
    "builtins.compile",
    "builtins.__import__",
    "importlib.reload",
    "importlib.util.module_from_spec",
    "importlib.util.spec_from_file_location",
    "os.system",
    "os.popen",
    "pandas.read_pickle",
    "types.CodeType",
    "types.FunctionType",
}


def faults(source):
    """What in `source` could run code from a file: (line, what)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [(node.lineno, module) for module in modules if module.split(".")[0] in FORBIDDEN_MODULES]
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found += [(node.lineno, name) for name in names & (FORBIDDEN_NAMES | {"importlib.import_module"})]
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            found += [(node.lineno, name)] if name in FORBIDDEN_NAMES else []
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_BUILTINS:
            found.append((node.lineno, node.id))
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append((node.value.lineno, "allow_pickle"))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
            found += [] if literal else [(node.lineno, "import_module of a computed name")]
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
        "torch.load(path)",
        "load = torch.load",
        "from torch import load",
        "np.load(path)",
        "from numpy import load",
        "np.savez(path, allow_pickle=True)",
        "eval('1')",
        "f = exec",
        "compile(text, 'x', 'exec')",
        "__import__(name)",
        "importlib.import_module(name)",
        "importlib.import_module(f'apb.{name}')",
        "from importlib import import_module",
        "importlib.util.spec_from_file_location(name, path)",
    ],
)
def test_the_scan_sees_each_way_to_execute_a_file(line):
    assert faults(line)


@pytest.mark.parametrize(
    "line", ["re.compile('x')", "torch.compile(f)", "importlib.import_module('apb.policy')", "model.eval()"]
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
