"""What a `Companion` is promised: each hook at its moment, its losses in the history, its state in the checkpoint."""

import numpy as np
import pytest
from adapt_runs import run
from apb import resume
from apb.companions import Companion
from apb.environments import EnvSource
from apb.errors import DivergenceError
from apb.jobs import Job
from apb.loop import LearningLoop
from apb.runner import run_to_end
from apb.runs import RunFolder, StopSignals, load_checkpoint
from apb.settings import AdaptSettings
from crashes import Crash, CrashAt
from learning import SMALL, small_backbone


class Noting(Companion):
    """Notes what it is told, and gives every sampled reward a value of its own."""

    name = "noting"

    def __init__(self, learner):
        self.learner, self.calls, self.count = learner, [], np.zeros(1)
        self.loss = 0.25

    def warmed_up(self, replay):
        self.calls.append(("warmed up", replay.size.tolist(), self.learner.updates))

    def prepare(self, batch):
        batch.reward.fill_(-3.0)
        self.calls.append(("prepare", self.learner.updates))

    def learn(self, batch, moved):
        assert (batch.reward == -3).all()
        self.count += 1
        self.calls.append(("learn", self.learner.updates, moved))

    def losses(self):
        return {"noted": np.array([self.loss], dtype=np.float32)}

    def reset(self):
        self.calls.append(("reset", self.learner.resets))

    def state(self):
        return {"count": self.count.copy()}

    def load_state(self, state):
        self.count[:] = state["count"]

    def told(self):
        return {"count": float(self.count[0])}


class Acting(Noting):
    """Has the policies act before learning."""

    name = "acting"
    acts_in_warmup = True


def finished(made, **options):
    """The loop of a run with this companion, at its end, and its result."""
    settings = AdaptSettings(**{**SMALL, "total_timesteps": 70, **options})
    loop = LearningLoop(
        EnvSource.resolve("Pendulum-v1"),
        None,
        small_backbone(),
        settings,
        companions=lambda learner, pool: [made(learner)],
    )
    return loop, run_to_end(loop, None, StopSignals())


def test_it_is_told_once_that_the_steps_before_learning_are_over_and_then_of_each_update():
    loop, _ = finished(Noting)
    (noting,) = loop.learner.companions
    first, *others = noting.calls
    assert first == ("warmed up", [64], 0)
    expected = [call for n in range(1, 8) for call in (("prepare", n - 1), ("learn", n, n % 2 == 0))]
    assert others == expected


def test_it_is_told_that_the_steps_are_over_where_the_budget_ends_before_learning():
    loop, _ = finished(Noting, total_timesteps=30, gradient_steps=0)
    assert loop.learner.companions[0].calls == [("warmed up", [30], 0)]


def test_it_is_told_of_a_reset():
    loop, _ = finished(Noting, reset_interval=66)
    assert [call for call in loop.learner.companions[0].calls if call[0] == "reset"] == [("reset", 1)]


def test_what_it_changes_in_a_batch_is_what_is_learned_from():
    changed, _ = finished(Noting)
    plain, _ = finished(lambda learner: type("Idle", (Companion,), {"name": "idle"})())
    assert (changed.learner.adapters() != plain.learner.adapters()).any()


def test_a_companion_that_overrides_nothing_changes_nothing():
    idle, result = finished(lambda learner: type("Idle", (Companion,), {"name": "idle"})())
    assert result.beside == {}
    alone = run(total_timesteps=70)
    assert idle.policies()[0].adapter.parameters.tobytes() == alone.adapter.parameters.tobytes()


def test_actions_before_learning_are_the_policys_where_it_says_so():
    first = [finished(made)[0].replay.table[0, :64].copy() for made in (Noting, Acting)]
    action = slice(6, 7)
    random, acting = (table[:, action] for table in first)
    assert np.abs(random).max() > 0.9
    loop, _ = finished(Acting, action_noise=0.0, gradient_steps=0)
    table = loop.replay.table[0, :64]
    expected = loop.policies()[0](table[:, :3])[:, 0] / 2  # Pendulum's actions are in [-2, 2]
    np.testing.assert_allclose(table[:, 6], expected, atol=1e-5)
    assert np.abs(acting - expected[:, None]).max() < 0.6, "the same policy with noise"


def test_its_losses_are_recorded_and_watched():
    _, result = finished(Noting, log_freq=70)
    assert result.history[-1]["train/noted"] == 0.25

    def diverging(learner):
        noting = Noting(learner)
        noting.loss = np.nan
        return noting

    with pytest.raises(DivergenceError, match="the noted of lane 0"):
        finished(diverging)


def test_what_it_tells_is_in_the_result_under_its_name():
    _, result = finished(Noting)
    assert result.beside == {"noting": {"count": 7.0}}
    assert result.to_json()["noting"] == {"count": 7.0}


def test_its_state_and_seconds_are_in_a_checkpoint_and_come_back(tmp_path, monkeypatch):
    class Timed(Noting):
        name = "timed"

        def learn(self, batch, moved):
            super().learn(batch, moved)
            self.seconds += 0.5

        def told(self):
            return super().told() | {"seconds": self.seconds}

    monkeypatch.setattr(Job, "companions", lambda self, learner, pool: [Timed(learner)])
    with pytest.raises(Crash):
        run(run_dir=tmp_path / "cut", checkpoint_freq=80, callback=CrashAt(90))
    state = load_checkpoint(RunFolder.open(tmp_path / "cut")).state
    assert state["learner"]["timed.count"].tolist() == [17]
    assert state["companions"] == {"timed": 8.5}
    assert resume(tmp_path / "cut").beside["timed"] == {"count": 37.0, "seconds": 18.5}
