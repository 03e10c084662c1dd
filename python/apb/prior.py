"""`Prior`: a policy that is known before a task is learned, for what it does or for its layers."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.adapter import Adapter
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.env_source import EnvSource
from apb.env_spaces import flat_size
from apb.errors import (
    ApbError,
    ConfigError,
    MismatchError,
    RunFolderError,
    nearest_name,
    nearest_path,
    raised,
    require_path,
)
from apb.evaluation import Predictor, no_policy, predictor_of
from apb.policy import Policy
from apb.runs.folder import DEFAULT_ROOT, short_path
from apb.saved_policies import one_policy
from apb.settings import AdaptSettings, LearningSettings
from apb.shipped import shipped
from apb.tasks import Task

STRATEGY = "behavior_transfer"
"""The strategy that makes use of what a prior does."""

NEAREST = "nearest"
"""What `prior` is called where it is to be the policy of the nearest of the backbone's train tasks."""

LONGEST_NAME = 48
"""Characters that a prior is called by: titles have to hold it."""

PriorLike = Predictor | Callable[[NDArray[np.float32]], NDArray[Any]] | str | Path
"""What can be given as `prior`: an `apb.Policy`, an object with SB3's `predict`, a function from observations (E, *obs)
to actions (E, *act) of the env, the folder of a saved policy or of a run of one seed, or "nearest"."""


