"""Draws film strips of the policies that plain TD3 has learned: `python -m benchmarks.science.film_strips --runs RUNS`.

RUNS is the folder that `python -m benchmarks.science.run task-scales --runs RUNS` has filled.
"""

import argparse
import sys
from pathlib import Path

import apb
import gymnasium
import numpy as np
from apb import tasks
from apb.rendering import choose_opengl
from apb.tasks.film import Picture
from matplotlib.figure import Figure

from benchmarks.science.run import RESULTS
from benchmarks.science.scales import STUDY, learned_policy

SHOWN = (
    "cheetah-vel/mier-hard/ood:0",
    "cheetah-dir/apb-ood/ood:0",
    "ant-dir/mier-ood/ood:5",
    "ant-goal/ldm/ood:0",
    "humanoid-dir/apb-ood/test:0",
    "hopper-rand-params/apb-ood/test:0",
    "walker-mass/tavt/ood:0",
)
FRAMES = 8
SIZE = {"width": 240, "height": 240}


def strip(policy: apb.Policy, task: tasks.Task) -> tuple[list[Picture], list[int], float]:
    """Pictures at even distances through an episode, their steps, and the return."""
    env: gymnasium.Env = task.make(render_mode="rgb_array", **SIZE)
    horizon = task.made_family.horizon
    wanted = np.linspace(0, horizon - 1, FRAMES).astype(int)
    observation, _ = env.reset(seed=0)
    pictures, steps, total, step, ended = [], [], 0.0, 0, False
    while not ended:
        if step in wanted:
            pictures.append(env.render())
            steps.append(step)
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total, step, ended = total + float(reward), step + 1, terminated or truncated
    env.close()
    return pictures, steps, total


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science.film_strips", description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run folders")
    runs = parser.parse_args().runs
    choose_opengl()
    policies = {name: learned_policy(runs, name) for name in SHOWN}
    shown = [(name, policy) for name, policy in policies.items() if policy is not None]
    if not shown:
        parser.error(f"no finished run of {', '.join(SHOWN)} under {runs}")
    picture = Figure(figsize=(1.6 * FRAMES, 1.95 * len(shown)), layout="constrained")
    axes = picture.subplots(len(shown), FRAMES, squeeze=False)
    for line, (name, policy) in zip(axes, shown, strict=True):
        pictures, steps, total = strip(policy, tasks.get(name))
        for panel in line:
            panel.set_axis_off()
        for panel, image, step in zip(line, pictures, steps, strict=False):
            panel.imshow(image)
            panel.set_title(f"step {step}" if step else f"{name}: return {total:,.0f}\n", fontsize=8, loc="left")
    picture.suptitle("episodes of the policies that plain TD3 has learned; the camera follows the robot")
    folder = RESULTS / STUDY
    folder.mkdir(parents=True, exist_ok=True)
    picture.savefig(folder / "film-strips.png", dpi=90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
