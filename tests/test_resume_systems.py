"""A run that goes on with other versions, or on another processor, says so once, and its files tell it afterwards."""

import json

import apb.system_info
import pytest
from apb import ApbWarning, FileFormatError, resume
from apb.runs import RunFolder, load_checkpoint
from apb.runs.systems import deciding, systems_at_start, told
from apb.system_info import PACKAGES, package_version, system_info
from cli_runs import call
from crashes import Crash, CrashAt
from learning import SMALL, small_backbone
from run_files import forge_manifest, outcome

OPTIONS = {**SMALL, "total_timesteps": 120, "checkpoint_freq": 40, "eval_freq": 60, "n_eval_episodes": 1}
NOW = package_version("mujoco")


def pretend(monkeypatch, **versions):
    """Let these packages have other versions than they have; None: not installed."""
    monkeypatch.setattr(apb.system_info, "package_version", lambda name: versions.get(name, package_version(name)))


def crashed(run_dir, at=50):
    with pytest.raises(Crash):
        apb.adapt("Pendulum-v1", small_backbone(), run_dir=run_dir, callback=CrashAt(at), **OPTIONS)
    return run_dir


def systems(run_dir):
    return json.loads((run_dir / "result.json").read_text())["systems"]


def forget_systems(run_dir, **instead):
    """Make the newest checkpoint one that was written before checkpoints had systems."""
    checkpoint = load_checkpoint(RunFolder.open(run_dir)).path
    path = checkpoint / "training_state" / "state.json"
    state = json.loads(path.read_text())
    del state["systems"]
    path.write_text(json.dumps(state | instead))
    listed = json.loads((checkpoint / "manifest.json").read_text())["files"]
    entry = {"bytes": path.stat().st_size, "sha256": apb.files.sha256_file(path)}
    forge_manifest(checkpoint, files=listed | {"training_state/state.json": entry})


def test_other_versions_are_told_once_and_stay_in_the_files_of_the_run(tmp_path, monkeypatch, capsys):
    run_dir = crashed(tmp_path / "run")
    pretend(monkeypatch, mujoco="9.1", gymnasium="0.7")
    message = rf"from timestep 40 with mujoco 9\.1 \(was {NOW}\), gymnasium 0\.7 \(was [\d.]+\), and may end"
    with pytest.warns(ApbWarning, match=message) as warned, pytest.raises(Crash):
        resume(run_dir, callback=CrashAt(90))
    assert len(warned) == 1
    resume(run_dir)  # with the same versions again, and warnings are errors
    first, second = systems(run_dir)
    assert (first["timesteps"], first["system"]["mujoco"], second["timesteps"]) == (0, NOW, 40)
    assert second["system"] == first["system"] | {"mujoco": "9.1", "gymnasium": "0.7"}
    shown = call(capsys, "resume", run_dir)
    assert f"from step 40 on with mujoco 9.1 (was {NOW}), gymnasium 0.7" in shown.out
    assert call(capsys, "resume", run_dir, "--json").json["systems"] == [first, second]


def test_a_change_is_forgotten_with_what_it_computed(tmp_path, monkeypatch):
    run_dir = crashed(tmp_path / "run")
    pretend(monkeypatch, mujoco="9.1")
    with pytest.raises(Crash), pytest.warns(ApbWarning, match=r"mujoco 9\.1"):
        resume(run_dir, callback=CrashAt(60))  # before a checkpoint
    pretend(monkeypatch)
    resume(run_dir)
    assert [stretch["timesteps"] for stretch in systems(run_dir)] == [0]


def test_a_run_that_begins_again_is_of_one_system(tmp_path, monkeypatch):
    run_dir = crashed(tmp_path / "run", at=30)
    pretend(monkeypatch, mujoco="9.1")
    resume(run_dir)
    ((step, system),) = (stretch.values() for stretch in systems(run_dir))
    assert (step, system["mujoco"]) == (0, "9.1")
    assert json.loads((run_dir / "system_info.json").read_text())["packages"]["mujoco"] == "9.1"


@pytest.mark.parametrize(
    "info", [None, "[]", '{"packages": 3}', '{"packages": {"mujoco": null}}', '{"isa": "\\u001b[2J"}']
)
def test_a_run_that_recorded_nothing_goes_on_in_silence_and_tells_what_comes_later(info, tmp_path, monkeypatch):
    run_dir = crashed(tmp_path / "run")
    forget_systems(run_dir)
    (run_dir / "system_info.json").unlink()
    if info is not None:
        (run_dir / "system_info.json").write_text(info)
    with pytest.raises(Crash):
        resume(run_dir, callback=CrashAt(90))
    pretend(monkeypatch, torch="1.0")
    with pytest.warns(ApbWarning, match=r"from timestep 80 with torch 1\.0 \(was"):
        resume(run_dir)
    assert [stretch["timesteps"] for stretch in systems(run_dir)] == [0, 40, 80]
    assert len(told(systems(run_dir))) == 1


def test_a_checkpoint_without_systems_is_of_those_that_the_run_was_begun_on(tmp_path, monkeypatch):
    run_dir = crashed(tmp_path / "run")
    forget_systems(run_dir)
    resume(run_dir / "checkpoints" / "000000040")
    before = outcome(run_dir)
    forget_systems(run_dir)
    pretend(monkeypatch, numpy="1.0")
    with pytest.warns(ApbWarning, match=r"numpy 1\.0 \(was"):
        resume(run_dir)
    assert outcome(run_dir)["final"] == before["final"]


@pytest.mark.parametrize(
    "value", [None, 3, [3], [{"timesteps": -1, "system": {}}], [{"timesteps": 0, "system": {"a": 1}}]]
)
def test_systems_that_are_none_are_refused(value, tmp_path):
    run_dir = crashed(tmp_path / "run")
    forget_systems(run_dir, systems=value)
    with pytest.raises(
        FileFormatError, match=r"000000040 has 'systems' = .*; expected a list.*: use another checkpoint"
    ):
        resume(run_dir)


def test_what_decides_bits_is_all_packages_the_instruction_set_and_the_processor(tmp_path):
    info = system_info()
    expected = info["packages"] | {"instruction set": info["isa"], "processor": info["cpu"]}
    assert deciding(info) == {name: value for name, value in expected.items() if value is not None}
    assert set(PACKAGES) <= expected.keys()
    assert systems_at_start(tmp_path) == [{"timesteps": 0, "system": {}}]
