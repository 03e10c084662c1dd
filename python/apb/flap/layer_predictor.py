"""`LayerPredictor`: a network that predicts the layers of a new task from its transitions: FLAP's adapter network."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb import _native
from apb.adapter_shape import AdapterShape, learned_layers
from apb.errors import ConfigError, FileFormatError, MismatchError
from apb.files import dump_json
from apb.normalization import Normalizer

CHUNK = 4_096
"""Transitions that go through the hidden layers at a time, so that their number costs no memory."""

TENSORS = "predictor."
"""What the names of its tensors begin with in the file of its backbone."""


@dataclass(frozen=True, eq=False)
class LayerPredictor:
    """An MLP with ReLUs from one transition to the learned layers of an adapter, as a flat vector.

    What it is given is `[s, a, r]` or, with `next_observation`, `[s, a, r, s']`, each number less its mean and divided
    by its deviation in training. What it puts out is multiplied by the deviation of each weight over the train tasks,
    and their mean is added. Predictions of several transitions are averaged.

    Attributes:
        shape: Sizes of the adapters.
        layers: Which of the layers it predicts: "post" in FLAP; see `apb.adapter_shape.LEARNED_LAYERS`.
        next_observation: Whether it is given s' too.
        weights: Of each layer (out, in), float32.
        biases: Of each layer (out,), float32.
        inputs: How a transition is scaled.
        mean: Of each predicted parameter over the train tasks, (m,) float32.
        deviation: What its prediction is multiplied by, (m,) float32.
    """

    shape: AdapterShape
    layers: str
    next_observation: bool
    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    inputs: Normalizer
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def __post_init__(self) -> None:
        sizes = (input_size(self.shape, self.next_observation), *(len(bias) for bias in self.biases))
        found = [array.shape for array in self.weights], [array.shape for array in self.biases]
        expected = [(out, size) for size, out in pairwise(sizes)], [(out,) for out in sizes[1:]]
        count = self.places.size
        if found != expected or not self.weights or sizes[-1] != count or self.inputs.observation_size != sizes[0]:
            raise MismatchError(
                f"the predictor's layers have the shapes {found!s:.200}; expected {expected!s:.200} from transitions "
                f"of {sizes[0]} numbers to {count} parameters"
            )
        for name in ("mean", "deviation"):
            if getattr(self, name).shape != (count,):
                raise MismatchError(f"{name} has shape {getattr(self, name).shape}; expected ({count},)")
        if not all(np.isfinite(array).all() for array in self.tensors().values()):
            raise MismatchError("the predictor holds NaN or infinity; expected finite numbers")

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the architecture and all its numbers, hex."""
        digest = hashlib.sha256(dump_json(self.description(), sort_keys=True).encode())
        for _, array in sorted(self.tensors().items()):
            digest.update(array.astype("<f4", copy=False).tobytes())
        return digest.hexdigest()

    @property
    def num_parameters(self) -> int:
        """Numbers in all layers."""
        return sum(array.size for array in (*self.weights, *self.biases))

    @property
    def places(self) -> NDArray[np.int64]:
        """Where the predicted parameters lie in the flat vector of an adapter, (m,)."""
        return self.shape.places_in(self.shape, learned_layers(self.layers))

    def predict(
        self,
        observation: NDArray[np.floating],
        action: NDArray[np.floating],
        reward: NDArray[np.floating],
        next_observation: NDArray[np.floating],
    ) -> NDArray[np.float32]:
        """The learned layers of a task, (m,): the mean prediction of N of its transitions.

        Args:
            observation: (N, obs).
            action: (N, act), in [-1, 1].
            reward: (N,).
            next_observation: (N, obs).

        Raises:
            ConfigError: N is 0.
        """
        rows = transitions(observation, action, reward, next_observation, with_next=self.next_observation)
        if not len(rows):
            raise ConfigError("there is no transition to predict layers from; expected at least one")
        x = self.inputs(rows)
        hidden = len(self.weights) - 1
        total = np.zeros(self.weights[hidden].shape[1], dtype=np.float64)
        for part in np.split(x, range(CHUNK, len(x), CHUNK)):
            below = _forward(self.weights[:hidden], self.biases[:hidden], part, relu=True) if hidden else part
            total += below.sum(axis=0, dtype=np.float64)
        # The last layer is affine, so the mean of what it puts out is what it puts out of the mean.
        mean = (total / len(x)).astype(np.float32)[None]
        (z,) = _forward(self.weights[hidden:], self.biases[hidden:], mean, relu=False)
        predicted: NDArray[np.float32] = self.mean + self.deviation * z
        return predicted

    def description(self) -> dict[str, Any]:
        """JSON values: with `tensors`, all that `from_description` needs."""
        return {
            "layers": self.layers,
            "next_observation": self.next_observation,
            "layer_sizes": [self.weights[0].shape[1], *(len(bias) for bias in self.biases)],
            "clip": self.inputs.clip,
        }

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Its arrays by name."""
        named = {"mean": self.mean, "deviation": self.deviation}
        named |= {"inputs.mean": self.inputs.mean, "inputs.inverse_std": self.inputs.inverse_std}
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named |= {f"{number}.weight": weight, f"{number}.bias": bias}
        return named

    @classmethod
    def from_description(
        cls, description: Any, tensors: Mapping[str, NDArray[Any]], shape: AdapterShape, source: str
    ) -> "LayerPredictor":
        """Rebuild one for adapters of `shape` from untrusted values; errors name `source`.

        Raises:
            FileFormatError: they do not fit each other, or the shape.
        """
        try:
            depth = len(description["layer_sizes"]) - 1
            names = {f"{number}.{part}" for number in range(depth) for part in ("weight", "bias")}
            names |= {"mean", "deviation", "inputs.mean", "inputs.inverse_std"}
            if set(tensors) != names or any(array.dtype != np.float32 for array in tensors.values()):
                raise FileFormatError(
                    f"expected float32 tensors {sorted(names)!s:.200}, found {sorted(tensors)!s:.200}"
                )
            inputs = Normalizer(tensors["inputs.mean"], tensors["inputs.inverse_std"], description["clip"])
            weights, biases = (
                tuple(tensors[f"{number}.{part}"] for number in range(depth)) for part in ("weight", "bias")
            )
            flag = description["next_observation"]
            if not isinstance(flag, bool):
                raise FileFormatError(f"next_observation = {flag!r:.50}; expected true or false")
            return cls(
                shape, description["layers"], flag, weights, biases, inputs, tensors["mean"], tensors["deviation"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(
                f"{source} does not hold a valid predictor of layers: {error}; write the folder anew"
            ) from error


def _forward(
    weights: Sequence[NDArray[np.float32]], biases: Sequence[NDArray[np.float32]], x: NDArray[np.float32], *, relu: bool
) -> NDArray[np.float32]:
    """Rows (N, in) through layers, on one thread; what NumPy puts out depends on the threads of its BLAS."""
    sizes = [x.shape[1], *(len(bias) for bias in biases)]
    stack = _native.LayerStack(sizes, [relu] * len(biases), 1, len(x))
    out = np.empty((1, len(x), sizes[-1]), dtype=np.float32)
    pairs = zip(weights, biases, strict=True)
    chain = [(np.ascontiguousarray(weight[None]), np.ascontiguousarray(bias[None])) for weight, bias in pairs]
    stack.forward(chain, np.ascontiguousarray(x[None]), out, None)
    rows: NDArray[np.float32] = out[0]
    return rows


def input_size(shape: AdapterShape, next_observation: bool) -> int:
    """Numbers in a transition that a predictor is given."""
    return shape.observation_size * (1 + next_observation) + shape.action_size + 1


def transitions(
    observation: NDArray[np.floating],
    action: NDArray[np.floating],
    reward: NDArray[np.floating],
    next_observation: NDArray[np.floating],
    *,
    with_next: bool,
) -> NDArray[np.float32]:
    """Rows `[s, a, r]` or `[s, a, r, s']`, (..., input_size), of arrays (..., obs), (..., act), (...), (..., obs)."""
    parts: Sequence[NDArray[np.floating]] = [observation, action, reward[..., None]]
    return np.concatenate([*parts, next_observation] if with_next else parts, axis=-1, dtype=np.float32)
