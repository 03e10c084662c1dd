"""What `apb eval` and `apb render` say of policies that were adapted to tasks."""

import shutil

import apb
import numpy as np
import pytest
from apb.cli import main
from apb.tasks.single import TaskEnv
from cli_runs import FAST, call
from policies import make_policy

OOD = "cheetah-vel/tavt/ood"
SHORT = ("--total-timesteps", 10, "--backbone", "random", *FAST, "--eval-freq=10")


@pytest.fixture(scope="module")
def in_a_task(tmp_path_factory):
    """A run in the task OOD:2."""
    run = tmp_path_factory.mktemp("task") / "one"
    assert main([str(each) for each in ("adapt", f"{OOD}:2", *SHORT, "--run-dir", run)]) == 0
    return run


@pytest.fixture(scope="module")
def in_two_tasks(tmp_path_factory):
    """Policies adapted to two tasks, in folders as a run has them."""
    folder = tmp_path_factory.mktemp("tasks") / "best"
    for number, task in enumerate(apb.tasks.get(OOD)[:2]):
        metadata = {"env_id": task.env_id, "env_kwargs": dict(task.arguments), "task": task.label, "seed": 5}
        make_policy(20, 6, metadata=metadata).save_pretrained(folder / f"task-{number}-seed-5")
    return folder


@pytest.mark.parametrize(
    ("place", "more", "title"),
    [
        ("", [], "cheetah-vel/tavt/ood:2"),
        ("best", [], "cheetah-vel/tavt/ood:2"),
        ("best", ["--env-kwargs", '{"velocity": 3}'], "cheetah-vel/tavt/ood:2 but with velocity = 3"),
        ("", ["cheetah-vel/mier-hard:1"], "cheetah-vel/mier-hard:1"),
        ("", ["--env-kwargs", '{"velocity": 3}'], "cheetah-vel/tavt/ood:2 but with velocity = 3"),
        ("", ["apb/CheetahVel-v0", "--env-kwargs", '{"velocity": 3}'], "cheetah-vel/tavt/ood:2 but with velocity = 3"),
        ("", ["apb/CheetahVel-v0"], "cheetah-vel/tavt/ood:2"),
        ("best", ["apb/CheetahVel-v0"], "cheetah-vel/tavt/ood:2"),
    ],
)
def test_eval_is_headed_by_the_task_and_what_was_changed_of_it(in_a_task, capsys, place, more, title):
    called = call(capsys, "eval", in_a_task / place, *more, "--n-eval-episodes", 1)
    assert called.out.startswith(f"{title}: return per episode over 1 episode")
    assert "task " not in called.out.partition("\n")[2].partition("policy: ")[0]


