"""The film strips on the page of scales: which tasks they show, at which steps, and what the episode earned."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from apb import tasks
from apb.tasks.scale import SCALED_TASKS
from documentation import ROOT

HORIZON = 200


@pytest.fixture
def film_strips(monkeypatch):
    """`benchmarks.science.film_strips`, which is no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(ROOT)
    from benchmarks.science import film_strips

    monkeypatch.setattr(film_strips, "choose_opengl", lambda: None)
    return film_strips


class Counted:
    """A task and its env: observation and picture are the number of steps made, the reward is the action, and the
    episode ends after `length` steps."""

    def __init__(self, length, end="truncated"):
        self.length, self.end, self.closed, self.options = length, end, False, None

    def make(self, **options):
        self.options = options
        return self

    def reset(self, *, seed):
        self.made = 0
        return self.made, {}

    def step(self, action):
        assert self.made < self.length
        self.made += 1
        ended = self.made == self.length
        return self.made, np.float64(action), ended and self.end == "terminated", ended and self.end == "truncated", {}

    def render(self):
        return self.made

    def close(self):
        self.closed = True

    @property
    def made_family(self):
        return SimpleNamespace(horizon=HORIZON)


def test_every_strip_is_of_a_task_that_a_policy_is_learned_of(film_strips):
    for name in film_strips.SHOWN:
        assert isinstance(tasks.get(name), tasks.Task)
    assert {*film_strips.SHOWN} <= {*SCALED_TASKS}
    assert len({*film_strips.SHOWN}) == len(film_strips.SHOWN)


def test_pictures_are_of_the_steps_that_are_told_at_even_distances_from_the_first_to_the_last(film_strips):
    env = Counted(HORIZON)
    pictures, steps, _ = film_strips.strip(lambda observation: 0.0, env)
    assert pictures == steps
    assert len(steps) == film_strips.FRAMES == 8
    assert (steps[0], steps[-1]) == (0, HORIZON - 1)
    assert {int(distance) for distance in np.diff(steps)} <= {28, 29}
    assert env.options == {"render_mode": "rgb_array"} | film_strips.SIZE
    assert env.closed


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_a_strip_ends_with_its_episode_and_has_the_return_of_all_its_steps(film_strips, end):
    pictures, steps, total = film_strips.strip(lambda observation: observation + 0.5, Counted(60, end))
    assert pictures == steps == [0, 28, 56]
    assert total == sum(step + 0.5 for step in range(60))


def test_a_row_is_the_episode_of_a_task_in_it_by_the_policy_of_its_own_run(film_strips, monkeypatch, tmp_path):
    finished = film_strips.SHOWN[1:6:2]
    drawn, saved = [], []

    def learned_policy(runs, name):
        assert str(runs) == "some-runs"
        return f"run of {name}" if name in finished else None

    def strip(policy, task):
        drawn.append((policy, task))
        return [np.zeros((4, 4, 3), dtype=np.uint8)] * 3, [0, 28, 56], 1_234.4

    def savefig(figure, path, **options):
        saved.append(path)
        texts.extend([panel.get_title(loc="left") for panel in figure.axes if panel.get_title(loc="left")])

    texts = []
    monkeypatch.setattr(film_strips, "learned_policy", learned_policy)
    monkeypatch.setattr(film_strips, "strip", strip)
    monkeypatch.setattr(film_strips, "RESULTS", tmp_path)
    monkeypatch.setattr(film_strips.Figure, "savefig", savefig)
    monkeypatch.setattr(sys, "argv", ["film_strips", "--runs", "some-runs"])
    assert film_strips.main() == 0
    assert drawn == [(f"run of {name}", tasks.get(name)) for name in finished]
    assert texts == [text for name in finished for text in (f"{name}: return 1,234\n", "step 28", "step 56")]
    assert saved == [tmp_path / "task-scales" / "film-strips.png"]


def test_without_a_finished_run_the_command_says_which_it_looked_for(film_strips, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["film_strips", "--runs", str(tmp_path)])
    with pytest.raises(SystemExit):
        film_strips.main()
    assert f"no finished run of {', '.join(film_strips.SHOWN)} under {tmp_path}" in capsys.readouterr().err
