"""What the command line promises where it is not known, or something is wrong: help, nearest names, exit codes."""

import dataclasses
import os
import shutil
import subprocess
import sys
import warnings
from itertools import pairwise

import apb
import numpy as np
import pytest
from apb import cli
from apb.cli import VERBS, adapt
from cli_runs import ENV, call, write_run


def in_process_of_its_own(*arguments, **options):
    code = "import sys; from apb.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, text=True, check=False, **{"capture_output": True, **options})


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb_and_the_exit_codes(capsys, arguments):
    called = call(capsys, *arguments)
    assert called.code == 0
    assert all(f"  {verb} " in called.out for verb in VERBS)
    assert "exit codes:" in called.out
    assert max(map(len, called.out.splitlines())) <= 80
    assert f"alone, {adapt.MAIN_JOB_BACKBONE} to an unseen speed" in called.out


@pytest.mark.parametrize("asked", ["--version", "-v", "-V", "version"])
def test_the_version_is_that_of_the_package(capsys, asked):
    assert call(capsys, asked).out == f"apb {apb.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_its_exit_codes_and_json(capsys, verb):
    called = call(capsys, verb, "--help")
    assert called.code == 0
    assert called.out.startswith(f"usage: apb {verb}")
    assert ("75   a signal" in called.out) == (verb in ("adapt", "meta-train", "pretrain", "resume"))
    assert f"130  {'interrupted' if verb in cli.RUNS else 'a signal (Ctrl-C, SIGTERM) ended it'}" in called.out
    assert "--json" in called.out


def test_eval_says_what_a_program_gets_of_each_policy(capsys):
    text = " ".join(call(capsys, "eval", "--help").out.replace("│", " ").split())
    assert "of each policy its task, env, env_kwargs, returns and lengths" in text


def test_every_verb_has_a_module_of_its_own_and_a_new_one_cannot_run_that_of_another(capsys, monkeypatch):
    assert len({cli._module(verb) for verb in VERBS}) == len(VERBS)
    monkeypatch.delenv("MUJOCO_GL", raising=False)  # a test that films may have set it
    monkeypatch.setitem(VERBS, "distill", "a verb that somebody forgot to finish")
    called = call(capsys, "distill", "--json")
    assert (called.code, called.out) == (cli.EXIT_UNEXPECTED, "")
    assert "verb 'distill' has no module" in called.err


def test_adapt_offers_every_option_of_the_library_with_its_default_and_source(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(call(capsys, "adapt", "--help").out.replace("│", " ").split())
    for field in dataclasses.fields(adapt.Options):
        name = field.name.replace("_", "-")
        assert field.name == "env" or f"--{name} " in text or f"--no-{name} " in text
        assert f"default: {field.default}" in text or field.default is None or field.name == "env_kwargs"
    assert "--keep-best, --no-keep-best Keep" in text
    assert "0.005 in TD3's code" in text


@pytest.mark.parametrize("verb", VERBS)
def test_help_fills_a_terminal_of_80_columns_and_goes_on_in_a_new_line_only_there(capsys, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "80")
    lines = call(capsys, verb, "--help").out.splitlines()
    assert max(map(len, lines)) <= 80
    boxed = [line[2:-2] for line in lines if line.startswith("│")]
    for line, following in pairwise(boxed):
        column = len(following) - len(following.lstrip())
        if column > 2 and line[column - 2 : column] == "  ":
            assert len(line.rstrip()) + 1 + len(following.split()[0]) > 76


@pytest.mark.parametrize("verb", ["meta-train", "pretrain"])
def test_a_job_without_a_prior_offers_nothing_that_needs_one_nor_what_it_refuses(verb, capsys):
    text = call(capsys, verb, "--help").out
    refused = {"meta-train": [], "pretrain": ["population-size", "segment-length", "evolution-rate", "reset-interval"]}
    for word in ("behavior_transfer", "flight", "extra-action", "--prior", '"prior"', '"nearest"', *refused[verb]):
        assert word not in text
    assert "--strategy" in text and "--policy-starts" in text  # noqa: PT018
    for name in refused[verb]:
        assert f"apb {verb} has no option --{name}" in call(capsys, verb, "ant", f"--{name}", 5).err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["adapt", "--help"], ["adpt"]])
