"""`MetaSettings`: every option of `meta_train` with its default and the source of it."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from apb.errors import ConfigError
from apb.ranges import Range
from apb.rng import Stream, derive_seed
from apb.settings import MAX_LANES, BackboneTraining, ExtraAction, Interval, LearningSettings, Timesteps


@dataclass(frozen=True, kw_only=True)
class MetaSettings(LearningSettings):
    """Options of `meta_train`. The budget counts environment transitions ("timesteps") of all tasks together, intervals
    count those of one task, as in `adapt`: all tasks are in step."""

    job: ClassVar[str] = "meta_train"

    total_timesteps: Timesteps = 1_000_000
    """Budget of environment transitions of all tasks together, the warm-up's included; each has the same part. Ours:
    50,000 for each of 20."""
    n_tasks: Annotated[int | None, Range(2, MAX_LANES)] = None
    """How many of the train tasks of a split, evenly spread over its list; of a list all are used. Default: 20, or all
    if there are fewer, also of a split in a list. Ours: the paper does not tell its number."""
    learning_starts: Interval = 2_000
    """Timesteps of each task with uniformly random actions before learning starts. 2,000 in PEARL's code."""
    max_grad_norm: Annotated[float, Range(0, 1e6)] = 10.0
    """Euclidean norm to which the backbone's gradient is scaled down where it is longer; 0: never. Ours."""
    adapter_init: Literal["scratch", "identity", "shared"] = "scratch"
    """Where the layers of the tasks begin, and begin anew after a reset: "scratch", drawn for each task; "identity", so
    drawn with an identity before the backbone; "shared", so drawn once for all tasks."""
    layer_predictor: bool = False
    """Also train a network that predicts the learned layers of a task from single transitions in it, for
    adaptations with adapter_init "predicted": what FLAP calls its adapter network."""
    predictor_input: Literal["reward", "next_observation"] = "next_observation"
    """What the predictor is given: observation, action and reward; or the next observation too."""
    predictor_target: Literal["per_weight", "joint"] = "per_weight"
    """What the predictor is trained towards: the layers less their mean over the tasks, each weight divided by its own
    deviation over the tasks, or all by one number."""
    predictor_width: Annotated[int, Range(1, 16_384)] = 300
    """Numbers in each hidden layer of the predictor. 300 in PEARL's code."""
    predictor_depth: Annotated[int, Range(1, 16)] = 3
    """Hidden layers of the predictor. 3 in PEARL's code."""
    predictor_batch_size: Annotated[int, Range(1, 1_000_000)] = 256
    """Transitions per step of the predictor, those of all tasks together: as many of each task, rounded up, and at most
    batch_size of each. Ours: those of one task in TD3's code."""
    resample_tasks: bool = False
    """At each reset (`reset_interval`) take other train tasks of the split, drawn from its list: each begins with an
    empty replay and `learning_starts` random steps. Off: the tasks stay. (The paper does not tell.)"""
    checkpoint_freq: Interval = 5_000
    """Timesteps of one task between checkpoints in the run folder; 0 for one at the end only. Ours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("predictor_") and value != field.default and not self.layer_predictor:
                raise ConfigError(
                    f"{field.name} = {value!r} with layer_predictor = False: no predictor is trained; expected "
                    f"layer_predictor=True beside it, which method='flap' has, or no {field.name}"
                )

    @property
    def in_words(self) -> str:
        """See `LearningSettings`."""
        return "meta-training"

    def lane_seeds(self, tasks: int) -> list[tuple[int, ...]]:
        """See `LearningSettings`: one for each task, drawn from `seed`, so that an adaptation with a small seed begins
        with other draws than any lane that its backbone was trained in."""
        return [(derive_seed(self.seed, Stream.META_LANE, number),) for number in range(tasks)]

    def lane_timesteps(self, lanes: int) -> int:
        """See `LearningSettings`: an equal part."""
        return self.total_timesteps // lanes

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
        """See `LearningSettings`."""
        return "shared"
