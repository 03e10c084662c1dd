"""What to learn from where no reward is: the registry of objectives, one file each."""

from apb.errors import require_name
from apb.intrinsic.knn import ParticleEntropy
from apb.intrinsic.objective import Objective
from apb.intrinsic.rnd import RandomNetworkDistillation

OBJECTIVES: dict[str, type[Objective]] = {each.name: each for each in (RandomNetworkDistillation, ParticleEntropy)}

__all__ = ["OBJECTIVES", "Objective", "ParticleEntropy", "RandomNetworkDistillation", "objective_named"]


def objective_named(name: object) -> type[Objective]:
    """The objective that is registered under `name`; raises `UnknownNameError`, with the nearest one, if none is."""
    return OBJECTIVES[require_name("objective", name, OBJECTIVES)]
