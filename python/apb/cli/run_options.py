"""`RunOptions`: what the verbs that make a run have in common: the backbone that it begins with, and where it goes."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from apb.backbone import DEFAULT_INIT, DEFAULT_READING, Backbone, Initialization, Reading
from apb.errors import ConfigError
from apb.settings import LearningSettings

if TYPE_CHECKING:
    from apb.environments import EnvSource


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """To be inherited beside the settings of a job, in front of them."""

    named: ClassVar[frozenset[str]] = frozenset()  # the fields that were named on the command line

    reading: Reading = DEFAULT_READING
    """What a random backbone is. B: a network obs-256-256, and the layer before it starts as the identity. A: TD3's own
    network without its first and last layer."""
    init: Initialization = DEFAULT_INIT
    """How a random backbone is drawn: as torch.nn.Linear draws its layers, He's normal, or orthogonal with gain
    sqrt(2)."""
    run_dir: Path | None = None
    """Run folder, new or empty. Default: the first free runs/<what is learned in>-<how>-<n>."""
    json: bool = False
    """Print one JSON object on standard output instead of the table."""

    def __post_init__(self) -> None:
        """Check nothing here: the job checks its options, and its messages are shown as they are."""

    def given(self, settings: type[LearningSettings]) -> dict[str, Any]:
        """Those of the job that were named, or are not the verb's defaults."""
        return {
            field.name: value
            for field in fields(self)
            if field.name in settings.__dataclass_fields__
            and ((value := getattr(self, field.name)) != field.default or field.name in self.named)
        }

    def backbone_named(self, name: str, seed: int, source: "EnvSource") -> Backbone | str:
        """The random backbone of this seed for the env, or the name of another; raises `ConfigError` if the options
        contradict each other."""
        from apb.adaptation import random_backbone

        if name == "random":
            return random_backbone(source.observation_space, seed, reading=self.reading, init=self.init)
        self.require_saved(f"--backbone {name}")
        return name

    def require_saved(self, saved: str) -> None:
        """Check that nothing describes a random backbone where a saved one is begun with; raises `ConfigError`."""
        for option, value, default in (("reading", self.reading, DEFAULT_READING), ("init", self.init, DEFAULT_INIT)):
            if value != default:
                raise ConfigError(
                    f"--{option} {value} describes a random backbone, and {saved} is a saved one; leave one of them out"
                )
