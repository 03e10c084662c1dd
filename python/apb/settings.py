"""`AdaptSettings`: every option of `adapt` with its default and the source of it; library, CLI and run folder share
this one definition."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from apb.errors import (
    ConfigError,
    UnknownNameError,
    nearest,
    require_flag,
    require_integer,
    require_number,
    require_range,
)
from apb.rng import MAX_SEED
from apb.threads import usable_cpus

MAX_TIMESTEPS = 10**12

FIXED = "the budget and the other options of a run are fixed when it starts: change them in a new run of adapt"
"""The end of a message to those who resume a run with other options."""


@dataclass(frozen=True, kw_only=True)
class AdaptSettings:
    """Options of `adapt`. Budgets and intervals count environment transitions ("timesteps") of one lane."""

    strategy: str = "action_noise"
    """How the agent explores: "action_noise" or "param_noise"."""
    total_timesteps: int = 50_000
    """Budget of environment transitions per seed, the population's and the warm-up's included. Never exceeded. Ours."""
    seed: int = 0
    """Seed of everything random, in [0, 2^63). The seeds of several lanes are seed, seed + 1, ..."""
    n_seeds: int = 1
    """Independent learning problems (lanes) run side by side on the same env, each with its own seed. At least 1."""
    device: str = "cpu"
    """Where the updates run: "cpu", "cuda", "cuda:<i>", or "auto" (CUDA if torch finds it)."""
    num_threads: int | None = None
    """CPU threads to use, whatever APB_NUM_THREADS says. Default: APB_NUM_THREADS, else the cores that affinity and
    the container's quota allow."""
    trainable_backbone: bool = False
    """Also train the backbone, one copy per lane: with a backbone of reading A this is plain TD3, the control."""
    normalize_observations: bool = False
    """Scale observations by their running mean and deviation, which become part of the policy. Off, as in TD3."""

    eval_freq: int = 5_000
    """Timesteps between evaluations of the noise-free policy in separate envs; 0 for none. 5,000 in TD3's code."""
    n_eval_episodes: int = 10
    """Episodes per evaluation. 10 in TD3's code."""
    checkpoint_freq: int = 10_000
    """Timesteps between checkpoints in the run folder; 0 for one at the end only. Ours."""
    log_freq: int = 1_000
    """Timesteps between records of the history. Ours."""
    keep_last: int = 2
    """Checkpoints kept, at least 1. Ours."""
    keep_best: bool = True
    """Keep the policies of the best evaluation in the run folder's `best/`."""

    learning_starts: int = 1_000
    """Timesteps of uniformly random actions before learning starts. TD3's code takes 25,000 of 1,000,000 steps, SB3
    100; ours fits short budgets."""
    gradient_steps: int = 1
    """Updates per timestep and lane once learning has started. 1 in TD3's code."""
    buffer_size: int = 1_000_000
    """Transitions kept per lane (never more than the budget). 1,000,000 in TD3's code."""
    batch_size: int = 256
    """Transitions per update and lane. 256 in TD3's code."""
    learning_rate: float = 3e-4
    """Step size of Adam for adapters (and critics). 3e-4 in TD3's code."""
    critic_learning_rate: float | None = None
    """Step size of Adam for the critics. Default: learning_rate."""
    gamma: float = 0.99
    """Discount, in [0, 1]. 0.99 in TD3's code."""
    tau: float = 0.005
    """Polyak step of the targets, in (0, 1]. 0.005 in TD3's code."""
    policy_delay: int = 2
    """Critic updates per update of the policy and the targets. 2 in TD3's code."""
    target_policy_noise: float = 0.2
    """Standard deviation of the noise on target actions, in units of the normalised action. 0.2 in TD3's code."""
    target_noise_clip: float = 0.5
    """Bound of that noise. 0.5 in TD3's code."""
    reset_interval: int | None = None
    """Timesteps between resets of adapters, critics, targets and optimisers; the replay stays. Default: none. (The
    paper resets, and does not say how often.)"""

    action_noise: float = 0.1
    """Standard deviation of the exploration noise on actions, in units of the normalised action, with either strategy.
    0.1 in TD3's code."""
    param_noise: float = 0.2
    """Strategy "param_noise": how far the members' actions are from the actor's, root mean square in units of the
    normalised action. 0.2 is the target distance of adaptive parameter noise in OpenAI's baselines (Plappert et al.
    2018)."""
    population_size: int = 10
    """Strategy "param_noise": members per lane, at least 2, each in its own simulation where the env can be made
    several times. 10 in CEM-RL's code."""
    segment_length: int = 100
    """Strategy "param_noise": timesteps that each member acts in a generation. Ours."""
    evolution_rate: float = 0.1
    """Strategy "param_noise": how far each generation pulls the actor towards its better half, in [0, 1]; 0 only
    explores. Ours."""

    def __post_init__(self) -> None:
        for name in _FLAGS:
            object.__setattr__(self, name, require_flag(name, getattr(self, name)))
        for name, (low, high) in _INTEGER_RANGES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            object.__setattr__(self, name, require_integer(name, value, low, high))  # NumPy's numbers are no JSON
        for name, (low_f, high_f, low_open) in _FLOAT_RANGES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            number = require_number(name, value)
            require_range(name, value, low_f, high_f, low_open=low_open)
            object.__setattr__(self, name, number)
        if self.num_threads is not None:
            object.__setattr__(self, "num_threads", _require_threads(self.num_threads))
        if self.seed + self.n_seeds - 1 > MAX_SEED:
            raise ConfigError(
                f"seed = {self.seed} with n_seeds = {self.n_seeds} goes beyond {MAX_SEED}; choose a smaller seed"
            )

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each lane."""
        return tuple(range(self.seed, self.seed + self.n_seeds))

    def to_json(self) -> dict[str, Any]:
        """All options as JSON values."""
        return asdict(self)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], others: Iterable[str] = ()) -> "AdaptSettings":
        """Build from keyword arguments; an unknown one raises `UnknownNameError` with the nearest name among the fields
        and the `others` that the user could have meant.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise UnknownNameError(f"adapt() has no option {name!r}; {nearest(name, {*known, *others})}")
        return cls(**options)


