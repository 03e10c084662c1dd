"""A run that was killed, stopped or crashed at any moment and resumed ends with the bytes of one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import gymnasium
import pytest
from apb import ApbWarning, Callback, FileFormatError, MismatchError, RunFolderError, SimulationError, adapt, resume
from apb.runs import RunFolder, load_checkpoint
from crashes import Crash, CrashAt
from learning import SMALL, small_backbone
from run_files import assert_same_outcome, forge_manifest, outcome

ENVS = {
    # The state of the first two can be saved anywhere; checkpoints of the third wait for the end of an episode.
    "HalfCheetah-v5": {"max_episode_steps": 17},
    "Pendulum-v1": {"max_episode_steps": 13},
    "MountainCarContinuous-v0": {"max_episode_steps": 40},
    # Of another package, and likewise.
    "gymnasium_robotics:AdroitHandDoor-v1": {"max_episode_steps": 13},
    # Tasks, simulated in a batch: saved anywhere, and one that falls every few dozen steps.
    "cheetah-vel/mier-hard:3": {},
    "hopper-mass/tavt:4": {},
}
STRATEGY_OPTIONS = {"action_noise": {}, "param_noise": {"population_size": 3}, "adaptive_param_noise": {}}


def make_options(env, strategy, **options):
    return {
        "env": env,
        "env_kwargs": ENVS[env],
        **SMALL,
        "strategy": strategy,
        "total_timesteps": 180,
        "checkpoint_freq": 50,
        "eval_freq": 60,
        "n_eval_episodes": 1,
        "log_freq": 30,
        **STRATEGY_OPTIONS[strategy],
        **options,
    }


def run(run_dir, options, callback=None):
    options = dict(options)
    return adapt(options.pop("env"), small_backbone(), run_dir=run_dir, callback=callback, **options)


def crashed_and_resumed(run_dir, options, moments):
    """Run, crash at the first moment, resume, crash at the second, ..., and resume to the end."""
    with pytest.raises(Crash):
        run(run_dir, options, CrashAt(moments[0]))
    for moment in moments[1:]:
        with pytest.raises(Crash):
            resume(run_dir, callback=CrashAt(moment))
    return resume(run_dir)


@pytest.mark.parametrize("strategy", sorted(STRATEGY_OPTIONS))
@pytest.mark.parametrize("env", sorted(ENVS))
def test_a_crashed_run_continues_exactly_whenever_it_crashed(env, strategy, tmp_path):
    options = make_options(env, strategy)
    whole = run(tmp_path / "whole", options)
    moments = sorted(random.Random(f"{env} {strategy}").sample(range(55, 180), 2))
    result = crashed_and_resumed(tmp_path / "cut", options, moments)
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
    assert result.total_timesteps == whole.total_timesteps
    assert result.evaluations == whole.evaluations
    assert (result.policy.adapter.parameters == whole.policy.adapter.parameters).all()


@pytest.mark.parametrize(
    "extra",
    [
        {"n_seeds": 2, "num_threads": 2},
        {"normalize_observations": True},
        {
            "normalize_observations": True,
            "strategy": "param_noise",
            "population_size": 4,
            "segment_length": 1,
            "evolution_rate": 1.0,
        },
        {"trainable_backbone": True},
        {"reset_interval": 70},
        {"buffer_size": 71},
        {"num_threads": 4},
        {"learning_starts": 0, "strategy": "param_noise", "population_size": 4},
        {"policy_delay": 3, "gradient_steps": 2},
        # The actor learns at steps 93 and 123: what the record at 120 says of it comes from the checkpoint at 100.
        {"policy_delay": 30},
    ],
    ids=str,
)
def test_every_option_continues_exactly(extra, tmp_path):
    options = make_options("Pendulum-v1", extra.get("strategy", "action_noise")) | {"total_timesteps": 150} | extra
    run(tmp_path / "whole", options)
    crashed_and_resumed(tmp_path / "cut", options, [87, 121])
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path):
    options = make_options("Pendulum-v1", "action_noise", total_timesteps=100, log_freq=10, eval_freq=15)
    run(tmp_path / "whole", options)
    crashed_and_resumed(tmp_path / "cut", options, [40])
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


class SignalAt(Callback):
    def __init__(self, timesteps, number):
        self.timesteps, self.number = timesteps, number

    def on_step(self, state):
        if state.timesteps == self.timesteps:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("env", ["Pendulum-v1", "MountainCarContinuous-v0"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_a_checkpoint_and_the_run_continues_exactly(number, env, tmp_path):
    options = make_options(env, "action_noise")
    handler = signal.getsignal(number)
    run(tmp_path / "whole", options)
    waits = env != "Pendulum-v1"
    with pytest.warns(ApbWarning, match="to the end of one, for at most 10,000") if waits else nullcontext():
        result = run(tmp_path / "cut", options, SignalAt(101, number))
    # Where the state of the env cannot be saved, the checkpoint waits for the end of the episode.
    stopped_at = 120 if waits else 101
    assert (result.stopped_by, result.total_timesteps) == (signal.Signals(number).name, stopped_at)
    assert result.final == ()
    assert (tmp_path / "cut" / "checkpoints" / "LATEST").read_text().strip() == f"{stopped_at:09d}"
    assert signal.getsignal(number) is handler
    with pytest.warns(ApbWarning, match="the last good checkpoint is .*000000160") if waits else nullcontext():
        result = resume(tmp_path / "cut", callback=SignalAt(173, number))
    assert result.stopped_by == signal.Signals(number).name
    result = resume(tmp_path / "cut")
    assert result.stopped_by == "budget"
    cut, whole = outcome(tmp_path / "cut"), outcome(tmp_path / "whole")
    del cut["checkpoints"], whole["checkpoints"]
    assert_same_outcome(cut, whole)


class Endless(gymnasium.Wrapper):
    """Its state is known to nobody, and its episodes have no end."""

    def __init__(self):
        super().__init__(gymnasium.make("Pendulum-v1", max_episode_steps=-1))


def test_an_env_without_an_end_is_cut_off_for_a_checkpoint_and_continues_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr("apb.runner.MAX_WAIT", 20)
    options = make_options("Pendulum-v1", "action_noise") | {"env": Endless, "env_kwargs": None, "eval_freq": 0}
    run(tmp_path / "whole", options)
    assert outcome(tmp_path / "whole")["checkpoints"] == ["000000170", "000000180", "LATEST"]
    with pytest.raises(Crash):
        run(tmp_path / "cut", options, CrashAt(97))
    assert (tmp_path / "cut" / "checkpoints" / "LATEST").read_text() == "000000070\n"
    resume(tmp_path / "cut", env=Endless)
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


def test_a_signal_ends_a_run_whose_episodes_do_not_end(tmp_path, monkeypatch):
    monkeypatch.setattr("apb.runner.MAX_WAIT", 20)
    options = make_options("Pendulum-v1", "action_noise") | {"env": Endless, "env_kwargs": None, "eval_freq": 0}
    with pytest.warns(ApbWarning, match="SIGINT: the state of env .* for at most 20 steps; a second signal"):
        result = run(tmp_path / "run", options, SignalAt(20, signal.SIGINT))
    assert (result.stopped_by, result.total_timesteps) == ("SIGINT", 40)
    assert resume(tmp_path / "run", env=Endless).stopped_by == "budget"


def test_a_second_signal_ends_a_run_that_waits_and_says_what_is_kept(tmp_path):
    options = make_options("MountainCarContinuous-v0", "action_noise")
    first, second = SignalAt(85, signal.SIGINT), SignalAt(90, signal.SIGTERM)
    kept = rf"second stop signal \(SIGTERM\); the last good checkpoint is {tmp_path}.*000000080; `apb resume "
    with (
        pytest.warns(ApbWarning, match="a second signal ends it at once"),
        pytest.raises(KeyboardInterrupt, match=kept),
    ):
        run(tmp_path / "run", options, [first, second])
    with pytest.raises(KeyboardInterrupt, match="interrupted; nothing was saved, since the run had no run_dir"):
        run(None, options, Interrupt())


class Interrupt(Callback):
    def on_step(self, state):
        raise KeyboardInterrupt


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path):
    options = make_options("Pendulum-v1", "action_noise", total_timesteps=120)
    first = run(tmp_path / "run", options)
    before = outcome(tmp_path / "run")
    again = resume(tmp_path / "run")
    assert_same_outcome(outcome(tmp_path / "run"), before)
    assert [r.returns.tolist() for r in again.final] == [r.returns.tolist() for r in first.final]
    assert again.history == first.history


class Expiring(gymnasium.Wrapper):
    """Pendulum, with a licence for so many steps of all of them."""

    left = 10**9

    def __init__(self):
        super().__init__(gymnasium.make("Pendulum-v1", max_episode_steps=13))

    def step(self, action):
        Expiring.left -= 1
        if Expiring.left < 0:
            raise RuntimeError("the licence has expired")
        return super().step(action)


def test_a_finished_run_keeps_its_result_when_it_is_resumed_and_fails(tmp_path, monkeypatch):
    options = make_options("Pendulum-v1", "action_noise", total_timesteps=120, keep_last=9)
    run(tmp_path / "run", options | {"env": Expiring, "env_kwargs": None})
    result = tmp_path / "run" / "result.json"
    before = result.read_bytes()
    monkeypatch.setattr(Expiring, "left", 5)
    with pytest.raises(SimulationError, match="the licence has expired"):
        resume(tmp_path / "run", env=Expiring)
    assert result.read_bytes() == before
    older = sorted((tmp_path / "run" / "checkpoints").glob("0*"))[0]
    monkeypatch.setattr(Expiring, "left", 5)
    with pytest.raises(SimulationError, match="the licence has expired"):
        resume(older, env=Expiring)
    assert not result.exists(), "a run that went back has not finished"


def test_the_evaluation_at_the_end_belongs_to_the_last_checkpoint(tmp_path):
    options = make_options("Pendulum-v1", "action_noise", total_timesteps=120, checkpoint_freq=60, eval_freq=50)
    run(tmp_path / "run", options)
    before = outcome(tmp_path / "run")
    assert [record["timesteps"] for record in before["evaluations"]] == [0, 50, 100, 120]
    assert before["state.json"]["best_score"] == max(record["eval/mean_reward"] for record in before["evaluations"])
    (tmp_path / "run" / "evaluations.jsonl").unlink()
    resume(tmp_path / "run")
    assert_same_outcome(outcome(tmp_path / "run"), before | {"evaluations": []})


def test_a_run_continues_from_an_earlier_checkpoint_when_it_is_pointed_at(tmp_path):
    options = make_options("Pendulum-v1", "action_noise", total_timesteps=200, keep_last=9)
    run(tmp_path / "run", options)
    before = outcome(tmp_path / "run")
    resume(tmp_path / "run" / "checkpoints" / "000000100")
    assert_same_outcome(outcome(tmp_path / "run"), before)


def test_a_checkpoint_under_the_name_of_another_timestep_is_refused_and_nothing_is_deleted(tmp_path):
    run(tmp_path / "run", make_options("Pendulum-v1", "action_noise", total_timesteps=120))
    folder = RunFolder.open(tmp_path / "run")
    (folder.checkpoints / "000000120").rename(folder.checkpoints / "000000119")
    (folder.checkpoints / "LATEST").write_text("000000119\n")
    forge_manifest(folder.checkpoints / "000000119", timesteps=119)
    assert load_checkpoint(folder).step == 119, "its own check finds no fault"
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(FileFormatError, match="checkpoint of timestep 119, and its training state is of 120"):
        resume(folder.path)
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_the_best_policy_of_an_abandoned_future_does_not_stay(tmp_path):
    options = make_options("Pendulum-v1", "action_noise", total_timesteps=200, keep_last=9, n_seeds=2)
    run(tmp_path / "run", options)
    best = tmp_path / "run" / "best"
    kept = {path.relative_to(best): path.read_bytes() for path in best.rglob("*") if path.is_file()}
    (best / "evaluation.json").write_text('{"timesteps": 190, "mean_reward": 1e9}')
    (best / "seed-0" / "model.safetensors").write_bytes(b"of the future")
    (best / "notes.txt").write_text("mine")
    with pytest.raises(Crash):
        resume(tmp_path / "run" / "checkpoints" / "000000150", callback=CrashAt(151))
    found = {path.relative_to(best): path.read_bytes() for path in best.rglob("*") if path.is_file()}
    assert found.pop(Path("notes.txt")) == b"mine"
    at_150 = tmp_path / "run" / "checkpoints" / "000000150" / "best"
    assert found == {path.relative_to(at_150): path.read_bytes() for path in at_150.rglob("*") if path.is_file()}
    assert json.loads(found[Path("evaluation.json")])["timesteps"] <= 150
    assert found.keys() == kept.keys()


def test_an_env_given_as_an_object_is_given_again(tmp_path):
    options = make_options("Pendulum-v1", "action_noise", total_timesteps=150)

    def factory():
        return gymnasium.make("Pendulum-v1")

    run(tmp_path / "whole", options | {"env": factory, "env_kwargs": None})
    with pytest.raises(Crash):
        run(tmp_path / "cut", options | {"env": factory, "env_kwargs": None}, CrashAt(77))
    with pytest.raises(MismatchError, match=r"env HalfCheetah-v5 is not the one .*observation_size \(17, was 3\)"):
        resume(tmp_path / "cut", env="HalfCheetah-v5")
    resume(tmp_path / "cut", env=factory)
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))


@pytest.mark.filterwarnings("ignore:env .* is wrapped in")
def test_statistics_that_evaluation_envs_gather_do_not_tell_a_resumed_run_from_an_uninterrupted_one(tmp_path):
    def factory():
        return gymnasium.wrappers.NormalizeObservation(gymnasium.make("Pendulum-v1", max_episode_steps=13))

    options = make_options("Pendulum-v1", "action_noise") | {"env": factory, "env_kwargs": None, "eval_freq": 20}
    run(tmp_path / "whole", options)
    with pytest.raises(Crash):
        run(tmp_path / "cut", options, CrashAt(77))
    resume(tmp_path / "cut", env=factory)
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
    final = resume(tmp_path / "whole", env=factory).final
    assert final == resume(tmp_path / "cut", env=factory, eval_env=factory()).final


def test_a_run_is_not_resumed_where_there_is_none_or_while_another_process_works_in_it(tmp_path):
    with pytest.raises(RunFolderError, match="is not a run"):
        resume(tmp_path)

    class ResumeInside(Callback):
        def on_step(self, state):
            with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()}"):
                resume(state.run_dir)

    run(tmp_path / "run", make_options("Pendulum-v1", "action_noise", total_timesteps=2), ResumeInside())


# --- kills ---------------------------------------------------------------------------------------------------------


def killed(*jobs):
    """Let a process of its own do runs, each of which is killed and resumed; returns how often each was killed."""
    command = [sys.executable, str(Path(__file__).with_name("killed_runs.py")), json.dumps(jobs, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(line) for line in done.stdout.split()[-len(jobs) :]]


# The seeds of the moments are those of early ones: each run has much to do yet.
KILLED_EARLY = [(env, num_threads) for env in ("HalfCheetah-v5", "hopper-mass/tavt:4") for num_threads in (1, 4)]


def early_options(env, num_threads):
    return make_options(env, "action_noise", total_timesteps=240, eval_freq=120, n_seeds=2, num_threads=num_threads)


@pytest.fixture(scope="module")
def killed_early(tmp_path_factory):
    """Folders of runs that were killed once, by env and threads. One process does them all, which costs one import."""
    folder = tmp_path_factory.mktemp("killed")
    jobs = [
        {
            "run_dir": folder / str(number),
            "options": early_options(*case),
            "kills": 1,
            "seed": case[1],
            "first_after": "checkpoints/LATEST",
        }
        for number, case in enumerate(KILLED_EARLY)
    ]
    assert killed(*jobs) == [1] * len(jobs)
    return {case: job["run_dir"] for case, job in zip(KILLED_EARLY, jobs, strict=True)}


@pytest.mark.parametrize(("env", "num_threads"), KILLED_EARLY)
def test_a_run_killed_at_a_random_moment_continues_exactly(env, num_threads, killed_early, tmp_path):
    run(tmp_path / "whole", early_options(env, num_threads))
    assert_same_outcome(outcome(killed_early[env, num_threads]), outcome(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("num_threads", [1, 4])
@pytest.mark.parametrize("strategy", sorted(STRATEGY_OPTIONS))
@pytest.mark.parametrize(
    ("env", "n_seeds"),
    [("HalfCheetah-v5", 1), ("MountainCarContinuous-v0", 1), ("Pendulum-v1", 2), ("hopper-mass/tavt:4", 2)],
)
def test_a_run_killed_many_times_continues_exactly(env, n_seeds, strategy, num_threads, tmp_path):
    options = make_options(
        env, strategy, total_timesteps=500, checkpoint_freq=20, n_seeds=n_seeds, num_threads=num_threads
    )
    run(tmp_path / "whole", options)
    job = {"run_dir": tmp_path / "cut", "options": options, "kills": 6, "seed": num_threads}
    assert killed(job | {"first_after": "backbone/config.json"})[0] >= 1
    assert_same_outcome(outcome(tmp_path / "cut"), outcome(tmp_path / "whole"))
