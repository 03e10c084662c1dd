"""What `apb clone` promises: a policy folder from demonstrations of any kind, and nothing of the user's touched."""

import os
import signal

import apb
import numpy as np
import pytest
from apb.cloning.demonstrations import Demonstrations
from apb.cloning.regression import ActorRegression
from cli_runs import ENV, PointEnv, call

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
    (["demo.npz"], "'demo.npz' is no file; did you mean 'demos.npz'?"),
    (["demos.npy"], "DEMOS = 'demos.npy' does not exist; did you mean 'demos.npz'?; expected a .npz file"),
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
    (["x" * 5000], "xxx does not exist; expected a .npz file, the folder of a policy"),
    (["x" * 5000 + ".npz"], "xxx cannot be read: File name too long; choose another file"),
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


OUTPUTS = [
    ("dotted", "--output {}/dotted is not empty (.gitkeep); expected a new or empty folder: give another name"),
    ("filled", "--output {}/filled is not empty (notes.txt); expected a new or empty folder"),
    ("text.txt", "{}/text.txt is a file; expected a folder"),
    ("text.txt/deeper", "--output '{}/text.txt/deeper' cannot be written: [Errno 17] File exists: "),
    ("dangling", "{}/dangling is a link to nowhere, where nothing is"),
    ("new/" + "x" * 300, "cannot be written: [Errno 36] File name too long: "),
]


@pytest.mark.parametrize(("output", "words"), OUTPUTS, ids=[output[:10] for output, _ in OUTPUTS])
def test_a_folder_in_which_no_policy_can_be_saved_is_refused_before_the_fit(demos, here, capsys, output, words):
    for name in ("dotted/.gitkeep", "filled/notes.txt", "text.txt"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("of the user")
    (here / "dangling").symlink_to("nowhere")
    before = sorted(here.rglob("*"))
    called = call(capsys, "clone", demos, "-o", output, *FEW)
    assert called.code == 2
    assert words.format(here) in called.err
    assert "held-out error" not in called.err
    assert sorted(here.rglob("*")) == before


def test_the_current_folder_is_refused_before_the_fit(demos, here, capsys, monkeypatch):
    (here / "inside").mkdir()
    monkeypatch.chdir(here / "inside")
    called = call(capsys, "clone", here / demos, "-o", ".", *FEW)
    assert called.code == 2
    assert "is the current folder; expected a new one" in called.err
    assert "held-out error" not in called.err


def test_a_folder_that_was_named_and_not_written_is_removed_and_an_empty_one_of_the_user_stays(demos, here, capsys):
    (here / "empty").mkdir()
    for output in ("empty", "several/new/ones"):
        assert call(capsys, "clone", demos, "cheetah-val", "-o", output, *FEW).code == 2
    assert sorted(path.name for path in here.iterdir()) == sorted([demos, "empty"])
    for output in ("empty", "several/new/ones"):
        assert call(capsys, "clone", demos, "-o", output, *FEW).code == 0
        apb.Policy.from_pretrained(output)


def test_an_evaluation_that_fails_leaves_the_clone_saved(demos, capsys, monkeypatch):
    def step(self, action):
        raise RuntimeError("the motor broke")

    monkeypatch.setattr(PointEnv, "step", step)
    called = call(capsys, "clone", demos, "--env", ENV, "-o", "mine", *FEW)
    assert called.code == 2
    assert "apb: saved in mine; 2 episodes follow\n" in called.err
    assert "the motor broke" in called.err
    assert apb.Policy.from_pretrained("mine").metadata["env_id"] == ENV


def test_a_signal_in_the_evaluation_leaves_the_clone_saved(demos, capsys, monkeypatch):
    monkeypatch.setattr(PointEnv, "stop_at", PointEnv.steps_of_all + 10)
    called = call(capsys, "clone", demos, "--env", ENV, *FEW)
    assert called.code == 130
    assert called.err.endswith(
        "apb: saved in runs/apb-tests-Point-v0-clone-1; 2 episodes follow\napb: stopped by SIGTERM\n"
    )
    apb.Policy.from_pretrained("runs/apb-tests-Point-v0-clone-1")


@pytest.mark.parametrize("output", [[], ["-o", "mine"]])
def test_a_signal_in_the_fit_is_told_and_leaves_no_folder(demos, here, capsys, monkeypatch, output):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ActorRegression, "step", lambda *rows: os.kill(os.getpid(), signal.SIGTERM))
    called = call(capsys, "clone", demos, *output, *FEW)
    assert (called.code, called.err) == (130, "apb: stopped by SIGTERM\n")
    assert [path.name for path in here.iterdir()] == [demos]
    assert signal.getsignal(signal.SIGTERM) is before
