"""How FLAP's predictor is best made: `python -m benchmarks.science.flap_variants SPLIT RUNS`.

One meta-training has several predictors beside it: none of them changes what is learned, so all see the same tasks,
batches and layers. Each is judged on tasks of the train tasks' own distribution, never on those out of it. The page,
docs/results/flap/variants.md, is written from all splits that were judged; with no arguments nothing else is done.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from apb import Backbone, _native
from apb.adaptation import random_backbone
from apb.companions import Companion
from apb.flap.predictor_training import PredictorTraining
from apb.flap.rollouts import ROLLOUT, predicted_adapters
from apb.learner import Learner
from apb.loop import LearningLoop
from apb.meta_training.evaluation import returns_with
from apb.meta_training.job import MetaJob
from apb.meta_training.lists import recorded
from apb.meta_training.settings import MetaSettings
from apb.meta_training.tasks import train_tasks
from apb.methods import with_method
from apb.progress import ProgressBarCallback
from apb.runner import AdaptResult
from apb.several_envs import resolve_all
from apb.statistics import bootstrap_interval
from apb.system_info import system_info

from benchmarks.science.flap import Cell
from benchmarks.science.run import RESULTS

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "without the next observation": {"predictor_input": "reward"},
    "one deviation for all weights": {"predictor_target": "joint"},
    "1 hidden layer of 300": {"predictor_depth": 1},
    "3 hidden layers of 100": {"predictor_width": 100},
    "80 transitions per step": {"predictor_batch_size": 80},
}
TRANSITIONS = (1, 10, 50, 200, 1000)
EPISODES = 5
FOLDER, PAGE = RESULTS / "flap", "variants.md"
MEAN, NEAREST = "mean head, nothing predicted", "nearest train task's head, by the task's parameters"
ABOUT = f"""\
# Which predictor FLAP has

