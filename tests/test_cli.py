"""What the verbs of the command line promise: results, for people and for programs."""

import dataclasses
import io
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import apb
import gymnasium
import numpy as np
import pytest
from apb.cli import adapt
from apb.cli.summary import RunSummary
from apb.runs import RunFolder
from apb.settings import AdaptSettings
from cli_runs import ENV, FAST, TWO_SEEDS, PointEnv, call, write_run
from rich.console import Console

# --- adapt -----------------------------------------------------------------------------------------------------------


def test_the_main_job_has_the_defaults_of_the_library_but_a_short_budget_and_a_beginning_of_its_own():
    own = {field.name: field.default for field in dataclasses.fields(adapt.Options)}
    library = {field.name: field.default for field in dataclasses.fields(AdaptSettings)}
    others = {"total_timesteps", "adapter_init"}  # tests/test_cli_controls.py has the beginning
    assert {name: own[name] for name in library.keys() - others} == {
        name: library[name] for name in library.keys() - others
    }
    assert 10_000 <= adapt.MAIN_JOB_TIMESTEPS <= library["total_timesteps"]


def test_adapt_ends_with_returns_time_files_and_the_next_commands(here, capsys, curves):
    called = call(capsys, *TWO_SEEDS)
    run = f"runs/apb-tests-Point-v0-{AdaptSettings.strategy}-1"
    assert called.code == 0
    told = ("before learning", "final, 2 new episodes", "120 steps per seed")
    for words in (*told, f"apb render {run}", f"apb eval {run}"):
        assert words in called.out
    announced = "apb: replay: 7 kB when full, for 2 lanes with 120 transitions\n"
    assert called.err.index(announced) < called.err.index(f"run folder {run}")
    assert (here / run / "curve.png").read_bytes().startswith(b"\x89PNG")
    policies = [apb.Policy.from_pretrained(here / run / "checkpoints/000000120/policy" / f"seed-{n}") for n in (3, 4)]
    assert [policy.metadata["seed"] for policy in policies] == [3, 4]


def test_the_commands_that_follow_a_run_in_an_env_of_another_package_work_as_printed(here, monkeypatch, capsys):
    (here / "other_package.py").write_text(
        "import gymnasium, cli_runs\ngymnasium.register('Thing-v0', cli_runs.PointEnv)"
    )
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    options = ("--env-kwargs", '{"push": 0.2}', "--run-dir", "runs/a run", "--total-timesteps", 40, *FAST)
    called = call(capsys, "adapt", "other_package:Thing-v0", *options)
    commands = [shlex.split(line) for line in called.out.partition("next:")[2].splitlines() if line]
    assert [command[:2] for command in commands] == [["apb", "render"], ["apb", "eval"]]
    for _, *arguments in [*commands, ["apb", "resume", *commands[0][2:]]]:
        gymnasium.registry.pop("Thing-v0", None)  # as in a new process
        sys.modules.pop("other_package", None)
        assert call(capsys, *arguments).code == 0
    again = call(capsys, "resume", *commands[0][2:])
    assert [shlex.split(line) for line in again.out.partition("next:")[2].splitlines() if line] == commands
    assert "give the env" not in again.out
    gymnasium.registry.pop("Thing-v0", None)
    unnamed = call(capsys, "resume", "runs/a run")
    assert unnamed.code == 0
    assert unnamed.out.endswith(
        "give the env after the path; `module:Thing-v0` imports the module that registers it.\n"
    )


def test_a_second_run_takes_the_next_free_folder(here, capsys):
    options = ("adapt", ENV, "--total-timesteps", 40, *FAST)
    folders = [call(capsys, *options, "--json").json["run_dir"] for _ in range(2)]
    assert [folder[-2:] for folder in folders] == ["-1", "-2"]


def test_the_command_line_and_the_library_compute_the_same(finished, tmp_path):
    options = {"learning_starts": 60, "batch_size": 8, "num_threads": 1, "eval_freq": 40, "n_eval_episodes": 2}
    result = apb.adapt(ENV, None, total_timesteps=120, n_seeds=2, seed=3, **options)
    for policy, seed in zip(result.policies, (3, 4), strict=True):
        saved = apb.Policy.from_pretrained(finished / "checkpoints/000000120/policy" / f"seed-{seed}")
        assert saved.adapter.parameters.tobytes() == policy.adapter.parameters.tobytes()


