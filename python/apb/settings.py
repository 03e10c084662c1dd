"""`LearningSettings`: the options that all jobs which learn have in common, with their defaults and the sources of
these; `SeedsSettings`: those of jobs on one env; `AdaptSettings`: those of `adapt`. Library, CLI and run folder share
this one definition."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from apb.errors import ConfigError, UnknownNameError, nearest
from apb.ranges import THREADS, Range, checked
from apb.rng import MAX_SEED

MAX_TIMESTEPS = 10**12
MAX_LANES = 4096

Timesteps = Annotated[int, Range(1, MAX_TIMESTEPS)]
Interval = Annotated[int, Range(0, MAX_TIMESTEPS)]
Deviation = Annotated[float, Range(0, 10)]

BackboneTraining = Literal["frozen", "per_lane", "shared"]
"""Who learns the backbone: nobody; each lane a copy of its own; or all lanes together one."""

AdapterInit = Literal["scratch", "identity", "shared", "mean", "nearest", "predicted", "prior"]
"""Where adapters begin: see `apb.adapter_starts`."""

LEARNED_STARTS = ("mean", "nearest", "predicted", "prior")
"""The values of `adapter_init` with which adapters begin with what was learned before."""

ExtraAction = Literal["hard", "soft", "off"]
"""Whether the better of the policy's and a prior's action is taken, one of them is drawn by its value, or neither."""

FLAP = "FLAP"
"""What an adaptation is called that predicts its layers and takes no gradient."""

FIXED = "the budget and the other options of a run are fixed when it starts: change them in a new run"
"""The end of a message to those who resume a run with other options."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of a function. The range of a number is part of its type, from where the check and the help of the
    command line have it."""

    job: ClassVar[str]  # the function whose options these are
    unused: ClassVar[frozenset[str]] = frozenset()  # inherited ones that it refuses, so that no help offers them

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name)))

    def to_json(self) -> dict[str, Any]:
        """All options as JSON values."""
        return asdict(self)

    def changed(self) -> dict[str, Any]:
        """The options that are not their defaults."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    @classmethod
    def from_options(cls, options: Mapping[str, Any], others: Iterable[str] = ()) -> Self:
        """Build from keyword arguments; an unknown one raises `UnknownNameError` with the nearest name among the fields
        and the `others` that the user could have meant.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise UnknownNameError(f"{cls.job}() has no option {name!r}; {nearest(name, {*known, *others})}")
        return cls(**options)


class HasOptions(Protocol):
    """A strategy or an objective: its name, and the fields of the settings that are for it."""

    name: ClassVar[str]
    options: ClassVar[tuple[str, ...]]


def require_use_of_options(settings: Settings, what: str, registry: Mapping[str, type[HasOptions]]) -> None:
    """Raise `ConfigError` where an option is not its default that only others of the registry make use of than the one
    that the field `what` names, such as "strategy"."""
    chosen = registry[getattr(settings, what)]
    for field in fields(settings):
        of = [each.name for each in registry.values() if field.name in each.options]
        value = getattr(settings, field.name)
        if of and field.name not in chosen.options and value != field.default:
            raise ConfigError(
                f"{field.name} = {value!r} with {what} = {chosen.name!r}, which has no use for it; leave it out, or "
                f"give {' or '.join(f'{what}={name!r}' for name in of)}"
            )


@dataclass(frozen=True, kw_only=True)
class LearningSettings(Settings, ABC):
    """Options of `adapt` and of `meta_train`. Intervals count environment transitions ("timesteps") of one lane."""

    adapter_init: str  # of each job its own: see `apb.adapter_starts.ADAPTER_INITS`

    strategy: str = "action_noise"
    """How the agent explores: "action_noise", "param_noise" or "adaptive_param_noise"."""
    total_timesteps: Timesteps = 50_000
    """Budget of environment transitions per seed, the population's and the warm-up's included. Never exceeded. Ours."""
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    """Seed of everything random."""
    device: str = "cpu"
    """Where the updates run: "cpu", "cuda", "cuda:<i>", or "auto" (CUDA if torch finds it)."""
    num_threads: Annotated[int | None, THREADS] = None
    """CPU threads to use, whatever APB_NUM_THREADS says. Default: APB_NUM_THREADS, else the cores that affinity and
    the container's quota allow."""

    eval_freq: Interval = 5_000
    """Timesteps between evaluations of the noise-free policy in separate envs; 0 for none. 5,000 in TD3's code."""
    n_eval_episodes: Annotated[int, Range(1, 100_000)] = 10
    """Episodes per evaluation. 10 in TD3's code."""
    checkpoint_freq: Interval = 10_000
    """Timesteps between checkpoints in the run folder; 0 for one at the end only. Ours."""
    log_freq: Timesteps = 1_000
    """Timesteps between records of the history. Ours."""
    keep_last: Annotated[int, Range(1, 1_000_000)] = 2
    """Checkpoints kept. Ours."""
    keep_best: bool = True
    """Keep the policies of the best evaluation, by the mean return over all lanes, in the run folder's `best/`."""

    learning_starts: Interval = 1_000
    """Timesteps of uniformly random actions before learning starts. TD3's code takes 25,000 of 1,000,000 steps, SB3
    100; ours fits short budgets."""
    gradient_steps: Annotated[int, Range(0, 1_000)] = 1
    """Updates per timestep and lane once learning has started. 1 in TD3's code."""
    buffer_size: Annotated[int, Range(1, MAX_TIMESTEPS)] = 1_000_000
    """Transitions kept per lane (never more than the budget). 1,000,000 in TD3's code."""
    replay_on_disk: bool = False
    """Keep the replay in a file without a name, in the folder that TMPDIR names, and not in memory: for many lanes, or
    large observations. The results are the same. Off, as everywhere."""
    batch_size: Annotated[int, Range(1, 1_000_000)] = 256
    """Transitions per update and lane. 256 in TD3's code."""
    learned_layers: str = "both"
    """Which of the two linear layers are learned: "both", "pre" or "post"; the other stays as it begins. With "post"
    alone a backbone that is trained over tasks is one network with a head for each. "both" in the paper."""
    learning_rate: Annotated[float, Range(0, 1, low_open=True)] = 3e-4
    """Step size of Adam for adapters (and critics). 3e-4 in TD3's code."""
    critic_learning_rate: Annotated[float | None, Range(0, 1, low_open=True)] = None
    """Step size of Adam for the critics. Default: learning_rate."""
    gamma: Annotated[float, Range(0, 1)] = 0.99
    """Discount. 0.99 in TD3's code."""
    tau: Annotated[float, Range(0, 1, low_open=True)] = 0.005
    """Polyak step of the targets. 0.005 in TD3's code."""
    policy_delay: Annotated[int, Range(1, 1_000_000)] = 2
    """Critic updates per update of the policy and the targets. 2 in TD3's code."""
    policy_starts: Annotated[int | None, Range(0, MAX_TIMESTEPS)] = None
    """Updates of newly drawn critics before the first update of the policy. Default: 0, as in TD3's code."""
    target_policy_noise: Deviation = 0.2
    """Standard deviation of the noise on target actions, in units of the normalised action. 0.2 in TD3's code."""
    target_noise_clip: Deviation = 0.5
    """Bound of that noise. 0.5 in TD3's code."""
    reset_interval: Annotated[int | None, Range(1, MAX_TIMESTEPS)] = None
    """Timesteps between resets of adapters, critics, targets and optimisers; the replay stays. Default: none. (The
    paper resets, and does not say how often.)"""

    action_noise: Deviation = 0.1
    """Standard deviation of the exploration noise on actions, in units of the normalised action, with every strategy.
    0.1 in TD3's code."""
    param_noise: Annotated[float, Range(0, 1, low_open=True)] = 0.2
    """Strategies "param_noise" and "adaptive_param_noise": how far the actions of perturbed actors are from the
    actor's, root mean square in units of the normalised action. 0.2 is the target distance of adaptive parameter noise
    in OpenAI's baselines (Plappert et al. 2018)."""
    population_size: Annotated[int, Range(2, 10_000)] = 10
    """Strategy "param_noise": members per lane, each in its own simulation where the env can be made
    several times. 10 in CEM-RL's code."""
    segment_length: Timesteps = 100
    """Strategy "param_noise": timesteps that each member acts in a generation. Ours."""
    evolution_rate: Annotated[float, Range(0, 1)] = 0.1
    """Strategy "param_noise": how far each generation pulls the actor towards its better half; 0 only explores.
    Ours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy_starts is None:
            object.__setattr__(self, "policy_starts", 5_000 if self.adapter_init in LEARNED_STARTS else 0)

    @property
    def in_words(self) -> str:
        """What is done in the env, for titles."""
        return self.strategy

    @abstractmethod
    def lane_seeds(self, tasks: int) -> list[tuple[int, ...]]:
        """The seeds of each task's lanes."""

    @abstractmethod
    def lane_timesteps(self, lanes: int) -> int:
        """The budget of each of so many lanes."""

    @property
    @abstractmethod
    def backbone_training(self) -> BackboneTraining:
        """Who learns the backbone."""

    @property
    @abstractmethod
    def normalize_observations(self) -> bool:
        """Whether each lane scales observations by statistics of its own."""

    @property
    @abstractmethod
    def extra_action(self) -> ExtraAction:
        """How a prior's action is compared with the policy's."""

    @property
    @abstractmethod
    def max_grad_norm(self) -> float:
        """What the gradient of a shared backbone is scaled down to where it is longer; 0: never."""


