"""The promises of `python -m benchmarks`: its table, its rates, and what the contestants of `meta` do for them."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import apb.loop
import numpy as np
import pytest
from documentation import ROOT


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def benchmark(monkeypatch):
    """A module of `benchmarks` by its name; they are no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


class Clockwork:
    """A worker that needs a second for each of its updates, one after the other, and runs beside others."""

    now = 0.0

    def __init__(self, contestant="", threads=1, lanes=1, fails=False, **options):
        self.lanes, self.fails, self.closed, self.updates = lanes, fails, False, 0

    def start(self, steps):
        self.ends = Clockwork.now + steps * self.lanes
        self.updates += steps * self.lanes

    def wait(self):
        if self.fails:
            raise RuntimeError("ended early")
        Clockwork.now = max(Clockwork.now, self.ends)

    def close(self):
        self.closed = True


@pytest.fixture
def workers(benchmark, monkeypatch):
    """`benchmarks.td3_workers` with a clock that the workers above move."""
    module = benchmark("td3_workers")
    monkeypatch.setattr(Clockwork, "now", 0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: Clockwork.now))
    return module


@pytest.fixture
def meta(benchmark, monkeypatch):
    """`benchmarks.meta` for three thread counts and no GPU; its contestants are known by their arguments."""
    module = benchmark("meta")
    monkeypatch.setattr(module, "Worker", lambda contestant, threads, **options: (contestant, threads, options))
    monkeypatch.setattr(module, "thread_counts", lambda: [1, 2, 4])
    monkeypatch.setattr(module, "installed", lambda name: True)
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: False)
    return module


# --- the table -----------------------------------------------------------------------------------------------------


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


def test_the_table_tells_what_could_not_be_measured_and_judges_nothing_of_it(benchmark):
    ours, peer = ("not measured: no such device", None), ("SB3", [2.0])
    row = benchmark("harness").compare("a", "b", ours, peer, "s", higher_is_better=True, min_ratio=2, limit=3)
    assert (row.ours_value, row.ratio, row.reached) == (None, None, None)
    table = benchmark("__main__")
    assert table._cells(row) == ("a", "b", "s", ours[0], "SB3: 2 (2 - 2)", "", ">= 2 x peer and >= 3 s", "")
    assert f"| {ours[0]} | SB3: 2 (2 – 2) |" in table._markdown([row])[-1]  # noqa: RUF001


def test_every_benchmark_has_a_module_and_a_line_in_the_documentation(benchmark):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    for topic in benchmark("__main__").TOPICS:
        assert topic == benchmark(topic).TOPIC
        assert f"\n- `{topic}`: " in page


# --- rates ---------------------------------------------------------------------------------------------------------


def test_a_rate_counts_the_updates_of_all_lanes_of_all_workers_of_a_team(workers):
    teams = {"one": [Clockwork()], "eight": [Clockwork(lanes=8)], "four": [Clockwork() for _ in range(4)]}
    assert workers.rates(teams, updates=16, repetitions=3) == {"one": [1.0] * 3, "eight": [1.0] * 3, "four": [4.0] * 3}
    for team in teams.values():
        assert sum(worker.updates for worker in team) == 3 * 16
        assert all(worker.closed for worker in team)


def test_a_team_of_more_lanes_than_updates_makes_a_step_and_all_of_it_count(workers):
    worker = Clockwork(lanes=16)
    assert workers.rates({"many": [worker]}, updates=5, repetitions=1) == {"many": [1.0]}
    assert worker.updates == 16


def test_all_workers_are_closed_if_one_ends_early(workers):
    teams = {"good": [Clockwork()], "bad": [Clockwork(fails=True)], "never": [Clockwork()]}
    with pytest.raises(RuntimeError, match="ended early"):
        workers.rates(teams, updates=2, repetitions=2)
    assert all(worker.closed for team in teams.values() for worker in team)


def test_a_contestant_gets_its_options_and_the_rate_counts_its_lanes(workers, monkeypatch):
    """In a process of its own, which here is told to do nothing but answer."""
    monkeypatch.chdir(ROOT)
    popen, started = subprocess.Popen, []

    def echo(command, **options):
        started.append((command, options["env"]))
        return popen([sys.executable, "-c", "import sys\nfor line in sys.stdin: print('done', flush=True)"], **options)

    monkeypatch.setattr(workers.subprocess, "Popen", echo)
    worker = workers.Worker("meta", 3, lanes=16, reading="B")
    worker.close()
    (command, environment), given = started[0], {"threads": 3, "lanes": 16, "reading": "B"}
    assert command[-2] == "meta"
    assert workers.json.loads(command[-1]) == given
    assert (environment["OMP_NUM_THREADS"], environment["APB_NUM_THREADS"]) == ("3", "3")
    assert worker.lanes == 16


# --- meta ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def contestant(workers, monkeypatch):
    """Makes the contestant of meta-training, here, and gives it with its loop."""
    loops = []

    class Loop(apb.loop.LearningLoop):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            loops.append(self)

    monkeypatch.setattr(apb.loop, "LearningLoop", Loop)
    yield lambda **options: (workers.CONTESTANTS["meta"](threads=1, lanes=2, **options), loops[-1])
    for loop in loops:
        loop.close()


