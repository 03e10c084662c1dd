"""`STUDIES`: what is compared with what, on which envs, for how long, with how many seeds; one `Cell` is one run.

Nothing that happens in a run depends on its budget, so that a run is also the beginning of every longer one: studies
share the runs that they have in common.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from apb.tasks.scale import SCALED_TASKS


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

HOPPERS = (2, 8, 11)
"""The first three OOD bodies that stand for 34 steps or more when nothing acts. Most of those that fall sooner do so
whatever acts: on task 0 plain TD3 has 35 after 100,000 steps, and no action 29."""

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


@dataclass(frozen=True)
class Published:
    """What TD3's authors publish of an env: `learning_curves/` of github.com/sfujim/TD3, of the paper's own runs.

    Attributes:
        env: The version of the env that they used.
        learning_starts: Random steps that came first.
        returns: (lowest, mean, highest) of ten seeds by timestep.
    """

    env: str
    learning_starts: int
    returns: dict[int, tuple[int, int, int]]


PUBLISHED = {
    "HalfCheetah-v5": Published(
        "HalfCheetah-v1",
        10_000,
        {
            10_000: (-642, -508, -120),
            30_000: (1_604, 1_979, 2_514),
            50_000: (1_578, 3_352, 4_586),
            75_000: (4_362, 5_071, 6_047),
            100_000: (4_542, 5_514, 6_355),
            200_000: (5_785, 6_833, 7_807),
            300_000: (6_196, 7_697, 9_049),
        },
    ),
    "Hopper-v5": Published(
        "Hopper-v1", 1_000, {10_000: (5, 133, 318), 30_000: (38, 302, 1_021), 50_000: (180, 285, 431)}
    ),
    "Walker2d-v5": Published(
        "Walker2d-v1", 1_000, {10_000: (-11, 185, 324), 30_000: (223, 311, 494), 50_000: (163, 368, 632)}
    ),
}


@dataclass(frozen=True)
class Study:
    """A comparison: every method on every env, with the same budget and seeds.

    Attributes:
        title: For the head of the page and the figures.
        budgets: Env id, or name of a task -> timesteps per run.
        methods: Keys of `METHODS`.
        seeds: Seed of each run; for APB also the seed of its random backbone.
        report_at: Timesteps at which tables give the return.
        control: The method that the others are tested against.
        published: For each env, what TD3's authors publish.
        before: Commands that make what the methods begin with, where the package does not ship it.
    """

    title: str
    budgets: dict[str, int]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    report_at: tuple[int, ...]
    control: str
    published: dict[str, "Published"] = field(default_factory=dict)
    before: tuple[str, ...] = ()

    def cells(self) -> Iterator["Cell"]:
        """All runs; seed by seed, so that a part of the study is already a fair comparison."""
        for seed in self.seeds:
            for env, budget in self.budgets.items():
                for method in self.methods:
                    yield Cell(env, method, seed, budget)


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    env: str
    method: str
    seed: int
    total_timesteps: int

    @property
    def name(self) -> str:
        """Name of its run folder and raw file; the runs of a name differ in length only."""
        env = re.sub(r"[/:]", "-", self.env)  # a task's name, "cheetah-vel/mier-hard/ood:0"
        return f"{env}-{self.method}-{self.seed}"

    @property
    def options(self) -> dict[str, Any]:
        """Those of its method."""
        return {
            name: value.format(family=self.env.partition("/")[0]) if name == "prior" else value
            for name, value in METHODS[self.method].options.items()
        }

    @property
    def pretrained(self) -> str | None:
        """The meta-trained backbone that it adapts, a name or a folder; None where one is drawn."""
        named: str | None = METHODS[self.method].backbone.get("pretrained")
        return named and named.format(family=self.env.partition("/")[0].removesuffix("-permuted-state"))


STUDIES = {
    "meta-cheetah-vel": Study(
        "A meta-trained backbone on unseen speeds beyond those that it was trained on",
        dict.fromkeys((f"cheetah-vel/mier-hard:{number}" for number in range(3)), 50_000),
        ("meta", "meta-nearest", "random", "td3-scale"),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000),
        "random",
    ),
    "freezing": Study(
        "What freezing is worth where learning begins with a policy: the same start, with all layers trained",
        dict.fromkeys((f"cheetah-vel/mier-hard:{number}" for number in range(3)), 50_000),
        ("meta-nearest", "nearest-trained", "random", "td3-scale"),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000),
        "meta-nearest",
    ),
    "meta-hopper-rand-params": Study(
        "A meta-trained backbone on hoppers of other bodies than it was trained on",
        dict.fromkeys((f"hopper-rand-params/apb-ood:{number}" for number in HOPPERS), 50_000),
        ("meta", "meta-nearest", "random", "td3-scale"),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000),
        "random",
    ),
    "meta-ant-goal": Study(
        "A meta-trained backbone on goals that it was not trained on",
        dict.fromkeys((f"ant-goal/ldm:{number}" for number in range(2)), 50_000),
        ("meta", "meta-nearest", "random", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "random",
    ),
    "meta-walker-rand-params": Study(
        "A meta-trained backbone on walkers of other bodies than it was trained on",
        dict.fromkeys((f"walker-rand-params/mier-ood:{number}" for number in range(2)), 50_000),
        ("meta", "meta-nearest", "random", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "random",
    ),
    "layers": Study(
        "Which of the two linear layers are worth learning",
        dict.fromkeys((f"ant-goal/ldm:{number}" for number in range(2)), 50_000),
        ("meta", "meta-pre", "meta-post", "random", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "meta",
    ),
    "coverage": Study(
        "How many tasks a backbone was trained on: 5, 15 or, as the shipped one, 30",
        dict.fromkeys((f"hopper-rand-params/apb-ood:{number}" for number in HOPPERS), 50_000),
        ("meta-5", "meta-15", "meta", "random", "td3-scale"),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000),
        "random",
        before=tuple(
            f"apb meta-train hopper-rand-params/apb-ood --n-tasks {tasks} --total-timesteps {50_000 * tasks} "
            "--learning-rate 1e-3 --batch-size 100 --learning-starts 2500 "
            f"--run-dir runs/hopper-rand-params-{tasks}"
            for tasks in (5, 15)
        ),
    ),
    "behavior-transfer-ant": Study(
        "A policy pre-trained without rewards explores for goals that only tell that they are reached",
        dict.fromkeys((f"sparse-ant-goal/ldm:{number}" for number in range(2)), 50_000),
        ("random", "flights", "extra", "both", "both-weights", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "random",
        before=("apb pretrain ant --run-dir runs/prior-sparse-ant-goal",),
    ),
    "behavior-transfer-cheetah": Study(
        "A policy pre-trained without rewards explores for speeds that only tell that they are near",
        dict.fromkeys((f"sparse-cheetah-vel/mier-hard:{number}" for number in range(2)), 50_000),
        ("random", "flights", "extra", "both", "both-weights", "misaligned", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "random",
        before=(
            "apb pretrain cheetah --run-dir runs/prior-sparse-cheetah-vel",
            "apb adapt cheetah-dir/apb-ood:0 --learning-rate 1e-3 --batch-size 100 --learning-starts 2500 "
            "--total-timesteps 50000 --run-dir runs/prior-backwards",
        ),
    ),
    "strategies": Study(
        "How to explore: all strategies, around a meta-trained backbone",
        dict.fromkeys(
            (
                *(f"cheetah-vel/mier-hard:{number}" for number in range(3)),
                *(f"ant-goal/ldm:{number}" for number in range(2)),
            ),
            50_000,
        ),
        ("meta", "meta-param", "meta-adaptive", "meta-transfer", "random", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "meta",
    ),
    "permuted-state": Study(
        "The exact case: observations in another order",
        dict.fromkeys((f"cheetah-vel-permuted-state/theorem:{number}" for number in range(2)), 50_000),
        ("meta", "random", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "random",
    ),
    "task-scales": Study(
        "What plain TD3 reaches on tasks of every family",
        dict.fromkeys(SCALED_TASKS, 100_000),
        ("td3-scale",),
        (0,),
        (10_000, 30_000, 60_000, 100_000),
        "td3-scale",
    ),
    "correctness": Study(
        "Plain TD3 against the published curves",
        {"HalfCheetah-v5": 300_000},
        ("td3-paper", "td3-25k", "sb3-td3-25k"),
        (0, 1, 2),
        (50_000, 100_000, 200_000, 300_000),
        "sb3-td3-25k",
        PUBLISHED,
    ),
    "random-backbone": Study(
        "A random frozen backbone against plain TD3",
        {"HalfCheetah-v5": 100_000, "Hopper-v5": 50_000, "Walker2d-v5": 50_000},
        ("b-action", "b-param", "a-action", "td3", "td3-25k"),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000, 100_000),
        "td3",
        PUBLISHED,
    ),
    "warm-up": Study(
        "How many random steps come first",
        {"HalfCheetah-v5": 100_000},
        (
            "b-action",
            "b-action-10k",
            "b-action-25k",
            "b-param",
            "b-param-25k",
            "a-action",
            "a-action-25k",
            "td3",
            "td3-10k",
            "td3-25k",
        ),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000, 75_000, 100_000),
        "td3-25k",
        PUBLISHED,
    ),
    "controls": Study(
        "What freezing is worth: the same networks, trained in full or more slowly",
        {"HalfCheetah-v5": 50_000},
        ("b-action", "b-trained", "td3", "td3-slow", "b-param", "b-param-only"),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000),
        "b-action",
    ),
    "learning-rate": Study(
        "The learning rate of TD3's code and that of its paper",
        {"HalfCheetah-v5": 50_000, "Hopper-v5": 50_000, "Walker2d-v5": 50_000},
        ("b-action", "b-action-fast", "td3", "td3-fast"),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000),
        "b-action",
    ),
    "initialisation": Study(
        "How the frozen layers are drawn",
        {"HalfCheetah-v5": 50_000},
        ("b-action", "b-action-he", "b-action-orthogonal"),
        (0, 1, 2, 3, 4),
        (10_000, 30_000, 50_000),
        "b-action",
    ),
}
EVAL_FREQ = 5_000
EVAL_EPISODES = 10
