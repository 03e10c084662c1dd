"""The theorem's exact case without learning: `python -m benchmarks.science.exact` writes docs/results/permuted-state.

In a task whose observations are in another order, the pre-layer with its columns in that order makes the frozen
backbone act as it does in the original task.
"""

import sys

import apb
import numpy as np
from apb.adapter import Adapter
from apb.environments import EnvSource
from apb.system_info import system_info
from apb.tasks import Task
from numpy.typing import NDArray

from benchmarks.science.run import RESULTS

BACKBONE = "cheetah-vel"
SPLIT = "cheetah-vel-permuted-state/theorem"
EPISODES = 10


def mean_return(backbone: apb.Backbone, adapter: Adapter, task: Task) -> float:
    """Over the same starts for every adapter and order of observations."""
    source = EnvSource.resolve(task)
    policy = apb.Policy(backbone, adapter, source.observation_space, source.action_space)
    return apb.evaluate(policy, task, EPISODES).mean


def permuted(adapter: Adapter, order: NDArray[np.int64]) -> Adapter:
    """The adapter for observations of which number i is the original number `order[i]`."""
    parameters = adapter.parameters.copy()
    weight = adapter.shape.split(parameters)["pre.weight"]
    weight[...] = weight[:, order]
    return Adapter(adapter.shape, parameters)


def rows() -> list[tuple[str, float, float, float]]:
    """For each OOD task its name, and the returns: in the original order, permuted with the permuted pre-layer, and
    permuted with the original one."""
    backbone, split = apb.Backbone.from_pretrained(BACKBONE), apb.tasks.get(SPLIT)
    kept = backbone.adapters
    assert kept is not None
    assert isinstance(split, apb.tasks.Split)
    found = []
    for task in split.ood:
        arguments = dict(task.arguments)
        order = np.array(arguments.pop("permutation"), dtype=np.int64)
        original = Task(BACKBONE, arguments, None)
        own = Adapter(kept.shape, kept.parameters[kept.nearest(original)])
        returns = (
            mean_return(backbone, own, original),
            mean_return(backbone, permuted(own, order), task),
            mean_return(backbone, own, task),
        )
        found.append((str(task), *returns))
    return found


def main() -> int:
    """Write the page."""
    found = rows()
    farthest = max(abs(one - other) for _, one, other, _ in found)
    page = [
        "# The exact case, without learning",
        "",
        f"Made by `python -m benchmarks.science.exact`. The backbone `{BACKBONE}` acts with the adapter of the nearest",
        f"train task, {EPISODES} episodes from the same starts. Then the observations come in another order: with the",
        "columns of the pre-layer in that order the frozen backbone returns the same, as the paper's theorem says,",
        f"up to {farthest:.3f}: sums in another order round otherwise, and contacts let such differences grow.",
        "The last column is what the policy returns with the pre-layer as it was.",
        "",
        "| task | original order | another order, permuted pre-layer | another order, pre-layer as it was |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | {one:.3f} | {other:.3f} | {wrong:.1f} |" for name, one, other, wrong in found),
        "",
        f"Machine and versions: {system_info()}",
        "",
    ]
    folder = RESULTS / "permuted-state"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exact.md").write_text("\n".join(page))
    print("\n".join(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