@pytest.mark.parametrize(("reading", "shapes"), [("A", [(256, 256)]), ("B", [(256, 20), (256, 256)])])
def test_meta_training_is_measured_with_one_update_of_every_task_for_each_step_of_all_envs(contestant, reading, shapes):
    learn, loop = contestant(reading=reading)
    steps, updates, psi = loop.steps, loop.learner.updates, loop.learner.backbones()[0]
    learn(4)
    assert (loop.steps - steps, loop.learner.updates - updates) == (4, 4)
    assert loop.replay.size.tolist() == [steps + 4] * 2
    assert len({lane.task for lane in loop.lanes}) == 2
    assert [weight.shape for weight in psi.weights] == shapes
    assert loop.settings.batch_size == 256
    assert loop.learner.backbones()[0].hash != psi.hash


def test_updates_alone_are_those_of_every_task_without_steps_of_the_envs(contestant):
    learn, loop = contestant(reading="B", updates_alone=True)
    steps, updates, psi = loop.steps, loop.learner.updates, loop.learner.backbones()[0]
    learn(4)
    assert (loop.steps, loop.learner.updates - updates) == (steps, 4)
    assert loop.learner.backbones()[0].hash != psi.hash


def test_meta_training_on_all_cores_is_compared_with_the_best_of_sb3_and_with_one_thread(meta, monkeypatch):
    speed = {"sb3": {1: 100.0, 2: 150.0, 4: 120.0}, "B": {1: 160.0, 2: 300.0, 4: 480.0}, "A": {4: 390.0}}
    seen = []

    def rates(teams, updates, repetitions):
        found = {}
        for name, ((contestant, threads, options),) in teams.items():
            seen.append((contestant, threads, options))
            alone = options.get("updates_alone", False)
            found[name] = [speed[options.get("reading", contestant)][threads] + 20 * alone] * repetitions
        return found

    monkeypatch.setattr(meta, "rates", rates)
    rows = meta.run(quick=True)
    assert {options["lanes"] for contestant, _, options in seen if contestant == "meta"} == {16}
    found = [(row.case, row.ours, row.ours_value and row.ours_value[0], row.ratio, row.reached) for row in rows]
    assert found[:-1] == [
        ("16 tasks, reading B", "apb, 4 threads", 480, None, True),
        ("16 tasks, reading A", "apb, 4 threads", 390, None, False),
        ("16 tasks, reading B, updates alone", "apb, 4 threads", 500, None, True),
        ("16 tasks, reading A, updates alone", "apb, 4 threads", 410, None, True),
        ("16 tasks, reading B", "apb, 4 threads", 480, 3.2, True),
        ("16 tasks, reading A", "apb, 4 threads", 390, 2.6, False),
        ("16 tasks, reading B, by threads", "apb, 1 thread", 160, 1, None),
        ("16 tasks, reading B, by threads", "apb, 2 threads", 300, 1.875, None),
        ("16 tasks, reading B, by threads", "apb, 4 threads", 480, 3, None),
    ]
    assert [row.peer for row in rows[4:7]] == ["SB3, 2 threads", "SB3, 2 threads", "apb, 1 thread"]
    assert [row.target for row in rows[3:6]] == [">= 400 task-updates/s", ">= 3 x peer", ">= 3 x peer"]


def test_without_sb3_the_rates_stand_alone_and_the_table_tells_how_to_install_it(meta, monkeypatch):
    monkeypatch.setattr(meta, "installed", lambda name: False)
    monkeypatch.setattr(meta, "rates", lambda teams, updates, repetitions: {name: [500.0] for name in teams})
    rows = meta.run(quick=True)
    assert [row.reached for row in rows[:6]] == [True] * 4 + [None] * 2
    assert "pip install" in rows[4].peer


def test_without_a_gpu_the_table_says_that_cuda_was_not_measured(meta):
    (row,) = meta._on_cuda(quick=True)
    assert row.ours.startswith("not measured: torch ")
    assert row.ours.endswith(" finds no CUDA device")
    assert (row.case, row.target, row.reached) == ("32 tasks, on CUDA", ">= 20000 task-updates/s", None)


def test_on_a_gpu_all_cases_are_measured_there_with_the_envs_on_all_cores(meta, monkeypatch):
    monkeypatch.setattr(meta.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(meta.torch.cuda, "get_device_name", lambda: "GPU 9")
    seen = []

    def rates(teams, updates, repetitions):
        seen.extend(worker for team in teams.values() for worker in team)
        return {name: list(np.full(repetitions, 25_000.0)) for name in teams}

    monkeypatch.setattr(meta, "rates", rates)
    rows = meta._on_cuda(quick=True)
    assert [row.case for row in rows] == [f"32 tasks, {case}, on CUDA" for case in meta.CASES]
    assert {(row.ours, row.reached) for row in rows} == {("apb, GPU 9, 4 threads", True)}
    assert {(name, threads, options["lanes"], options["device"]) for name, threads, options in seen} == {
        ("meta", 4, 32, "cuda")
    }