def test_help_does_not_wait_for_torch(arguments):
    code = (
        "import sys; from apb.cli import main; main(sys.argv[1:]);"
        "sys.exit(f'{sorted({\"torch\", \"matplotlib\"} & sys.modules.keys())}'.replace('[]', '') or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


# --- what goes wrong -------------------------------------------------------------------------------------------------

BAD_INPUTS = [
    (["adapt", ""], "env = ''"),
    (["adapt", "Pendulum-v1", "--backbone", ""], "path = '' is no name"),
    (["adapt", "Pendulum-v1", "--adapter-init", ""], "adapter_init = '' is unknown"),
    (["adpt"], "did you mean 'adapt'"),
    (["evaluate"], "did you mean 'eval'"),
    (["adapt", "--stratgey", "param_noise"], "--strategy"),
    (["adapt", "--strategy", "parm_noise"], "did you mean 'param_noise'"),
    (["adapt", "HalfCheeta-v5"], "did you mean 'HalfCheetah-v5'"),
    (["adapt", "apb-tests/Pont-v0"], "Point-v0"),
    (["adapt", "CartPole-v1"], "only continuous actions"),
    (["adapt", ENV, "--total-timesteps", "-5"], "total_timesteps = -5"),
    (["adapt", ENV, "--total-timesteps", "1.5"], "expected an integer, found 1.5"),
    (["adapt", ENV, "--seed", "x"], "expected an integer, found x"),
    (["adapt", ENV, "--total-timesteps", "many"], "--total-timesteps"),
    (["adapt", ENV, "--lr", "1e-3"], "apb adapt has no option --lr; did you mean --learning-rate?"),
    (["adapt", f"--env={ENV}"], "apb adapt takes [ENV] without --env"),
    (["eval", "--path", "runs/finished"], "apb eval takes RUN_OR_POLICY without --path"),
    (["resume", "--run", "runs/finished"], "apb resume takes RUN without --run"),
    (["eval", "--policy=runs/finished"], "apb eval takes RUN_OR_POLICY without --policy"),
    (["plot", "--runs", "runs/finished"], "apb plot takes RUN [RUN ...] without --runs"),
    (["adapt", ENV, "--algo", "param_noise"], "did you mean --strategy?"),
    (["adapt", ENV, "-n", "1000"], "apb adapt has no option -n; did you mean --total-timesteps?"),
    (["adapt", ENV, "--n_envs", "4"], "did you mean --n-seeds?"),
    (["adapt", ENV, "--gpu"], "did you mean --device=cuda?"),
    (["adapt", ENV, "--output-dir", "here"], "did you mean --run-dir?"),
    (["adapt", ENV, "--logdir=here"], "apb adapt has no option --logdir; did you mean --run-dir?"),
    (["adapt", ENV, "--save-path", "here"], "did you mean --run-dir?"),
    (["adapt", ENV, "--popsize", "4"], "did you mean --population-size?"),
    (["adapt", ENV, "--verbose", "1"], "apb adapt has no option --verbose: see `apb adapt --help`"),
    (["adapt", ENV, "param_noise"], "what 'param_noise' is for; did you mean `--strategy param_noise`?"),
    (["adapt", "param_noise"], "is a strategy, no env; did you mean `--strategy param_noise`?"),
    (["adapt", ENV, "--trainable-backbone", "True"], "is a flag and takes no value: --trainable-backbone alone for"),
    (["adapt", "--keep-best=false"], "--keep-best is a flag and takes no value: --keep-best alone for True, --no-keep"),
    (["adapt", ENV, "--no-json"], "apb adapt has no option --no-json: --json alone for True, leave it out for False"),
    (["adapt", ENV, "--no-trainable-backbone=1"], "no option --no-trainable-backbone: --trainable-backbone alone"),
    (["adapt", ENV, "-json"], "did you mean --json?"),
    (["adapt", ENV, "--reading", "a"], "'a' is unknown; did you mean 'A'?"),
    (["adapt", ENV, "--init", "kaiming"], "did you mean 'he'?"),
    (["adapt", ENV, "--backbone", "cheetah-val"], "did you mean 'cheetah-vel'?"),
    (["resume", "runs/finished", "--total-timesteps", "3000"], "change them in a new run"),
    (["resume", "runs/finished", "--lr", "1"], "change them in a new run"),
    (["play"], "did you mean 'render'"),
    (["enjoy"], "did you mean 'render'"),
    (["video"], "did you mean 'render'"),
    (["train"], "did you mean 'adapt'"),
    (["adapt", ENV, "--n-seeds", "0"], "n_seeds = 0"),
    (["adapt", ENV, "--seed", "-1"], "seed = -1"),
    (["adapt", ENV, "--learning-rate", "nan"], "learning_rate"),
    (["adapt", ENV, "--device", "tpu"], "device = 'tpu'"),
    (["adapt", ENV, "--reading", "C"], "--reading"),
    (["adapt", ENV, "--env-kwargs", '{"a":'], "--env-kwargs"),
    (["adapt", ENV, "--env-kwargs", "[1]"], "expected a JSON object"),
    (["adapt", ENV, "--env-kwargs", '{"nonsense": 1}'], "nonsense"),
    (["adapt", ENV, "--backbone", "runs/finishd"], "did you mean 'runs/finished'"),
    (["adapt", ENV, "--backbone", "runs/finished/backbone", "--reading", "A"], "leave one of them out"),
    (["adapt", ENV, "--backbone", "rnadom"], "did you mean 'random'"),
    (["adapt", ENV, "--backbone", "runs/finished"], "holds a run, which"),
    (["adapt", ENV, "--backbone", "no-env"], "holds a policy, which"),
    (["eval", "runs/finished/backbone"], "holds a backbone, which"),
    (["resume", "no-env"], "no-env is not a run: it holds a policy, which"),
    (["plot", "no-env"], "not a run: it holds a policy, which"),
    (["plot", "runs/finished/backbone"], "not a run: it holds a backbone, which"),
    (["adapt", ENV, "--run-dir", "runs/finished"], "is not empty"),
    (["adapt", ENV, "--run-dir", "file/run"], "cannot be written"),
    (["adapt", ENV, "surplus"], "surplus"),
    (["eval"], "RUN_OR_POLICY"),
    (["eval", "runs/finishd"], "did you mean 'runs/finished'"),
    (["eval", "finished"], "did you mean 'runs/finished'"),
    (["eval", "runs"], "runs holds runs: runs/finished"),
    (["eval", "file"], "file"),
    (["eval", "runs/finished", "Pendulum-v1"], "observation_space"),
    (["eval", "runs/finished", "--n-eval-episodes", "0"], "n_eval_episodes = 0"),
    (["eval", "unknown-env"], "give the env after the path"),
    (["eval", "no-env"], "give the env after the path"),
    (["resume", "runs/finished", "Pendulum-v1"], "they differ in id ('Pendulum-v1'"),
    (["resume", "runs/finished", "--num-threads", "99999"], "num_threads = 99999"),
    (["resume", "runs/finished", "--device", "tpu"], "device = 'tpu'"),
    (["resume", "runs/finishd"], "did you mean 'runs/finished'"),
    (["resume", "unregistered"], "`module:Gone-v0` imports the module"),
    (["resume", "other-job"], "'meta_train'"),
    (["resume", "killed-early", "--env-kwargs", '{"a": 1}'], "without ENV"),
    (["plot"], "no run to plot"),
    (["plot", "empty-run"], "no evaluation to plot"),
    (["plot", "runs/finished", "-o", "a.jpg"], ".png, .svg, .pdf"),
    (["plot", "runs/finished", "-o=a.jpg"], "'a.jpg' is not a picture"),
    (["plot", "runs/finished", "-oa.pdf"], "apb plot has no option -oa.pdf; did you mean -o a.pdf?"),
    (["plot", "runs/finished", "-output", "a.pdf"], "did you mean --output?"),
    (["plot", "runs/finished", "nowhere"], "'nowhere' does not exist"),
    (["render", "runs/finished", "-o", "a.avi"], ".mp4 or .gif"),
    (["render", "runs/finished", "Pendulum-v1"], "observation_space"),
    (["render", "runs/finished", "--seconds", "0"], "seconds"),
    (["info", "surplus"], "surplus"),
]


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory, finished):
    """A folder with what the bad inputs name."""
    here = tmp_path_factory.mktemp("mistakes")
    (here / "runs").mkdir()
    (here / "runs" / "finished").symlink_to(finished)
    (here / "file").write_text("")
    write_run(here / "empty-run", np.empty((0, 1, 1)))
    shutil.copytree(finished, here / "killed-early", ignore=shutil.ignore_patterns("checkpoints", "result.json"))
    shutil.copytree(here / "killed-early", here / "unregistered")
    config = (here / "unregistered" / "config.json").read_text()
    (here / "unregistered" / "config.json").write_text(config.replace(ENV, "Gone-v0"))
    (here / "other-job").mkdir()
    (here / "other-job" / "config.json").write_text('{"job": "distil"}')
    policy = apb.Policy.from_pretrained(finished / "best" / "seed-3")
    for name, metadata in (("unknown-env", {"env_id": "Gone-v0", "env_kwargs": {}}), ("no-env", {})):
        parts = policy.backbone, policy.adapter, policy.observation_space, policy.action_space
        apb.Policy(*parts, metadata=metadata).save_pretrained(here / name)
    return here


