"""`Adapter`: the two linear layers around a frozen backbone; all that is learned of a policy for a new task."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apb import rng
from apb.backbone import Backbone
from apb.errors import ConfigError, MismatchError


@dataclass(frozen=True)
class AdapterShape:
    """Sizes of an adapter, and where its layers lie in the flat parameter vector `[P, p, T, t]`.

    The pre-layer is `P: (d_in, obs), p: (d_in,)`, the post-layer `T: (act, features), t: (act,)`; matrices are row-major.
    """

    observation_size: int
    input_size: int
    output_size: int
    action_size: int

    @classmethod
    def of(cls, backbone: Backbone, observation_size: int, action_size: int) -> "AdapterShape":
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

    def split(self, parameters: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Views of the layers in flat vectors of shape (..., n): name -> (..., *layer shape)."""
        views, start = {}, 0
        for name, shape in self.layers.items():
            stop = start + int(np.prod(shape))
            views[name] = parameters[..., start:stop].reshape(*parameters.shape[:-1], *shape)
            start = stop
        return views


@dataclass(frozen=True)
class Adapter:
    """Pre- and post-layer of one task, as a flat float32 vector with named views.

    Attributes:
        shape: The sizes, see `AdapterShape`.
        parameters: Flat vector `[P, p, T, t]`, shape (n,), float32, read-only.
    """

    shape: AdapterShape
    parameters: NDArray[np.float32]

    def __post_init__(self) -> None:
        parameters = np.array(self.parameters, dtype=np.float32, order="C")
        if parameters.shape != (self.shape.num_parameters,):
            raise MismatchError(f"parameters has shape {parameters.shape}; expected ({self.shape.num_parameters},) for {self.shape}")
        if not np.isfinite(parameters).all():
            raise ConfigError("the adapter's parameters hold NaN or infinity; expected finite numbers")
        parameters.flags.writeable = False
        object.__setattr__(self, "parameters", parameters)

    @classmethod
    def initial(cls, backbone: Backbone, observation_size: int, action_size: int, seed: int = 0) -> "Adapter":
        """A fresh adapter for `backbone`, drawn from `seed`; resets draw further ones with `draw_initial(..., draw=1, 2, ...)`.

        Pre-layer: the identity (cut or padded with zeros) where psi begins with a matrix, so that training starts from psi itself;
        uniform +-1/sqrt(fan_in) where psi begins with a ReLU, since an identity would leave most of its inputs at zero.
        Post-layer: uniform +-1/sqrt(fan_in), the default of `torch.nn.Linear`, which TD3 uses. The paper does not state either.
        """
        shape = AdapterShape.of(backbone, observation_size, action_size)
        return cls(shape, draw_initial(backbone, shape, seed))

    @property
    def layers(self) -> dict[str, NDArray[np.float32]]:
        """Views: "pre.weight" P, "pre.bias" p, "post.weight" T, "post.bias" t."""
        return self.shape.split(self.parameters)

    @property
    def num_parameters(self) -> int:
        """Number of learned parameters of the policy."""
        return self.shape.num_parameters


def draw_initial(backbone: Backbone, shape: AdapterShape, seed: int, draw: int = 0) -> NDArray[np.float32]:
    """Flat initial parameters (n,), as `Adapter.initial` describes; `draw` numbers the resets of one learning problem."""
    generator = rng.generator(seed, rng.Stream.ADAPTER, draw)
    parameters = np.empty(shape.num_parameters, dtype=np.float32)
    layers = shape.split(parameters)
    for layer, fan_in in (("pre", shape.observation_size), ("post", shape.output_size)):
        bound = 1 / np.sqrt(fan_in)
        for name in (f"{layer}.weight", f"{layer}.bias"):
            layers[name][...] = generator.uniform(-bound, bound, layers[name].shape)
    if not backbone.input_activation:
        layers["pre.weight"][...] = np.eye(shape.input_size, shape.observation_size)
        layers["pre.bias"][...] = 0
    return parameters
