"""What the progress bar promises: where a run stands, on a terminal and in a log file."""

import io
import re
from types import SimpleNamespace

import pytest
from apb.callbacks import RunState
from apb.progress import ProgressBarCallback


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, `now`, that bars go by, on a terminal of 120 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("apb.progress.time", clock)
    return clock


def state(timesteps, total=1000, seeds=(0,), updates=1, tasks=None):
    """Of a run with these lanes; `tasks` are the names of theirs, where there are several."""
    named = tuple(tasks or [None] * len(seeds))
    return RunState("Its title", timesteps, total, updates, named, seeds, {}, None, None)


def follow(file, steps, total=1000, **ends):
    """What is written of a run with these steps; an episode (return 12.3) and an evaluation (-5) follow the first."""
    bar = ProgressBarCallback("Env-v0, action_noise", file)
    with bar:
        bar.on_start(state(ends.get("start", 0), total))
        for number, timesteps in enumerate(steps):
            bar.on_step(state(timesteps, total))
            if number == 0:
                bar.on_episode_end(state(timesteps, total), SimpleNamespace(return_=12.3))
                bar.on_evaluation(state(timesteps, total), [SimpleNamespace(mean=-5.0)])
        bar.on_end(state(steps[-1], total))
    return file.getvalue()


def test_a_log_file_gets_a_header_and_one_plain_line_per_tenth():
    lines = follow(io.StringIO(), range(1, 1001)).splitlines()
    assert lines[0] == "Env-v0, action_noise, seed 0"
    assert [re.match(r".*: ([\d,]+)/1,000 steps", line)[1] for line in lines[1:]] == [
        f"{100 * tenth:,}" for tenth in range(1, 11)
    ]
    assert not any("\x1b" in line for line in lines)


def test_a_line_tells_rate_time_left_and_the_latest_return_and_evaluation():
    last = follow(io.StringIO(), range(1, 301)).splitlines()[-1]
    assert re.search(r"300/1,000 steps, [\d,]+ steps/s, \d:\d\d:\d\d left, return 12 +eval -5$", last)


@pytest.mark.parametrize("steps", [[1000], [999, 1000], [50, 60, 990]])
def test_steps_that_jump_over_tenths_print_one_line_each_at_most(steps):
    assert len(follow(io.StringIO(), steps).splitlines()) <= 1 + len(steps)


def test_a_resumed_run_does_not_repeat_the_lines_of_its_past():
    lines = follow(io.StringIO(), range(501, 1001), start=500).splitlines()
    assert len(lines) == 1 + 5


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    text = follow(Terminal(), [400, 1000])
    assert "400/1,000 steps" in text or "1,000/1,000 steps" in text
    assert "return 12  eval -5" in text
    assert "left," not in text


@pytest.mark.parametrize("file", [io.StringIO, Terminal])
def test_rate_and_time_left_are_of_the_last_half_minute_of_learning(file, clock):
    shown = file()
    bar = ProgressBarCallback("Env-v0", shown)
    bar.on_start(state(0, updates=0))
    said = {}
    for timesteps in range(1, 701):
        # 300 random steps in no time, then 10 steps per second, and from the 600th on 2 per second.
        clock.now += 0.0001 if timesteps <= 300 else 0.1 if timesteps <= 600 else 0.5
        bar.on_step(state(timesteps, updates=max(0, timesteps - 300)))
        if bar._bar is not None:
            bar._bar.refresh()
        if timesteps % 100 == 0:
            said[timesteps] = re.findall(r"(\S+) steps/s[, ]+([\d:…]+) left", shown.getvalue())[-1]
    bar.close()
    assert said == {
        100: ("10,000", "…"),
        200: ("10,000", "…"),
        300: ("10,000", "…"),
        400: ("10", "0:01:00"),
        500: ("10", "0:00:50"),
        600: ("10", "0:00:40"),
        700: ("2", "0:02:30"),
    }


