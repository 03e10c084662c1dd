"""`METHODS`: the ways to learn a task that studies compare, by their names in raw files and commands."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """A way to learn a task.

    Attributes:
        label: What tables and figures call it.
        backbone: Arguments of `apb.adaptation.random_backbone`, beside env and seed; or {"pretrained": name}, one of
            the package, or a folder; "{family}" in it is the family of the task, without "-permuted-state".
        options: Options of `adapt`, beside budget and seed; "{family}" in a prior is the family of the task.
        peer: "apb", or "sb3" for Stable-Baselines3's TD3 with the same hyper-parameters.
    """

    label: str
    backbone: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    peer: str = "apb"


ACTION_NOISE: dict[str, Any] = {"strategy": "action_noise"}
PLAIN_TD3: dict[str, Any] = {"trainable_backbone": True} | ACTION_NOISE
PUBLISHED_WARMUP = {"learning_starts": 25_000}
PAPER_SETTINGS: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 100, "learning_starts": 10_000}
"""Those of the published curves (Fujimoto et al. 2018), as far as options have them: the widths of the networks stay
ours, and learning begins after the random steps."""

SHORT_WARMUP: dict[str, Any] = PAPER_SETTINGS | {"learning_starts": 2_500}
"""For budgets of 50,000 to 100,000 steps; chosen on train tasks, and the same for all methods."""

META: dict[str, Any] = {"pretrained": "{family}"}
FROM_SCRATCH = ACTION_NOISE | SHORT_WARMUP
FROM_NEAREST = FROM_SCRATCH | {"adapter_init": "nearest", "learning_starts": 0, "policy_starts": 5_000}
"""From a policy that can do something: no random actions, and critics that have seen what it does before it changes.
Chosen on train tasks of cheetah-vel/mier-hard; the learning rates, batches and noise are those of the others."""

PRIOR = "runs/prior-{family}"
BACKWARDS = "runs/prior-backwards"
EXPLORED: dict[str, Any] = SHORT_WARMUP | {"strategy": "behavior_transfer", "prior": PRIOR}
LAYERS_OF_PRIOR: dict[str, Any] = {"adapter_init": "prior", "learning_starts": 0, "policy_starts": 5_000}

METHODS = {
    "meta": Method("APB, meta-trained backbone", META, FROM_SCRATCH),
    "meta-nearest": Method("APB, meta-trained backbone, from the nearest task's adapter", META, FROM_NEAREST),
    "nearest-trained": Method(
        "all layers trained, from the meta-trained backbone and the nearest task's adapter",
        META,
        FROM_NEAREST | {"trainable_backbone": True},
    ),
    "meta-pre": Method("APB, meta-trained backbone, pre-layer only", META, FROM_SCRATCH | {"learned_layers": "pre"}),
    "meta-post": Method("APB, meta-trained backbone, post-layer only", META, FROM_SCRATCH | {"learned_layers": "post"}),
    "meta-5": Method("APB, backbone of 5 tasks", {"pretrained": "runs/{family}-5/pretrained"}, FROM_SCRATCH),
    "meta-15": Method("APB, backbone of 15 tasks", {"pretrained": "runs/{family}-15/pretrained"}, FROM_SCRATCH),
    "flights": Method("APB, flights of the prior", {"reading": "B"}, EXPLORED | {"extra_action": "off"}),
    "extra": Method("APB, the prior as an extra action", {"reading": "B"}, EXPLORED | {"flight_prob": 0.0}),
    "both": Method("APB, flights and extra action", {"reading": "B"}, EXPLORED),
    "both-weights": Method("APB, flights, extra action and the prior's layers", {}, EXPLORED | LAYERS_OF_PRIOR),
    "weights": Method("APB, the prior's layers", {}, FROM_SCRATCH | {"prior": PRIOR} | LAYERS_OF_PRIOR),
    "misaligned": Method(
        "APB, flights and extra action of a prior that runs backwards",
        {"reading": "B"},
        EXPLORED | {"prior": BACKWARDS},
    ),
    "meta-param": Method(
        "APB, meta-trained backbone, parameter noise", META, SHORT_WARMUP | {"strategy": "param_noise"}
    ),
    "meta-adaptive": Method(
        "APB, meta-trained backbone, adaptive parameter noise",
        META,
        SHORT_WARMUP | {"strategy": "adaptive_param_noise"},
    ),
    "meta-transfer": Method(
        "APB, meta-trained backbone, explored by the nearest task's policy",
        META,
        SHORT_WARMUP | {"strategy": "behavior_transfer", "prior": "nearest"},
    ),
    "random": Method("APB, random backbone", {"reading": "B"}, FROM_SCRATCH),
    "b-action": Method("APB, reading B, action noise", {"reading": "B"}, ACTION_NOISE),
    "b-param": Method("APB, reading B, parameter noise", {"reading": "B"}, {"strategy": "param_noise"}),
    "b-action-25k": Method(
        "APB, reading B, action noise, 25,000 random steps", {"reading": "B"}, ACTION_NOISE | PUBLISHED_WARMUP
    ),
    "b-action-10k": Method(
        "APB, reading B, action noise, 10,000 random steps",
        {"reading": "B"},
        ACTION_NOISE | {"learning_starts": 10_000},
    ),
    "b-param-25k": Method(
        "APB, reading B, parameter noise, 25,000 random steps",
        {"reading": "B"},
        {"strategy": "param_noise"} | PUBLISHED_WARMUP,
    ),
    "b-action-he": Method("APB, reading B, He, action noise", {"reading": "B", "init": "he"}, ACTION_NOISE),
    "b-action-orthogonal": Method(
        "APB, reading B, orthogonal, action noise", {"reading": "B", "init": "orthogonal"}, ACTION_NOISE
    ),
    "a-action": Method("APB, reading A, action noise", {"reading": "A"}, ACTION_NOISE),
    "a-action-25k": Method(
        "APB, reading A, action noise, 25,000 random steps", {"reading": "A"}, ACTION_NOISE | PUBLISHED_WARMUP
    ),
    "td3": Method("plain TD3, 1,000 random steps", {"reading": "A"}, PLAIN_TD3),
    "b-trained": Method("reading B, all layers trained", {"reading": "B"}, PLAIN_TD3),
    "td3-slow": Method(
        "plain TD3, actor's learning rate 1e-4",
        {"reading": "A"},
        PLAIN_TD3 | {"learning_rate": 1e-4, "critic_learning_rate": 3e-4},
    ),
    "td3-fast": Method("plain TD3, learning rate 1e-3", {"reading": "A"}, PLAIN_TD3 | {"learning_rate": 1e-3}),
    "b-action-fast": Method(
        "APB, reading B, action noise, learning rate 1e-3", {"reading": "B"}, ACTION_NOISE | {"learning_rate": 1e-3}
    ),
    "b-param-only": Method(
        "APB, reading B, parameter noise without selection",
        {"reading": "B"},
        {"strategy": "param_noise", "evolution_rate": 0.0},
    ),
    "td3-10k": Method("plain TD3, 10,000 random steps", {"reading": "A"}, PLAIN_TD3 | {"learning_starts": 10_000}),
    "td3-scale": Method(
        "plain TD3, the paper's learning rate and batch, 2,500 random steps",
        {"reading": "A"},
        PLAIN_TD3 | SHORT_WARMUP,
    ),
    "td3-25k": Method("plain TD3, 25,000 random steps", {"reading": "A"}, PLAIN_TD3 | PUBLISHED_WARMUP),
    "td3-paper": Method(
        "plain TD3, the paper's learning rate, batch and warm-up", {"reading": "A"}, PLAIN_TD3 | PAPER_SETTINGS
    ),
    "sb3-td3-25k": Method("SB3's TD3, 25,000 random steps", {}, PUBLISHED_WARMUP, peer="sb3"),
}