def test_a_policy_says_which_task_it_was_adapted_to_wherever_it_lies(in_a_task, here, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(TaskEnv, "render", lambda env: np.zeros((16, 16, 3), np.uint8))
    shutil.copytree(in_a_task / "best", here / "mine")
    assert (here / "mine" / "README.md").read_text().count(f"\n# Policy for {OOD}:2\n") == 1
    assert call(capsys, "eval", "mine", "--n-eval-episodes", 1, "--json").json["policies"][0]["task"] == f"{OOD}:2"
    elsewhere = call(capsys, "eval", "mine", f"{OOD}:4", "--n-eval-episodes", 1).out
    assert elsewhere.startswith(f"{OOD}:4: return")
    assert f"│ {OOD}:2 │    0 │" in elsewhere
    assert (
        f"env: {OOD}:2\npolicy: mine, adapted to {OOD}:2, seed 0\n"
        in call(capsys, "render", "mine", "--seconds", 0.1).out
    )


def test_a_policy_that_was_saved_without_the_name_of_its_task_is_used_in_it_all_the_same(here, capsys):
    metadata = {"env_id": "apb/CheetahVel-v0", "env_kwargs": {"velocity": 1.75}, "seed": 5}
    make_policy(20, 6, metadata=metadata).save_pretrained("older")
    called = call(capsys, "eval", "older", "--n-eval-episodes", 1)
    assert called.out.startswith("apb/CheetahVel-v0 with velocity = 1.75: return per episode")
    older = call(capsys, "eval", "older", "--n-eval-episodes", 1, "--json").json["policies"][0]
    make_policy(20, 6, metadata=metadata | {"task": f"{OOD}:2"}).save_pretrained("newer")
    newer = call(capsys, "eval", "newer", "--n-eval-episodes", 1, "--json").json["policies"][0]
    assert newer == older | {"policy": "newer", "task": f"{OOD}:2"}


@pytest.mark.parametrize(("name", "shown"), [("[/b]", "[/b]"), ("[red]", "[red]"), ("\x1b[2J", "-"), (3, "-")])
def test_the_name_of_a_task_in_a_file_is_only_text(here, capsys, name, shown):
    for number, each in enumerate((name, "other")):
        metadata = {"env_id": "apb/CheetahVel-v0", "env_kwargs": {"velocity": 1.75}, "seed": 5, "task": each}
        make_policy(20, 6, metadata=metadata).save_pretrained(here / "best" / f"task-{number}-seed-5")
    called = call(capsys, "eval", "best", "--n-eval-episodes", 1)
    assert called.code == 0
    assert f" {shown} │    5 │" in called.out


def test_eval_in_a_task_uses_the_values_that_it_names(in_a_task, capsys):
    policy = apb.Policy.from_pretrained(in_a_task / "best")
    for more, task in (
        ([], f"{OOD}:2"),
        (["--env-kwargs", '{"velocity": 3.0}'], apb.tasks.Task("cheetah-vel", {"velocity": 3.0})),
    ):
        (found,) = call(capsys, "eval", in_a_task / "best", *more, "--n-eval-episodes", 2, "--json").json["policies"]
        assert found["returns"] == apb.evaluate(policy, task, 2).returns.tolist()


def test_eval_of_several_tasks_tells_programs_the_env_of_each(in_two_tasks, capsys):
    data = call(capsys, "eval", in_two_tasks, "--n-eval-episodes", 1, "--json").json
    assert [found["env_kwargs"] for found in data["policies"]] == [task.arguments for task in apb.tasks.get(OOD)[:2]]
    assert [found["env"] for found in data["policies"]] == [data["env"]] * 2 == ["apb/CheetahVel-v0"] * 2
    assert "env_kwargs" not in data
    same = call(capsys, "eval", in_two_tasks, f"{OOD}:0", "--n-eval-episodes", 1, "--json").json
    assert (same["env"], same["env_kwargs"]) == (f"{OOD}:0", {})


@pytest.mark.parametrize(
    ("more", "column", "title"),
    [
        ([], "task", "2 tasks of apb/CheetahVel-v0"),
        ([f"{OOD}:4"], "adapted to", f"{OOD}:4"),
        (["--env-kwargs", '{"velocity": 3}'], "adapted to", "apb/CheetahVel-v0 with velocity = 3"),
        (["apb/CheetahVel-v0"], "task", "2 tasks of apb/CheetahVel-v0"),
        (
            ["--env-kwargs", '{"include_torso_position": true}'],
            "adapted to",
            "2 tasks of apb/CheetahVel-v0 but with include_torso_position = 1",
        ),
    ],
)
def test_a_table_of_several_tasks_says_whether_they_are_evaluated_in_them_or_were_adapted_to_them(
    in_two_tasks, capsys, more, column, title
):
    called = call(capsys, "eval", in_two_tasks, *more, "--n-eval-episodes", 1)
    assert called.out.startswith(f"{title}: return per episode")
    assert [cell.strip() for cell in called.out.splitlines()[2].split("┃")][1:3] == [column, "seed"]
    for number in (0, 1):
        assert f"│ {OOD}:{number} │    5 │" in called.out


def test_render_of_several_tasks_says_which_it_films(here, in_two_tasks, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(TaskEnv, "render", lambda env: np.zeros((16, 16, 3), np.uint8))
    called = call(capsys, "render", in_two_tasks, "--seconds", 0.1)
    assert f"\nenv: {OOD}:0\npolicy: {in_two_tasks / 'task-0-seed-5'}, adapted to {OOD}:0, seed 5\n" in called.out
    own = call(capsys, "render", in_two_tasks / "task-1-seed-5", "apb/CheetahVel-v0", "--seconds", 0.1, "--json").json
    assert own["env_kwargs"] == apb.tasks.get(f"{OOD}:1").arguments
    data = call(capsys, "render", in_two_tasks / "task-1-seed-5", f"{OOD}:3", "--seconds", 0.1, "--json").json
    assert (data["task"], data["policy_seed"], data["env"]) == (f"{OOD}:1", 5, f"{OOD}:3")
