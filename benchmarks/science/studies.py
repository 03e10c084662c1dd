"""`STUDIES`: what is compared with what, on which envs, for how long, with how many seeds; one `Cell` is one run.

Nothing that happens in a run depends on its budget, so that a run is also the beginning of every longer one: studies
share the runs that they have in common.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from apb.tasks.scale import SCALED_TASKS

from benchmarks.science.methods import METHODS

HOPPERS = (2, 8, 11)
"""The first three OOD bodies that stand for 34 steps or more when nothing acts. Most of those that fall sooner do so
whatever acts: on task 0 plain TD3 has 35 after 100,000 steps, and no action 29."""


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
        note: What else a reader of its page has to know.
    """

    title: str
    budgets: dict[str, int]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    report_at: tuple[int, ...]
    control: str
    published: dict[str, "Published"] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    note: str = ""

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


ONE_PRIOR = """\
The prior is one policy, of one pre-training, for all tasks and seeds: no interval knows how another one would have come
out, and its 100,000 steps without rewards are in no budget. Its layers come with the backbone that it was pre-trained
around, and learning that begins with them has other settings too: no random steps, and critics that learn for 5,000
updates before the policy moves. Evaluations are of the learned policy alone, whatever explored."""

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
        "A policy pre-trained without rewards explores for a goal that only tells that it is near",
        {"sparse-ant-goal/ldm:0": 50_000},
        ("random", "flights", "extra", "both", "both-weights", "weights", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "random",
        before=("apb pretrain ant --run-dir runs/prior-sparse-ant-goal",),
        note=f"""\
{ONE_PRIOR}
The goal is 1.75 m from the start, and rewards begin 0.8 m from it.""",
    ),
    "behavior-transfer-cheetah": Study(
        "A policy pre-trained without rewards explores for speeds that only tell that they are near",
        dict.fromkeys((f"sparse-cheetah-vel/mier-hard{task}" for task in ("/test:25", ":0")), 50_000),
        ("random", "flights", "extra", "both", "both-weights", "weights", "misaligned", "td3-scale"),
        (0, 1, 2),
        (10_000, 30_000, 50_000),
        "random",
        before=(
            "apb pretrain cheetah --run-dir runs/prior-sparse-cheetah-vel",
            "apb adapt cheetah-dir/apb-ood:0 --learning-rate 1e-3 --batch-size 100 --learning-starts 2500 "
            "--total-timesteps 50000 --run-dir runs/prior-backwards",
        ),
        note=f"""\
{ONE_PRIOR}
The speeds are the fastest of the test list, 1.48 m/s, which random actions come near now and then, and an OOD one, 2.98
m/s, which they never do; the reward begins 0.5 m/s below.""",
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
        note="""\
*Explored by the nearest task's policy* is told the parameters of the task, by which the nearest train task is found;
the other strategies are told nothing.""",
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
