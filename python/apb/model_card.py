"""The README.md in a policy's folder: what it is and how to use it, for a person who has only the folder."""

from typing import TYPE_CHECKING

from apb import files

if TYPE_CHECKING:
    from apb.policy import Policy


def model_card(policy: "Policy") -> str:
    """Markdown text about `policy`."""
    env = policy.metadata.get("task") or policy.metadata.get("env_id")
    title = f"Policy for {env}" if env else "Policy"
    backbone = policy.backbone
    sizes = " → ".join(str(size) for size in backbone.layer_sizes)
    normalizer = (
        "none" if policy.normalizer is None else f"running mean and variance, clipped to ±{policy.normalizer.clip:g}"
    )
    metadata = files.dump_json(policy.metadata, indent=2)
    return f"""\
---
library_name: apb
tags: [reinforcement-learning, continuous-control, adaptive-policy-backbone]
---

# {title}

A deterministic continuous-control policy: two learned linear layers (the adapter) around a backbone.

| | |
|---|---|
| observation | shape {policy.observation_space.shape}, {policy.observation_space.dtype} |
| action | shape {policy.action_space.shape}, {policy.action_space.dtype} |
| backbone | {sizes}, {backbone.num_parameters:,} parameters, SHA-256 `{backbone.hash}` |
| adapter | {policy.adapter.num_parameters:,} parameters |
| observation normalisation | {normalizer} |

## Use

```python
import apb

policy = apb.Policy.from_pretrained("path/to/this/folder")
action = policy(observation)  # one observation or a batch
```

`config.json` holds the spaces, sizes and hashes, `model.safetensors` the arrays, together with observations and
the actions they gave when the file was written; they are replayed at loading. Loading runs no code from this folder.

## Metadata

```json
{metadata}
```
"""
