"""A run folder that is damaged, foreign, or of other options is refused by `resume`, and nothing in it is lost."""

import errno
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import apb.jobs
import pytest
import torch
from adapt_runs import run
from apb import (
    ApbWarning,
    Callback,
    ConfigError,
    FileFormatError,
    MismatchError,
    Policy,
    RunFolderError,
    UnknownNameError,
    resume,
)
from apb.files import atomic
from apb.runs import RunFolder, load_checkpoint
from learning import small_backbone


def test_a_run_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"is not empty \(thesis.txt\); expected a new or empty folder"):
        run(run_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.fixture
def finished(tmp_path):
    run(run_dir=tmp_path / "run", total_timesteps=70, checkpoint_freq=70, batch_size=8, log_freq=30)
    return tmp_path / "run"


def edit_config(run_dir, **changes):
    path = run_dir / "config.json"
    config = json.loads(path.read_text())
    settings = changes.pop("settings", {})
    config["settings"] = config["settings"] | settings if isinstance(settings, dict) else settings
    path.write_text(json.dumps(config | changes))


# --- of something else -----------------------------------------------------------------------------------------------


def test_a_checkpoint_of_other_options_is_refused(finished):
    edit_config(finished, settings={"gamma": 0.5})
    with pytest.raises(MismatchError, match="belongs to config_hash"):
        resume(finished)


def test_options_that_do_not_agree_with_the_checkpoint_cost_no_memory(finished, monkeypatch):
    monkeypatch.setattr(apb.jobs, "LearningLoop", lambda *_: pytest.fail("envs, critics and replay are made"))
    edit_config(finished, settings={"n_seeds": 300})
    with pytest.raises(MismatchError, match="belongs to config_hash"):
        resume(finished)


def test_a_checkpoint_of_another_env_is_refused(finished):
    with pytest.raises(
        MismatchError, match=r"env MountainCarContinuous-v0 is not the one .*observation_size \(2, was 3\)"
    ):
        resume(finished, env="MountainCarContinuous-v0")


def test_a_checkpoint_of_another_backbone_is_refused(finished):
    small_backbone(seed=99).save_pretrained(finished / "backbone")
    with pytest.raises(MismatchError, match=f"belongs to backbone_hash = '{small_backbone().hash}'"):
        resume(finished)


def test_a_run_of_another_job_is_refused(finished):
    edit_config(finished, job="distil")
    with pytest.raises(MismatchError, match="holds a run of job 'distil'; expected 'adapt' or 'meta_train'"):
        resume(finished)


def test_a_run_is_not_resumed_with_other_options(finished):
    for name in ("total_timesteps", "gamma", "run_dirs"):
        why = r"; did you mean 'run_dir'\?" if name == "run_dirs" else "the budget .* in a new run"
        with pytest.raises(UnknownNameError, match=rf"resume\(\) has no option '{name}'.*{why}"):
            resume(finished, **{name: 3000})


class Stateful(Callback):
    def state_dict(self):
        return {"n": 1}


def test_callbacks_with_state_must_come_back(tmp_path):
    run(run_dir=tmp_path / "run", total_timesteps=70, callback=Stateful())
    with pytest.raises(MismatchError, match=r"the checkpoint holds the state of the callbacks \['Stateful'\]; \[\]"):
        resume(tmp_path / "run")
    resume(tmp_path / "run", callback=[Callback(), Stateful()])


# --- of another machine ----------------------------------------------------------------------------------------------


def test_a_run_of_a_larger_machine_goes_on_with_the_threads_of_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr("apb.threads.usable_cpus", lambda system: 2)
    run(run_dir=tmp_path / "run", num_threads=8, total_timesteps=70)
    monkeypatch.setattr("apb.threads.usable_cpus", lambda system: 1)
    with pytest.warns(ApbWarning, match=r"started with num_threads = 8, more than this machine is given \(4\)"):
        resume(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"num_threads = 8 .* \[1, 4\], up to four times the 1 cores"):
        resume(tmp_path / "run", num_threads=8)


def test_a_run_moves_to_another_device_when_it_is_resumed_and_to_none_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run(run_dir=tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    with pytest.raises(ConfigError, match=r"device = 'cuda', but torch .* finds no CUDA device"):
        resume(tmp_path / "run")
    again = resume(tmp_path / "run", device="cpu")
    assert again.adapter.parameters.tobytes() == result.adapter.parameters.tobytes()


# --- damaged ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"gamma": 7}},
        {"settings": {"gama": 0.5}},
        {"env_identity": None},
        {"env_identity": "Pendulum-v1"},
        {"env_identity": 3},
        {"eval_env_identity": 3},
        {"eval_env_identity": "Pendulum-v1"},
        {"eval_env_identity": [1]},
        {"settings": None},
        {"settings": [1]},
        {"settings": {"device": 10**30}},
        {"settings": {"num_threads": 1e300}},
        {"settings": {"num_threads": "4"}},
    ],
    ids=str,
)
def test_a_damaged_configuration_is_refused(changes, finished):
    edit_config(finished, **changes)
    message = r"config\.json is not the configuration of an adaptation: |^device = "
    with pytest.raises((FileFormatError, ConfigError), match=message):
        resume(finished)


