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
from apb.registration import ORIGINAL_NAMES
from apb.tasks.description import facts
from apb.tasks.splits import LISTS
from cli_runs import call

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
    (["show", "mier-hard"], "did you mean 'cheetah-vel/mier-hard'?"),
    (["mier-hard:3"], "did you mean `apb tasks show mier-hard:3`?"),
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
