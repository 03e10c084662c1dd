"""`Adapter`: the two linear layers around a frozen backbone; all that is learned of a policy for a new task."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb import files, rng
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.errors import ConfigError, FileFormatError, MismatchError

FORMAT = "apb.adapter"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Adapter:
    """Pre- and post-layer of one task, as a flat float32 vector with named views.

    Attributes:
        shape: The sizes, see `AdapterShape`.
        parameters: Flat vector `[P, p, T, t]`, shape (n,), float32, read-only.
        backbone_hash: `Backbone.hash` of the backbone that it was learned for; None while it belongs to none.
    """

    shape: AdapterShape
    parameters: NDArray[np.float32]
    backbone_hash: str | None = None

    def __post_init__(self) -> None:
        parameters = np.array(self.parameters, dtype=np.float32, order="C")
        if parameters.shape != (self.shape.num_parameters,):
            raise MismatchError(
                f"parameters has shape {parameters.shape}; expected ({self.shape.num_parameters},) for {self.shape}"
            )
        if not np.isfinite(parameters).all():
            raise ConfigError("the adapter's parameters hold NaN or infinity; expected finite numbers")
        parameters.flags.writeable = False
        object.__setattr__(self, "parameters", parameters)

    def __repr__(self) -> str:
        s, owner = self.shape, "none" if self.backbone_hash is None else f"[{self.backbone_hash[:12]}]"
        sizes = f"{s.observation_size} -> {s.input_size}, {s.output_size} -> {s.action_size}"
        return f"Adapter({sizes}, {s.num_parameters:,} parameters, backbone {owner})"

    @classmethod
    def initial(cls, backbone: Backbone, observation_size: int, action_size: int, seed: int = 0) -> "Adapter":
        """A fresh adapter for `backbone`, drawn from `seed`; resets draw more by `draw_initial(..., draw=1, 2, ...)`.

        Pre-layer: the identity (cut or padded with zeros) where psi begins with a matrix, so that training starts from
        psi itself; uniform +-1/sqrt(fan_in) where psi begins with a ReLU, since an identity would leave most of its
        inputs at zero. Post-layer: uniform +-1/sqrt(fan_in), the default of `torch.nn.Linear`, which TD3 uses. The
        paper does not state either.
        """
        shape = AdapterShape.of(backbone, observation_size, action_size)
        return cls(shape, draw_initial(backbone, shape, seed), backbone.hash)

    @property
    def layers(self) -> dict[str, NDArray[np.float32]]:
        """Views: "pre.weight" P, "pre.bias" p, "post.weight" T, "post.bias" t."""
        return self.shape.split(self.parameters)

    @property
    def num_parameters(self) -> int:
        """Number of learned parameters of the policy."""
        return self.shape.num_parameters

    def bind(self, backbone: Backbone, *, force: bool = False) -> "Adapter":
        """This adapter as one of `backbone`, after a check that it fits.

        Raises:
            MismatchError: it was learned for another backbone (allowed with `force`), or the sizes differ (never
                allowed).
        """
        expected = AdapterShape.of(backbone, self.shape.observation_size, self.shape.action_size)
        if self.shape != expected:
            raise MismatchError(f"the adapter has {self.shape}; expected {expected} for this backbone")
        if not force and self.backbone_hash not in (None, backbone.hash):
            raise MismatchError(
                f"the adapter was learned for backbone {str(self.backbone_hash)[:12]}, the given one is "
                f"{backbone.hash[:12]}; give that backbone, or force=True to combine them all the same"
            )
        return replace(self, backbone_hash=backbone.hash)

    def save_pretrained(self, path: str | Path) -> Path:
        """Write `config.json` and `model.safetensors` into the folder `path`; the backbone is only named, by its hash.

        Raises:
            ConfigError: the adapter belongs to no backbone yet; see `bind`.
        """
        if self.backbone_hash is None:
            raise ConfigError(
                "backbone_hash is None; expected the hash of a backbone: save adapter.bind(backbone) instead"
            )
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "backbone_hash": self.backbone_hash,
            **self.description(),
        }
        return files.write_folder(path, config, self.layers)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone, *, force: bool = False) -> "Adapter":
        """Read an adapter from a folder written by `save_pretrained`, for the `backbone` that it was learned with.

        Args:
            force: Take it for a backbone of the same sizes but other weights too. Default False.

        Raises:
            FileFormatError: a file is missing, cut short, tampered with, or not an adapter. MismatchError: another
                backbone.
        """
        config, tensors = files.read_folder(path, FORMAT, FORMAT_VERSION)
        adapter = cls.from_description(config, tensors, str(path))
        backbone_hash = config.get("backbone_hash")
        if not isinstance(backbone_hash, str):
            raise FileFormatError(
                f"{path}: backbone_hash = {backbone_hash!r}; expected the SHA-256 of a backbone in hex"
            )
        return replace(adapter, backbone_hash=backbone_hash).bind(backbone, force=force)

    def description(self) -> dict[str, Any]:
        """JSON values about the sizes: with `layers`, all that `from_description` needs."""
        return {"observation_size": self.shape.observation_size, "action_size": self.shape.action_size}

    @classmethod
    def from_description(
        cls, description: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], source: str
    ) -> "Adapter":
        """Rebuild an adapter, of no backbone yet, from untrusted `description()` and `layers`; errors name `source`.

        Raises:
            FileFormatError: they do not fit each other.
        """
        try:
            (action_size, output_size), (input_size, observation_size) = (
                tensors["post.weight"].shape,
                tensors["pre.weight"].shape,
            )
            shape = AdapterShape(observation_size, input_size, output_size, action_size)
            found = {name: (str(array.dtype), array.shape) for name, array in tensors.items()}
            expected = {name: ("float32", layer) for name, layer in shape.layers.items()}
            if found != expected:
                raise FileFormatError(f"expected tensors {expected}, found {found!s:.400}")
            adapter = cls(shape, np.concatenate([tensors[name].ravel() for name in shape.layers]))
            if adapter.description() != {key: description[key] for key in adapter.description()}:
                raise FileFormatError(f"expected {adapter.description()}, the sizes of the tensors, in config.json")
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(
                f"{source} does not hold a valid adapter: {error}; write it anew with save_pretrained"
            ) from error
        return adapter


def draw_initial(
    backbone: Backbone, shape: AdapterShape, seed: int, draw: int = 0, *, identity: bool | None = None
) -> NDArray[np.float32]:
    """Flat initial parameters (n,), as `Adapter.initial` describes; `draw` numbers the resets of a lane. `identity`
    says whether the pre-layer is one, whatever psi begins with."""
    generator = rng.generator(seed, rng.Stream.ADAPTER, draw)
    parameters = np.empty(shape.num_parameters, dtype=np.float32)
    layers = shape.split(parameters)
    for layer, fan_in in (("pre", shape.observation_size), ("post", shape.output_size)):
        bound = 1 / np.sqrt(fan_in)
        for name in (f"{layer}.weight", f"{layer}.bias"):
            layers[name][...] = generator.uniform(-bound, bound, layers[name].shape)
    if not backbone.input_activation if identity is None else identity:
        layers["pre.weight"][...] = np.eye(shape.input_size, shape.observation_size)
        layers["pre.bias"][...] = 0
    return parameters
