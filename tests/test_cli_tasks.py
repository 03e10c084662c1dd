"""What `apb tasks` promises: it lists, shows and draws splits, as they are, for people and for programs."""

import ast
import json
import math
import re
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
from apb import tasks
from apb.errors import ConfigError
from apb.registration import ORIGINAL_NAMES
from apb.tasks.description import facts
from apb.tasks.plotting import plot_split
from apb.tasks.splits import LISTS
from cli_runs import call
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

SPLITS = [f"{family}/{name}" for family in tasks.FAMILIES for name in tasks.splits_of(family)]
HARD = tasks.get("cheetah-vel/mier-hard")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def one_line(text):
    return " ".join(text.split())


# --- the list --------------------------------------------------------------------------------------------------------


def test_the_list_has_every_family_with_its_splits_and_fits_in_100_columns(capsys):
    called = call(capsys, "tasks")
    assert called.code == 0
    assert max(map(len, called.out.splitlines())) <= 100
    for family in ORIGINAL_NAMES:
        assert re.search(rf"^{family} ", called.out, re.MULTILINE)
    assert "cheetah-vel-permuted-state and so on" in called.out
    assert called.out.count("permuted-state") == 1
    family = tasks.FAMILIES["humanoid-dir"]()
    assert f"{family.observation_size} observations, {family.action_size} actions" in called.out
    ends = [line.split()[-4:] for line in called.out.splitlines() if re.search(r"\d+ +\d+ +\d+$", line)]
    splits = [tasks.get(name) for name in SPLITS if "permuted-state" not in name]
    assert ends == [[split.name, *(str(len(getattr(split, part))) for part in LISTS)] for split in splits]