def test_json_is_one_object_on_standard_output_whatever_the_env_prints(here, monkeypatch, capsys, curves):
    step = PointEnv.step
    monkeypatch.setattr(PointEnv, "step", lambda env, action: (print("noise"), step(env, action))[1])
    called = call(capsys, *TWO_SEEDS, "--json")
    data = called.json
    assert "noise" in called.err
    assert data["seeds"] == [3, 4]
    assert data["timesteps"] == 120
    assert data["stopped_by"] == "budget"
    assert [len(final["returns"]) for final in data["final"]] == [2, 2]
    assert len(data["untrained"]) == 2
    assert apb.Policy.from_pretrained(here / data["policy"] / "seed-3").metadata["timesteps"] == 120
    assert (here / data["curve"]).is_file()


def test_the_summary_tells_the_numbers_of_the_run_folder(finished, capsys):
    data = call(capsys, "resume", finished, "--json").json
    records = [json.loads(line) for line in (finished / "evaluations.jsonl").read_text().splitlines()]
    assert data["untrained"] == [
        {"mean": record["eval/mean_reward"], "std": record["eval/std_reward"]} for record in records[:2]
    ]
    result = json.loads((finished / "result.json").read_text())
    assert {name: data[name] for name in result} == result
    assert data["timesteps_per_second"] == pytest.approx(2 * 120 / result["wall_time"])


def test_a_run_without_evaluations_ends_without_returns_and_without_a_curve(here, capsys):
    called = call(capsys, "adapt", ENV, "--total-timesteps", 40, *FAST, "--eval-freq", 0, "--run-dir", "run")
    assert called.code == 0
    assert "not evaluated" in called.out
    assert "curve" not in called.out


def test_arguments_of_the_env_are_used_and_remembered(here, capsys):
    made = call(capsys, "adapt", ENV, "--env-kwargs", '{"push": 0.0}', "--total-timesteps", 40, *FAST, "--json").json
    data = call(capsys, "eval", made["run_dir"], "--n-eval-episodes", 2, "--json").json
    assert data["env_kwargs"] == {"push": 0.0}
    pushed = call(capsys, "eval", made["policy"], "--env-kwargs", '{"push": 0.5}', "--json").json
    assert pushed["env_kwargs"] == {"push": 0.5}


def test_a_whole_number_may_be_written_with_an_exponent(here, capsys):
    assert call(capsys, "adapt", ENV, "--total-timesteps", "4e1", *FAST, "--json").json["timesteps"] == 40


def test_a_saved_backbone_is_taken(here, capsys):
    backbone = apb.Backbone.random(9, input_size=3, hidden_sizes=(8,))
    backbone.save_pretrained("saved")
    data = call(capsys, "adapt", ENV, "--backbone", "saved", "--total-timesteps", 40, *FAST, "--json").json
    assert apb.Policy.from_pretrained(data["policy"]).backbone.hash == backbone.hash


def test_reading_and_initialisation_describe_the_random_backbone(here, capsys):
    options = ("--reading", "A", "--init", "he", "--seed", 5, "--total-timesteps", 40, *FAST, "--json")
    data = call(capsys, "adapt", ENV, *options).json
    expected = apb.Backbone.random(5, reading="A", init="he")
    assert apb.Policy.from_pretrained(data["policy"]).backbone.hash == expected.hash


# --- stopping and resuming -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:SIGTERM. the state of env .* cannot be saved in the middle of an episode")
def test_a_signal_stops_a_run_with_a_checkpoint_and_resume_ends_it(here, monkeypatch, capsys, curves):
    options = ("adapt", ENV, "--total-timesteps", 120, "--checkpoint-freq", 0, *FAST)
    whole = call(capsys, *options, "--run-dir", "whole", "--json").json
    # The first evaluation takes 2 episodes of 20 steps; the signal comes in the middle of learning.
    monkeypatch.setattr(PointEnv, "steps_of_all", 0)
    monkeypatch.setattr(PointEnv, "stop_at", 40 + 33)
    stopped = call(capsys, *options, "--run-dir", "parts")
    assert stopped.code == 75
    assert "stopped by SIGTERM" in stopped.out
    assert "apb resume parts" in stopped.out
    assert (here / "parts" / "curve.png").is_file()
    resumed = call(capsys, "resume", "parts", "--json")
    assert resumed.code == 0
    assert resumed.json["stopped_by"] == "budget"
    assert resumed.json["final"] == whole["final"]


