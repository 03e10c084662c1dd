"""Runs or resumes one cell of a study: `python -m benchmarks.science.cell STUDY ENV METHOD SEED RUNS`."""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import apb
import gymnasium
import numpy as np
import torch
from apb import rng
from apb.adaptation import random_backbone
from apb.adapter_shape import learned_layers
from apb.environments import EnvSource, Simulations
from apb.evaluation import run_episodes
from apb.runs import list_steps
from apb.runs.folder import RunFolder
from apb.system_info import system_info
from numpy.typing import NDArray

from benchmarks.science.methods import METHODS, Method
from benchmarks.science.run import write_raw
from benchmarks.science.studies import EVAL_EPISODES, EVAL_FREQ, STUDIES, Cell

CHECKPOINT_FREQ = 25_000


def run_apb(cell: Cell, method: Method, run_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An `adapt`, continued if its run folder has a checkpoint; returns header and evaluations."""
    if run_dir.exists() and list_steps(RunFolder(run_dir)):
        result = apb.resume(run_dir)
    else:
        if run_dir.exists():
            run_dir.rename(run_dir.with_name(f"{run_dir.name}.without-checkpoint-{time.time_ns()}"))
        result = apb.adapt(
            cell.env,
            backbone_of(cell, method),
            run_dir=run_dir,
            total_timesteps=cell.total_timesteps,
            seed=cell.seed,
            eval_freq=EVAL_FREQ,
            n_eval_episodes=EVAL_EPISODES,
            checkpoint_freq=CHECKPOINT_FREQ,
            num_threads=1,
            **cell.options,
        )
    if result.stopped_by != "budget":
        raise SystemExit(f"{cell.name} was stopped by {result.stopped_by}; start the same command again to go on")
    header = {
        "begun_at_commit": json.loads((run_dir / "system_info.json").read_text())["git_commit"],
        "backbone_hash": result.policy.backbone.hash,
        "trained_parameters": _parameters(result, method),
        "wall_time": result.wall_time,
        "final_returns": result.final[0].returns.tolist(),
        "settings": json.loads((run_dir / "config.json").read_text())["settings"],
    }
    return header, list(result.evaluations)


def backbone_of(cell: Cell, method: Method) -> apb.Backbone | None:
    """What the cell adapts: a backbone of the package, the prior's own, or one that is drawn from the cell's seed."""
    if cell.options.get("adapter_init") == "prior":
        return None
    if cell.pretrained is not None:
        return apb.Backbone.from_pretrained(cell.pretrained)
    return random_backbone(EnvSource.resolve(cell.env).observation_space, cell.seed, **method.backbone)


def _parameters(result: apb.AdaptResult, method: Method) -> int:
    """How many are learned: of the adapter's layers, and of the backbone."""
    learned = learned_layers(method.options.get("learned_layers", "both"))
    count = len(result.adapter.shape.places_in(result.adapter.shape, learned))
    if not method.options.get("trainable_backbone"):
        return count
    backbone = result.policy.backbone
    return count + sum(array.size for array in (*backbone.weights, *backbone.biases))


def peer_returns(model: Any, cell: Cell, stream: rng.Stream) -> NDArray[np.float64]:
    """Returns (E,) of SB3's deterministic policy from the starts that our runs meet in this stream."""
    source = EnvSource.resolve(cell.env)
    with Simulations(source, 1, EVAL_EPISODES, [cell.seed], stream) as simulations:
        bounds = simulations.bounds

        def act(rows: NDArray[np.float32]) -> NDArray[np.float32]:
            return (model.predict(rows[0], deterministic=True)[0][None] - bounds.offset) / bounds.scale

        return run_episodes(simulations, EVAL_EPISODES, act)[0][0]


def run_sb3(cell: Cell, method: Method) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """SB3's TD3 with the hyper-parameters of TD3's authors, evaluated as ours is."""
    from stable_baselines3 import TD3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise

    evaluations: list[dict[str, Any]] = []

    class Evaluate(BaseCallback):
        def _on_training_start(self) -> None:
            self._evaluate()

        def _on_step(self) -> bool:
            if self.num_timesteps % EVAL_FREQ == 0:
                self._evaluate()
            return True

        def _evaluate(self) -> None:
            returns = peer_returns(self.model, cell, rng.Stream.EVAL_EPISODE)
            evaluations.append(
                {
                    "timesteps": self.num_timesteps,
                    "seed": cell.seed,
                    "eval/mean_reward": float(returns.mean()),
                    "eval/std_reward": float(returns.std()),
                    "returns": returns.tolist(),
                }
            )

    torch.set_num_threads(1)
    env = gymnasium.make(cell.env)
    actions = env.action_space.shape[0]
    model = TD3(
        "MlpPolicy",
        env,
        **{"learning_rate": 3e-4} | method.options,
        action_noise=NormalActionNoise(np.zeros(actions), 0.1 * np.ones(actions)),
        policy_kwargs={"net_arch": [256, 256]},
        seed=cell.seed,
        device="cpu",
    )
    begin = time.perf_counter()
    model.learn(cell.total_timesteps, callback=Evaluate())
    wall_time = time.perf_counter() - begin
    header = {
        "wall_time": wall_time,
        "final_returns": peer_returns(model, cell, rng.Stream.FINAL_EPISODE).tolist(),
        "peer_version": importlib.metadata.version("stable-baselines3"),
    }
    return header, evaluations


def commit() -> str:
    """The commit of the checkout that runs, with a "+" if files differ from it."""
    name = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], check=False).returncode
    return name + "+" * changed


def package_hash() -> str:
    """SHA-256 of the files of the package that runs: its version does not tell one build from another."""
    folder = Path(apb.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".so")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def main(study: str, env: str, method_name: str, seed: str, runs: str) -> None:
    """Run the cell and write its raw file."""
    cell = next(c for c in STUDIES[study].cells() if (c.env, c.method, c.seed) == (env, method_name, int(seed)))
    method = METHODS[method_name]
    code = {"commit": commit(), "package": package_hash(), "system": system_info()}
    if method.peer == "sb3":
        header, evaluations = run_sb3(cell, method)
    else:
        header, evaluations = run_apb(cell, method, Path(runs) / study / cell.name)
    facts = {
        "env": env,
        "method": method_name,
        "label": method.label,
        "seed": cell.seed,
        "total_timesteps": cell.total_timesteps,
        "backbone": method.backbone,
        "options": cell.options,
    }
    write_raw(cell, facts | code | header, evaluations)


if __name__ == "__main__":
    main(*sys.argv[1:])
