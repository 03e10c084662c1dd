"""`fit_post_layer`: the post-layer that imitates actions, by ridge regression on a frozen backbone's features.

Where `a = tanh(T phi + t)` is to be what was demonstrated, `atanh a = T phi + t` is linear in what is sought. Actions
at the bounds have no finite `atanh` and are clipped first, and two steps of Gauss and Newton then bring down the error
of the actions themselves. Features are computed natively, and sums over chunks of rows by one thread: results do not
depend on the number of threads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from apb import _native
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.errors import DivergenceError
from apb.layer_stack import NativeLayerStack
from apb.torch_threads import one_torch_thread

CLIP = 0.97
"""Actions beyond +-CLIP have the target of CLIP. Chosen on held-out episodes of policies of TD3 (docs/cloning.md)."""
STRENGTHS: NDArray[np.float64] = 10.0 ** np.arange(-8, 0.25, 0.5)
"""Ridge strengths that are tried, in units of the largest eigenvalue of the features' scatter."""
REFINEMENTS = 2
"""Gauss-Newton steps at most. A third lowered the held-out error by less than one per cent."""
CURVATURE_CHUNKS = 8
"""Chunks of rows, evenly spread, from which a Gauss-Newton step takes its curvature; its gradient is that of all."""
CHUNK = 1024
"""Rows that are computed at once."""
KEPT_BYTES = 2**29
"""Of features that are kept, where they are looked at several times; of more, all are computed each time."""
TOO_LARGE = (
    "some observations are too large for sums in float32; scale them, in the demonstrations and in the env alike"
)
"""What the errors say of sums that overflow."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RidgeFit:
    """A post-layer.

    Attributes:
        parameters: The adapter's flat parameters (n,), with the pre-layer as given.
        errors: Mean squared error of the squashed actions on held-out rows: of the regression, and after each
            Gauss-Newton step that lowered it.
        train_error: The same on the rows that it is fitted to, after the last of these.
        strength: The ridge strength of the regression, one of `STRENGTHS`.
    """

    parameters: NDArray[np.float32]
    errors: tuple[float, ...]
    train_error: float
    strength: float


class _Features:
    """psi(P s + p) and linear layers on it, chunk by chunk."""

    def __init__(
        self, backbone: Backbone, start: NDArray[np.float32], shape: AdapterShape, pool: "_native.ThreadPool | None"
    ) -> None:
        layers = shape.split(start)
        pairs = [(layers["pre.weight"], layers["pre.bias"]), *zip(backbone.weights, backbone.biases, strict=True)]
        self._chain = [(torch.from_numpy(w[None].copy()), torch.from_numpy(b[None].copy())) for w, b in pairs]
        sizes = [shape.observation_size, *backbone.layer_sizes]
        relus = [backbone.input_activation, *[True] * len(backbone.weights)]
        self._stack = NativeLayerStack(sizes, relus, 1, CHUNK, pool)
        self._pool = pool
        self.size = backbone.output_size
        self._kept: dict[tuple[int, int], torch.Tensor] = {}

    def chunks(self, observations: NDArray[np.float32], every: int = 1) -> Iterator[tuple[slice, torch.Tensor]]:
        """The rows of each chunk, or of one in `every`, and its features (1, CHUNK, F), padded with those of zeros."""
        keeps = 4 * self.size * len(observations) <= KEPT_BYTES
        for first in range(0, len(observations), CHUNK * every):
            rows, key = slice(first, min(first + CHUNK, len(observations))), (id(observations), first)
            if key in self._kept:
                yield rows, self._kept[key]
                continue
            found = self._stack.forward(self._chain, torch.from_numpy(padded(observations[rows])[None]))
            if keeps:
                self._kept[key] = found.clone()
            yield rows, found

    def stack(self, outputs: int) -> NativeLayerStack:
        """What computes linear layers on the features, and the sums that their gradients are."""
        return NativeLayerStack([self.size, outputs], [False], 1, CHUNK, self._pool)

    def sums(
        self,
        observations: NDArray[np.float32],
        slopes: Callable[[slice, NDArray[np.float32]], NDArray[np.float32]],
        outputs: int,
        networks: int = 1,
        every: int = 1,
    ) -> Array:
        """Sum over rows of `y [phi, 1]^T`, float64 (networks, outputs, F + 1), where `slopes` maps rows and their
        features (rows, F) to y, (networks, rows, outputs)."""
        total = np.zeros((networks, outputs, self.size + 1))
        for rows, chunk in self.chunks(observations, every):
            phi = chunk[0, : rows.stop - rows.start]
            y = slopes(rows, phi.numpy())
            with one_torch_thread():
                total[..., :-1] += torch.matmul(torch.from_numpy(y).mT, phi).numpy()
            total[..., -1] += y.sum(axis=1, dtype=np.float64)
        return total

    def outputs(self, observations: NDArray[np.float32], layers: Array) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """`layers` (outputs, F + 1) on the features: for each chunk its rows, and (rows, outputs)."""
        stack, layer = self.stack(len(layers)), _layer(layers[None])
        for rows, phi in self.chunks(observations):
            yield rows, stack.forward([layer], phi)[0, : rows.stop - rows.start].numpy()


@one_torch_thread()
def fit_post_layer(
    backbone: Backbone,
    start: NDArray[np.float32],
    shape: AdapterShape,
    train: tuple[NDArray[np.float32], NDArray[np.float32]],
    held_out: tuple[NDArray[np.float32], NDArray[np.float32]],
    pool: "_native.ThreadPool | None" = None,
) -> RidgeFit:
    """The post-layer of least held-out error that the regressions of all `STRENGTHS` and Gauss-Newton steps give.

    Args:
        backbone: psi.
        start: Flat adapter (n,) whose pre-layer is kept.
        shape: Its sizes.
        train, held_out: Observations (N, obs) and actions (N, act) in [-1, 1].
        pool: Native threads; None uses the caller's.

    Raises:
        DivergenceError: sums of features, or the held-out errors of all regressions, are not finite.
    """
    features = _Features(backbone, start, shape, pool)
    observations, actions = train
    targets = np.arctanh(np.clip(actions, -CLIP, CLIP))

    def features_and_targets(rows: slice, phi: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([phi, targets[rows]], axis=1)[None]

    sums = features.sums(observations, features_and_targets, features.size + shape.action_size)[0]
    scatter = np.concatenate([sums[: features.size], _last_row(sums, features.size, len(observations))])
    path = ridge_path(scatter, sums[features.size :], STRENGTHS)
    found = errors_of(features, path, held_out)
    best = _least(found)
    if not np.isfinite(found[best]):
        raise DivergenceError(
            f"the held-out error is {found[best]} of each strength; expected a finite one: {TOO_LARGE}"
        )
    layer, errors, strength = path[best], [float(found[best])], float(STRENGTHS[best])
    for _ in range(REFINEMENTS):
        path = layer + _gauss_newton(features, layer, observations, actions)
        found = errors_of(features, path, held_out)
        best = _least(found)
        if not found[best] < errors[-1]:
            break
        layer = path[best]
        errors.append(float(found[best]))
    parameters = np.array(start, np.float32)
    layers = shape.split(parameters)
    layers["post.weight"][...], layers["post.bias"][...] = layer[:, :-1], layer[:, -1]
    return RidgeFit(parameters, tuple(errors), float(errors_of(features, layer[None], train)[0]), strength)


def ridge_path(scatter: Array, cross: Array, strengths: Array) -> Array:
    """Minimisers of `sum |T phi + t - z|^2 + lambda |T|^2`, the intercept t unpenalised, for each lambda.

    Args:
        scatter: Sum of `[phi, 1] [phi, 1]^T`, (F + 1, F + 1).
        cross: Sum of `z [phi, 1]^T`, (A, F + 1).
        strengths: lambda, in units of the largest eigenvalue of the scatter around the mean, (R,).

    Returns:
        `[T, t]` for each, (R, A, F + 1).
    """
    mean, count = scatter[:-1, -1] / scatter[-1, -1], scatter[-1, -1]
    around = scatter[:-1, :-1] - count * np.outer(mean, mean)
    values, vectors = _eigh(around)
    rotated = _product(cross[:, :-1] - np.outer(cross[:, -1], mean), vectors)  # (A, F)
    damped = values + np.maximum(strengths * values[-1], np.finfo(np.float64).tiny)[:, None]  # (R, F)
    weights = _product(rotated / damped[:, None], vectors.T)
    intercepts = cross[:, -1] / count - _product(weights, mean)
    return np.concatenate([weights, intercepts[..., None]], axis=2)


def _gauss_newton(
    features: _Features, layer: Array, observations: NDArray[np.float32], actions: NDArray[np.float32]
) -> Array:
    """Steps `(H_j + lambda)^-1 g_j` for each action j and damping lambda: (R, A, F + 1).

    With w = 1 - tanh^2(z), `H_j = sum w_j^2 [phi, 1] [phi, 1]^T` and `g_j = sum w_j (a_j - tanh z_j) [phi, 1]`.
    """
    stack, post = features.stack(len(layer)), _layer(layer[None])
    found = torch.empty(1, len(layer), features.size), torch.empty(1, len(layer))
    slopes, gradient = np.empty_like(actions), np.zeros_like(layer)
    for rows, phi in features.chunks(observations):
        acted = np.tanh(stack.forward([post], phi)[0, : rows.stop - rows.start].numpy())
        slopes[rows] = 1 - acted * acted
        stack.backward([post], torch.from_numpy(padded(slopes[rows] * (actions[rows] - acted))[None]), [found])
        gradient += _joined(found)[0]
    chunks = -(-len(observations) // CHUNK)
    every = max(1, chunks // CURVATURE_CHUNKS)
    squares = np.square(slopes)

    def weighted(rows: slice, phi: NDArray[np.float32]) -> NDArray[np.float32]:
        return squares[rows].T[:, :, None] * phi

    part = features.sums(observations, weighted, features.size, len(layer), every)
    seen = np.concatenate([np.arange(first, first + CHUNK) for first in range(0, len(observations), CHUNK * every)])
    seen = seen[seen < len(observations)]
    totals = squares[seen].sum(axis=0, dtype=np.float64)
    curvature = np.concatenate([part, np.zeros((len(layer), 1, features.size + 1))], axis=1)
    curvature[:, -1, :-1], curvature[:, -1, -1] = curvature[:, :-1, -1], totals
    curvature *= len(observations) / len(seen)
    steps = np.empty((len(STRENGTHS), *layer.shape))
    for action, (matrix, slope) in enumerate(zip(curvature, gradient, strict=True)):
        values, vectors = _eigh(matrix)
        damped = values + np.maximum(STRENGTHS * values[-1], np.finfo(np.float64).tiny)[:, None]
        steps[:, action] = _product(_product(vectors.T, slope) / damped, vectors.T)
    return steps


def errors_of(features: _Features, path: Array, shown: tuple[NDArray[np.float32], NDArray[np.float32]]) -> Array:
    """Mean squared errors (R,) of the squashed actions of the layers (R, A, F + 1)."""
    observations, actions = shown
    total = np.zeros(len(path))
    for rows, z in features.outputs(observations, path.reshape(-1, path.shape[2])):
        errors = np.tanh(z).reshape(len(z), *path.shape[:2]) - actions[rows][:, None]
        total += np.square(errors).sum(axis=(0, 2), dtype=np.float64)
    return total / actions.size


def _least(errors: Array) -> int:
    """Where the least of the errors is that are finite; 0 if none is."""
    return int(np.argmin(np.where(np.isfinite(errors), errors, np.inf)))


def _last_row(sums: Array, size: int, count: int) -> Array:
    """Sum of `[phi, 1]`, (1, F + 1)."""
    return np.append(sums[:size, -1], count)[None]


def _product(a: Array, b: Array) -> Array:
    """`a @ b` by one thread; the bits of NumPy's depend on the threads of its BLAS."""
    with one_torch_thread():
        product: Array = torch.matmul(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    return product


def _eigh(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending and at least 0, and vectors, by one thread, since LAPACK's bits depend on their number."""
    if not np.isfinite(matrix).all():
        raise DivergenceError(f"sums of the backbone's features are not finite; expected finite ones: {TOO_LARGE}")
    with one_torch_thread():
        values, vectors = torch.linalg.eigh(torch.from_numpy((matrix + matrix.T) / 2))
    return np.maximum(values.numpy(), 0), vectors.numpy()


def _joined(layer: tuple[torch.Tensor, torch.Tensor]) -> Array:
    """Weights (N, outputs, F) and biases (N, outputs) as (N, outputs, F + 1)."""
    return np.concatenate([layer[0].numpy(), layer[1].numpy()[..., None]], axis=2, dtype=np.float64)


def _layer(layers: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases of layers (N, outputs, F + 1)."""
    weight, bias = (np.ascontiguousarray(part, np.float32) for part in (layers[..., :-1], layers[..., -1]))
    return torch.from_numpy(weight), torch.from_numpy(bias)


def padded(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """`rows` (n, size) with zeros behind them, so that they are a chunk."""
    return np.pad(rows, [(0, CHUNK - len(rows)), (0, 0)])