@pytest.mark.parametrize(("arguments", "words"), BAD_INPUTS)
def test_bad_input_is_explained_without_a_traceback(mistakes, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(mistakes)
    before = sorted(mistakes.rglob("*"))
    called = call(capsys, *arguments)
    assert called.code == 2
    assert called.out == ""
    assert words in " ".join(called.err.replace("│", " ").split())
    assert "Traceback" not in called.err
    assert sorted(mistakes.rglob("*")) == before, "nothing is left behind"


def test_a_message_comes_with_its_notes(here, monkeypatch, capsys):
    error = apb.ConfigError("told")
    error.add_note("and noted")
    monkeypatch.setattr("apb.cli.info.run", failing_with(error))
    assert call(capsys, "info").err == "apb: error: told\nand noted\n"


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("or replay_on_disk=True", "or --replay-on-disk"),
        ("pass eval_freq=0.", "pass --eval-freq 0."),
        ("adapter_init='mean' or adapter_init='scratch'", "--adapter-init mean or --adapter-init scratch"),
        ("strategy='my own'", "--strategy 'my own'"),
        ("keep_best=False, trainable_backbone=False", "--no-keep-best, no --trainable-backbone"),
        ("seed = 3; `resume(RUN, env=[...])`, --device=cuda, my_seed=1, 'runs/seed=3'", None),
    ],
)
def test_a_message_says_options_as_they_are_typed(said, typed, monkeypatch, capsys):
    def run(options):
        warnings.warn(said, apb.ApbWarning, stacklevel=1)
        raise apb.RunFolderError(said)

    monkeypatch.setattr("apb.cli.adapt.run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        called = call(capsys, "adapt")
    assert called.err == f"apb: warning: {typed or said}\napb: error: {typed or said}\n"


def test_an_unexpected_error_shows_its_traceback_and_exits_with_1(here, monkeypatch, capsys):
    monkeypatch.setattr("apb.cli.info.run", failing_with(RuntimeError("surprise")))
    called = call(capsys, "info")
    assert called.code == 1
    assert "Traceback" in called.err
    assert "surprise" in called.err


def test_an_interrupted_command_exits_with_130(here, monkeypatch, capsys):
    monkeypatch.setattr("apb.cli.info.run", failing_with(KeyboardInterrupt()))
    assert call(capsys, "info").code == 130


def failing_with(error):
    def run(options):
        raise error

    return run


def test_a_reader_that_goes_away_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    streams = {"capture_output": False, "stdout": writing, "stderr": subprocess.PIPE}
    result = in_process_of_its_own("info", "--json", env=buffered, **streams)
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_opengl_that_keeps_mujoco_from_loading_is_named():
    result = in_process_of_its_own("eval", "runs", env=os.environ | {"MUJOCO_GL": "nonsense"})
    assert result.returncode == 2
    assert "MUJOCO_GL = 'nonsense' keeps MuJoCo from loading" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_warning_of_gymnasium_is_shown_once_without_its_colours_and_the_header_has_the_id_in_full(tmp_path):
    options = ("--total-timesteps", 10, "--eval-freq", 5, "--n-eval-episodes", 1, "--n-seeds", 2, "--run-dir", tmp_path)
    always = os.environ | {"PYTHONWARNINGS": "always"}
    lines = in_process_of_its_own("adapt", "Pendulum", *options, env=always).stderr.splitlines()
    warned = [line for line in lines if "unversioned" in line]
    assert len(warned) == 1
    assert warned[0].startswith("apb: warning: Using the latest versioned environment `Pendulum-v1`")
    assert "\x1b" not in warned[0]
    assert any(line.startswith("Pendulum-v1, random backbone, action_noise, seeds 0, 1, ") for line in lines)


def test_warnings_are_one_line(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "checkpoints" / "LATEST").unlink()
    result = in_process_of_its_own("eval", copy / "best" / "seed-3", "Pendulum-v1")
    assert result.returncode == 2
    result = in_process_of_its_own("eval", copy, "Pendulum-v1")
    assert result.stderr.startswith("apb: warning: ")
    assert result.stderr.count("\n") == 2