def test_the_terminal_is_left_in_order_when_the_run_fails(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()

    def fail():
        with ProgressBarCallback("Env-v0", terminal) as bar:
            bar.on_start(state(0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert terminal.getvalue().count(hide) == terminal.getvalue().count(show) == 1


def test_several_seeds_are_named_at_the_start():
    file = io.StringIO()
    ProgressBarCallback("Env-v0", file).on_start(state(0, seeds=(3, 4)))
    assert file.getvalue() == "Env-v0, seeds 3, 4, 1,000 steps per seed, 2,000 in all\n"


PLACE = "cheetah-vel/mier-hard/train"


@pytest.mark.parametrize(
    ("tasks", "seeds", "words"),
    [
        (1, (7,), "seed 7"),
        (30, (0,) * 30, "seed 0 in each task, 1,000 steps per task, 30,000 in all"),
        (3, (3, 4) * 3, "seeds 3, 4 in each task, 1,000 steps per task and seed, 6,000 in all"),
        (20, tuple(range(2**31, 2**31 + 60, 3)), "1,000 steps per task, 20,000 in all"),
    ],
)
def test_the_header_tells_steps_of_what_and_only_seeds_that_a_user_knows(tasks, seeds, words):
    file = io.StringIO()
    names = [f"{PLACE}:{number}" for number in range(tasks) for _ in range(len(seeds) // tasks)]
    ProgressBarCallback("Env-v0", file).on_start(state(0, seeds=seeds, tasks=names if tasks > 1 else None))
    assert file.getvalue() == f"Env-v0, {words}\n"


def test_without_a_description_the_run_says_what_it_is():
    file = io.StringIO()
    ProgressBarCallback(file=file).on_start(state(0))
    assert file.getvalue() == "Its title, seed 0\n"


def test_it_keeps_no_state_so_that_it_may_come_and_go_between_the_parts_of_a_run():
    assert ProgressBarCallback().state_dict() == {}


def evaluated(tasks, seeds, returns):
    """The line that tells of an evaluation with these returns at step 500."""
    file = io.StringIO()
    with ProgressBarCallback("tasks", file) as bar:
        bar.on_start(state(0, seeds=seeds, tasks=tasks))
        bar.on_evaluation(
            state(500, seeds=seeds, tasks=tasks), [SimpleNamespace(mean=float(value)) for value in returns]
        )
    return file.getvalue().splitlines()[1]


@pytest.mark.parametrize(
    ("tasks", "seeds", "line"),
    [
        (None, (4, 5, 6), "500 steps per seed: eval -407 (seed 4 -1,234, seed 5 2, seed 6 11)"),
        (
            [f"{PLACE}:0", f"{PLACE}:5", "cheetah-vel/mier-hard/ood:0"],
            (91, 17, 3),
            "500 steps per task: eval -407 (train:0 -1,234, train:5 2, ood:0 11)",
        ),
        (
            [f"{PLACE}:0", f"{PLACE}:0", f"{PLACE}:5"],
            (0, 1, 0),
            "500 steps per task and seed: eval -407 (train:0 seed 0 -1,234, train:0 seed 1 2, train:5 seed 0 11)",
        ),
        (
            ["Hopper-v5", "Ant-v5", "cheetah-vel/mier-hard/train:0"],
            (91, 17, 3),
            "500 steps per task: eval -407 (Hopper-v5 -1,234, Ant-v5 2, cheetah-vel/mier-hard/train:0 11)",
        ),
    ],
    ids=["seeds", "tasks", "tasks and seeds", "envs"],
)
def test_an_evaluation_of_several_lanes_tells_the_return_of_each_by_its_name(tasks, seeds, line):
    assert evaluated(tasks, seeds, (-1234.4, 2, 10.6)) == line


def test_an_evaluation_names_every_one_of_20_tasks_and_of_a_hundred_the_lowest_and_the_highest():
    named = evaluated([f"{PLACE}:{5 * number}" for number in range(20)], tuple(range(20)), range(-2000, -1980))
    assert all(f"train:{5 * number} -{2000 - number:,}" in named for number in range(20))
    many = evaluated([f"{PLACE}:{number}" for number in range(100)], tuple(range(100)), [*range(50, 100), *range(50)])
    assert many == "500 steps per task: eval 50 (lowest train:50 0, highest train:49 99)"


def test_a_task_that_is_called_by_all_its_values_does_not_make_a_line_of_any_length():
    tasks = [f"task {number}: family with {'value = 1.2345, ' * 50}" for number in range(2)]
    line = evaluated(tasks, (1, 2), (3, 4))
    assert "task 0: family" in line
    assert "task 1: family" in line
    assert len(line) < 150


@pytest.mark.parametrize("file", [io.StringIO, Terminal])
def test_steps_rate_and_time_left_are_those_of_all_lanes(file, clock):
    shown = file()
    with ProgressBarCallback("tasks", shown) as bar:
        bar.on_start(state(0, seeds=(1, 2, 3)))
        for timesteps in range(1, 501):
            clock.now += 0.1
            bar.on_step(state(timesteps, seeds=(1, 2, 3)))
    assert re.search(r"1,500/3,000 steps,? +30 steps/s,? +0:00:50 left", shown.getvalue())


@pytest.mark.parametrize("file", [io.StringIO, Terminal])
def test_the_final_evaluation_is_announced_and_the_rate_stays_that_of_the_steps(file, clock):
    shown = file()
    with ProgressBarCallback("tasks", shown) as bar:
        bar.on_start(state(0))
        for timesteps in range(1, 1001):
            clock.now += 0.1
            bar.on_step(state(timesteps))
        clock.now += 60
        bar.on_evaluation(state(1000), [SimpleNamespace(mean=-5.0)])
        bar.on_final_evaluation(state(1000), 62)
        during = len(shown.getvalue())
        if bar._bar is not None:
            bar._bar.refresh()
        clock.now += 60
        bar.on_end(state(1000))
    said = shown.getvalue()
    if file is Terminal:
        assert "10 steps/s final evaluation on 62 tasks" in said
        assert "1,000/1,000 steps 10 steps/s 0:00:00 left" in said[during:], "at the end nothing is being done any more"
    else:
        assert said.splitlines()[-1] == "tasks: final evaluation on 62 tasks"
    assert set(re.findall(r"([\d,]+) steps/s", said)) == {"10"}


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (tuple(range(3, 23)), "seeds 3 to 22"),
        ((0, 1, 2, 3, 4), "seeds 0, 1, 2, 3, 4"),
        ((0, 1, 2, 3, 4, 6), "seeds 0, 1, 2, 3, 4, 6"),
    ],
)
def test_many_seeds_in_a_row_are_named_by_the_first_and_the_last(seeds, words):
    file = io.StringIO()
    with ProgressBarCallback("tasks", file) as bar:
        bar.on_start(state(0, seeds=seeds))
    assert f"tasks, {words}, 1,000 steps per seed, {len(seeds)},000 in all" in file.getvalue()
