"""Runs the cells of a study, several at a time with one thread each; a cell that was interrupted is resumed, a finished
one is kept."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.science.methods import METHODS
from benchmarks.science.studies import EVAL_EPISODES, EVAL_FREQ, STUDIES, Cell

RESULTS = Path("docs/results")


def raw_file(cell: Cell) -> Path:
    """Where the evaluations of a finished run are committed: one JSON record per line, a header first."""
    return RESULTS / "raw" / f"{cell.name}.jsonl"


def read_raw(cell: Cell) -> list[dict[str, Any]]:
    """Header and evaluations of a cell from the raw file, cut at its budget; empty if no run is that long."""
    path = raw_file(cell)
    header, *evaluations = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else [{}]
    if header.get("total_timesteps", 0) < cell.total_timesteps:
        return []
    return [header, *(record for record in evaluations if record["timesteps"] <= cell.total_timesteps)]


def run_study(study: str, workers: int, runs: Path, only: Callable[[Cell], bool]) -> int:
    """Run what is missing, `workers` at a time; returns the number of cells that failed."""
    missing = [cell for cell in STUDIES[study].cells() if not read_raw(cell) and only(cell)]
    words = ["benchmarks.science.cell", study]
    return run_modules(
        {cell.name: [*words, cell.env, cell.method, str(cell.seed), str(runs)] for cell in missing}, workers
    )


def run_modules(commands: Mapping[str, Sequence[str]], workers: int) -> int:
    """Run `python -m` with the words of each, by its name, `workers` at a time with one thread each; returns how many
    failed."""
    todo = deque(commands.items())
    running: dict[subprocess.Popen[bytes], str] = {}
    failed = 0
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "APB_NUM_THREADS": "1"}
    while todo or running:
        while todo and len(running) < workers:
            name, words = todo.popleft()
            running[subprocess.Popen([sys.executable, "-m", *words], env=environment)] = name
        time.sleep(1)
        for process in [process for process in running if process.poll() is not None]:
            name = running.pop(process)
            failed += process.returncode != 0
            outcome = f"exit code {process.returncode}" if process.returncode else "done"
            print(f"{name}: {outcome}; {len(todo)} waiting", flush=True)
    return failed


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science.run", description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--workers", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs/science"),
        help="folder for run folders; keep it to resume (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, nargs="*", help="only these seeds")
    parser.add_argument("--methods", choices=METHODS, nargs="*", help="only these methods")
    parser.add_argument("--envs", nargs="*", help="only these envs")
    options = parser.parse_args()

    def only(cell: Cell) -> bool:
        pairs = ((options.seeds, cell.seed), (options.methods, cell.method), (options.envs, cell.env))
        return all(not wanted or value in wanted for wanted, value in pairs)

    return run_study(options.study, options.workers, options.runs, only)


def write_raw(cell: Cell, header: dict[str, Any], evaluations: list[dict[str, Any]]) -> None:
    """Write the committed record of a finished cell."""
    path = raw_file(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header | {"eval_freq": EVAL_FREQ, "n_eval_episodes": EVAL_EPISODES}, *evaluations]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
