"""What pictures of splits promise: every task is where its values are, and one that is shown is marked."""

import numpy as np
import pytest
from apb import tasks
from apb.errors import ConfigError
from apb.tasks.plotting import plot_split
from apb.tasks.splits import LISTS
from cli_runs import call
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

HARD = tasks.get("cheetah-vel/mier-hard")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def drawn(monkeypatch):
    """What a picture holds: the first arguments of each strip, scatter and matrix, with their axes and options."""
    calls = {"vlines": [], "scatter": [], "plot": [], "add_patch": [], "pcolormesh": [], "suptitle": []}

    def record(owner, name):
        original = getattr(owner, name)

        def recorded(self, *arguments, **options):
            if name != "pcolormesh" or len(arguments) == 1:  # the bar of colours is one with edges
                calls[name].append((self, arguments, options))
            return original(self, *arguments, **options)

        monkeypatch.setattr(owner, name, recorded)

    for name in ("vlines", "scatter", "plot", "add_patch", "pcolormesh"):
        record(Axes, name)
    record(Figure, "suptitle")
    return calls


def of_lists(split, parameter):
    """Values of all tasks of each list that is not empty."""
    family = split.tasks[0].made_family
    lists = [getattr(split, part) for part in LISTS]
    return [np.concatenate([family.rows(task.values, 1)[parameter] for task in each]) for each in lists if each]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_split_is_drawn_beside_what_is_shown_and_replaces_what_was_there(here, capsys, ending):
    (here / f"a.{ending}").write_text("something else")
    called = call(capsys, "tasks", "show", "cheetah-vel/mier-hard:2", "--plot", f"a.{ending}")
    assert called.code == 0
    assert called.out.endswith(f"picture: a.{ending}\n")
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert (here / f"a.{ending}").read_bytes().startswith(start)
    assert call(capsys, "tasks", "show", "cheetah-vel/ldm", "--plot", "b.png", "--json").json["picture"] == "b.png"


def test_without_a_file_a_split_is_drawn_under_its_name_where_nothing_is(here, capsys):
    (here / "tasks-ant-goal-ldm.png").write_text("holiday")
    called = call(capsys, "tasks", "show", "ant-goal/ldm", "--plot")
    assert called.out.endswith("picture: tasks-ant-goal-ldm-1.png\n")
    assert (here / "tasks-ant-goal-ldm-1.png").read_bytes().startswith(b"\x89PNG")
    assert (here / "tasks-ant-goal-ldm.png").read_text() == "holiday"


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["--plot", "a.png", "show", "cheetah-vel/ldm"], "a.png"),
        (["--plot", "show", "cheetah-vel/ldm"], "tasks-cheetah-vel-ldm.png"),
        (["show", "--plot", "a.png", "cheetah-vel/ldm"], "a.png"),
        (["show", "cheetah-vel/ldm", "--plot=a.png"], "a.png"),
        (["show", "cheetah-vel/ldm", "--plot", "--json"], "tasks-cheetah-vel-ldm.png"),
    ],
)
def test_the_picture_may_be_asked_for_before_and_after_what_is_shown(here, capsys, arguments, file):
    called = call(capsys, "tasks", *arguments)
    assert (called.code, [path.name for path in here.iterdir()]) == (0, [file])
    assert file in called.out


def rings(calls):
    """Where rings were drawn, as lists of coordinates."""
    return [[float(np.squeeze(value)) for value in where] for _, where, options in calls if "markersize" in options]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cheetah-vel/mier-hard:3", lambda task: [task.arguments["velocity"], 2]),
        ("cheetah-vel/mier-hard/train:3", lambda task: [task.arguments["velocity"], 0]),
        ("cheetah-dir/pearl/test:1", lambda task: [task.arguments["direction"], 1]),  # train has the same task
        ("ant-dir/mier-ood/test:1", lambda task: [task.arguments["angle"], 1.15]),
        ("ant-goal/ldm/train:5", lambda task: task.arguments["goal"]),
    ],
)
def test_a_task_that_is_shown_is_ringed_in_the_picture_of_its_split_and_named_there(
    here, capsys, drawn, name, expected
):
    assert call(capsys, "tasks", "show", name, "--plot").code == 0
    task = tasks.get(name)
    assert rings(drawn["plot"]) == [pytest.approx(expected(task))]
    ((_, (title,), _),) = drawn["suptitle"]
    assert title.endswith(f"\nin black: {task.label}")


def test_the_row_of_a_task_is_outlined_in_every_matrix(tmp_path, drawn):
    split = tasks.get("walker-rand-params/mier-ood")
    plot_split(split, tmp_path / "a.png", marked=split.ood[7])
    boxes = [(axes, patch) for axes, (patch,), _ in drawn["add_patch"] if patch.get_edgecolor() == (0, 0, 0, 1)]
    assert [patch.get_xy() for _, patch in boxes] == [(0, 7)] * 4
    assert [axes for axes, _ in boxes] == [axes for axes, *_ in drawn["pcolormesh"][2::3]]
    assert not rings(drawn["plot"])


