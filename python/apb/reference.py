"""The policy's equation in float64, with a bound on any float32 evaluation's error: what native results are held to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apb.adapter import Adapter
from apb.backbone import Backbone
from apb.normalization import Normalizer

UNIT = 2.0**-24  # unit roundoff of float32
TANH_UNITS = 16  # absolute error granted to a float32 tanh, in units; vectorised ones stay within a few
SMALLEST = 2.0**-126  # results below this may be flushed to zero

Array = NDArray[np.float64]


def reference_forward(
    backbone: Backbone,
    adapter: Adapter,
    observations: NDArray[Any],
    normalizer: Normalizer | None = None,
    scale: NDArray[np.float32] | None = None,
    offset: NDArray[np.float32] | None = None,
) -> tuple[Array, Array]:
    """`offset + scale * tanh(T psi(P s + p) + t)` for s (..., obs), normalised first by a `normalizer`.

    Returns:
        Actions (..., act) in float64, and an elementwise bound (..., act) on how far any float32 evaluation may lie
        from them, whatever its order of summation and its use of fused multiply-adds: per layer gamma_k = k u / (1 - k
        u) (Higham 2002, ch. 3), carried through the next ones by |W|. ReLU, clip and tanh do not widen an error.
    """
    x = observations.astype(np.float64)
    error = UNIT * np.abs(x)
    if normalizer is not None:
        inverse_std = normalizer.inverse_std.astype(np.float64)
        x = (x - normalizer.mean) * inverse_std
        error = error * inverse_std + _gamma(3) * (np.abs(x) + error * inverse_std)
        x = np.clip(x, -normalizer.clip, normalizer.clip)
    layers = adapter.layers
    x, error = _affine(layers["pre.weight"], layers["pre.bias"], x, error)
    if backbone.input_activation:
        x = np.maximum(x, 0)
    for weight, bias in zip(backbone.weights, backbone.biases, strict=True):
        x, error = _affine(weight, bias, x, error)
        x = np.maximum(x, 0)
    x, error = _affine(layers["post.weight"], layers["post.bias"], x, error)
    x, error = np.tanh(x), np.minimum(error, 2) + TANH_UNITS * UNIT
    if scale is not None:
        x, error = x * scale, error * np.abs(scale) + UNIT * np.abs(scale)
    if offset is not None:
        x, error = x + offset, error + 2 * UNIT * (np.abs(x + offset) + error)
    return x, error


def _affine(weight: NDArray[np.float32], bias: NDArray[np.float32], x: Array, error: Array) -> tuple[Array, Array]:
    """`W x + b` and its error: what came in, amplified by |W|, and the rounding of a sum of fan_in products and b."""
    matrix, magnitude = weight.astype(np.float64).T, np.abs(weight.astype(np.float64)).T
    carried = error @ magnitude
    rounding = _gamma(weight.shape[1] + 1) * (np.abs(x) @ magnitude + carried + np.abs(bias))
    return x @ matrix + bias, carried + rounding + weight.shape[1] * SMALLEST


def _gamma(operations: int) -> float:
    return operations * UNIT / (1 - operations * UNIT)
