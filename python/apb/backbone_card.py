"""`backbone_card`: the README.md in the folder of a meta-trained backbone: what it is, what it is for, its limits."""

from typing import TYPE_CHECKING, Any

from apb import files

if TYPE_CHECKING:
    from apb.backbone import Backbone

META_TRAINED = "meta-trained"
"""The "kind" in the metadata of a meta-trained backbone."""


def backbone_card(backbone: "Backbone") -> str:
    """Markdown text about a meta-trained backbone, from its metadata; what they do not tell is left out."""
    told = backbone.metadata
    split = told.get("split") or {}
    sizes = " → ".join(str(size) for size in backbone.layer_sizes)
    rows = {
        "train tasks": told.get("tasks"),
        "split": split and f"{split.get('name')}, SHA-256 `{split.get('sha256')}`",
        "timesteps": told.get("total_timesteps") and f"{told['total_timesteps']:,} in all",
        "wall time": told.get("wall_time") and f"{told['wall_time'] / 60:.0f} minutes",
        "seed": told.get("seed"),
        "architecture": f"{sizes}, reading {'A' if backbone.input_activation else 'B'}, "
        f"{backbone.num_parameters:,} parameters",
        "SHA-256 of the weights": f"`{backbone.hash}`",
        "adapters of the train tasks": None if backbone.adapters is None else f"{len(backbone.adapters)}, included",
        "command": told.get("command") and f"`{told['command']}`",
        "made with": ", ".join(f"{name} {version}" for name, version in (told.get("system") or {}).items()),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value not in (None, "", {}))
    return f"""\
---
library_name: apb
tags: [reinforcement-learning, continuous-control, adaptive-policy-backbone]
---

# Backbone meta-trained on {told.get("tasks", "several tasks")}

The nonlinear middle of a control policy, learned over many tasks and then frozen: for a new task only one linear layer
before it and one after it are learned.

| | |
|---|---|
{table}

## Returns

{_returns(told.get("returns") or {})}

## Use

```python
import apb

result = apb.adapt("a Gymnasium id, or a task of apb.tasks", "path/to/this/folder")
```

## Intended use and limits

It is meant for tasks of the family that it was trained on, in simulation. It knows no sizes of observations or actions,
so it can be put into any other env, but nothing was measured there. Whether it is worth more than a random backbone on
a task is to be measured against one (`apb.adapt(task, "random")`), with several seeds. A policy around it has no safety
constraints.

## Metadata

```json
{files.dump_json(told, indent=2)}
```
"""


def _returns(returns: dict[str, Any]) -> str:
    if not returns:
        return "Not evaluated."
    lines = ["| tasks | mean return | acting with |", "|---|---|---|"]
    for name, found in returns.items():
        count = len(found["returns"])
        lines.append(f"| {name} ({count}) | {found['mean']:.1f} | {found['adapters']} |")
    return "\n".join(lines)
