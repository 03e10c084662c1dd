"""The promises of `python -m benchmarks` that need no benchmark to be run."""

import subprocess
import sys

from documentation import ROOT


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_misspelt_benchmark_is_answered_with_the_nearest_name():
    ran = run("-m", "benchmarks", "forwrd")
    assert ran.returncode == 2
    assert "there is no benchmark 'forwrd'; did you mean 'forward'?" in ran.stderr


def test_the_table_tells_in_full_how_to_install_a_peer():
    code = (
        "from benchmarks.__main__ import _show; from benchmarks.harness import compare;"
        "_show([compare('a', 'b', ('ours', [1.0]), ('SB3', None), 's', higher_is_better=True)], {})"
    )
    assert 'pip install ".[bench]"' in run("-c", code).stdout
