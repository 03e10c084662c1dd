"""What the command line promises of the env that a policy is to act in: it is named as it was for `apb adapt`."""

import importlib
import shlex
import shutil
import sys

import apb
import gymnasium
import numpy as np
import pytest
from apb.tasks.single import TaskEnv
from cli_runs import call
from learning import SMALL, small_backbone
from policies import make_policy
from run_files import assert_same_outcome, outcome


@pytest.fixture
def policy(here):
    make_policy(20, 6, metadata={"env_id": "apb/CheetahVel-v0", "env_kwargs": {"velocity": 1.0}}).save_pretrained("p")
    return "p"


@pytest.mark.parametrize("verb", ["render", "eval"])
@pytest.mark.parametrize(
    ("env", "words"),
    [
        (
            "cheetah-vel/ldm",
            "has 5 tasks, and a policy acts in one; expected one of cheetah-vel/ldm:0 to cheetah-vel/ldm:4",
        ),
        (
            "cheetah-vel/pearl/train",
            "has 100 tasks, and a policy acts in one; expected one of cheetah-vel/pearl/train:0 to",
        ),
        ("cheetah-vel/pearl/ood", "has 0 tasks, and a policy acts in one; expected another list"),
        ("ant-goal/ldm", "observation_space has shape (113,), expected (20,)"),
    ],
)
def test_a_split_is_answered_with_the_names_of_its_tasks_if_they_fit_the_policy(policy, capsys, verb, env, words):
    called = call(capsys, verb, policy, env)
    assert (called.code, called.out) == (2, "")
    assert words in called.err
    assert "render_mode" not in called.err  # of which the user said nothing
    assert ("or leave it out" in called.err) == ("act" in words)


def test_whether_a_split_fits_a_policy_is_asked_with_the_switches_that_are_given(here, capsys):
    make_policy(17, 6).save_pretrained("short")
    switches = ("--env-kwargs", '{"include_torso_position": false}')
    assert "has 5 tasks" in call(capsys, "eval", "short", "cheetah-vel/ldm", *switches).err
    assert "expected (17,)" in call(capsys, "eval", "short", "cheetah-vel/ldm").err


def test_a_list_of_one_task_is_this_task(policy, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(TaskEnv, "render", lambda env: np.zeros((16, 16, 3), np.uint8))
    (task,) = apb.tasks.get("cheetah-dir/apb-ood/ood")
    by_list, by_name = (
        call(capsys, "eval", policy, name, "--n-eval-episodes", 1, "--json").json["policies"][0]
        for name in ("cheetah-dir/apb-ood/ood", task.label)
    )
    assert by_list["returns"] == by_name["returns"]
    assert call(capsys, "render", policy, "cheetah-dir/apb-ood/ood", "--seconds", 0.1).code == 0


# --- a family in a module of the user's -------------------------------------------------------------------------------

OWN_FAMILY = """
from dataclasses import dataclass
from typing import ClassVar
from apb.tasks import register
from apb.tasks.families.cheetah_vel import CheetahVel

@register
@dataclass(frozen=True)
class MyVel(CheetahVel):
    name: ClassVar[str] = "my-vel"
"""
TYPED = "my_family_module:apb/MyVel-v0"


def forget():
    """Be as a new process, which has not imported the module."""
    apb.tasks.FAMILIES.pop("my-vel", None)
    gymnasium.registry.pop("apb/MyVel-v0", None)
    sys.modules.pop("my_family_module", None)


class Stop(apb.Callback):
    def on_step(self, state):
        return state.timesteps != 90


@pytest.fixture
def own_family(here, monkeypatch):
    """Runs in two tasks of a family of the user's own, "whole" and "cut"; nothing of it is imported any more."""
    (here / "my_family_module.py").write_text(OWN_FAMILY)
    monkeypatch.syspath_prepend(here)
    importlib.import_module("my_family_module")
    tasks = [apb.tasks.Task("my-vel", {"velocity": velocity}) for velocity in (1.0, 3.0)]
    options = SMALL | {"total_timesteps": 120, "eval_freq": 60, "n_eval_episodes": 2}
    apb.adapt(tasks, small_backbone(), run_dir="whole", **options)
    apb.adapt(tasks, small_backbone(), run_dir="cut", callback=Stop(), **options)
    forget()
    yield
    forget()


def test_a_run_in_several_tasks_of_an_own_family_goes_on_where_its_module_is_named(own_family, here, capsys):
    unnamed = call(capsys, "resume", "cut")
    assert unnamed.code == 2
    assert "'apb/MyVel-v0' is not registered" in unnamed.err
    assert "give the env after the path; `module:apb/MyVel-v0` imports the module" in unnamed.err
    assert "No module named 'my_famly'" in call(capsys, "resume", "cut", "my_famly:apb/MyVel-v0").err
    resumed = call(capsys, "resume", "cut", TYPED)
    assert resumed.code == 0
    cut, whole = outcome(here / "cut"), outcome(here / "whole")
    del cut["checkpoints"], whole["checkpoints"]
    assert_same_outcome(cut, whole)
    commands = [shlex.split(line) for line in resumed.out.partition("next:")[2].splitlines() if line]
    assert commands == [
        ["apb", "render", "cut", TYPED],
        ["apb", "eval", "cut", TYPED, "--n-eval-episodes", "100"],
    ]


def test_a_run_in_an_own_family_goes_on_from_python_in_each_way(own_family, here):
    for number, env in enumerate((TYPED, None)):  # it stays imported
        shutil.copytree("cut", f"cut-{number}")
        apb.resume(f"cut-{number}", env=env)
    assert_same_outcome(outcome(here / "cut-0"), outcome(here / "cut-1"))


def test_policies_of_an_own_family_act_each_in_its_own_task_where_its_module_is_named(
    own_family, here, capsys, monkeypatch
):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(TaskEnv, "render", lambda env: np.zeros((16, 16, 3), np.uint8))
    for verb in ("eval", "render"):
        assert "`module:apb/MyVel-v0` imports the module" in call(capsys, verb, "whole").err
    table = call(capsys, "eval", "whole", TYPED, "--n-eval-episodes", 2)
    assert table.out.startswith(f"2 tasks of {TYPED}: return per episode")
    assert "┃                             task ┃" in table.out
    found = call(capsys, "eval", "whole", TYPED, "--n-eval-episodes", 2, "--json").json["policies"]
    assert [each["env_kwargs"] for each in found] == [{"velocity": 1.0}, {"velocity": 3.0}]
    assert found[1]["returns"] == [pytest.approx(-600, rel=0.1)] * 2
    changed = ("eval", "whole", TYPED, "--env-kwargs", '{"velocity": 3}', "--n-eval-episodes", 2)
    assert [each["env_kwargs"] for each in call(capsys, *changed, "--json").json["policies"]] == [{"velocity": 3}] * 2
    assert "adapted to" in call(capsys, *changed).out
    film = call(capsys, "render", "whole/best/task-1-seed-0", TYPED, "--seconds", 0.1, "--json").json
    assert (film["env"], film["env_kwargs"]) == (TYPED, {"velocity": 3.0})
    assert call(capsys, "plot", "whole").code == 0