Made by `python -m benchmarks.science.flap_variants SPLIT RUNS`. In one meta-training (20 train tasks, learning rate
1e-3, batches of 100, 2,500 random steps) all predictors were trained side by side; none changes what is learned.
Each is judged by the return of the heads that it predicts from so many transitions of the split's *test* tasks, which
the mean head made, but for those that [the study of FLAP](README.md) runs; the OOD tasks have no part in it. A number
is the mean over tasks of {EPISODES} episodes each. The last column is the mean over tasks of the difference to the
default, with its 95 % bootstrap interval over tasks. It is one meta-training and one seed of rollouts: the interval
knows nothing of others, and is not corrected for the number of rows."""


@dataclass(frozen=True)
class _Variants(MetaJob):
    """A meta-training with all predictors beside it."""

    def companions(self, learner: Learner, pool: "_native.ThreadPool") -> list[Companion]:
        """See `Job`."""
        made = []
        for number, options in enumerate(VARIANTS.values()):
            made.append(PredictorTraining(learner, replace(self.settings, **options), pool))
            made[-1].name = f"predictor_{number}"  # type: ignore[misc]
        return list(made)

    def finish(self, loop: LearningLoop, result: AdaptResult, check: Any) -> Any:
        """See `Job`: keep the backbone of each."""
        backbone = self._with_adapters(result)
        for name, companion in zip(VARIANTS, loop.learner.companions, strict=True):
            assert isinstance(companion, PredictorTraining)
            assert result.run_dir is not None
            replace(backbone, predictor=companion.predictor()).save_pretrained(result.run_dir / name.replace(" ", "-"))
        return result


def main() -> int:
    """Meta-train, unless RUNS has it, and judge all predictors."""
    parser = argparse.ArgumentParser("python -m benchmarks.science.flap_variants", description=__doc__)
    parser.add_argument("split", nargs="?")
    parser.add_argument("runs", type=Path, nargs="?")
    parser.add_argument("--total-timesteps", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if arguments.split is not None:
        if arguments.runs is None:
            parser.error("expected RUNS, the folder of the run, beside SPLIT")
        judge(arguments.split, arguments.runs, arguments.total_timesteps)
    print("\n".join(lines := page()))
    (FOLDER / PAGE).write_text("\n".join(lines))
    return 0


def judge(name: str, runs: Path, total_timesteps: int) -> None:
    """Meta-train, unless `runs` is there, and write the returns of each predictor on test tasks."""
    options = {"learning_rate": 1e-3, "batch_size": 100, "learning_starts": 2_500}
    options |= {"total_timesteps": total_timesteps}
    settings = MetaSettings.from_options(with_method("meta_train", "flap", options))
    split, chosen = train_tasks(name, settings.n_tasks)
    assert split is not None
    settings = replace(settings, n_tasks=len(chosen))
    source = resolve_all(chosen)
    if not runs.exists():
        with ProgressBarCallback() as bar:
            backbone = random_backbone(source.observation_space, settings.seed)
            _Variants(source, None, backbone, settings, [bar], {"split": recorded(split)}).run(runs)
    reported = set(map(str, Cell(name, "test", "flap", 0).tasks))
    tasks = [task for task in split.test if str(task) not in reported]
    returns: dict[str, dict[int, list[float]]] = {}
    for variant in VARIANTS:
        backbone = Backbone.from_pretrained(runs / variant.replace(" ", "-"))
        for count in TRANSITIONS:
            adapters = predicted_adapters(tasks, backbone, seed=1, transitions=count)
            returns.setdefault(variant, {})[count] = _returns(adapters, tasks, backbone)
        print(variant, {count: float(np.mean(each)) for count, each in returns[variant].items()}, flush=True)
    assert backbone.adapters is not None
    mean = np.tile(backbone.adapters.mean(), (len(tasks), 1))
    nearest = backbone.adapters.parameters[[backbone.adapters.nearest(task) for task in tasks]]
    others = {MEAN: _returns(mean, tasks, backbone), NEAREST: _returns(nearest, tasks, backbone)}
    told = {"split": str(split), "total_timesteps": total_timesteps, "backbone_hash": backbone.hash}
    told |= {"system": system_info(), "others": others, "returns": returns}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"variants-{name.replace('/', '-')}.json").write_text(json.dumps(told) + "\n")


def _returns(adapters: Any, tasks: Any, backbone: Backbone) -> list[float]:
    return [found.mean for found in returns_with(adapters, tasks, backbone, n_eval_episodes=EPISODES, seed=1)]


def page() -> list[str]:
    """The lines of the page, from all that was judged."""
    lines = ABOUT.splitlines()
    for path in sorted(FOLDER.glob("variants-*.json")):
        told = json.loads(path.read_text())
        of = told["returns"]
        default = of[next(iter(VARIANTS))]
        count = len(next(iter(default.values())))
        budget = f"{told['total_timesteps']:,} timesteps, {count} test tasks"
        lines += ["", f"## {told['split']}", "", f"Meta-trained for {budget}.", ""]
        rows = [["predictor", *(f"{n:,}" for n in map(int, default)), f"at {ROLLOUT}, less the default"]]
        rows.append(["---"] * len(rows[0]))
        for variant, by_count in of.items():
            less = np.subtract(by_count[str(ROLLOUT)], default[str(ROLLOUT)])
            shown = "-" if by_count is default else _interval(less)
            rows.append([variant, *(f"{np.mean(each):,.1f}" for each in by_count.values()), shown])
        for other, each in told["others"].items():
            less = np.subtract(each, default[str(ROLLOUT)])
            rows.append([other, *[f"{np.mean(each):,.1f}"] * len(default), _interval(less)])
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    return [*lines, ""]


def _interval(less: Any) -> str:
    low, high = bootstrap_interval(less, lambda scores: scores.mean(axis=0))
    return f"{np.mean(less):+,.1f} [{float(low):+,.1f}, {float(high):+,.1f}]"


if __name__ == "__main__":
    sys.exit(main())
