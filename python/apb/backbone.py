"""`Backbone`: the shared nonlinear network psi that is meta-trained (or drawn at random) and then frozen."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from apb import adapter_set, files, rng
from apb.adapter_set import AdapterSet
from apb.backbone_card import META_TRAINED, PRETRAINED, backbone_card
from apb.errors import (
    ConfigError,
    FileFormatError,
    MismatchError,
    UnknownNameError,
    nearest,
    require_integer,
    require_path,
)
from apb.flap.layer_predictor import TENSORS, LayerPredictor
from apb.shipped import shipped

Reading = Literal["A", "B"]
Initialization = Literal["pytorch", "he", "orthogonal"]

FORMAT = "apb.backbone"
FORMAT_VERSION = 1
MAX_WIDTH = 16_384
DEFAULT_INPUT_SIZE = 32
DEFAULT_READING: Reading = "B"
DEFAULT_INIT: Initialization = "pytorch"


@dataclass(frozen=True, eq=False)
class Backbone:
    """The network psi: `x -> ReLU(W_L ... ReLU(W_1 x + b_1) ... + b_L)`, with a ReLU before W_1 if `input_activation`.

    It knows nothing of a task: observation and action sizes belong to the `Adapter` around it, so one backbone serves
    any env.

    Attributes:
        weights: L arrays of shape (out, in), float32, laid out as in `torch.nn.Linear`; read-only.
        biases: L arrays of shape (out,), float32; read-only.
        input_activation: whether psi begins with a ReLU (reading A of the paper) or with `W_1` (reading B).
        metadata: JSON values that travel with the file, such as the family, seed and steps it was trained with.
        adapters: Those of the tasks that it was meta-trained on, if they are kept; see `apb.adapt`'s `adapter_init`.
        predictor: What predicts the layers of other tasks, if it was meta-trained by FLAP; beside `adapters`.
    """

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    input_activation: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    adapters: AdapterSet | None = None
    predictor: LayerPredictor | None = None

    def __post_init__(self) -> None:
        weights = tuple(_frozen(w, f"weights[{i}]", 2) for i, w in enumerate(self.weights))
        biases = tuple(_frozen(b, f"biases[{i}]", 1) for i, b in enumerate(self.biases))
        if not weights or len(weights) != len(biases):
            raise ConfigError(
                f"found {len(weights)} weights and {len(biases)} biases; expected equal counts, at least 1"
            )
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            if w.shape[0] != b.shape[0]:
                raise ConfigError(
                    f"weights[{i}] has {w.shape[0]} rows; expected {b.shape[0]}, the length of biases[{i}]"
                )
            if i and w.shape[1] != weights[i - 1].shape[0]:
                raise ConfigError(
                    f"weights[{i}] has {w.shape[1]} columns; "
                    f"expected {weights[i - 1].shape[0]}, the rows of weights[{i - 1}]"
                )
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "biases", biases)

    @classmethod
    def random(
        cls,
        seed: int = 0,
        *,
        reading: Reading = DEFAULT_READING,
        input_size: int | None = None,
        hidden_sizes: Sequence[int] = (256, 256),
        init: Initialization = DEFAULT_INIT,
    ) -> "Backbone":
        """Draw a backbone: the control of every comparison, and by the paper's own account a strong one.

        Args:
            seed: Seed of the weights, in [0, 2^63).
            reading: How the paper's text is read (it does not fix the cut). "B": `d_in -> 256 -> 256`, the pre-layer
                maps observations to `d_in` and starts as the identity. "A": ReLU, `256 -> 256`, ReLU: TD3's own network
                cut in three.
            input_size: `d_in`, in [1, 16384]. For one env give the size of its observation, as `adapt` does where no
                backbone is given: the pre-layer then starts as the identity. Default for reading B, for a backbone that
                is to serve several envs: 32 (ours: it holds the positions and velocities of the Gymnasium robots up to
                Ant; smaller observations are padded, of larger ones the rest enters as the pre-layer learns). For A:
                `hidden_sizes[0]`.
            hidden_sizes: Width of each hidden layer, each in [1, 16384]. Default (256, 256) as in TD3 (Fujimoto et al.
                2018, code). Reading A uses the first as the width of the pre-layer's output.
            init: "pytorch" is uniform in +-1/sqrt(fan_in) for weights and biases (the default of `torch.nn.Linear`,
                which TD3 uses); "he" is N(0, 2/fan_in) and "orthogonal" is orthogonal with gain sqrt(2), both with zero
                biases.

        Raises:
            ConfigError: a size or the seed is out of range. UnknownNameError: reading or init is not one of the above.
        """
        seed = require_integer("seed", seed, 0, rng.MAX_SEED)
        for name, value, known in (("reading", reading, get_args(Reading)), ("init", init, get_args(Initialization))):
            if value not in known:
                raise UnknownNameError(f"{name} = {value!r} is unknown; {nearest(str(value), known)}")
        if np.ndim(hidden_sizes) != 1:
            raise ConfigError(f"hidden_sizes = {hidden_sizes!r}; expected a sequence of widths, for example (256, 256)")
        sizes = [require_integer("a width of hidden_sizes", size, 1, MAX_WIDTH) for size in hidden_sizes]
        if not sizes:
            raise ConfigError("hidden_sizes is empty; expected at least one width, for example (256, 256)")
        if reading == "A":
            if len(sizes) < 2:
                raise ConfigError(
                    f"hidden_sizes = {tuple(sizes)} has one width; "
                    "reading A needs two: the pre-layer's and the hidden layer's"
                )
            if input_size is not None and input_size != sizes[0]:
                raise ConfigError(
                    f"input_size = {input_size} contradicts hidden_sizes[0] = {sizes[0]}; "
                    "leave input_size out for reading A"
                )
        else:
            given = DEFAULT_INPUT_SIZE if input_size is None else input_size
            sizes = [require_integer("input_size", given, 1, MAX_WIDTH), *sizes]
        weights, biases = [], []
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            weight, bias = _draw_layer(rng.generator(seed, rng.Stream.BACKBONE, layer), fan_in, fan_out, init)
            weights.append(weight)
            biases.append(bias)
        metadata = {"kind": "random", "reading": reading, "init": init, "seed": seed}
        return cls(tuple(weights), tuple(biases), input_activation=reading == "A", metadata=metadata)

    @property
    def input_size(self) -> int:
        """Size `d_in` of psi's input: what the pre-layer puts out."""
        return int(self.weights[0].shape[1])

    @property
    def output_size(self) -> int:
        """Number of features psi puts out: what the post-layer reads."""
        return int(self.weights[-1].shape[0])

    @property
    def num_parameters(self) -> int:
        """Number of weights and biases."""
        return sum(w.size + b.size for w, b in zip(self.weights, self.biases, strict=True))

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Width of the input and of each layer, such as (32, 256, 256)."""
        return (self.input_size, *(int(w.shape[0]) for w in self.weights))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the architecture and weights, hex. Equal hashes mean equal functions; metadata does not count."""
        digest = hashlib.sha256(json.dumps([self.input_activation, [w.shape for w in self.weights]]).encode())
        for array in (*self.weights, *self.biases):
            digest.update(array.astype("<f4", copy=False).tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        sizes = "-".join(str(size) for size in self.layer_sizes)
        return f"Backbone({sizes}, reading {'A' if self.input_activation else 'B'}, [{self.hash[:12]}])"

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of inputs (..., input_size), in NumPy: the readable reference; `Policy` uses the native kernel."""
        x = np.maximum(inputs, 0) if self.input_activation else inputs
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = np.maximum(x @ weight.T + bias, 0)
        return x

    @property
    def required_predictor(self) -> LayerPredictor:
        """Its predictor; raises `ConfigError` if it has none."""
        if self.predictor is None:
            raise ConfigError(
                "adapter_init = 'predicted', but the backbone has no predictor of layers; expected one that was "
                'meta-trained by FLAP: apb.meta_train(..., method="flap"), in a shell `apb meta-train SPLIT --method '
                "flap`, whose RUN/pretrained is the backbone to give"
            )
        return self.predictor

    def save_pretrained(self, path: str | Path) -> Path:
        """Write `config.json` and `model.safetensors` into the folder `path`, replacing a backbone there as a whole."""
        config = {"format": FORMAT, "format_version": FORMAT_VERSION, **self.description()}
        tensors, texts = self.tensors(), {}
        if self.adapters is not None:
            config["adapters"] = self.adapters.description()
            tensors[adapter_set.TENSOR] = self.adapters.parameters
        if self.predictor is not None:
            config["predictor"] = self.predictor.description()
            tensors |= {f"{TENSORS}{name}": array for name, array in self.predictor.tensors().items()}
        if self.metadata.get("kind") in (META_TRAINED, PRETRAINED):
            texts["README.md"] = backbone_card(self)
        return files.write_folder(path, config, tensors, texts)

    @staticmethod
    def require_place(path: Path) -> None:
        """Raise `RunFolderError` where `save_pretrained` could not write, since something else is there."""
        files.require_place(path, FORMAT, ["README.md"])

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "Backbone":
        """Read a backbone from a folder written by `save_pretrained`.

        Args:
            path: The folder, or the name of a backbone of the package (`apb backbones` lists them).

        Raises:
            UnknownNameError: there is no such folder and no such name.
            FileFormatError: a file is missing, cut short, tampered with, or not a backbone. MismatchError: a later
                format version, or weights that are not those that config.json names by their hash.
        """
        known = shipped()
        if isinstance(path, str) and "/" not in path and not require_path("path", path).exists():
            if path not in known:
                raise UnknownNameError(
                    f"path = {path!r:.100} is neither a folder that exists nor a backbone of the package; "
                    f"{nearest(path, known)}"
                )
            path = known[path]
        config, tensors = files.read_folder(path, FORMAT, FORMAT_VERSION)
        parameters = tensors.pop(adapter_set.TENSOR, None)
        predicting = {name.removeprefix(TENSORS): tensors.pop(name) for name in [*tensors] if name.startswith(TENSORS)}
        backbone = cls.from_description(config, tensors, str(path))
        predicts = bool(predicting) or "predictor" in config
        if parameters is None and predicts:
            raise FileFormatError(f"{path} holds a predictor of layers and no adapters; write the folder anew")
        if parameters is None:
            return backbone
        kept = AdapterSet.from_description(config.get("adapters"), parameters, backbone, str(path))
        predictor = None
        if predicts:
            predictor = LayerPredictor.from_description(config.get("predictor"), predicting, kept.shape, str(path))
        return replace(backbone, adapters=kept, predictor=predictor)

    def description(self) -> dict[str, Any]:
        """JSON values about the architecture and weights: with `tensors()`, all that `from_description` needs."""
        return {
            "input_activation": self.input_activation,
            "layer_sizes": list(self.layer_sizes),
            "hash": self.hash,
            "metadata": self.metadata,
        }

    @classmethod
    def from_description(
        cls, description: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], source: str
    ) -> "Backbone":
        """Rebuild a backbone from untrusted `description()` and `tensors()`; errors name `source`.

        Raises:
            FileFormatError: they do not fit each other. MismatchError: the weights do not have the hash of the
                description.
        """
        try:
            sizes, metadata = description["layer_sizes"], description["metadata"]
            names = [f"layers.{i}.{part}" for part in ("weight", "bias") for i in range(len(sizes) - 1)]
            if set(names) != set(tensors) or any(array.dtype != np.float32 for array in tensors.values()):
                found = {name: str(array.dtype) for name, array in tensors.items()}
                raise FileFormatError(f"expected float32 tensors {names!s:.200}, found {found!s:.200}")
            arrays = [tensors[name] for name in names]
            half = len(names) // 2
            backbone = cls(
                tuple(arrays[:half]), tuple(arrays[half:]), bool(description["input_activation"]), dict(metadata)
            )
            if list(backbone.layer_sizes) != sizes:
                raise FileFormatError(f"layer_sizes = {sizes!s:.100}; the tensors have {backbone.layer_sizes!s:.100}")
            stored_hash = str(description["hash"])
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(
                f"{source} does not hold a valid backbone: {error}; write it anew with save_pretrained"
            ) from error
        if backbone.hash != stored_hash:
            raise MismatchError(
                f"backbone in {source}: weights of hash {backbone.hash[:12]}, config.json says {stored_hash[:12]}; "
                "the folder was changed, write it anew with save_pretrained"
            )
        return backbone

    def with_tensors(self, tensors: Mapping[str, NDArray[np.float32]], metadata: dict[str, Any]) -> "Backbone":
        """A backbone of this architecture with other weights, under the names of `tensors`."""
        weights, biases = (
            tuple(tensors[f"layers.{i}.{part}"] for i in range(len(self.weights))) for part in ("weight", "bias")
        )
        return Backbone(weights, biases, self.input_activation, metadata)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights under their names in files: `layers.<i>.weight` (out, in) and `layers.<i>.bias` (out,)."""
        named: dict[str, NDArray[np.float32]] = {}
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named[f"layers.{i}.weight"] = weight
            named[f"layers.{i}.bias"] = bias
        return named


def _frozen(array: NDArray[np.float32], name: str, rank: int) -> NDArray[np.float32]:
    """A read-only, C-contiguous float32 copy of `array`, checked for rank and finite values."""
    copy = np.array(array, dtype=np.float32, order="C")
    if copy.ndim != rank or copy.size == 0:
        raise ConfigError(f"{name} has shape {copy.shape}; expected {rank} non-empty dimensions")
    if not np.isfinite(copy).all():
        raise ConfigError(f"{name} holds NaN or infinity; expected finite weights")
    copy.flags.writeable = False
    return copy


def _draw_layer(
    generator: np.random.Generator, fan_in: int, fan_out: int, init: Initialization
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if init == "pytorch":
        bound = 1 / np.sqrt(fan_in)
        weight = generator.uniform(-bound, bound, (fan_out, fan_in))
        return weight.astype(np.float32), generator.uniform(-bound, bound, fan_out).astype(np.float32)
    normal = generator.standard_normal((max(fan_out, fan_in), min(fan_out, fan_in)))
    if init == "he":
        weight = normal.reshape(fan_out, fan_in) * np.sqrt(2 / fan_in)
    else:
        # QR of a tall normal matrix, signs fixed by R's diagonal, is uniform over orthonormal columns (Mezzadri 2007).
        q, r = np.linalg.qr(normal)
        q = q * np.sign(np.diag(r))
        weight = np.sqrt(2) * (q if fan_out >= fan_in else q.T)
    return weight.astype(np.float32), np.zeros(fan_out, dtype=np.float32)