def test_a_task_of_another_split_cannot_be_marked(tmp_path):
    with pytest.raises(ConfigError, match="marked = cheetah-vel/ldm/ood:0; expected a task of cheetah-vel/mier-hard"):
        plot_split(HARD, tmp_path / "a.png", marked=tasks.get("cheetah-vel/ldm/ood:0"))
    assert not any(tmp_path.iterdir())


def test_a_number_is_a_mark_on_an_axis_with_its_unit(tmp_path, drawn):
    plot_split(HARD, tmp_path / "a.png")
    axes = drawn["vlines"][0][0]
    for (_, (x, *_), _), values in zip(drawn["vlines"], of_lists(HARD, "velocity"), strict=True):
        np.testing.assert_array_equal(x, values)
    assert axes.get_xlabel() == "velocity: target speed in m/s"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train (100)", "test (30)", "OOD (30)"]
    ((_, (title,), _),) = drawn["suptitle"]
    assert title == f"cheetah-vel/mier-hard: 100 train, 30 test, 30 OOD tasks\nout of distribution: {HARD.about}"


def test_an_angle_is_a_mark_on_a_circle(tmp_path, drawn):
    split = tasks.get("ant-dir/mier-ood")
    plot_split(split, tmp_path / "a.png")
    for (axes, (angles, radii), options), values in zip(drawn["scatter"], of_lists(split, "angle"), strict=True):
        assert axes.name == "polar"
        np.testing.assert_array_equal(angles, values)
        assert len(set(radii)) == 1
        assert options["label"].endswith(f"({len(values)})")
    assert axes.get_xlabel().startswith("angle: direction in rad")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train (100)", "test (30)", "OOD (10)"]


def test_a_goal_is_a_point_of_a_plane_with_equal_axes(tmp_path, drawn):
    split = tasks.get("ant-goal/ldm")
    plot_split(split, tmp_path / "a.png")
    for (_, (x, y), _), values in zip(drawn["scatter"], of_lists(split, "goal"), strict=True):
        np.testing.assert_array_equal(np.stack([x, y], axis=1), values)
    axes = drawn["scatter"][0][0]
    assert axes.get_aspect() == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("goal[0] in m", "goal[1] in m")


@pytest.mark.parametrize("split", ["ant-dir/mier-ood", "ant-goal/ldm"])
def test_training_tasks_are_seen_through_the_test_tasks_that_lie_on_them(tmp_path, drawn, split):
    plot_split(tasks.get(split), tmp_path / "a.png")
    marks = drawn["scatter"][0][0].collections
    assert [len(each.get_facecolor()) for each in marks] == [1, 0, 1]
    assert [len(each.get_edgecolor()) for each in marks] == [1, 1, 1]


def test_factors_are_matrices_of_tasks_and_elements_on_one_logarithmic_scale(tmp_path, drawn):
    split = tasks.get("walker-rand-params/mier-ood")
    plot_split(split, tmp_path / "a.png")
    fields = list(split[0].made_family.parameters)
    expected = [values.reshape(len(values), -1) for field in fields for values in of_lists(split, field)]
    norms = set()
    for (_, (matrix,), options), values in zip(drawn["pcolormesh"], expected, strict=True):
        np.testing.assert_array_equal(matrix, values)
        norms.add(options["norm"])
    (norm,) = norms
    assert isinstance(norm, LogNorm)
    assert norm.vmin * norm.vmax == pytest.approx(1)
    assert norm.vmin <= min(values.min() for values in expected)
    assert norm.vmax >= max(values.max() for values in expected)
    columns = drawn["pcolormesh"][2::3]
    assert [axes.get_xlabel() for axes, *_ in columns] == [f"element of\n{field}" for field in fields]
    rows = [axes.get_ylabel() for axes, *_ in drawn["pcolormesh"][:3]]
    assert rows == ["train (40)", "test (10)", "OOD (20)"]


def test_a_permuted_task_is_drawn_by_all_of_its_parameters_those_by_default_too(tmp_path, drawn):
    split = tasks.get("cheetah-vel-permuted-state/theorem")
    plot_split(split, tmp_path / "a.png")
    assert len(drawn["vlines"]) == 3
    train, test, ood = (matrix for _, (matrix,), _ in drawn["pcolormesh"])
    assert (train == np.arange(20)).all()
    assert (test == np.arange(20)).all()
    np.testing.assert_array_equal(ood, [task.arguments["permutation"] for task in split.ood])
    assert {axes.figure for axes, *_ in drawn["vlines"]} == {axes.figure for axes, *_ in drawn["pcolormesh"]}


def test_signs_have_two_colours_which_the_bar_tells(tmp_path, drawn):
    plot_split(tasks.get("ant-negated-joints/mier"), tmp_path / "a.png")
    axes, (matrix,), options = drawn["pcolormesh"][0]
    assert set(np.unique(matrix)) == {-1, 1}
    assert options["cmap"].N == 2
    (bar,) = {each for each in axes.figure.axes if each.get_ylabel().startswith("signs: ")}
    assert list(bar.get_yticks()) == [-1, 1]


def test_a_split_without_ood_tasks_is_drawn_without_them(tmp_path, drawn):
    plot_split(tasks.get("cheetah-dir/pearl"), tmp_path / "a.png")
    axes = drawn["vlines"][0][0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["train (2)", "test (2)"]
    assert list(axes.get_xticks()) == [-1, 1]
