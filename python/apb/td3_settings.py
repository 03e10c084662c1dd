"""`TD3Settings`: what `TD3` needs of the options of a run."""

from dataclasses import dataclass, fields
from typing import Self

from apb.settings import LearningSettings


@dataclass(frozen=True)
class TD3Settings:
    """Hyper-parameters of TD3; `AdaptSettings` documents each and has the defaults."""

    learning_rate: float
    critic_learning_rate: float | None
    batch_size: int
    tau: float
    gamma: float
    policy_delay: int
    target_policy_noise: float
    target_noise_clip: float
    policy_starts: int
    max_grad_norm: float
    learned_layers: str
    extra_action: str

    @classmethod
    def of(cls, settings: LearningSettings) -> Self:
        """Those of a run."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})
