"""`python -m benchmarks [NAME ...]`: run benchmarks and print one table of ours against the peers."""

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path

from apb.errors import nearest
from apb.system_info import package_version, system_info
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.harness import Row

TOPICS = {
    "td3_single": "one TD3 run, steps and updates per second, against SB3 and SBX",
    "td3_lanes": "task-updates per second of K lanes against 4 SB3 processes",
    "meta": "task-updates per second of meta-training against SB3, by threads, and on CUDA",
    "strategies": "steps per second with each strategy against noise on actions",
    "forward": "the policy's forward pass against SB3's predict and torch",
    "replay": "sampling from 1M transitions against SB3, cpprb and NumPy; memory",
    "evolution": "ask and tell of a population against vectorised NumPy",
    "simulation": "64 rows against MuJoCo's bare batch, AsyncVectorEnv and EnvPool; lanes; memory",
    "cloning": "the closed form of 100,000 transitions and the gradient fit of clone against torch",
    "flap": "predicting the layers of a task from 200 transitions against torch; one thread",
    "profile": "where the time of one adaptation goes",
}
COLUMNS = ("benchmark", "case", "unit", "ours", "peer", "ratio", "target", "reached")
PHASES = ("simulation", "forward", "sampling", "update", "evaluation", "checkpoint", "rest")
PEERS = ("stable-baselines3", "sbx-rl", "jax", "cpprb", "envpool")


def main() -> int:
    """Run the benchmarks that the command line names; 0 unless the arguments are wrong."""
    topics = "\n".join(f"  {name:12} {text}" for name, text in TOPICS.items())
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Compare apb with its peers on this machine. Benchmarks:\n" + topics,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table, with machine and versions")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/benchmarks.md has it")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: minutes become tens of seconds")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in TOPICS:
            parser.error(f"there is no benchmark {name!r}; {nearest(name, TOPICS)}")
    begin = time.perf_counter()
    rows: list[Row] = []
    for name in arguments.names or TOPICS:
        print(f"{name}: {TOPICS[name]} ...", file=sys.stderr, flush=True)
        rows += import_module(f"benchmarks.{name}").run(arguments.quick)
    system = system_info() | {"peers": {name: package_version(name) for name in PEERS}}
    if arguments.markdown:
        print("\n".join(_markdown(rows)))
    else:
        _show(rows, system)
    print(f"{time.perf_counter() - begin:.0f} s")
    if arguments.json is not None:
        report = {"command": ["python", "-m", "benchmarks", *sys.argv[1:]], "system": system}
        arguments.json.write_text(json.dumps(report | {"rows": [row.to_json() for row in rows]}, indent=1) + "\n")
    return 0


def _show(rows: list[Row], system: dict[str, object]) -> None:
    table = Table(title="median (min - max)")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, _cells(row)))  # a name such as ".[bench]" is no markup
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print("\n".join(f"{name}: {value}" for name, value in system.items()), highlight=False, markup=False)


def _markdown(rows: list[Row]) -> list[str]:
    """The table in Markdown, and below it the shares of `profile`, with a row per strategy."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    shares: dict[str, dict[str, str]] = {}
    for row in rows:
        if row.topic == "profile":
            strategy, phase = row.case.split(": ")
            shares.setdefault(strategy, {})[phase] = f"{row.ours_value[0]:.1f}"
            continue
        *cells, target, reached = _cells(row)
        target = target.replace(">=", "≥").replace("<=", "≤").replace(" x ", " × ")  # noqa: RUF001
        text = " | ".join([*cells, target, reached.replace("NO", "**no**")])
        lines.append(f"| {text} |".replace(" - ", " – "))  # noqa: RUF001
    for number, (strategy, phases) in enumerate(shares.items()):
        if number == 0:
            lines += ["", f"| strategy | {' | '.join(PHASES)} |", "|" + "---|" * (1 + len(PHASES))]
        lines.append(f"| `{strategy}` | {' | '.join(phases.get(phase, '') for phase in PHASES)} |")
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    ours, peer = _side(row.ours, row.ours_value), _side(row.peer, row.peer_value)
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    reached = {None: "", True: "yes", False: "NO"}[row.reached]
    return row.topic, row.case, row.unit, ours, peer, ratio, row.target, reached


def _side(name: str, values: tuple[float, float, float] | None) -> str:
    if values is None:
        return name
    median, low, high = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values)
    return f"{name}: {median} ({low} - {high})"


if __name__ == "__main__":
    sys.exit(main())
