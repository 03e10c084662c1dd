"""What a frozen backbone is worth in imitation: `python -m benchmarks.science.imitation --runs RUNS`.

Plain TD3 has learned OOD tasks of the study meta-cheetah-vel, whose run folders are in RUNS. Adapters around the
meta-trained backbone and around random ones learn to imitate these policies by regression, without critics, rewards or
exploration. Where they do it alike, what separates them in reinforcement learning is none of the features.
"""

import argparse
import sys
from pathlib import Path

import apb
import numpy as np
import torch
from apb.adaptation import random_backbone
from apb.adapter import Adapter, draw_initial
from apb.adapter_shape import AdapterShape
from apb.cloning.regression import ActorRegression
from apb.environments import EnvSource
from apb.statistics import interquartile_mean
from apb.system_info import system_info
from apb.tasks import Task
from numpy.typing import NDArray

from benchmarks.science.run import RESULTS
from benchmarks.science.studies import STUDIES, Cell

STUDY = "meta-cheetah-vel"
EXPERT = "td3-scale"
NOISE = 0.1
EPISODES, HELD_OUT = 20, 4
STEPS = (200, 500, 2_000, 6_000)
BATCH, LEARNING_RATE = 100, 1e-3
METHODS = {
    "meta": "meta-trained backbone, adapters drawn anew",
    "nearest": "meta-trained backbone, from the nearest task's adapter",
    "random": "random backbone",
}


def imitated(
    backbone: apb.Backbone, start: NDArray[np.float32], shown: apb.Demonstrations, task: Task, seed: int
) -> NDArray[np.float64]:
    """Mean squared error on held-out episodes, and return, after each of `STEPS`: (2, len(STEPS))."""
    source = EnvSource.resolve(task)
    shape = AdapterShape.of(backbone, shown.observations.shape[1], shown.actions.shape[1])
    regression = ActorRegression(backbone, start, shape, BATCH, LEARNING_RATE)
    train = shown.episodes(np.arange(EPISODES - HELD_OUT))
    held_out = shown.episodes(np.arange(EPISODES - HELD_OUT, EPISODES))
    draws = np.random.default_rng(seed)
    found = []
    for step in range(1, STEPS[-1] + 1):
        rows = draws.integers(len(train), size=BATCH)
        regression.step(train.observations[rows], train.actions[rows])
        if step in STEPS:
            adapter = Adapter(shape, regression.parameters)
            policy = apb.Policy(backbone, adapter, source.observation_space, source.action_space)
            error = np.square(policy(held_out.observations) - held_out.actions).mean()
            found.append((float(error), apb.evaluate(policy, task, 5).mean))
    return np.array(found).T


def starts(method: str, task: Task, seed: int) -> tuple[apb.Backbone, NDArray[np.float32]]:
    """What is frozen, and the adapter (n,) that the regression begins with."""
    source = EnvSource.resolve(task)
    if method == "random":
        backbone = random_backbone(source.observation_space, seed, reading="B")
    else:
        backbone = apb.Backbone.from_pretrained("cheetah-vel")
    kept = backbone.adapters
    if method == "nearest" and kept is not None:
        return backbone, kept.parameters[kept.nearest(task)]
    sizes = (source.observation_space.shape[0], source.action_space.shape[0])
    return backbone, draw_initial(backbone, AdapterShape.of(backbone, *sizes), seed)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science.imitation", description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run folders")
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    cells = [cell for cell in STUDIES[STUDY].cells() if cell.method == EXPERT]
    cells = [cell for cell in cells if (runs / STUDY / cell.name / "result.json").exists()]
    if not cells:
        parser.error(f"no finished run of {EXPERT} in {runs / STUDY}; run `python -m benchmarks.science.run {STUDY}`")
    found: dict[str, list[NDArray[np.float64]]] = {method: [] for method in METHODS}
    returns = []
    for cell in cells:
        task = apb.tasks.get(cell.env)
        assert isinstance(task, Task)
        expert = apb.Policy.from_pretrained(runs / STUDY / cell.name / "best")
        returns.append(apb.evaluate(expert, task, 5).mean)
        shown = apb.Demonstrations.collect(expert, task, EPISODES, seed=cell.seed, noise=NOISE)
        for method in METHODS:
            found[method].append(imitated(*starts(method, task, cell.seed), shown, task, cell.seed))
            print(cell.name, method, found[method][-1].round(4).tolist(), flush=True)
    write_page(cells, np.array(returns), {method: np.array(each) for method, each in found.items()})
    return 0


def write_page(cells: list[Cell], returns: NDArray[np.float64], found: dict[str, NDArray[np.float64]]) -> None:
    """Write the page beside that of the study; `found` has shape (experts, 2, len(STEPS)) for each method."""
    tasks = sorted({cell.env for cell in cells})
    lines = [
        f"| {METHODS[method]} | "
        + " | ".join(f"{error:.4f}, {score:,.0f}" for error, score in zip(*interquartile_mean(values), strict=True))
        + " |"
        for method, values in found.items()
    ]
    page = [
        "# Imitation: what a frozen backbone is worth where nothing has to be found out",
        "",
        "Made by `python -m benchmarks.science.imitation --runs RUNS`, where RUNS has the run folders of the study",
        f"[{STUDY}](README.md): adapters learn by regression what {len(cells)} policies of plain TD3 do on",
        f"{', '.join(tasks)}, which return {float(interquartile_mean(returns)):,.0f}: {EPISODES - HELD_OUT} episodes",
        f"with noise of {NOISE}, Adam at {LEARNING_RATE:g}, batches of {BATCH}. Mean squared error of the actions in",
        f"{HELD_OUT} other episodes, and return of the policy; interquartile means over policies.",
        "",
        "| after so many steps | " + " | ".join(f"{step:,}" for step in STEPS) + " |",
        "| --- |" + " --- |" * len(STEPS),
        *lines,
        "",
        f"Machine and versions: {system_info()}",
        "",
    ]
    (RESULTS / STUDY / "imitation.md").write_text("\n".join(page))
    print("\n".join(page))


if __name__ == "__main__":
    sys.exit(main())