def summary_of(run):
    """What stands in the summary of a run."""
    console = Console(file=io.StringIO(), width=200)
    console.print(*RunSummary.read(RunFolder.open(run)).shown(()), sep="\n")
    return console.file.getvalue()


def test_the_table_of_a_stopped_run_has_the_latest_evaluation_beside_the_untrained_one(finished, tmp_path):
    stopped = shutil.copytree(finished, tmp_path / "stopped")
    records = [json.loads(line) for line in (stopped / "evaluations.jsonl").read_text().splitlines()]
    lines = [
        json.dumps(record | {"eval/mean_reward": record["timesteps"] + record["seed"], "eval/std_reward": 0.5})
        for record in records
        if record["timesteps"] <= 80
    ]
    (stopped / "evaluations.jsonl").write_text("\n".join([*lines, ""]))
    result = json.loads((stopped / "result.json").read_text())
    (stopped / "result.json").write_text(json.dumps(result | {"stopped_by": "SIGTERM", "final": []}))
    shown = summary_of(stopped)
    assert "after 80 steps" in shown
    assert re.findall(r"(\S+) ± 0.5", shown) == ["3.0", "83.0", "4.0", "84.0"]


def test_a_summary_tells_in_per_cent_where_the_time_went(finished, tmp_path):
    shares = [int(number) for number in re.findall(r"(\d+) %", summary_of(finished))]
    assert 90 <= sum(shares) <= 105
    copy = shutil.copytree(finished, tmp_path / "copy")
    result = json.loads((copy / "result.json").read_text())
    profile = {"simulation": 6.0, "update": 12.0, "forward": 0.01, "rest": 2.0}
    (copy / "result.json").write_text(json.dumps(result | {"profile": profile}))
    assert "time went to update 60 %, simulation 30 %, rest 10 %\n" in summary_of(copy)


