"""`backbone_card`: the README.md in the folder of a trained backbone: what it is, what it is for, its limits."""

from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

from apb import files
from apb.errors import counted

if TYPE_CHECKING:
    from apb.backbone import Backbone

Kind = TypeVar("Kind", dict[str, Any], list[Any], int, float)

META_TRAINED = "meta-trained"
"""The "kind" in the metadata of a meta-trained backbone."""

PRETRAINED = "pre-trained"
"""The "kind" in the metadata of a backbone that was trained without rewards."""

ADAPTERS_KEPT = """\
It begins with the two layers of the nearest train task (or with the `"mean"` of all). Without `adapter_init` they are
drawn anew, from `"scratch"`: nothing but the frozen middle is then left of what was learned."""
NOTHING_KEPT = """\
The two layers are drawn anew, from `"scratch"`: this backbone keeps none of those that its train tasks had."""

PREDICTS = """\
The mean layers of the train tasks act for 200 transitions, and from these the task's own layers are predicted, without
any gradient (FLAP). In a shell that is `apb adapt TASK --method flap --backbone FOLDER`. With
`adapter_init="predicted"` in place of `method="flap"` TD3 goes on from the predicted layers; with `"nearest"` it begins
with those of the nearest train task."""

ACTING = {"policy": "policy", "noisy": "policy with noise", "random": "random actions"}
"""What the ways to act are called of which a coverage is measured."""

EXPLORES = """\
The two layers are drawn anew, from `"scratch"`. The policy that was trained with this backbone is worth more than that:
Behavior Transfer explores a new task with it. In a shell that is `apb adapt TASK --strategy behavior_transfer --prior
RUN`, where RUN is the folder of the run, in which this backbone is `pretrained`."""


def example_task(backbone: "Backbone") -> str | None:
    """A task that it was not trained on, of the same split, if that is one of the package's and the metadata tell: the
    OOD task with the highest return before anything is learned, since with bodies that fall at once nothing is seen."""
    split = _of(dict, backbone.metadata.get("split"))
    if split.get("sha256") is None:
        return None
    ood = _of(dict, _of(dict, backbone.metadata.get("returns")).get("ood"))
    pairs = zip(_of(list, ood.get("returns")), _of(list, ood.get("tasks")), strict=False)
    found = [(_of(float, return_), task) for return_, task in pairs if isinstance(task, str)]
    return max(found)[1] if found else f"{split.get('name')}:0"