@pytest.mark.parametrize("columns", [60, 80])
def test_the_list_fits_in_a_narrow_terminal_and_no_name_is_broken(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = call(capsys, "tasks").out
    assert max(map(len, text.splitlines())) <= columns
    words = text.split()
    assert {*ORIGINAL_NAMES, *(name.partition("/")[2] for name in SPLITS if "permuted-state" not in name)} <= {*words}


@pytest.mark.parametrize("name", ["cheetah-vel", "ant-goal/ldm", "walker-rand-params/mier-ood:3"])
def test_what_is_shown_fits_in_a_narrow_terminal_but_for_what_is_to_be_copied(capsys, monkeypatch, name):
    wide = call(capsys, "tasks", "show", name).out
    monkeypatch.setenv("COLUMNS", "60")
    narrow = call(capsys, "tasks", "show", name).out
    table, _, use = narrow.partition("SHA-256:" if "/" in name else "use:")
    assert max(map(len, table.splitlines())) <= 60
    assert wide.endswith(use)
    assert "".join(narrow.split()) == "".join(wide.split())


def test_the_list_tells_programs_sizes_and_hashes_of_all_splits(capsys):
    families = call(capsys, "tasks", "--json").json["families"]
    assert [family["family"] for family in families] == list(tasks.FAMILIES)
    told = {f"{family['family']}/{name}": split for family in families for name, split in family["splits"].items()}
    assert list(told) == SPLITS
    for name, split in told.items():
        found = tasks.get(name)
        assert split == {
            **{part: len(getattr(found, part)) for part in LISTS},
            "sha256": found.hash,
            "about": found.about,
        }


# --- one of them -----------------------------------------------------------------------------------------------------


def test_a_split_is_shown_with_its_tasks_hash_reward_times_sizes_switches_and_use(capsys):
    called = call(capsys, "tasks", "show", "cheetah-vel/mier-hard")
    assert called.code == 0
    assert max(map(len, called.out.splitlines())) <= 100
    text = one_line(called.out)
    for words in (
        HARD.hash,
        HARD.about,
        HARD.source,
        "train (100)",
        "test (30)",
        "OOD (30)",
        tasks.FAMILIES["cheetah-vel"].formula,
        "200 steps, 10 s",
        "0.05 s, 5 timesteps of 0.01 s",
        "20 numbers: qpos without x (8), qvel (9), and the torso's position (3)",
        "6 numbers in [-1, 1]",
        "include_torso_position = True: Whether the torso's world position",
        "apb/CheetahVel-v0",
        "apb adapt cheetah-vel/mier-hard:0",
        'apb.tasks.get("cheetah-vel/mier-hard:0").make()',
    ):
        assert words in text
    shown = text.partition("OOD (30) ")[2].partition(" reward ")[0]
    assert shown.split(", ") == [f"{task.arguments['velocity']:.4g}" for task in HARD.ood]


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_can_be_shown_within_100_columns(capsys, name):
    called = call(capsys, "tasks", "show", name)
    assert called.code == 0
    assert max(map(len, called.out.splitlines())) <= 100
    assert tasks.get(name).hash in called.out


@pytest.mark.parametrize("name", ["cheetah-vel/mier-hard", "walker-rand-params/mier-ood"])
def test_a_program_gets_a_split_whole(capsys, name):
    data = call(capsys, "tasks", "show", name, "--json").json
    split = tasks.get(name)
    assert data["split"] == {"name": name, **split.to_json()}
    assert data["family"] == split.family


def test_long_lists_are_cut_and_say_how_many_tasks_more_there_are(capsys):
    text = call(capsys, "tasks", "show", "walker-rand-params/mier-ood").out
    found = [int(number) for number in re.findall(r"and (\d+) more", text)]
    assert len(found) == 3
    listed = text.count("body_mass [")
    assert listed + sum(found) == 70


def test_a_list_is_shown_whole_with_the_number_of_each_task(capsys):
    called = call(capsys, "tasks", "show", "ant-goal/ldm/train")
    title, *lines = called.out.splitlines()
    assert title == "ant-goal/ldm/train: 150 tasks"
    for index, (line, task) in enumerate(zip(lines, tasks.get("ant-goal/ldm").train, strict=True)):
        x, y = task.arguments["goal"]
        assert line == f"{index}: [{x:.4g},{y:.4g}]"
    data = call(capsys, "tasks", "show", "ant-goal/ldm/train", "--json").json["split"]
    assert data["train"] == [task.arguments for task in tasks.get("ant-goal/ldm").train]
    assert not {"test", "ood"} & data.keys()
    assert call(capsys, "tasks", "show", "cheetah-vel/pearl/ood").out == "cheetah-vel/pearl/ood: 0 tasks\n"


@pytest.mark.parametrize(
    ("name", "label", "value"),
    [
        ("cheetah-vel/mier-hard:3", "cheetah-vel/mier-hard/ood:3", f"velocity {HARD[3].arguments['velocity']:.4g} "),
        ("cheetah-negated-joints/mier:0", "cheetah-negated-joints/mier/ood:0", "signs [-1,-1,1,1,1,-1] "),
        ("ant-dir/pearl/train:1", "ant-dir/pearl/train:1", f"angle {math.pi:.4g} "),
    ],
)
def test_a_task_is_shown_with_its_values_and_its_place(capsys, name, label, value):
    called = call(capsys, "tasks", "show", name)
    assert called.out.startswith(f"{label}\n")
    assert value in one_line(called.out)
    assert f"apb adapt {label}\n" in called.out
    data = call(capsys, "tasks", "show", name, "--json").json
    assert data["split"]["task"] == {"name": label, "arguments": tasks.get(name).arguments}
    assert not set(LISTS) & data["split"].keys()


def test_a_family_is_shown_with_its_splits_and_how_to_make_it(capsys):
    called = call(capsys, "tasks", "show", "hopper-mass")
    text = one_line(called.out)
    assert 'gymnasium.make("apb/HopperMass-v0", exponent=0.0)' in text
    assert "200 steps, 3.2 s, or fewer where a task ends in a fall" in text
    for name in tasks.splits_of("hopper-mass"):
        split = tasks.get(f"hopper-mass/{name}")
        assert f"{len(split.train)} train, {len(split.test)} test, {len(split.ood)} ood" in text
        assert split.about in text
    data = call(capsys, "tasks", "show", "hopper-mass", "--json").json
    assert data["splits"]["tavt"]["sha256"] == tasks.get("hopper-mass/tavt").hash


def test_a_family_is_also_shown_by_the_id_of_its_env(capsys):
    for family in ("cheetah-vel", "ant-goal-permuted-state"):
        by_id = call(capsys, "tasks", "show", tasks.Task(family, {}).env_id)
        assert by_id.code == 0
        assert by_id.out == call(capsys, "tasks", "show", family).out


@pytest.mark.parametrize(
    ("name", "default", "argument"),
    [
        ("cheetah-vel", "velocity: a number in [0, 20] (target speed in m/s), 2 by default", "velocity=2.0"),
        ("ant-goal", "(x and y in m), [1,0] by default", "goal=[1.0, 0.0]"),
        ("cheetah-vel-permuted-state", "in each place), [0,1,2,3,4,5,6,7,…,19] by default", "velocity=2.0"),
    ],
)
def test_a_parameter_has_its_default_beside_it_and_is_short_in_the_commands(capsys, name, default, argument):
    called = call(capsys, "tasks", "show", name)
    assert default in one_line(called.out)
    use = called.out.partition("use: ")[2].splitlines()
    assert [line.endswith(f", {argument})") for line in use[:2]] == [True, True]


@pytest.mark.parametrize("name", ORIGINAL_NAMES)
def test_the_lines_that_say_how_to_use_a_family_make_its_env(capsys, name):
    line = call(capsys, "tasks", "show", name).out.partition("use: ")[2].splitlines()[0]
    made = ast.parse(line, mode="eval").body
    assert ast.unparse(made.func) == "gymnasium.make"
    named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in made.keywords}
    env = gymnasium.make(*map(ast.literal_eval, made.args), **named)
    assert env.unwrapped.family.name == name
    known = facts(env.unwrapped.family)["parameters"]
    assert named == {
        key: np.broadcast_to(known[key]["default"], known[key]["shape"]).tolist() for key in env.unwrapped.values
    }
    env.close()


