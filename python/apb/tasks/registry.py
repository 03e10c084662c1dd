"""`FAMILIES`: the families by name, those of the package and those that users add with `register`."""

import gymnasium

from apb.errors import ConfigError, UnknownNameError, nearest, require_integer
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

MAX_HORIZON = 10**9

FAMILIES: dict[str, type[Family]] = {
    family.name: family for family in (*_ORIGINAL, *(permuted_state(family) for family in _ORIGINAL))
}


def register(family: type[Family]) -> type[Family]:
    """Add a family of your own, so that its name works everywhere; may be used as a decorator. A class that is defined
    anew, as in a cell of a notebook that is run again, takes the place of the one before.

    Raises:
        ConfigError: another family has its name, a name has other characters than a-z, 0-9 and -, methods are missing,
            or the horizon is no positive integer.
    """
    require_name(family)
    if family.__abstractmethods__:
        missing = ", ".join(sorted(family.__abstractmethods__))
        raise ConfigError(f"the family {family.name!r} lacks {missing}; expected a class that can be made")
    horizon = require_integer("horizon", family.horizon, 1, MAX_HORIZON)
    FAMILIES[family.name] = family
    register_env(family.name, horizon)
    return family


def require_name(family: type[Family]) -> None:
    """Raise the `ConfigError` of `register` if a family cannot have the name that it has."""
    name = getattr(family, "name", None)
    if not (isinstance(family, type) and issubclass(family, Family)) or not isinstance(name, str):
        raise ConfigError(f"register({family!r:.100}); expected a subclass of apb.tasks.Family that has a name")
    if not all(part.isascii() and part.isalnum() and part == part.lower() for part in name.split("-")):
        raise ConfigError(f"family name {name!r:.100}; expected words of a-z and 0-9 with a - between them")
    earlier = FAMILIES.get(name, family)
    if (earlier.__module__, earlier.__qualname__) != (family.__module__, family.__qualname__):
        inherited = "" if "name" in vars(family) else f": {family.__name__} has it from its base class"
        raise ConfigError(f"the family {name!r} exists already{inherited}; expected a new name")
    if name not in FAMILIES and env_id(name) in gymnasium.registry:
        raise ConfigError(f"the id {env_id(name)!r} of a family {name!r} is taken; expected a new name")


def family_named(name: object) -> type[Family]:
    """The family that is registered under `name`; raises `UnknownNameError`, with the nearest one, if none is."""
    if not isinstance(name, str) or name not in FAMILIES:
        raise UnknownNameError(f"family = {name!r:.100} is unknown; {nearest(str(name), FAMILIES)}")
    return FAMILIES[name]
