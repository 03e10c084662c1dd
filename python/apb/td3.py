"""`TD3`: how a group of lanes learns (Fujimoto et al. 2018), with the backbone frozen, trained by each, or by all.

Symbols (docs/algorithm.md derives them): policy of lane k `pi_k(s) = tanh(T_k psi(P_k s + p_k) + t_k)`, twin critics
`Q_k1, Q_k2`, primes for the Polyak-averaged targets, `d` for "not terminated". Every tensor has the lane axis K in
front; lanes share nothing but psi, and on a CPU none computes other bits beside the others than alone, unless they
learn psi together.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native, rng
from apb.adapter_shape import AdapterShape, learned_layers
from apb.adapter_starts import Start, starts_of
from apb.backbone import Backbone
from apb.cuda_graphs import CudaGraphs, recording_wanted
from apb.lane_noise import LaneNoise
from apb.lane_stacks import LaneStacks
from apb.layer_stack import Chain, Gradients
from apb.networks import (
    FlatLayers,
    critic_chain,
    critic_inputs,
    critic_sizes,
    draw_padded_critics,
    policy_chain,
)
from apb.optimizer import Adam, polyak_step
from apb.replay import Batch
from apb.settings import BackboneTraining
from apb.shared_backbone import Gather, SharedBackbone
from apb.td3_settings import TD3Settings

INVERSE_TEMPERATURE = 10.0
"""Of the soft choice between two actions by their values, as in PEX's and IBRL's code."""


class TD3:
    """Actor, twin critics, targets and optimisers of K lanes that are updated together.

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
        learned_places: For each lane, where the parameters that it learns lie in its padded adapter.

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
        self.backbone = backbone
        self.shape = shape
        self.seeds = tuple(seeds)
        self.own_shapes = (shape,) * len(self.seeds) if own_shapes is None else tuple(own_shapes)
        self.settings = settings
        self.backbone_training = backbone_training
        self.device = torch.device(device)
        self._native = self.device.type == "cpu" if native is None else native
        self._pool = pool
        self.updates = 0
        self.resets = 0
        self.actor_loss = torch.zeros(len(self.seeds), dtype=torch.float32, device=self.device)
        self.critic_loss = torch.zeros(len(self.seeds), dtype=torch.float32, device=self.device)
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
                native=self._native,
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
        self._pi, self._pi_target = (
            policy_chain({**self.actor, **psi}),
            policy_chain({**self.target_actor, **psi_target}),
        )
        self._q, self._q_target = critic_chain(self.critics), critic_chain(self.target_critics)
        self._q_first = critic_chain(self.critics, slice(1))
        action_sizes = [own.action_size for own in self.own_shapes]
        self._noise = LaneNoise(self.seeds, rng.Stream.TARGET_NOISE, settings.batch_size, action_sizes)
        lanes, rows = len(self.seeds), settings.batch_size
        self._stacks = LaneStacks(backbone, shape, lanes, rows, self.device, self._native, pool)
        self._actor_gradient, self._critics_gradient = self.actor.zeros_like(), self.critics.zeros_like()
        learned = self._actor_gradient if self._shared is None else self._actor_gradient | self._shared.parts
        pre, *between, post = policy_chain(learned)
        not_learned: Gradients = [None] * len(backbone.weights)
        self._pi_gradient: Gradients = [
            pre if "pre" in layers else None,
            *(between or not_learned),
            post if "post" in layers else None,
        ]
        self._q_gradient = critic_chain(self._critics_gradient)
        critic_rate = settings.learning_rate if settings.critic_learning_rate is None else settings.critic_learning_rate
        self.actor_adam = Adam(self.actor, settings.learning_rate, native=self._native, pool=pool)
        self.critics_adam = Adam(self.critics, critic_rate, native=self._native, pool=pool)
        # The update after which the critics were drawn: how many steps they took, without asking the device.
        self._drawn_at = 0
        # What shards exchange need not be of the device alone, and only that can be recorded.
        recorded = self.device.type == "cuda" and gather is None and recording_wanted()
        self._graphs = CudaGraphs(self.device) if recorded else None

    @staticmethod
    def required_bytes(backbone: Backbone, shape: AdapterShape, lanes: int, batch_size: int) -> int:
        """Bytes that K lanes take on a CPU, at least: stacks, and what is learned with its targets, gradients and two
        moments."""
        critic = sum(
            out * (size + 1) for size, out in pairwise(critic_sizes(shape.observation_size + shape.action_size))
        )
        parameters = lanes * (shape.num_parameters + 2 * critic)
        return LaneStacks.required_bytes(backbone, shape, lanes, batch_size) + 5 * 4 * parameters

    # --- the update rule ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def update(self, batch: Batch) -> bool:
        """One critic step, and every `policy_delay` steps one step of the targets and, once the critics have taken
        `policy_starts` steps since they were drawn, one actor step.

        Args:
            batch: Transitions of shape (K, B, ...), drawn from each lane's own replay.

        Returns:
            Whether the policies moved.
        """
        self.updates += 1
        due = self.updates % self.settings.policy_delay == 0
        policies_move = due and self.critic_steps > self.settings.policy_starts
        noise = torch.from_numpy(self._noise.normal(self.updates)).to(self.device)
        step = partial(self._step, due, policies_move)
        inputs = (*batch.given().values(), noise)
        if self._graphs is None:
            step(*inputs)
        else:
            self._graphs.run((due, policies_move), step, *inputs)
        return policies_move

    def _step(self, due: bool, policies_move: bool, *inputs: Tensor) -> None:
        """What an update does on the device: fit for `CudaGraphs`.

        Args:
            due: Whether the targets of the critics move.
            policies_move: Whether the policies do, and their targets.
            inputs: The fields of a `Batch`, and standard normal noise (K, B, act).
        """
        s = self.settings
        *fields, noise = inputs
        batch = Batch(*fields)
        noise = (noise * s.target_policy_noise).clamp_(-s.target_noise_clip, s.target_noise_clip)
        # y = r + gamma d min_j Q'_j(s', clip(pi'(s') + noise))
        next_action = self._act(self._pi_target, batch.next_observation).add_(noise).clamp_(-1, 1)
        q_next = self._lower(batch.next_observation, next_action)
        if batch.prior_action is not None:
            q_next = self._with_extra(q_next, self._lower(batch.next_observation, batch.prior_action))
        y = batch.reward + s.gamma * batch.not_terminated * q_next
        # L = sum_j mean (Q_j(s, a) - y)^2
        error = self._values(self._q, batch.observation, batch.action) - y.unsqueeze(1)
        torch.sum(error.square().mean(dim=2), dim=1, out=self.critic_loss)
        self._stacks.critics.backward(self._q, (2 / s.batch_size * error).view(-1, s.batch_size, 1), self._q_gradient)
        self.critics_adam.step(self._critics_gradient)
        if policies_move:
            self._update_actor(batch.observation)
            self._follow(self.target_actor, self.actor)
        if due:
            self._follow(self.target_critics, self.critics)

    def _update_actor(self, observation: Tensor) -> None:
        # L = -mean Q_1(s, pi(s)), whose gradient reaches pi through the action
        action = self._act(self._pi, observation)
        q = self._stacks.first_critics.forward(self._q_first, critic_inputs(observation, action, 1))
        torch.neg(q.mean(dim=(1, 2)), out=self.actor_loss)
        slope = self._stacks.first_critics.input_gradient(
            self._q_first, torch.full_like(q, -1 / self.settings.batch_size)
        )
        slope = slope[..., self.shape.observation_size :] * (1 - action.square())
        self._stacks.policies.backward(self._pi, slope, self._pi_gradient)
        self.actor_adam.step(self._actor_gradient)
        if self._shared is not None:
            self._shared.step(q.abs().mean(dim=(1, 2)))

    def _follow(self, target: FlatLayers, source: FlatLayers) -> None:
        polyak_step(target, source, self.settings.tau, native=self._native, pool=self._pool)

    def _act(self, pi: Chain, observation: Tensor) -> Tensor:
        """Actions (K, R, act) of the lanes' policies for observations (K, R, obs)."""
        policies, _ = self._stacks.of(observation.shape[1])
        return policies.forward(pi, observation).tanh_()

    def _values(self, q: Chain, observation: Tensor, action: Tensor) -> Tensor:
        """Values (K, 2, R) of the lanes' twin critics."""
        lanes, rows = action.shape[:2]
        _, critics = self._stacks.of(rows)
        return critics.forward(q, critic_inputs(observation, action, 2)).view(lanes, 2, rows)

    def _lower(self, observation: Tensor, action: Tensor) -> Tensor:
        """min_j Q'_j of actions (K, R, act), shape (K, R)."""
        return self._values(self._q_target, observation, action).amin(dim=1)

    def _with_extra(self, own: Tensor, prior: Tensor) -> Tensor:
        """What a state is worth where the prior's action may be taken too: the higher value, or, where the choice is
        soft, the mean over the choice."""
        if self.settings.extra_action == "hard":
            return torch.maximum(own, prior)
        return own + (prior - own) * torch.sigmoid(INVERSE_TEMPERATURE * (prior - own))

    @torch.no_grad()
    def target_values(self, observation: Tensor, action: Tensor) -> Tensor:
        """min_j Q'_j(s, a) of each lane, shape (K, R), for observations (K, R, obs) and actions (K, R, act)."""
        return self._lower(observation, action)

    @torch.no_grad()
    def values(self, observation: Tensor) -> Tensor:
        """V(s) = mean_j Q_j(s, pi(s)) of each lane, shape (K, R), for observations (K, R, obs)."""
        return self._values(self._q, observation, self._act(self._pi, observation)).mean(dim=1)

    # --- parameters --------------------------------------------------------------------------------------------------

    def reset(self, draw: int) -> None:
        """Draw adapters and critics anew, with fresh targets and optimisers. A lane's own psi goes back to the given
        one; one that all lanes share stays as they have it.

        Args:
            draw: Number of the draw; 0 at the start of a run, then one more at each periodic reset.
        """
        self.resets, self._drawn_at = draw, self.updates
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

    def state(self) -> dict[str, NDArray[np.float32]]:
        """All tensors that an exact continuation needs, by name, each with the lane axis in front, of length 1 for what
        lanes share; counters are in `counters`."""
        tensors: dict[str, Tensor] = {"actor_loss": self.actor_loss, "critic_loss": self.critic_loss}
        for group, layers in self._saved_layers().items():
            tensors |= {f"{group}.{name}": value for name, value in layers.items()}
        return {name: value.cpu().numpy().copy() for name, value in tensors.items()}

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

    @property
    def critic_steps(self) -> int:
        """Steps of the critics since they were drawn, without asking the device."""
        return self.updates - self._drawn_at

    def require_taken(self) -> None:
        """Raise `RuntimeError` unless the critics have taken as many steps on the device as it was asked for."""
        taken, asked = self.critics_adam.steps, self.critic_steps
        if taken != asked:
            raise RuntimeError(f"{self.device} has taken {taken} steps of the critics; expected {asked}")

    def counters(self) -> dict[str, int]:
        """All integers that an exact continuation needs."""
        steps = {name: adam.steps for name, adam in self._optimisers().items()}
        return {"updates": self.updates, "resets": self.resets, **steps}

    def load_state(self, state: dict[str, NDArray[np.float32]], counters: dict[str, int]) -> None:
        """Continue from `state()` and the `counters()` that were saved with it."""
        self.reset(counters["resets"])
        self.updates = counters["updates"]
        for group, layers in self._saved_layers().items():
            layers.load({name: state[f"{group}.{name}"] for name in layers})
        for name, adam in self._optimisers().items():
            adam.steps = counters[name]
        self._drawn_at = self.updates - counters["critic_steps"]
        for name, loss in (("actor_loss", self.actor_loss), ("critic_loss", self.critic_loss)):
            loss.copy_(torch.from_numpy(state[name].copy()))

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
