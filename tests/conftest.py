"""Fixtures that several test files share."""

import shutil
import signal

import pytest
import short_runs
from apb.cli import main
from apb.loop import LearningLoop
from apb.runs import RunFolder
from cli_runs import TWO_SEEDS, register_env
from envs_for_tests import CountedPendulum
from hypothesis import settings
from policies import make_policy

# How long an example takes is of the machine and what else it does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """Tests send SIGINT to themselves and to children; a shell that runs pytest in the background has it ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        short_runs.no_wait_for_the_disk(patch)
        yield


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch):
    """Neither events, nor curves, nor the commit. Tests of these undo it, tests of curves by asking for `curves`."""
    short_runs.no_events(monkeypatch)
    short_runs.no_curves(monkeypatch)
    short_runs.no_commit(monkeypatch)


@pytest.fixture
def curves(monkeypatch):
    """The curve of each run is drawn, as it is outside of tests."""
    from apb import persistence, plotting

    monkeypatch.setattr(persistence, "plot_runs", plotting.plot_runs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run of two seeds."""
    register_env()
    run = tmp_path_factory.mktemp("cli") / "runs" / "finished"
    assert main([*map(str, TWO_SEEDS), "--run-dir", str(run)]) == 0
    return run


@pytest.fixture
def here(monkeypatch, tmp_path):
    """An empty current folder."""
    register_env()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def made():
    """All `CountedPendulum`s that the test makes."""
    CountedPendulum.made = []
    return CountedPendulum.made


@pytest.fixture
def run(tmp_path):
    """A locked run of `toy_run`, without checkpoints."""
    folder = RunFolder.create(tmp_path / "run", {"env": "Toy-v0"})
    with folder.lock():
        yield folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a saved policy, not to be changed."""
    path = tmp_path_factory.mktemp("saved") / "policy"
    make_policy(5, 3, normalize=True, metadata={"env_id": "Thing-v1", "timesteps": 7}).save_pretrained(path)
    return path


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of `saved`, to be changed."""
    return shutil.copytree(saved, tmp_path / "policy")


@pytest.fixture
def loops(monkeypatch):
    """The loops that are made, to be looked into."""
    made, plain = [], LearningLoop.__init__

    def noted(self, *arguments, **options):
        made.append(self)
        plain(self, *arguments, **options)

    monkeypatch.setattr(LearningLoop, "__init__", noted)
    return made
