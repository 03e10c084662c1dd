"""`PretrainSettings`: every option of `pretrain` with its default and the source of it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from apb.ranges import Range
from apb.settings import BackboneTraining, ExtraAction, SeedsSettings, Timesteps


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(SeedsSettings):
    """Options of `pretrain`. Budgets and intervals count environment transitions ("timesteps") of one lane."""

    job: ClassVar[str] = "pretrain"
    unused: ClassVar[frozenset[str]] = frozenset(
        {"reset_interval", "population_size", "segment_length", "evolution_rate"}
    )

    objective: str = "rnd"
    """What is learned from in place of rewards: "rnd", what a network cannot yet predict (random network distillation),
    or "knn", how far states are from each other (particle entropy)."""
    strategy: str = "action_noise"
    """How the agent explores: "action_noise" or "adaptive_param_noise"."""
    total_timesteps: Timesteps = 100_000
    """Budget of environment transitions per seed, the population's and the warm-up's included. Never exceeded. Ours:
    after so many an Ant comes well beyond where random actions take it; 2,000,000 in URLB's code."""
    adapter_init: Literal["scratch", "identity", "shared"] = "scratch"
    """Where the two layers begin, and begin anew after a reset: "scratch", drawn anew; "identity", drawn with an
    identity before the backbone; "shared", so drawn for all seeds alike."""
    keep_best: bool = False
    """Keep the policies of the evaluation with the highest return, the env's own, in the run folder's `best/`. Off,
    since nothing learns from that."""
    elements: str = "all"
    """Which elements of an observation count: "all"; or those that are known to be worth exploring, as indices and
    slices: "0:2" is where the robot is in ant-goal, "17" in cheetah-vel. Ours: nothing is known; MEPOL's experiments
    and those of DIAYN with an Ant choose such."""
    knn_neighbors: Annotated[int, Range(1, 1_000)] = 12
    """Objective "knn": how many of the nearest states of the batch count; fewer than `batch_size`. 12 in URLB's
    code."""
    rnd_width: Annotated[int, Range(1, 16_384)] = 256
    """Objective "rnd": numbers in each hidden layer of both networks. Ours: those of TD3's networks; 1,024 in URLB's
    code, which would take a CPU longer than all else."""
    rnd_depth: Annotated[int, Range(1, 16)] = 2
    """Objective "rnd": hidden layers of both networks. 2 in URLB's code."""
    rnd_features: Annotated[int, Range(1, 16_384)] = 64
    """Objective "rnd": numbers that both networks give. Ours, in proportion to their width; 512 in URLB's code."""

    @property
    def in_words(self) -> str:
        """See `LearningSettings`."""
        return f"pre-training by {self.objective}"

    @property
    def normalize_observations(self) -> bool:
        """See `LearningSettings`: no, since a new task has none of the statistics through which psi was learned."""
        return False

    @property
    def extra_action(self) -> ExtraAction:
        """See `LearningSettings`: there is no prior."""
        return "off"

    @property
    def backbone_training(self) -> BackboneTraining:
        """See `LearningSettings`: each lane learns one of its own."""
        return "per_lane"