@dataclass(frozen=True, kw_only=True)
class SeedsSettings(LearningSettings):
    """Options of jobs whose lanes are one env with several seeds, each with the whole budget: nothing is shared."""

    n_seeds: Annotated[int, Range(1, MAX_LANES)] = 1
    """Independent learning problems (lanes) run side by side on the same env, each with its own seed; of several tasks,
    so many for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed + self.n_seeds - 1 > MAX_SEED:
            raise ConfigError(
                f"seed = {self.seed} with n_seeds = {self.n_seeds} goes beyond {MAX_SEED}; choose a smaller seed"
            )

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each lane: seed, seed + 1, ..."""
        return tuple(range(self.seed, self.seed + self.n_seeds))

    def lane_seeds(self, tasks: int) -> list[tuple[int, ...]]:
        """See `LearningSettings`: every task has all seeds."""
        return [self.seeds] * tasks

    def lane_timesteps(self, lanes: int) -> int:
        """See `LearningSettings`: the whole budget."""
        return self.total_timesteps

    @property
    def max_grad_norm(self) -> float:
        """See `LearningSettings`: it has none."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class AdaptSettings(SeedsSettings):
    """Options of `adapt`. Budgets and intervals count environment transitions ("timesteps") of one lane."""

    job: ClassVar[str] = "adapt"

    strategy: str = "action_noise"
    """How the agent explores: "action_noise", "param_noise", "adaptive_param_noise" or, with a prior,
    "behavior_transfer"."""
    adapter_init: AdapterInit = "scratch"
    """Where the two layers begin, and begin anew after a reset: "scratch", drawn anew, as the paper's text has it;
    "identity", drawn with an identity before the backbone; "shared", so drawn for all seeds alike; "mean" or "nearest",
    as the train tasks of a meta-trained backbone left theirs: their mean, or that of the train task nearest to this
    one; "predicted", by FLAP: the mean acts in place of the random actions until learning starts, and what it met
    predicts the layers; "prior", those of the prior."""
    policy_starts: Annotated[int | None, Range(0, MAX_TIMESTEPS)] = None
    """Updates of newly drawn critics before the first update of the policy. Default: 5,000 where adapters begin with
    what was learned before ("mean", "nearest", "predicted", "prior"), which critics that know nothing would undo:
    ours, chosen on train tasks; else 0, as in TD3's code."""
    normalize_observations: bool = False
    """Scale observations by their running mean and deviation, which become part of the policy. Off, as in TD3."""
    trainable_backbone: bool = False
    """Also train the backbone, one copy per lane: with a backbone of reading A this is plain TD3, the control."""

    flight_prob: Annotated[float, Range(0, 1)] = 0.01
    """Strategy "behavior_transfer": probability with which each step outside of a flight begins one, in which the prior
    acts. Ours."""
    flight_exponent: Annotated[float, Range(0, 10)] = 2.0
    """Strategy "behavior_transfer": mu, where flights of n steps have a probability proportional to n^-mu. 2 in
    temporally extended epsilon-greedy exploration (Dabney et al. 2020)."""
    flight_max_length: Annotated[int, Range(1, 1_000_000)] = 200
    """Strategy "behavior_transfer": steps of the longest flight. Ours: an episode of the package's tasks."""
    extra_action: ExtraAction = "hard"
    """Strategy "behavior_transfer": whether the prior's action is compared with the policy's at each step and in the
    critics' targets: the one with the higher value is taken ("hard", as in IBRL), one is drawn by the values ("soft",
    as in PEX), or neither ("off")."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapter_init == "predicted" and not self.learning_starts:
            raise ConfigError(
                "learning_starts = 0 with adapter_init = 'predicted', which predicts the layers from the timesteps "
                "before learning; expected at least 1: 200 is an episode of the package's tasks"
            )
        if self.adapter_init == "predicted" and self.buffer_size < self.learning_starts:
            of = "total_timesteps" if self.in_words == FLAP else "learning_starts"
            raise ConfigError(
                f"{of} = {self.learning_starts} with buffer_size = {self.buffer_size}: adapter_init = 'predicted' "
                f"predicts the layers from so many timesteps, all of which are kept; expected a smaller {of}, 200 for "
                "an episode of the package's tasks, or a buffer_size that is as large"
            )
        if self.normalize_observations and self.adapter_init in LEARNED_STARTS:
            raise ConfigError(
                f"normalize_observations = True with adapter_init = {self.adapter_init!r}, whose layers were learned "
                "for observations as they are; expected normalize_observations=False, or adapter_init='scratch'"
            )

    @property
    def in_words(self) -> str:
        """See `LearningSettings`: what predicts and takes no gradient is FLAP."""
        return FLAP if self.adapter_init == "predicted" and not self.gradient_steps else super().in_words

    @property
    def backbone_training(self) -> BackboneTraining:
        """See `LearningSettings`."""
        return "per_lane" if self.trainable_backbone else "frozen"
