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


def state(timesteps, total=1000, seeds=(0,), updates=1):
    return RunState(timesteps, total, updates, seeds, {}, None, None)


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
def test_rate_and_time_left_are_of_the_last_half_minute_of_learning(file, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    now = 0.0
    monkeypatch.setattr("apb.progress.time", SimpleNamespace(monotonic=lambda: now))
    shown = file()
    bar = ProgressBarCallback("Env-v0", shown)
    bar.on_start(state(0, updates=0))
    said = {}
    for timesteps in range(1, 701):
        # 300 random steps in no time, then 10 steps per second, and from the 600th on 2 per second.
        now += 0.0001 if timesteps <= 300 else 0.1 if timesteps <= 600 else 0.5
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
    assert file.getvalue() == "Env-v0, seeds 3, 4, 2,000 steps in all\n"


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ((7,), "seed 7"),
        ((0,) * 30, "seed 0 in each task, 30,000 steps in all"),
        ((3, 4, 3, 4, 3, 4), "seeds 3, 4 in each task, 6,000 steps in all"),
    ],
)
def test_several_tasks_are_not_taken_for_seeds(seeds, words):
    file = io.StringIO()
    ProgressBarCallback("Env-v0", file).on_start(state(0, seeds=seeds))
    assert file.getvalue() == f"Env-v0, {words}\n"


def test_it_keeps_no_state_so_that_it_may_come_and_go_between_the_parts_of_a_run():
    assert ProgressBarCallback().state_dict() == {}


def test_of_several_lanes_each_return_of_an_evaluation_is_printed_in_one_line():
    file = io.StringIO()
    with ProgressBarCallback("3 tasks", file) as bar:
        bar.on_start(state(0, seeds=(4, 5, 6)))
        results = [SimpleNamespace(mean=value) for value in (-1234.4, 2.0, 10.6)]
        bar.on_evaluation(state(500, seeds=(4, 5, 6)), results)
    assert "500 steps: eval -407, each -1,234, 2, 11" in file.getvalue().splitlines()


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
    assert f"tasks, {words}, {len(seeds)},000 steps in all" in file.getvalue()
