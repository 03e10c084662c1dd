"""How FLAP's predictor is best made: `python -m benchmarks.science.flap_variants SPLIT RUNS`.

One meta-training has several predictors beside it: none of them changes what is learned, so all see the same tasks,
batches and layers. Each is judged on tasks of the train tasks' own distribution, never on those out of it.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from apb import _native
from apb.adaptation import random_backbone
from apb.companions import Companion
from apb.flap.predictor_training import PredictorTraining
from apb.flap.rollouts import predicted_adapters
from apb.learner import Learner
from apb.loop import LearningLoop
from apb.meta_evaluation import returns_with
from apb.meta_job import MetaJob
from apb.meta_lists import recorded
from apb.meta_settings import MetaSettings
from apb.meta_tasks import train_tasks
from apb.methods import with_method
from apb.progress import ProgressBarCallback
from apb.runner import AdaptResult
from apb.several_envs import resolve_all
from apb.system_info import system_info

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "without the next observation": {"predictor_input": "reward"},
    "one deviation for all weights": {"predictor_target": "joint"},
    "1 hidden layer of 300": {"predictor_depth": 1},
    "3 hidden layers of 100": {"predictor_width": 100},
    "64 transitions per step": {"predictor_batch_size": 64},
}
TRANSITIONS = (1, 10, 50, 200, 1000)
EPISODES = 5


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
    parser.add_argument("split")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--total-timesteps", type=int, default=1_000_000)
    arguments = parser.parse_args()
    options = {
        "total_timesteps": arguments.total_timesteps,
        "learning_rate": 1e-3,
        "batch_size": 100,
        "learning_starts": 2_500,
    }
    settings = MetaSettings.from_options(with_method("meta_train", "flap", options))
    split, chosen = train_tasks(arguments.split, settings.n_tasks)
    assert split is not None
    settings = replace(settings, n_tasks=len(chosen))
    source = resolve_all(chosen)
    if not arguments.runs.exists():
        with ProgressBarCallback() as bar:
            backbone = random_backbone(source.observation_space, settings.seed)
            _Variants(source, None, backbone, settings, [bar], {"split": recorded(split)}).run(arguments.runs)
    found: dict[str, Any] = {}
    for name in VARIANTS:
        from apb import Backbone

        backbone = Backbone.from_pretrained(arguments.runs / name.replace(" ", "-"))
        for count in TRANSITIONS:
            adapters = predicted_adapters(split.test, backbone, seed=1, transitions=count)
            results = returns_with(adapters, split.test, backbone, n_eval_episodes=EPISODES, seed=1)
            found.setdefault(name, {})[count] = float(np.mean([result.mean for result in results]))
        print(name, found[name], flush=True)
    own = returns_with(
        np.tile(backbone.adapters.mean(), (len(split.test), 1)), split.test, backbone, n_eval_episodes=EPISODES, seed=1
    )
    found["mean layers, nothing predicted"] = {0: float(np.mean([result.mean for result in own]))}
    print(json.dumps({"returns": found, "system": system_info()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
