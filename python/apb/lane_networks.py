"""`LaneNetworks`: what K lanes learn: actors, twin critics, the targets of both, and their optimisers.

Every tensor has the lane axis K in front. What an update does with them is `TD3`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native
from apb.adapter_shape import AdapterShape, learned_layers
from apb.adapter_starts import Start, starts_of
from apb.backbone import Backbone
from apb.layer_stack import Gradients
from apb.networks import FlatLayers, critic_chain, critic_sizes, draw_padded_critics, policy_chain
from apb.optimizer import Adam, polyak_step
from apb.settings import BackboneTraining
from apb.shared_backbone import Gather, SharedBackbone
from apb.td3_settings import TD3Settings


class LaneNetworks:
    """Actors and critics of K lanes, drawn from their seeds, with targets, gradients and optimisers.

    Args:
        backbone: psi, never written: what is trained of it is a copy.
        shape: Sizes of the adapters; of the largest where lanes have their own.
        seeds: One seed per lane, K in all; fixes initial weights and target noise.
        settings: Hyper-parameters.
        own_shapes: Of lanes whose envs observe and act in fewer numbers, the sizes of each: what they are given is
            padded with zeros, which moves nothing, so that a lane learns what it learns alone at its own sizes.
            Default: `shape` for all.
        starts: Where each lane's adapter begins. Default: drawn anew, from its seed.
        backbone_training: "frozen"; "per_lane", which with a backbone of reading A is plain TD3; or "shared", which is
            meta-training (see `SharedBackbone`).
        device: Where the tensors live and the updates run.
        pool: Native threads for updates on a CPU; None uses the caller's thread. Results do not depend on it.
        native: Compute by the native kernels rather than by torch. Default: on a CPU, the only place where they work.
        gather: Where these lanes are a shard of those that learn a "shared" backbone, what exchanges the shards'
            gradients of it (see `SharedBackbone`). Default: they are all lanes.

    Attributes:
        actor, target_actor, critics, target_critics: Layers by name; of psi too, where each lane trains its own.
        actor_adam, critics_adam: Their optimisers.
        pi, pi_target, q, q_target, q_first: The same layers in the order in which they are computed; `q_first` has the
            first of each two critics.
        pi_gradient, q_gradient: Where their gradients are to be written; None for layers that stay as they are.
        learned_places: For each lane, where the parameters that it learns lie in its padded adapter.
        sharded: Whether there are lanes elsewhere that learn the same psi.

    Raises:
        UnknownNameError: `settings.learned_layers` is none of `LEARNED_LAYERS`.
    """

    def __init__(
        self,
        backbone: Backbone,
        shape: AdapterShape,
        seeds: Sequence[int],
        settings: TD3Settings,
        *,
        own_shapes: Sequence[AdapterShape] | None = None,
        starts: Sequence[Start] | None = None,
        backbone_training: BackboneTraining = "frozen",
        device: str = "cpu",
        pool: "_native.ThreadPool | None" = None,
        native: bool | None = None,
        gather: Gather | None = None,
    ) -> None:
        self.backbone, self.shape, self.seeds, self.settings = backbone, shape, tuple(seeds), settings
        self.device, self.pool, self.sharded = torch.device(device), pool, gather is not None
        self.native = self.device.type == "cpu" if native is None else native
        self.own_shapes = (shape,) * len(self.seeds) if own_shapes is None else tuple(own_shapes)
        self.backbone_training = backbone_training
        # One more axis in front: a lane axis of length 1, for all lanes.
        self._shared: SharedBackbone | None = None
        psi: Mapping[str, Tensor] = {}
        psi_target: Mapping[str, Tensor] = {}
        if backbone_training == "shared":
            self._shared = SharedBackbone(
                backbone,
                len(self.seeds),
                learning_rate=settings.learning_rate,
                tau=settings.tau,
                max_grad_norm=settings.max_grad_norm,
                device=self.device,
                native=self.native,
                pool=pool,
                gather=gather,
            )
            psi, psi_target = self._shared.layers, self._shared.target
        elif backbone_training == "frozen":
            frozen = {name: value[None] for name, value in backbone.tensors().items()}
            psi = psi_target = FlatLayers(frozen, self.device)
        self._starts = starts or starts_of("scratch", backbone, self.own_shapes, self.seeds, [None] * len(self.seeds))
        self._own_places = [own.places_in(shape) for own in self.own_shapes]
        layers = learned_layers(settings.learned_layers)
        self.learned_places = tuple(own.places_in(shape, layers) for own in self.own_shapes)
        actor, critics = self._draw(0)
        self.actor, self.target_actor = FlatLayers(actor, self.device), FlatLayers(actor, self.device)
        self.critics, self.target_critics = FlatLayers(critics, self.device), FlatLayers(critics, self.device)
        self.pi, self.pi_target = policy_chain({**self.actor, **psi}), policy_chain({**self.target_actor, **psi_target})
        self.q, self.q_target = critic_chain(self.critics), critic_chain(self.target_critics)
        self.q_first = critic_chain(self.critics, slice(1))
        self._actor_gradient, self._critics_gradient = self.actor.zeros_like(), self.critics.zeros_like()
        learned = self._actor_gradient if self._shared is None else self._actor_gradient | self._shared.parts
        pre, *between, post = policy_chain(learned)
        not_learned: Gradients = [None] * len(backbone.weights)
        self.pi_gradient: Gradients = [
            pre if "pre" in layers else None,
            *(between or not_learned),
            post if "post" in layers else None,
        ]
        self.q_gradient = critic_chain(self._critics_gradient)
        critic_rate = settings.learning_rate if settings.critic_learning_rate is None else settings.critic_learning_rate
        self.actor_adam = Adam(self.actor, settings.learning_rate, native=self.native, pool=pool)
        self.critics_adam = Adam(self.critics, critic_rate, native=self.native, pool=pool)

    @staticmethod
    def required_bytes(shape: AdapterShape, lanes: int) -> int:
        """Bytes that K lanes take at least: what is learned, with its targets, gradients and two moments."""
        sizes = critic_sizes(shape.observation_size + shape.action_size)
        critic = sum(out * (size + 1) for size, out in pairwise(sizes))
        return 5 * 4 * lanes * (shape.num_parameters + 2 * critic)

    # --- steps -------------------------------------------------------------------------------------------------------

    def step_critics(self) -> None:
        """Move the critics against `q_gradient`."""
        self.critics_adam.step(self._critics_gradient)

    def step_policies(self, scales: Tensor) -> None:
        """Move the policies against `pi_gradient`, and a shared psi with them; `scales` as in `SharedBackbone.step`."""
        self.actor_adam.step(self._actor_gradient)
        if self._shared is not None:
            self._shared.step(scales)

    def follow_critics(self) -> None:
        """Move the targets of the critics towards them."""
        self._follow(self.target_critics, self.critics)

    def follow_policies(self) -> None:
        """Move the targets of the policies towards them; that of a shared psi moves with psi."""
        self._follow(self.target_actor, self.actor)

    def _follow(self, target: FlatLayers, source: FlatLayers) -> None:
        polyak_step(target, source, self.settings.tau, native=self.native, pool=self.pool)

    # --- parameters --------------------------------------------------------------------------------------------------

    def reset(self, draw: int) -> None:
        """Draw adapters and critics anew, with fresh targets and optimisers. A lane's own psi goes back to the given
        one; one that all lanes share stays as they have it.

        Args:
            draw: Number of the draw; 0 at the start of a run, then one more at each periodic reset.
        """
        actor, critics = self._draw(draw)
        for layers, values in (
            (self.actor, actor),
            (self.target_actor, actor),
            (self.critics, critics),
            (self.target_critics, critics),
        ):
            layers.load(values)
        self.actor_adam.reset()
        self.critics_adam.reset()

    def _draw(self, draw: int) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """Initial actors and critics."""
        adapters = np.zeros((len(self.seeds), self.shape.num_parameters), dtype=np.float32)
        for padded, places, start in zip(adapters, self._own_places, self._starts, strict=True):
            padded[places] = start(draw)
        actor = self.shape.split(adapters)
        if self.backbone_training == "per_lane":
            for name, value in self.backbone.tensors().items():
                actor[name] = np.broadcast_to(value, (len(self.seeds), *value.shape))
        return actor, draw_padded_critics(self.own_shapes, self.shape, self.seeds, draw)

    def adapters(self) -> NDArray[np.float32]:
        """The lanes' adapters as flat vectors, shape (K, n): a copy."""
        lanes = len(self.seeds)
        return np.concatenate([self.actor[name].cpu().numpy().reshape(lanes, -1) for name in self.shape.layers], axis=1)

    def own_adapters(self) -> list[NDArray[np.float32]]:
        """The adapter of each lane at the lane's own sizes, (n_k,)."""
        return [padded[places] for padded, places in zip(self.adapters(), self._own_places, strict=True)]

    def set_adapters(self, parameters: NDArray[np.float32]) -> None:
        """Overwrite the adapters with flat vectors (K, n); optimisers and targets stay."""
        self.actor.load(self.shape.split(parameters))

    def begin_with(self, parameters: NDArray[np.float32]) -> None:
        """Overwrite the adapters, and those of the target policies, before anything is learned."""
        for layers in (self.actor, self.target_actor):
            layers.load(self.shape.split(parameters))

    def backbones(self) -> list[Backbone]:
        """The backbone of each lane: K times the frozen or the shared one, or the trained copies."""
        if self.backbone_training != "per_lane":
            return [self.backbone if self._shared is None else self._shared.backbone] * len(self.seeds)
        trained = {name: self.actor[name].cpu().numpy() for name in self.backbone.tensors()}
        lanes = [{name: value[lane] for name, value in trained.items()} for lane in range(len(self.seeds))]
        return [self.backbone.with_tensors(values, {"kind": "trained with the task"}) for values in lanes]

    # --- continuing --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, NDArray[np.float32]]:
        """All tensors that an exact continuation needs, by name."""
        return {
            f"{group}.{name}": value.cpu().numpy().copy()
            for group, layers in self._saved_layers().items()
            for name, value in layers.items()
        }

    def counters(self) -> dict[str, int]:
        """Steps of each optimiser."""
        return {name: adam.steps for name, adam in self._optimisers().items()}

    def load_state(self, state: Mapping[str, NDArray[np.float32]], counters: Mapping[str, int]) -> None:
        """Continue from `state()` and the `counters()` that were saved with it."""
        for group, layers in self._saved_layers().items():
            layers.load({name: state[f"{group}.{name}"] for name in layers})
        for name, adam in self._optimisers().items():
            adam.steps = counters[name]

    def finite(self) -> dict[str, NDArray[np.bool_]]:
        """Of all layers that change, by the names of `state`, in which lanes every number is finite: (K,), or (1,) for
        what lanes share."""
        return {
            group: torch.stack([value.isfinite().flatten(1).all(dim=1) for value in layers.values()])
            .all(dim=0)
            .cpu()
            .numpy()
            for group, layers in self._saved_layers().items()
        }

    def _optimisers(self) -> dict[str, Adam]:
        """All of them, by the name that their number of steps is saved under."""
        own = {"actor_steps": self.actor_adam, "critic_steps": self.critics_adam}
        return own if self._shared is None else own | {"backbone_steps": self._shared.adam}

    def _saved_layers(self) -> dict[str, FlatLayers]:
        """All layers that change, by the name that their state is saved under."""
        own = {
            "actor": self.actor,
            "critics": self.critics,
            "target_actor": self.target_actor,
            "target_critics": self.target_critics,
            "actor_adam.exp_avg": self.actor_adam.exp_avg,
            "actor_adam.exp_avg_sq": self.actor_adam.exp_avg_sq,
            "critics_adam.exp_avg": self.critics_adam.exp_avg,
            "critics_adam.exp_avg_sq": self.critics_adam.exp_avg_sq,
        }
        return own if self._shared is None else own | self._shared.saved_layers()