def backbone_card(backbone: "Backbone") -> str:
    """Markdown text about a trained backbone, from its metadata; what they do not tell is left out."""
    told = backbone.metadata
    split = _of(dict, told.get("split"))
    steps = _of(int, told.get("total_timesteps")) or _of(int, told.get("timesteps"))
    seconds, without_reward = _of(float, told.get("wall_time")), told.get("kind") == PRETRAINED
    predictor = backbone.predictor
    sizes = " → ".join(str(size) for size in backbone.layer_sizes)
    names = [name for name in _of(list, told.get("task_names")) if isinstance(name, str)]
    rows = {
        "train tasks": told.get("tasks"),
        "they are": ", ".join(names),
        "env": told.get("env"),
        "learned from": without_reward and f"`{told.get('objective')}`, an intrinsic reward; not from the env's own",
        "split": split and f"{split.get('name')}, SHA-256 `{split.get('sha256')}`",
        "timesteps": steps and f"{steps:,} in all",
        "wall time": seconds and (f"{seconds / 60:.0f} minutes" if seconds >= 90 else counted(ceil(seconds), "second")),
        "seed": told.get("seed"),
        "architecture": f"{sizes}, reading {'A' if backbone.input_activation else 'B'}, "
        f"{backbone.num_parameters:,} parameters",
        "SHA-256 of the weights": f"`{backbone.hash}`",
        "adapters of the train tasks": None if backbone.adapters is None else _included(len(backbone.adapters), names),
        "predictor of layers": predictor and f"{predictor.num_parameters:,} parameters, `{predictor.hash}`",
        "made with": ", ".join(f"{name} {version}" for name, version in _of(dict, told.get("system")).items()),
    }
    table = "\n".join(
        f"| {name} | {value} |" for name, value in rows.items() if value or (value == 0 and name == "seed")
    )
    meant = (
        "tasks with the same robot and observations" if without_reward else "tasks like those that it was trained on"
    )
    title = f"Backbone meta-trained on {told.get('tasks', 'several tasks')}"
    learned = "learned over many tasks and then frozen"
    if without_reward:
        title = f"Backbone pre-trained in {told.get('env')} without rewards"
        learned = "learned in one env without its reward and then frozen"
    elif told.get("kind") != META_TRAINED:
        title, learned = "Backbone", "which no meta-training has made"
    task = example_task(backbone) or (without_reward and told.get("env")) or "a Gymnasium id, or a task of apb.tasks"
    given, how = [f'"{task}"', '"path/to/this/folder"'], EXPLORES if without_reward else NOTHING_KEPT
    if backbone.adapters is not None:
        given, how = [*given, 'adapter_init="nearest"'], ADAPTERS_KEPT
    if predictor is not None:
        given, how = [*given[:2], 'method="flap"'], PREDICTS
    return f"""\
---
library_name: apb
tags: [reinforcement-learning, continuous-control, adaptive-policy-backbone]
---

# {title}

The nonlinear middle of a control policy, {learned}: for a new task only one linear layer before it and one after it are
learned.

| | |
|---|---|
{table}

{_coverage(_of(dict, told.get("coverage"))) if without_reward else _returns(_of(dict, told.get("returns")))}

## Use

```python
import apb

result = apb.adapt({", ".join(given)})
```

{how}
A backbone that comes with the package is loaded by its name in place of the folder, and the package's own results are
in `docs/results` of its repository.

## Intended use and limits

It is meant for {meant}, in simulation. It knows no sizes of observations or actions, so
it can be put into any other env, but nothing was measured there. Whether it is worth more than a random backbone on
a task is to be measured against one (`apb.adapt(task, "random")`), with several seeds. A policy around it has no safety
constraints.

## Metadata

```json
{files.dump_json(told, indent=2)}
```
"""


def _included(adapters: int, names: list[str]) -> str:
    return f"{adapters}, included" if adapters >= len(names) else f"those of the last {adapters}, included"


def _returns(returns: dict[str, Any]) -> str:
    if not returns:
        return "## Returns\n\nNot evaluated."
    acting = {"predicted": "predicted, from one rollout of each task"}
    lines = ["## Returns", "", "| tasks | mean return | acting with |", "|---|---|---|"]
    for name, each in returns.items():
        found = _of(dict, each)
        count, mean = len(_of(list, found.get("returns"))), _of(float, found.get("mean"))
        each_of = str(found.get("adapters"))
        lines.append(f"| {name} ({count}) | {mean:.1f} | {acting.get(each_of, each_of)} |")
    return "\n".join(lines)


def _coverage(coverage: dict[str, Any]) -> str:
    """What the policy that was trained with it visits, beside random actions."""
    if not coverage:
        return "## Coverage\n\nNot evaluated."
    lines = ["## Coverage", "", "| acting | coverage of the states | distance from the start |", "|---|---|---|"]
    for name, each in coverage.items():
        found = _of(dict, each)
        distance = f"{_of(float, found['distance']):.1f} m" if "distance" in found else "-"
        lines.append(f"| {ACTING.get(name, name)} | {_of(float, found.get('entropy')):.2f} | {distance} |")
    return "\n".join(lines)


def _of(kind: type[Kind], value: Any) -> Kind:
    """`value` if it is of this kind, else the empty one: metadata may hold anything."""
    accepted = (int, float) if kind is float else kind
    return kind(value) if isinstance(value, accepted) else kind()
