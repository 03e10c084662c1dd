"""`FAMILIES`: the families by name, those of the package and those that users add with `register`."""

import gymnasium

from apb.errors import ConfigError, UnknownNameError, nearest
from apb.registration import env_id, register_env
from apb.tasks.families.ant_dir import AntDir, AntNegatedJoints
from apb.tasks.families.ant_goal import AntGoal, SparseAntGoal
from apb.tasks.families.cheetah_dir import CheetahDir
from apb.tasks.families.cheetah_joints import CheetahNegatedJoints, CheetahPermutedJoints
from apb.tasks.families.cheetah_vel import CheetahVel, SparseCheetahVel
from apb.tasks.families.humanoid_dir import HumanoidDir
from apb.tasks.families.mass import HopperMass, WalkerMass
from apb.tasks.families.permuted_state import permuted_state
from apb.tasks.families.rand_params import HopperRandParams, WalkerRandParams
from apb.tasks.family import Family

_ORIGINAL: tuple[type[Family], ...] = (
    CheetahVel,
    CheetahDir,
    AntDir,
    AntGoal,
    HumanoidDir,
    HopperRandParams,
    WalkerRandParams,
    CheetahNegatedJoints,
    CheetahPermutedJoints,
    AntNegatedJoints,
    HopperMass,
    WalkerMass,
    SparseCheetahVel,
    SparseAntGoal,
)

FAMILIES: dict[str, type[Family]] = {
    family.name: family for family in (*_ORIGINAL, *(permuted_state(family) for family in _ORIGINAL))
}


def register(family: type[Family]) -> type[Family]:
    """Add a family of your own, so that its name works everywhere; may be used as a decorator.

    Raises:
        ConfigError: another family has its name, or a name has other characters than a-z, 0-9 and -.
    """
    name = getattr(family, "name", None)
    if not (isinstance(family, type) and issubclass(family, Family)) or not isinstance(name, str):
        raise ConfigError(f"register({family!r}); expected a subclass of apb.tasks.Family that has a name")
    if not all(part.isascii() and part.isalnum() and part == part.lower() for part in name.split("-")):
        raise ConfigError(f"family name {name!r}; expected words of a-z and 0-9 with a - between them")
    if FAMILIES.get(name, family) is not family or (name not in FAMILIES and env_id(name) in gymnasium.registry):
        raise ConfigError(f"the family {name!r} exists already; expected a new name")
    FAMILIES[name] = family
    register_env(name, family.horizon)
    return family


def family_named(name: object) -> type[Family]:
    """The family that is registered under `name`; raises `UnknownNameError`, with the nearest one, if none is."""
    if not isinstance(name, str) or name not in FAMILIES:
        raise UnknownNameError(f"family = {name!r} is unknown; {nearest(str(name), FAMILIES)}")
    return FAMILIES[name]
