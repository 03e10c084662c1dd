"""What `apb clone` promises: a policy folder from demonstrations of any kind, and nothing of the user's touched."""

import apb
import numpy as np
import pytest
from apb.cloning.demonstrations import Demonstrations
from cli_runs import ENV, call

SHORT = ["--num-threads", 1, "--n-eval-episodes", 2]
FEW = ["--gradient-steps", 40, "--eval-freq", 20, *SHORT]


def push_to_origin(observations):
    return -np.clip(observations[:, :1], -0.5, 0.5)


@pytest.fixture
def demos(here):
    """A file of demonstrations in the current folder."""
    Demonstrations.collect(push_to_origin, ENV, 5).save(here / "demos.npz")
    return "demos.npz"


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_becomes_a_policy_that_the_other_verbs_take(demos, here, capsys):
    data = call(capsys, "clone", demos, "--env", ENV, *FEW, "--json").json
    assert data["policy"] == "runs/apb-tests-Point-v0-clone-1"
    assert (data["transitions"], data["episodes"], len(data["held_out_episodes"])) == (100, 5, 1)
    assert len(data["evaluation"]["returns"]) == 2
    assert len(data["demonstrator_returns"]) == 5
    assert (here / data["picture"]).read_bytes().startswith(b"\x89PNG")
    evaluated = call(capsys, "eval", data["policy"], "--n-eval-episodes", 2, "--json").json
    assert evaluated["policies"][0]["returns"] == data["evaluation"]["returns"]
    policy = apb.Policy.from_pretrained(data["policy"])
    held_out = Demonstrations.load(demos).episodes(data["held_out_episodes"])
    error = np.square(policy(held_out.observations) - held_out.actions).mean()
    assert data["held_out_error"] == pytest.approx(error, rel=1e-3)
    assert call(capsys, "render", data["policy"], "-o", "film.gif", "--seconds", 0.1).code == 0
    assert call(capsys, "clone", demos, *FEW, "--json").json["policy"] == "runs/demos-clone-1"


def test_the_table_tells_what_was_cloned_how_well_and_where_it_lies(demos, here, capsys):
    called = call(capsys, "clone", demos, "--env", ENV, "--method", "ridge", "-o", "mine", *SHORT)
    assert called.code == 0
    for words in ("100", "5, 1 episode held out", "held-out error", "return of the clone", "return of the demonstr"):
        assert words in called.out
    assert "policy: mine\npicture: mine/clone.png\nnext:\n  apb eval mine\n  apb render mine\n" in called.out


def test_progress_is_told_on_the_way(demos, capsys):
    assert "apb: 20 of at most 40 steps: held-out error " in call(capsys, "clone", demos, *FEW).err


def test_a_run_is_rolled_out_in_its_own_env_and_the_demonstrator_stands_beside_the_clone(finished, here, capsys):
    policy = finished / "best" / "seed-3"
    data = call(capsys, "clone", policy, "--n-episodes", 3, "--noise", 0.1, *FEW, "--json").json
    assert (data["env"], data["episodes"]) == (ENV, 3)
    own = apb.evaluate(apb.Policy.from_pretrained(policy), ENV, 2)
    assert data["demonstrator"]["returns"] == own.returns.tolist()
    called = call(capsys, "clone", finished, *FEW)
    assert called.code == 2
    assert "holds 2 policies; expected one of their folders, such as" in called.err


def test_a_policy_of_a_task_is_cloned_under_the_name_of_the_task(here, capsys):
    task = apb.tasks.get("cheetah-vel/mier-hard:0")
    still = Demonstrations.collect(lambda observations: np.zeros((len(observations), 6)), task, 2)
    clone = apb.clone(still, "cheetah-vel", method="ridge", n_eval_episodes=0)
    clone.policy.save_pretrained("still")
    arguments = ("still", "cheetah-vel", "--n-episodes", 2, "--method", "ridge", "--n-eval-episodes", 1)
    data = call(capsys, "clone", *arguments, "--json").json
    assert data["env"] == str(task)
    assert apb.Policy.from_pretrained(data["policy"]).metadata["task"] == str(task)


def test_nothing_that_is_there_is_overwritten(demos, here, capsys):
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("of the user")
    before = files(here)
    called = call(capsys, "clone", demos, "-o", "mine", *FEW)
    assert called.code == 2
    assert "is not empty (notes.txt)" in called.err
    assert files(here) == before
    first = call(capsys, "clone", demos, *FEW, "--json").json["policy"]
    before = files(here / first)
    assert call(capsys, "clone", demos, *FEW, "--json").json["policy"] != first
    assert files(here / first) == before


BAD = [
    (["gone.npz"], "'gone.npz' is no file"),
    (["halfcheetah"], "DEMOS = 'halfcheetah' does not exist; expected a .npz file, the folder of a policy"),
    (["text.txt"], "cannot be read (BadZipFile"),
    (["demos.npz", "cheetah-val"], "did you mean 'cheetah-vel'?"),
    (["demos.npz", "--env", "Pendulum-v1"], "observations has shape (100, 2); expected (N, 3)"),
    (["demos.npz", "--env-kwargs", '{"push": 1}'], "--env-kwargs was given"),
    (["demos.npz", "--method", "adam"], "method = 'adam' is unknown; known: gradient, ridge"),
    (
        ["demos.npz", "--method", "ridge", "--patience", "3"],
        "patience = 3 with method = 'ridge', where it has no effect; expected --method gradient beside it",
    ),
    (["demos.npz", "--held-out", "2"], "held_out = 2.0 is out of range"),
    (["demos.npz", "--epochs", "2"], "apb clone has no option --epochs"),
    ([], "DEMOS"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[words[:30] for _, words in BAD])
def test_bad_input_is_explained_and_leaves_nothing_behind(demos, here, capsys, arguments, words):
    (here / "text.txt").write_text("no demonstrations")
    before = files(here)
    called = call(capsys, "clone", *arguments)
    assert called.code == 2
    assert words in " ".join(called.err.replace("│", " ").split())
    assert "Traceback" not in called.err
    assert files(here) == before
    assert not (here / "runs").exists()
