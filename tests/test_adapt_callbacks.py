"""Hooks are called in order, see the state of the run, stop it after the current step, and keep their own state."""

import numpy as np
import pytest
from adapt_runs import run, same_policies
from apb import Callback, ConfigError, resume
from apb.callbacks import StopTrainingOnNoModelImprovement, StopTrainingOnRewardThreshold
from apb.runs import RunFolder, load_checkpoint
from run_files import assert_same_outcome, outcome, without_times


class Recorder(Callback):
    """Writes down every call; `stop_at` is the hook that returns False."""

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = [], stop_at

    def _heard(self, hook, state):
        self.calls.append((hook, state.timesteps))
        return hook != self.stop_at

    def on_start(self, state):
        return self._heard("on_start", state)

    def on_step(self, state):
        return self._heard("on_step", state)

    def on_episode_end(self, state, episode):
        assert episode.length == 200
        return self._heard("on_episode_end", state)

    def on_evaluation(self, state, results):
        assert [result.returns.size for result in results] == [1, 1]
        return self._heard("on_evaluation", state)

    def on_checkpoint(self, state, path):
        assert (path / "manifest.json").is_file()
        return self._heard("on_checkpoint", state)

    def on_final_evaluation(self, state, tasks):
        assert tasks == 1
        self._heard("on_final_evaluation", state)

    def on_end(self, state):
        self._heard("on_end", state)

    def state_dict(self):
        return {"calls": len(self.calls)}

    def load_state_dict(self, state):
        self.restored = state["calls"]


HOOKED = {"n_seeds": 2, "total_timesteps": 210, "learning_starts": 205, "eval_freq": 100, "n_eval_episodes": 1}


def test_hooks_are_called_in_order(tmp_path):
    recorder = Recorder()
    result = run(callback=recorder, run_dir=tmp_path / "run", checkpoint_freq=100, **HOOKED)
    expected = [("on_start", 0), ("on_evaluation", 0)]
    for step in range(1, 211):
        if step == 200:
            expected += [("on_episode_end", 200)] * 2
        expected.append(("on_step", step))
        if step % 100 == 0:
            expected += [("on_evaluation", step), ("on_checkpoint", step)]
    last = ("on_evaluation", "on_checkpoint", "on_final_evaluation", "on_end")
    expected += [(hook, 210) for hook in last]
    assert recorder.calls == expected
    assert result.stopped_by == "budget"


def test_state_that_hooks_see_is_that_of_the_run(tmp_path):
    states = []

    class Watch(Callback):
        def on_step(self, state):
            states.append(state)

        def on_end(self, state):
            states.append(state)

    result = run(callback=Watch(), run_dir=tmp_path / "run", total_timesteps=90, log_freq=80, seed=7, n_seeds=2)
    last = states[-1]
    assert (last.timesteps, last.total_timesteps, last.seeds, last.run_dir) == (90, 90, (7, 8), tmp_path / "run")
    assert (last.title, last.tasks) == ("Pendulum-v1, action_noise", (None, None))
    assert last.updates == 90 - 64 + 1
    assert states[0].metrics == {}
    assert last.metrics["timesteps"] == 80
    assert same_policies(last.policies(), result.policies)


def test_hooks_of_a_resumed_run_see_the_metrics_that_those_of_an_uninterrupted_one_see(tmp_path):
    class Watch(Callback):
        def __init__(self, stop_at):
            self.seen, self.stop_at = {}, stop_at

        def on_step(self, state):
            self.seen[state.timesteps] = without_times(state.metrics)
            return state.timesteps != self.stop_at

    options = {"total_timesteps": 100, "log_freq": 40, "learning_starts": 30, "n_seeds": 2}
    whole, first, second = Watch(None), Watch(50), Watch(None)
    run(callback=whole, **options)
    run(callback=first, run_dir=tmp_path / "run", **options)
    resume(tmp_path / "run", callback=second)
    assert first.seen | second.seen == whole.seen
    assert min(second.seen) == 51
    assert {"timesteps", "train/updates", "train/critic_loss"} <= second.seen[51].keys(), "those of step 40"


# --- stops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "stopped_at"),
    [("on_start", 0), ("on_step", 1), ("on_evaluation", 0), ("on_checkpoint", 50), ("on_episode_end", 200)],
)
def test_any_hook_stops_the_run_after_the_current_step_with_a_checkpoint(hook, stopped_at, tmp_path):
    recorder = Recorder(hook)
    result = run(callback=recorder, run_dir=tmp_path / "run", checkpoint_freq=50, **HOOKED)
    assert (result.stopped_by, result.total_timesteps) == ("callback", stopped_at)
    assert recorder.calls[-1] == ("on_end", stopped_at)
    assert (tmp_path / "run" / "checkpoints" / f"{stopped_at:09d}" / "manifest.json").is_file()
    assert (tmp_path / "run" / "checkpoints" / "LATEST").read_text().strip() == f"{stopped_at:09d}"


@pytest.mark.parametrize(("answer", "steps"), [(np.False_, 1), (np.True_, 100), (0, 100), (None, 100)], ids=repr)
def test_false_of_numpy_stops_a_run_as_false_does_and_other_answers_do_not(answer, steps):
    class Answer(Callback):
        def on_step(self, state):
            return answer

    assert run(callback=Answer()).total_timesteps == steps


