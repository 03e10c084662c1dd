"""`ActorRegression`: an adapter around a frozen backbone that learns to act as it is shown, by steps of Adam."""

import numpy as np
import torch
from numpy.typing import NDArray

from apb import _native
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.layer_stack import NativeLayerStack
from apb.memory import available_memory, require_room
from apb.networks import FlatLayers, policy_chain
from apb.optimizer import Adam


class ActorRegression:
    """Minimises the mean of `(tanh(T psi(P s + p) + t) - a)^2` over batches of B transitions and action dimensions.

    Args:
        backbone: psi, which stays as it is.
        start: Flat parameters (n,) of the adapter to begin with.
        shape: Its sizes.
        batch_size: B.
        learning_rate: Of Adam.
        pool: Native threads; None uses the caller's. Results do not depend on it.

    Raises:
        ConfigError: a batch needs more memory than is free.
    """

    def __init__(
        self,
        backbone: Backbone,
        start: NDArray[np.float32],
        shape: AdapterShape,
        batch_size: int,
        learning_rate: float,
        pool: "_native.ThreadPool | None" = None,
    ) -> None:
        learned = shape.split(np.asarray(start, np.float32))
        device = torch.device("cpu")
        self._adapter = FlatLayers({name: values[None] for name, values in learned.items()}, device)
        self._gradient = self._adapter.zeros_like()
        self._adam = Adam(self._adapter, learning_rate, pool=pool)
        # Weights of the backbone are read-only; these copies only look as if they could be written to.
        frozen = {name: torch.from_numpy(values[None].copy()) for name, values in backbone.tensors().items()}
        self._chain = policy_chain({**self._adapter, **frozen})
        hidden: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(backbone.weights)
        pre, post = ((self._gradient[f"{name}.weight"], self._gradient[f"{name}.bias"]) for name in ("pre", "post"))
        self._gradients = [pre, *hidden, post]
        sizes = [shape.observation_size, *backbone.layer_sizes, shape.action_size]
        relus = [backbone.input_activation, *[True] * len(backbone.weights), False]
        copies = batch_size * (8 + 4 * shape.observation_size + 20 * shape.action_size)  # and the numbers of the rows
        require_room(
            NativeLayerStack.required_bytes(sizes, 1, batch_size) + copies,
            available_memory(),
            f"batch_size = {batch_size}",
            "of memory for the values and slopes of a step",
            "a smaller batch_size",
        )
        self._stack = NativeLayerStack(sizes, relus, 1, batch_size, pool)
        self._scale = 2 / (batch_size * shape.action_size)

    @property
    def parameters(self) -> NDArray[np.float32]:
        """The adapter's flat parameters (n,) as they are now: a copy."""
        return self._adapter.flat.numpy().copy()

    def step(self, observations: NDArray[np.float32], actions: NDArray[np.float32]) -> float:
        """One step on a batch (B, obs) and (B, act), actions in [-1, 1]; returns the error on it before the step."""
        acted = np.tanh(self._stack.forward(self._chain, torch.from_numpy(observations[None])).numpy())
        error = acted - actions
        slope = np.float32(self._scale) * error * (1 - acted * acted)
        self._stack.backward(self._chain, torch.from_numpy(slope), self._gradients)
        self._adam.step(self._gradient)
        return float(np.square(error, dtype=np.float64).mean())