class Prior:
    """A policy that acts in the envs of a run, and never changes.

    What it does has to depend on its observation alone: it is asked anew about observations of the replay, and a
    resumed run asks it as if nothing had come between.

    Args:
        given: See `PriorLike`.
        source: The env to be learned.

    Attributes:
        name: What it is called in print: its folder, the task of a policy, or the name of a function or class.

    Raises:
        ConfigError: it is no policy, or does not return actions, or the folder holds several. MismatchError: it is of
            other spaces. RunFolderError, FileFormatError: there is no policy in the folder, or its files are damaged.
    """

    def __init__(self, given: PriorLike, source: EnvSource) -> None:
        self.name = str(getattr(given, "__name__", type(given).__name__))
        if isinstance(given, str | Path):
            self.name = _shortened(str(short_path(Path(given)))[::-1])[::-1]  # the end of a path tells most
            given = one_policy(Path(given)).policy
        elif isinstance(given, Policy):
            learned = given.metadata.get("task") or given.metadata.get("env_id") or given.backbone.hash[:12]
            self.name = _shortened(f"of {learned}")
        if not (hasattr(given, "predict") or callable(given)) or isinstance(given, type):
            raise no_policy(given, "an apb.Policy, a folder, an object with predict(), or a function", "prior")
        self.given = given
        self.policy = given if isinstance(given, Policy) else None
        if self.policy is not None:
            try:
                self.policy.check_env(source)
            except MismatchError as error:
                raise MismatchError(f"prior: {error}") from error
        self._source = source
        self._size = int(np.prod(source.action_space.shape))
        self._predict = predictor_of(given, source, deterministic=True, name="prior")
        self._require_actions()

    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Its actions (..., act) in [-1, 1] for observations (..., obs)."""
        try:
            return self._actions(observations)
        except ApbError:
            raise
        except Exception as error:
            raise ConfigError(f"the prior raised {raised(error)}; expected actions, whatever it observes") from error

    def _actions(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        leading = observations.shape[:-1]
        actions = self._predict(observations.reshape(-1, observations.shape[-1]))
        if not np.isfinite(actions).all():
            raise ConfigError("the prior returned NaN or infinity as an action; expected finite numbers")
        return np.clip(actions, -1, 1).reshape(*leading, self._size)

    @property
    def description(self) -> dict[str, Any]:
        """JSON values that tell it from others: of a policy that a run folder keeps, its hash."""
        if self.policy is None:
            return {"kind": type(self.given).__name__, "sha256": None}
        return {"kind": "Policy", "sha256": self.policy.hash}

    def _require_actions(self) -> None:
        """Ask it once, so that what is wrong with it shows before hours of learning."""
        space = self._source.observation_space
        low, high = (np.nan_to_num(bound, neginf=-1, posinf=1) for bound in (space.low, space.high))
        sample = np.clip(np.zeros(space.shape), low, high).astype(np.float32).reshape(1, -1)
        try:
            self._actions(sample)
        except (ConfigError, MismatchError):
            raise
        except Exception as error:
            raise MismatchError(
                f"prior cannot act in {self._source.name}, whose observations have the shape {space.shape}: "
                f"{raised(error)}; expected a policy for these spaces"
            ) from error


def prior_place(given: str | Path) -> Path:
    """The folder that was given as a prior, absolute, since an env may change the current one.

    Raises:
        RunFolderError: there is none of that name; with what may have been meant.
    """
    place = require_path("prior", given)
    if os.path.lexists(place):
        return place.absolute()
    hint = nearest_path(place, DEFAULT_ROOT)
    if str(given) in shipped():
        hint = f"; it is a backbone of the package: give backbone={str(given)!r} and prior={NEAREST!r}"
    elif nearest_name(str(given), [NEAREST]):
        hint = f"; did you mean {NEAREST!r}?"
    raise RunFolderError(f"prior = {str(given)!r} is neither {NEAREST!r} nor a folder that exists{hint}")


def nearest_policy(backbone: Backbone, source: EnvSource) -> Policy:
    """The policy that a backbone has, of its train tasks, for the one nearest to the task of `source`.

    Raises:
        ConfigError: the backbone keeps no adapters, or the env is not one task. MismatchError: it is of another family.
    """
    if len(source.tasks) != 1:
        found = "several tasks" if source.tasks else "no task of apb.tasks"
        raise ConfigError(
            f"prior = {NEAREST!r}, but env {source.name} is {found}; expected one task, to which the nearest train "
            "task can be found"
        )
    if backbone.adapters is None:
        raise ConfigError(
            f"prior = {NEAREST!r}, but the backbone keeps no adapters of train tasks; expected one that was "
            "meta-trained on tasks of one family (`apb backbones` lists those of the package)"
        )
    spaces = source.observation_space, source.action_space
    try:
        nearest = backbone.adapters.nearest(source.tasks[0])
        backbone.adapters.require_fit(AdapterShape.of(backbone, *map(flat_size, spaces)))
    except MismatchError as error:
        raise MismatchError(f"prior = {NEAREST!r}: {error}") from error
    parameters = backbone.adapters.parameters[nearest]
    task = backbone.adapters.tasks[nearest]
    metadata = {"task": str(Task(task["family"], task["arguments"]))}
    return Policy(backbone, Adapter(backbone.adapters.shape, parameters), *spaces, metadata=metadata)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def takes_extra_action(settings: LearningSettings) -> bool:
    """Whether the prior's action is compared with the policy's."""
    return settings.strategy == STRATEGY and settings.extra_action != "off"


def require_use(settings: LearningSettings, prior: object | None) -> None:
    """Check that a prior is there if the options ask for one, and that they make use of one that is.

    Raises:
        ConfigError: otherwise.
    """
    explores, begins = settings.strategy == STRATEGY, settings.adapter_init == "prior"
    if explores and prior is None:
        known = "prior=FOLDER, that of a saved policy or of a run, or in Python a policy itself or a function"
        raise ConfigError(
            f"strategy = {STRATEGY!r} without a prior, the policy that explores; expected "
            f"{known if settings.job == 'adapt' else f'another strategy: {settings.job} takes none'}"
        )
    if explores and isinstance(settings, AdaptSettings) and not (settings.flight_prob or takes_extra_action(settings)):
        raise ConfigError(
            f"strategy = {STRATEGY!r} with flight_prob = 0 and extra_action = 'off', so that the prior never acts; "
            "expected one of them, or strategy='action_noise'"
        )
    if prior is not None and not (explores or begins):
        raise ConfigError(
            f"a prior was given, and with strategy = {settings.strategy!r} and adapter_init = {settings.adapter_init!r}"
            f" nothing is made of it; expected strategy={STRATEGY!r}, adapter_init='prior', or no prior"
        )