@pytest.mark.parametrize("file", ["training_state/state.safetensors", "training_state/state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_refused(file, damage, finished):
    (checkpoint,) = (finished / "checkpoints").glob("0*")
    path = checkpoint / file
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 4
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    with (
        pytest.warns(UserWarning, match="is damaged and skipped"),
        pytest.raises(RunFolderError, match="no intact checkpoint"),
    ):
        resume(finished)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("removed", ["checkpoints", "checkpoints and replay", "steps", "all but the result"])
def test_a_run_whose_checkpoints_were_removed_does_not_begin_again_over_what_it_measured(removed, finished):
    if removed.startswith("checkpoints"):
        (finished / "result.json").unlink()
        for name in removed.split(" and "):
            shutil.rmtree(finished / name)
    else:
        for path in (finished / "checkpoints").iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif removed.startswith("all"):
                path.unlink()
    before = contents(finished)
    with pytest.raises(RunFolderError, match=r"records of a run and none of its checkpoints.*put .*checkpoints back"):
        resume(finished)
    assert contents(finished) == before


def begin_anew(run_dir):
    """Leave what a run has that was killed before its first checkpoint."""
    for name in ("checkpoints", "replay"):
        shutil.rmtree(run_dir / name)
    for name in ("history.jsonl", "evaluations.jsonl", "result.json"):
        (run_dir / name).unlink(missing_ok=True)


def test_a_run_that_begins_again_does_so_with_the_backbone_that_it_was_started_with(finished):
    begin_anew(finished)
    small_backbone(seed=99).save_pretrained(finished / "backbone")
    with pytest.raises(MismatchError, match=f"config.json says '{small_backbone().hash}'"):
        resume(finished)
    small_backbone().save_pretrained(finished / "backbone")
    assert resume(finished).total_timesteps == 70


@pytest.mark.parametrize("state", ["not begun", "in use", "damaged"])
def test_a_run_without_a_checkpoint_says_whether_one_will_come(state, finished):
    run = RunFolder.open(finished)
    if state == "damaged":
        (finished / "checkpoints" / "000000070" / "manifest.json").write_text("{}")
        message = r"has no intact checkpoint: all are damaged, those of the steps \[70\]; start the run again"
    else:
        begin_anew(finished)
        message = {
            "not begun": f"has no checkpoint yet; `apb resume {finished}` starts it from the beginning",
            "in use": f"no checkpoint yet, and is in use by process {os.getpid()}; the first comes at step 70",
        }[state]
    with (
        RunFolder.open(finished).lock() if state == "in use" else nullcontext(),
        pytest.warns(ApbWarning) if state == "damaged" else nullcontext(),
        pytest.raises(RunFolderError, match=message),
    ):
        load_checkpoint(run)
    assert run.holder is None
    if state == "not begun":
        assert resume(finished).total_timesteps == 70


@pytest.mark.parametrize("kind", ["folder", "pipe", "huge"])
def test_a_name_of_the_newest_checkpoint_that_is_no_file_is_passed_over_and_replaced(kind, finished):
    latest = finished / "checkpoints" / "LATEST"
    latest.unlink()
    if kind == "folder":
        latest.mkdir()
    elif kind == "pipe":
        os.mkfifo(latest)
    else:
        with latest.open("wb") as file:
            file.truncate(2**40)
    with pytest.warns(ApbWarning, match="LATEST is missing or damaged; taking the newest"):
        resume(finished)
    assert latest.read_text() == "000000070\n"
    assert latest.with_name("LATEST.moved-1").is_dir() == (kind == "folder"), "whatever was in it is kept"


# --- failures that lose nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["result.json", "history.jsonl", "LATEST"])
def test_a_full_disk_while_a_run_is_resumed_is_one_error_that_says_what_is_kept(name, finished, monkeypatch):
    def full(path, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return replace(path, target)

    replace = Path.replace
    (finished / "history.jsonl").write_text(json.dumps({"timesteps": 999}) + "\n")
    monkeypatch.setattr(Path, "replace", full)
    kept = f"the last good checkpoint is {finished / 'checkpoints' / '000000070'}"
    with pytest.raises(RunFolderError, match=f"cannot be written: No space left on device; {kept}; make room"):
        resume(finished)


def test_a_disk_that_fills_while_the_best_policy_is_written_says_what_is_kept(tmp_path, monkeypatch):
    def full(path):
        if path.name == "model.safetensors" and ".best." in path.parent.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return beside(path)

    beside = atomic._temporary_beside
    monkeypatch.setattr(atomic, "_temporary_beside", full)
    words = f"^{tmp_path / 'run' / 'best'} cannot be written: No space left on device; there is no checkpoint yet; .*"
    with pytest.raises(RunFolderError, match=words + f"continue with `apb resume {tmp_path / 'run'}`"):
        run(run_dir=tmp_path / "run", eval_freq=50)


def test_a_run_that_lost_its_replay_says_where_its_policies_are(finished):
    shutil.rmtree(finished / "replay")
    with pytest.warns(ApbWarning), pytest.raises(RunFolderError, match=f"{finished}/checkpoints/<step>/policy") as told:
        resume(finished)
    assert str(finished / "best") in str(told.value)
    Policy.from_pretrained(finished / "checkpoints" / "000000070" / "policy")


def test_a_rewind_that_fails_deletes_nothing(tmp_path):
    run(run_dir=tmp_path / "run", checkpoint_freq=25, keep_last=4, callback=Stateful())
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    with pytest.raises(MismatchError):
        resume(tmp_path / "run" / "checkpoints" / "000000025")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == steps
    assert (tmp_path / "run" / "checkpoints" / "LATEST").read_text().strip() == "000000100"


def test_a_linked_replay_folder_keeps_the_files_of_others(tmp_path):
    run(run_dir=tmp_path / "run", checkpoint_freq=25)
    replay = tmp_path / "run" / "replay"
    elsewhere = replay.rename(tmp_path / "elsewhere")
    replay.symlink_to(elsewhere)
    (elsewhere / "thesis.tex").write_text("mine")
    (elsewhere / "photos").mkdir()
    resume(tmp_path / "run" / "checkpoints" / "000000075")
    assert (elsewhere / "thesis.tex").read_text() == "mine"
    assert (elsewhere / "photos").is_dir()


def test_a_linked_lock_is_refused_and_its_target_kept(tmp_path):
    run(run_dir=tmp_path / "run")
    (tmp_path / "mine").write_text("text")
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(RunFolderError, match="cannot be opened"):
        resume(tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "text"
