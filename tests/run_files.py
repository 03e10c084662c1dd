"""What a finished run left on the disk, apart from times: for the tests that compare runs byte by byte, or forge."""

import hashlib
import json

import numpy as np
from apb.files import dump_json
from apb.resumption import JOBS
from apb.runs import RunFolder, load_checkpoint, read_evaluations, read_history


def outcome(run_dir):
    """Name -> bytes or JSON values: final checkpoint (policy, state, replay), history, evaluations, final result."""
    run = RunFolder.open(run_dir)
    checkpoint = load_checkpoint(run)
    files = {str(path.relative_to(checkpoint.path)): path for path in sorted(checkpoint.path.rglob("*"))}
    found = {name: path.read_bytes() for name, path in files.items() if name.endswith((".safetensors", "config.json"))}
    state = json.loads((checkpoint.path / "training_state" / "state.json").read_text())
    del state["profile"], state["companions"], state["metrics"], state["counters"]["wall_time"]
    found["state.json"] = state
    identity, kind = run.config["env_identity"], JOBS[run.config["job"]].settings
    settings = kind.from_options(run.config["settings"])
    width = 2 * identity["observation_size"] + identity["action_size"] + 2
    lanes = sum(map(len, settings.lane_seeds(max(1, len(run.config["tasks"])))))
    capacity = min(settings.buffer_size, settings.lane_timesteps(lanes))
    table = np.zeros((lanes, capacity, width), dtype=np.float32)
    ring = checkpoint.read_replay(table)
    found["replay"] = (ring.table.tobytes(), ring.position.tolist(), ring.size.tolist(), ring.total_added.tolist())
    found["history"] = [without_times(record) for record in read_history(run_dir)]
    found["evaluations"] = read_evaluations(run_dir)
    result = json.loads(run.result.read_text())
    found |= {name: result.get(name) for name in ("lanes", "final", "zero_shot")}
    weights = run.pretrained / "model.safetensors"
    found["pretrained"] = weights.read_bytes() if weights.exists() else None
    found["best"] = {
        str(p.relative_to(run.best)): p.read_bytes()
        for p in sorted(run.best.rglob("*"))
        if p.suffix in (".safetensors", ".json")
    }
    found["checkpoints"] = sorted(path.name for path in run.checkpoints.iterdir())
    return found


def forge_manifest(checkpoint, **changes):
    """Change fields of a checkpoint's manifest as an attacker would, with the right checksum."""
    path = checkpoint / "manifest.json"
    content = {**json.loads(path.read_text()), **changes}
    content.pop("sha256")
    digest = hashlib.sha256(dump_json(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "sha256": digest}))


def without_times(record):
    return {name: value for name, value in record.items() if not name.startswith("time/")}


def assert_same_outcome(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] == second[name], f"{name} differs"