def test_resuming_a_finished_run_says_so_shows_the_result_and_changes_nothing(finished, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    called = call(capsys, "resume", finished)
    assert called.code == 0
    assert "has spent its budget of 120 steps" in called.out
    assert "give the env" not in called.out
    assert "final, 2 new episodes" in called.out
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


# --- eval, plot, render, info ----------------------------------------------------------------------------------------


def test_eval_of_a_run_evaluates_every_seed_in_the_env_of_the_run(finished, capsys):
    data = call(capsys, "eval", finished, "--n-eval-episodes", 3, "--seed", 8, "--json").json
    assert data["env"] == ENV
    assert [policy["seed"] for policy in data["policies"]] == [3, 4]
    for found in data["policies"]:
        expected = apb.evaluate(apb.Policy.from_pretrained(found["policy"]), ENV, 3, seed=8)
        assert found["returns"] == expected.returns.tolist()
        assert (found["mean"], found["std"]) == (expected.mean, expected.std)


@pytest.mark.parametrize(
    ("place", "count"),
    [("", 2), ("best", 2), ("checkpoints/000000120", 2), ("checkpoints/000000120/policy", 2), ("best/seed-4", 1)],
)
def test_a_run_a_checkpoint_and_a_policy_are_all_taken(finished, capsys, place, count):
    data = call(capsys, "eval", finished / place, "--n-eval-episodes", 1, "--json").json
    assert len(data["policies"]) == count


def test_eval_shows_a_table(finished, capsys):
    called = call(capsys, "eval", finished, "--n-eval-episodes", 3)
    assert "over 3 episodes, mean ± standard deviation" in called.out
    assert "20.0" in called.out
    assert "over 1 episode, mean" in call(capsys, "eval", finished, "--n-eval-episodes", 1).out


def test_a_narrow_terminal_cuts_no_number(finished, capsys, monkeypatch):
    wide = call(capsys, "eval", finished, "--n-eval-episodes", 3).out
    monkeypatch.setenv("COLUMNS", "20")
    assert call(capsys, "eval", finished, "--n-eval-episodes", 3).out == wide


def test_plot_overlays_runs_in_the_current_folder(here, finished, capsys):
    other = write_run(here / "other", np.zeros((3, 1, 2)))
    assert call(capsys, "plot", finished, other).out == "learning curve: curve.png\n"
    assert (here / "curve.png").read_bytes().startswith(b"\x89PNG")
    for output in (("-o", "a.svg"), ("-o=a.svg",), ("--output=a.svg",)):
        assert call(capsys, "plot", other, *output, "--json").json["picture"] == "a.svg"


def test_plot_of_one_run_goes_into_its_folder(here, capsys):
    other = write_run(here / "other", np.zeros((3, 1, 2)))
    call(capsys, "plot", other)
    assert (other / "curve.png").is_file()


def test_render_films_the_run_in_its_env(here, finished, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert call(capsys, "render", finished).out.startswith("film: finished.mp4\n")
    assert (here / "finished.mp4").stat().st_size > 0
    data = call(capsys, "render", finished / "best" / "seed-3", "-o", "film.gif", "--seconds", 0.1, "--json").json
    assert data["film"] == "film.gif"
    assert (here / "film.gif").read_bytes().startswith(b"GIF89a")


def test_render_of_several_seeds_says_which_it_films_and_how_another_is_filmed(here, finished, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    lines = call(capsys, "render", finished, "--seconds", 0.1).out.splitlines()
    assert lines[1] == f"env: {ENV}"
    assert re.fullmatch(r"policy: .*/policy/seed-3, seed 3", lines[2])
    assert lines[3] == "the first of 2 policies: to film another, give its folder"
    called = call(capsys, "render", finished / "best" / "seed-4", "--seconds", 0.1)
    assert re.search(r"policy: .*/best/seed-4, seed 4\n$", called.out)
    assert "the folder of its policy, such as" in call(capsys, "render", "--help").out


def test_tasks_are_announced_once_and_not_as_seeds(here, capsys):
    short = ("--total-timesteps", 10, "--backbone", "random", *FAST, "--eval-freq=10")
    called = call(capsys, "adapt", "cheetah-vel/tavt/ood", "--n-seeds", 2, *short)
    assert called.code == 0
    assert "when full, for 10 lanes with 10 transitions\n" in called.err
    (header,) = (line for line in called.err.splitlines() if "run folder" in line)
    assert header.startswith("5 tasks of cheetah-vel/tavt, ")
    assert "action_noise, seeds 0, 1 in each task, 10 steps per task and seed, 100 in all, run folder" in header
    assert header.count("5 tasks") == 1


def test_what_is_written_under_a_name_that_nobody_asked_for_replaces_nothing(here, finished, capsys, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    other = write_run(here / "other", np.zeros((3, 1, 2)))
    holidays = [here / name for name in ("finished.mp4", "curve.png")]
    for path in holidays:
        path.write_text("holiday")
    (here / "finished-1.mp4").symlink_to("nowhere")
    assert call(capsys, "render", finished, "--seconds", 0.1).out.startswith("film: finished-2.mp4\n")
    for name in ("curve-1.png", "curve-2.png"):
        assert call(capsys, "plot", finished, other).out == f"learning curve: {name}\n"
    assert [path.read_text() for path in holidays] == ["holiday"] * 2


def test_info_tells_versions_and_instruction_sets_and_who_said_how_many_threads_and_no_paths(capsys, monkeypatch):
    monkeypatch.setenv("APB_NUM_THREADS", "1")
    called = call(capsys, "info", "--json")
    assert called.json["packages"]["apb"] == apb.__version__
    assert called.json["isa"] in called.json["available_isas"]
    assert set(called.json["cuda"]) == {"version", "devices"}
    assert str(Path.cwd()) not in called.out
    assert called.json["apb_num_threads"] == "1"
    assert called.json["available_cpus"] == 1
    assert apb.__version__ in call(capsys, "info").out