@pytest.mark.parametrize("name", tasks.FAMILIES)
def test_what_is_said_of_the_robot_does_not_contradict_the_observation_nor_speaks_of_code(name):
    known = facts(tasks.FAMILIES[name]())
    told = [int(number) for number in re.findall(r"(\d+) observations", known["robot"])]
    assert told in ([], [known["observation_size"]])
    assert "`" not in known["robot"]


MISTAKES = [
    (["show", "apb/CheetahVl-v0"], "'apb/CheetahVl-v0' is no env id of a family; did you mean 'apb/CheetahVel-v0'"),
    (["shw", "cheetah-vel"], "did you mean 'show'"),
    (["cheetah-vel"], "did you mean `apb tasks show cheetah-vel`?"),
    (["cheeta-vel/mier-hard:3"], "did you mean `apb tasks show cheeta-vel/mier-hard:3`?"),
    (["list"], "`apb tasks` alone lists all"),
    (["show"], "takes one NAME, for example `apb tasks show cheetah-vel/mier-hard`"),
    (["show", "ant-dir", "ant-goal"], "takes one NAME"),
    (["show", "cheeta-vel"], "did you mean 'cheetah-vel'"),
    (["show", "cheetah-vel/mier-hrad"], "did you mean 'mier-hard'"),
    (["show", "cheetah-vel/mier-hard:30"], "expected a number from 0 to 29"),
    (["show", "cheetah-vel:3"], "names no split; expected cheetah-vel/SPLIT"),
    (["show", "cheetah-vel", "--plot", "a.png"], "--plot draws a split; name one"),
    (["--plot", "a.png"], "--plot draws a split; name one"),
    (["show", "cheetah-vel/pearl", "--plot", "a.jpg"], "'a.jpg' is not a picture; expected a name that ends with .png"),
    (["show", "cheetah-vel/pearl", "--plot", "no/a.png"], "no/a.png cannot be written"),
    (["--show", "cheetah-vel"], "apb tasks takes [show NAME] without --show"),
    (["show", "cheetah-vel", "--josn"], "did you mean --json?"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_what_cannot_be_shown_is_explained_without_a_traceback(here, capsys, arguments, words):
    called = call(capsys, "tasks", *arguments)
    assert (called.code, called.out) == (2, "")
    assert called.err.startswith("apb: error: ")
    assert words in called.err
    assert "Traceback" not in called.err
    assert list(here.iterdir()) == []


# --- what is known of a family ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tasks.FAMILIES)
def test_facts_are_those_of_the_family_and_can_be_written_as_json(name):
    family = tasks.FAMILIES[name]()
    known = facts(family)
    assert json.loads(json.dumps(known)) == known
    assert known["observation_size"] == family.observation_size
    assert known["robot"].split(":")[0].lower() in ("halfcheetah", "ant", "hopper", "walker2d", "humanoid")
    assert known["about"]
    assert "Switches" not in known["about"] + known["robot"]
    assert known["switches"].keys() == family.switches.keys()
    assert all(switch["about"] for switch in known["switches"].values())
    assert known["parameters"].keys() == family.parameters.keys()
    falls = ("ant-dir", "ant-negated-joints", "humanoid", "hopper", "walker")
    assert known["may_end_before"] == name.startswith(falls)


def test_a_family_without_docstrings_is_described_by_its_numbers():
    base = tasks.FAMILIES["cheetah-vel"]

    @dataclass(frozen=True)
    class Bare(base):
        name = "bare"
        xml = base.xml

        def observe(self, physics, parameters):
            """See `Family`."""
            return super().observe(physics, parameters)

    known = facts(Bare())
    assert (known["about"], known["robot"], known["observation"]) == ("", None, "")
    assert (known["observation_size"], known["action_size"]) == (20, 6)


# --- pictures --------------------------------------------------------------------------------------------------------


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
