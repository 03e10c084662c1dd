"""`CloneSettings`: the options of `clone`, with their defaults and the sources of these; library and CLI share them."""

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from apb.errors import ConfigError, require_name
from apb.ranges import THREADS, Range
from apb.rng import MAX_SEED
from apb.settings import Settings

METHODS = ("gradient", "ridge")
"""Both layers by Adam; the post-layer alone in closed form."""

OF_GRADIENT = ("gradient_steps", "eval_freq", "patience", "learning_rate", "batch_size")
"""Options that the method "gradient" alone looks at."""


@dataclass(frozen=True, kw_only=True)
class CloneSettings(Settings):
    """Options of `clone`."""

    job: ClassVar[str] = "clone"

    method: str = "gradient"
    """How the adapter is fitted: "gradient", both layers by Adam; "ridge", the layer after the backbone alone, in
    closed form, in about a second."""
    held_out: Annotated[float, Range(0, 1, low_open=True)] = 0.1
    """Share of the episodes that nothing is fitted to, and that decide when to stop and how strong the ridge is; at
    least one, and at most all but one. 0.1 is usual."""
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    """Seed of the held-out episodes, of a random backbone, of the layers where they are drawn, and of the batches."""
    adapter_init: Literal["scratch", "identity", "mean", "nearest"] = "scratch"
    """Where the two layers begin: "scratch", drawn anew, with an identity before a backbone that begins with a matrix;
    "identity", with one before any; "mean" or "nearest", as the train tasks of a meta-trained backbone left theirs.
    "ridge" keeps the layer before the backbone."""
    gradient_steps: Annotated[int, Range(1, 100_000_000)] = 20_000
    """Method "gradient": steps of Adam at most. Ours."""
    eval_freq: Annotated[int, Range(1, 100_000_000)] = 250
    """Method "gradient": steps between measurements of the held-out error. Ours."""
    patience: Annotated[int, Range(1, 1_000_000)] = 10
    """Method "gradient": measurements in a row without a new lowest error after which it stops; the best is kept.
    Ours."""
    learning_rate: Annotated[float, Range(0, 1, low_open=True)] = 1e-3
    """Method "gradient": step size of Adam. 1e-3 in the behaviour cloning of d3rlpy, and torch's default."""
    batch_size: Annotated[int, Range(1, 1_000_000)] = 256
    """Method "gradient": transitions per step. 256 as in `adapt`."""
    n_eval_episodes: Annotated[int, Range(0, 100_000)] = 10
    """Episodes of the clone at the end, where the env is known; 0 for none. 10 as in `adapt`."""
    num_threads: Annotated[int | None, THREADS] = None
    """CPU threads to use, whatever APB_NUM_THREADS says; results do not depend on it. Default: APB_NUM_THREADS, else
    the cores that affinity and the container's quota allow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name("method", self.method, METHODS)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in OF_GRADIENT and value != field.default and self.method != "gradient":
                raise ConfigError(
                    f"{field.name} = {value!r} with method = {self.method!r}, where it has no effect; expected "
                    f"method='gradient' beside it, or no {field.name}"
                )
