"""What the command line promises of the env that a policy is to act in: it is named as it was for `apb adapt`."""

import apb
import numpy as np
import pytest
from apb.tasks.single import TaskEnv
from cli_runs import call
from policies import make_policy


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