def most_threads() -> int:
    """The largest `num_threads` that this machine is given: four times the cores at hand."""
    return 4 * usable_cpus()


def _require_threads(value: object) -> int:
    try:
        return require_integer("num_threads", value, 1, most_threads())
    except ConfigError as error:
        raise ConfigError(
            f"{error}, up to four times the {usable_cpus()} cores that affinity and the container's quota allow; leave "
            "it out to use them all"
        ) from None


_FLAGS = ("trainable_backbone", "normalize_observations", "keep_best")

_OPTIONAL = ("reset_interval", "critic_learning_rate")

_INTEGER_RANGES: dict[str, tuple[int, int]] = {
    "total_timesteps": (1, MAX_TIMESTEPS),
    "seed": (0, MAX_SEED),
    "n_seeds": (1, 4096),
    "eval_freq": (0, MAX_TIMESTEPS),
    "n_eval_episodes": (1, 100_000),
    "checkpoint_freq": (0, MAX_TIMESTEPS),
    "log_freq": (1, MAX_TIMESTEPS),
    "keep_last": (1, 1_000_000),
    "learning_starts": (0, MAX_TIMESTEPS),
    "gradient_steps": (0, 1_000),
    "buffer_size": (1, MAX_TIMESTEPS),
    "batch_size": (1, 1_000_000),
    "policy_delay": (1, 1_000_000),
    "reset_interval": (1, MAX_TIMESTEPS),
    "population_size": (2, 10_000),
    "segment_length": (1, MAX_TIMESTEPS),
}

_FLOAT_RANGES: dict[str, tuple[float, float, bool]] = {
    "learning_rate": (0, 1, True),
    "critic_learning_rate": (0, 1, True),
    "gamma": (0, 1, False),
    "tau": (0, 1, True),
    "target_policy_noise": (0, 10, False),
    "target_noise_clip": (0, 10, False),
    "action_noise": (0, 10, False),
    "param_noise": (0, 1, True),
    "evolution_rate": (0, 1, False),
}
