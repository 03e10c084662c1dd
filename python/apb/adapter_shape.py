"""`AdapterShape`: the sizes of an adapter, and the order of its parameters; `LEARNED_LAYERS`: which of them are
learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from apb.errors import require_name

if TYPE_CHECKING:
    from apb.backbone import Backbone

Scalar = TypeVar("Scalar", bound=np.generic)

LEARNED_LAYERS = {"both": ("pre", "post"), "pre": ("pre",), "post": ("post",)}
"""What the option `learned_layers` may be -> the layers of an adapter that are learned."""


def learned_layers(name: str) -> tuple[str, ...]:
    """The layers that the option `learned_layers` names; raises `UnknownNameError`."""
    return LEARNED_LAYERS[require_name("learned_layers", name, LEARNED_LAYERS)]


@dataclass(frozen=True)
class AdapterShape:
    """Sizes of an adapter, and where its layers lie in the flat parameter vector `[P, p, T, t]`.

    The pre-layer is `P: (d_in, obs), p: (d_in,)`, the post-layer `T: (act, features), t: (act,)`; matrices are
    row-major.
    """

    observation_size: int
    input_size: int
    output_size: int
    action_size: int

    @classmethod
    def of(cls, backbone: "Backbone", observation_size: int, action_size: int) -> "AdapterShape":
        """The shape of an adapter between an env of these sizes and `backbone`."""
        return cls(observation_size, backbone.input_size, backbone.output_size, action_size)

    @property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each layer's array, in the order of the flat vector."""
        return {
            "pre.weight": (self.input_size, self.observation_size),
            "pre.bias": (self.input_size,),
            "post.weight": (self.action_size, self.output_size),
            "post.bias": (self.action_size,),
        }

    @property
    def num_parameters(self) -> int:
        """Length n of the flat vector."""
        return sum(int(np.prod(shape)) for shape in self.layers.values())

    def split(self, parameters: NDArray[Scalar]) -> dict[str, NDArray[Scalar]]:
        """Views of the layers in flat vectors of shape (..., n): name -> (..., *layer shape)."""
        views, start = {}, 0
        for name, shape in self.layers.items():
            stop = start + int(np.prod(shape))
            views[name] = parameters[..., start:stop].reshape(*parameters.shape[:-1], *shape)
            start = stop
        return views

    def places_in(self, larger: "AdapterShape", layers: Sequence[str] = LEARNED_LAYERS["both"]) -> NDArray[np.int64]:
        """Where each parameter of these layers lies in the flat vector of an adapter for longer observations and
        actions, (n,): that one, with zeros at all other places, computes the same of observations that are padded with
        zeros."""
        numbers = larger.split(np.arange(larger.num_parameters))
        own = {name: sizes for name, sizes in self.layers.items() if name.partition(".")[0] in layers}
        return np.concatenate([numbers[name][tuple(map(slice, sizes))].ravel() for name, sizes in own.items()])
