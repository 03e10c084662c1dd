"""`starts_of`: where the adapter of each lane begins: drawn anew, or as the train tasks of the backbone left theirs."""

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from apb.adapter import draw_initial
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.backbone_card import META_TRAINED
from apb.errors import ConfigError, MismatchError, require_name
from apb.policy import Policy
from apb.settings import AdapterInit
from apb.tasks import Task

Start = Callable[[int], NDArray[np.float32]]
"""The flat parameters (n,) of a lane for the draw of a number: 0 at the start of a run, one more at each reset."""

ADAPTER_INITS: tuple[str, ...] = get_args(AdapterInit)
"""Drawn anew, as `Adapter.initial` says (the paper's text); the same with an identity before the backbone, whatever its
reading; the same with one draw for all lanes, that of the first; the mean of the adapters of the backbone's train
tasks; that of the nearest train task; the mean, until others are predicted (see `apb.flap.predicted_start`); that of
the prior."""


def starts_of(
    name: str,
    backbone: Backbone,
    shapes: Sequence[AdapterShape],
    seeds: Sequence[int],
    tasks: Sequence[Task | None],
    prior: Policy | None = None,
) -> list[Start]:
    """One start per lane, from its sizes, seed and task (None: an env that is no task); "prior" is that of a policy.

    Raises:
        UnknownNameError: another name. ConfigError: the backbone keeps no adapters, or a lane has no task.
            MismatchError: the adapters are of other sizes, or of another family.
    """
    require_name("adapter_init", name, ADAPTER_INITS)
    if name == "prior":
        parameters = _of_prior(prior, backbone)
        return [lambda draw: parameters] * len(shapes)
    if name == "shared":
        seeds = [seeds[0]] * len(seeds)
    return [_start(name, backbone, *lane) for lane in zip(shapes, seeds, tasks, strict=True)]


def _of_prior(prior: Policy | None, backbone: Backbone) -> NDArray[np.float32]:
    if prior is None:
        raise ConfigError(
            "adapter_init = 'prior', but there is no prior whose layers could be taken; expected prior=FOLDER, that of "
            "a saved policy or of a run, or in Python an apb.Policy (a function, or a policy of another library, has "
            "no such layers)"
        )
    if prior.backbone.hash != backbone.hash:
        raise MismatchError(
            f"adapter_init = 'prior', but the prior has the backbone {prior.backbone.hash[:12]}, and the run "
            f"{backbone.hash[:12]}: its layers mean nothing around another; expected the prior's own backbone: leave "
            "backbone out"
        )
    if prior.normalizer is not None:
        raise MismatchError(
            "adapter_init = 'prior', but the prior normalises its observations, with statistics that a new run does "
            "not have; expected a policy that was learned without normalize_observations"
        )
    return prior.adapter.parameters


def _start(name: str, backbone: Backbone, shape: AdapterShape, seed: int, task: Task | None) -> Start:
    if name in ("scratch", "identity", "shared"):
        return lambda draw: draw_initial(backbone, shape, seed, draw, identity=None if name == "scratch" else True)
    kept = backbone.adapters
    if name == "predicted":
        _ = backbone.required_predictor
    if kept is None:
        told = backbone.metadata
        why = "it was not meta-trained"
        if told.get("kind") == META_TRAINED:
            why = f"it was meta-trained on {told.get('tasks')}, which are not tasks of one family"
        raise ConfigError(
            f"adapter_init = {name!r}, but the backbone keeps no adapters of train tasks: {why}; expected "
            "adapter_init='scratch' or adapter_init='identity', or a backbone that was meta-trained on tasks of one "
            "family"
        )
    try:
        if name != "mean" and task is not None:
            kept.of_family(task)
        kept.require_fit(shape)
    except MismatchError as error:
        raise MismatchError(
            f"{error}; or new layers, which TD3 learns: adapter_init='scratch', and no method='flap'"
        ) from error
    if name in ("mean", "predicted"):
        mean = kept.mean()
        return lambda draw: mean
    if task is None:
        raise ConfigError(
            "adapter_init = 'nearest', but the env is no task of apb.tasks, of which the nearest train task could be "
            "found; expected a task, or adapter_init='mean' or adapter_init='scratch'"
        )
    parameters = kept.parameters[kept.nearest(task)]
    return lambda draw: parameters