def test_a_stop_needs_no_run_folder():
    result = run(callback=[Callback(), Recorder("on_step")], **HOOKED)
    assert (result.stopped_by, result.total_timesteps) == ("callback", 1)


def test_a_run_that_was_stopped_before_its_first_step_continues_as_one_that_never_was(tmp_path):
    options = {"eval_freq": 40, "n_eval_episodes": 1, "total_timesteps": 80, "n_seeds": 2}
    run(run_dir=tmp_path / "whole", **options)
    run(run_dir=tmp_path / "cut", callback=Recorder("on_start"), **options)
    again = Recorder("on_start")
    stopped = resume(tmp_path / "cut", callback=again)
    assert (stopped.stopped_by, stopped.total_timesteps) == ("callback", 0)
    assert again.calls == [("on_start", 0), ("on_end", 0)], "a resumed run takes no step either, and saves nothing"
    resume(tmp_path / "cut", callback=Recorder())
    cut, whole = outcome(tmp_path / "cut"), outcome(tmp_path / "whole")
    for found in (cut, whole):
        del found["checkpoints"], found["state.json"]["callbacks"]
    assert_same_outcome(cut, whole)


def test_ready_made_callbacks_stop_at_a_reward_and_without_improvement():
    options = {"eval_freq": 10, "n_eval_episodes": 1, "total_timesteps": 100}
    assert run(callback=StopTrainingOnRewardThreshold(-1e6), **options).total_timesteps == 0
    assert run(callback=StopTrainingOnRewardThreshold(0), **options).stopped_by == "budget"
    # A rate of almost nothing: the first evaluation after updates is the best, and the third one after it is the last.
    learning = options | {"learning_starts": 35, "learning_rate": 1e-30}
    stopped = run(callback=StopTrainingOnNoModelImprovement(3), **learning)
    assert (stopped.stopped_by, stopped.total_timesteps) == ("callback", 70)


def test_a_run_is_not_stopped_for_want_of_improvement_before_it_learns():
    options = {"eval_freq": 10, "n_eval_episodes": 1, "total_timesteps": 100, "learning_starts": 100}
    assert run(callback=StopTrainingOnNoModelImprovement(1), **options).stopped_by == "budget"


# --- state of their own ----------------------------------------------------------------------------------------------


def test_a_callbacks_state_is_kept_over_a_stop(tmp_path):
    run(callback=Recorder("on_checkpoint"), run_dir=tmp_path / "run", checkpoint_freq=50, **HOOKED)
    again = Recorder()
    resume(tmp_path / "run", callback=again)
    assert again.restored == 1 + 1 + 50 + 1, "on_start, the first evaluation, 50 steps, and the checkpoint"
    assert again.calls[0] == ("on_start", 50)
    assert again.calls[1] == ("on_step", 51)


def test_what_a_hook_changes_when_a_checkpoint_is_written_is_in_the_checkpoint(tmp_path):
    class Notes(Callback):
        def __init__(self):
            self.seen = []

        def on_checkpoint(self, state, path):
            self.seen.append(path.name)
            (path / "notes.txt").write_text("mine")

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    whole, cut = Notes(), Notes()
    run(callback=whole, run_dir=tmp_path / "whole", total_timesteps=90, checkpoint_freq=30)
    run(callback=cut, run_dir=tmp_path / "cut", total_timesteps=90, checkpoint_freq=30)
    resume(tmp_path / "cut" / "checkpoints" / "000000060", callback=(cut := Notes()))
    assert whole.seen == cut.seen == ["000000030", "000000060", "000000090"]
    assert (tmp_path / "cut" / "checkpoints" / "000000060" / "notes.txt").read_text() == "mine"


class Keeping(Callback):
    """Has the state that it is given, and stops after the first step."""

    def __init__(self, kept):
        self.kept = kept

    def on_step(self, state):
        return False

    def state_dict(self):
        return self.kept


def nested(levels, value):
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", range(58, 65))
def test_a_state_of_any_depth_comes_back_or_is_refused_before_the_first_step(levels, tmp_path):
    callback = Keeping(nested(levels, 1))
    if levels > 60:
        with pytest.raises(ConfigError, match=r"state_dict\(\) of callback Keeping .*deeper than 64 levels"):
            run(run_dir=tmp_path / "run", callback=callback)
        assert not (tmp_path / "run").exists()
    else:
        run(run_dir=tmp_path / "run", callback=callback)
        kept = load_checkpoint(RunFolder.open(tmp_path / "run")).state["callbacks"]
        assert kept == [["Keeping", callback.kept]]


@pytest.mark.parametrize("state", [{"a": "x" * 2**26}, nested(30, [0] * 10**6)], ids=["long", "indented"])
def test_a_state_that_makes_a_file_too_large_to_be_read_is_refused_before_the_first_step(state):
    with pytest.raises(ConfigError, match=r"state_dict\(\) of callback Keeping .*expected at most 67,108,864"):
        run(callback=Keeping(state))
    with pytest.raises(ConfigError, match=r"state_dict\(\) of callback Keeping .*expected at most 67,108,864"):
        run(callback=[Keeping({"a": "x" * 2**25})] * 2)
