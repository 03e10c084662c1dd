"""`TD3`: how a group of lanes learns (Fujimoto et al. 2018), with the backbone frozen, trained by each, or by all.

Symbols (docs/algorithm.md derives them): policy of lane k `pi_k(s) = tanh(T_k psi(P_k s + p_k) + t_k)`, twin critics
`Q_k1, Q_k2`, primes for the Polyak-averaged targets, `d` for "not terminated". Every tensor has the lane axis K in
front; lanes share nothing but psi, and on a CPU none computes other bits beside the others than alone, unless they
learn psi together.
"""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import rng
from apb.adapter_shape import AdapterShape
from apb.backbone import Backbone
from apb.cuda_graphs import CudaGraphs, recording_wanted
from apb.lane_networks import LaneNetworks
from apb.lane_noise import LaneNoise
from apb.lane_stacks import LaneStacks
from apb.layer_stack import Chain
from apb.networks import critic_inputs
from apb.replay import Batch

INVERSE_TEMPERATURE = 10.0
"""Of the soft choice between two actions by their values, as in PEX's and IBRL's code."""


class TD3:
    """The update of K lanes' actors, twin critics and targets, all at once.

    Args:
        networks: What is learned.

    Attributes:
        actor_loss, critic_loss: The last ones of each lane, (K,).
        updates, resets: So far.
    """

    def __init__(self, networks: LaneNetworks) -> None:
        self.networks = networks
        self.settings, self.device = networks.settings, networks.device
        self.updates = 0
        self.resets = 0
        lanes, rows = len(networks.seeds), self.settings.batch_size
        self.actor_loss = torch.zeros(lanes, dtype=torch.float32, device=self.device)
        self.critic_loss = torch.zeros(lanes, dtype=torch.float32, device=self.device)
        action_sizes = [own.action_size for own in networks.own_shapes]
        self._noise = LaneNoise(networks.seeds, rng.Stream.TARGET_NOISE, rows, action_sizes)
        self._stacks = LaneStacks(
            networks.backbone, networks.shape, lanes, rows, self.device, networks.native, networks.pool
        )
        # The update after which the critics were drawn: how many steps they took, without asking the device.
        self._drawn_at = 0
        # What shards exchange need not be of the device alone, and only that can be recorded.
        recorded = self.device.type == "cuda" and not networks.sharded and recording_wanted()
        self._graphs = CudaGraphs(self.device) if recorded else None

    @staticmethod
    def required_bytes(backbone: Backbone, shape: AdapterShape, lanes: int, batch_size: int) -> int:
        """Bytes that K lanes take on a CPU, at least: stacks, and what is learned."""
        return LaneStacks.required_bytes(backbone, shape, lanes, batch_size) + LaneNetworks.required_bytes(shape, lanes)

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
        s, nets = self.settings, self.networks
        *fields, noise = inputs
        batch = Batch(*fields)
        noise = (noise * s.target_policy_noise).clamp_(-s.target_noise_clip, s.target_noise_clip)
        # y = r + gamma d min_j Q'_j(s', clip(pi'(s') + noise))
        next_action = self._act(nets.pi_target, batch.next_observation).add_(noise).clamp_(-1, 1)
        q_next = self._lower(batch.next_observation, next_action)
        if batch.prior_action is not None:
            q_next = self._with_extra(q_next, self._lower(batch.next_observation, batch.prior_action))
        y = batch.reward + s.gamma * batch.not_terminated * q_next
        # L = sum_j mean (Q_j(s, a) - y)^2
        error = self._values(nets.q, batch.observation, batch.action) - y.unsqueeze(1)
        torch.sum(error.square().mean(dim=2), dim=1, out=self.critic_loss)
        self._stacks.critics.backward(nets.q, (2 / s.batch_size * error).view(-1, s.batch_size, 1), nets.q_gradient)
        nets.step_critics()
        if policies_move:
            self._update_policies(batch.observation)
        if due:
            nets.follow_critics()

    def _update_policies(self, observation: Tensor) -> None:
        # L = -mean Q_1(s, pi(s)), whose gradient reaches pi through the action
        nets, critics = self.networks, self._stacks.first_critics
        action = self._act(nets.pi, observation)
        q = critics.forward(nets.q_first, critic_inputs(observation, action, 1))
        torch.neg(q.mean(dim=(1, 2)), out=self.actor_loss)
        slope = critics.input_gradient(nets.q_first, torch.full_like(q, -1 / self.settings.batch_size))
        slope = slope[..., observation.shape[2] :] * (1 - action.square())
        self._stacks.policies.backward(nets.pi, slope, nets.pi_gradient)
        nets.step_policies(q.abs().mean(dim=(1, 2)))
        nets.follow_policies()

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
        return self._values(self.networks.q_target, observation, action).amin(dim=1)

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
        action = self._act(self.networks.pi, observation)
        return self._values(self.networks.q, observation, action).mean(dim=1)

    # --- starting anew, continuing -----------------------------------------------------------------------------------

    def reset(self, draw: int) -> None:
        """See `LaneNetworks.reset`."""
        self.resets, self._drawn_at = draw, self.updates
        self.networks.reset(draw)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """All tensors that an exact continuation needs, by name, each with the lane axis in front, of length 1 for what
        lanes share; counters are in `counters`."""
        losses = {"actor_loss": self.actor_loss, "critic_loss": self.critic_loss}
        return {name: loss.cpu().numpy().copy() for name, loss in losses.items()} | self.networks.state()

    def counters(self) -> dict[str, int]:
        """All integers that an exact continuation needs."""
        return {"updates": self.updates, "resets": self.resets, **self.networks.counters()}

    def load_state(self, state: dict[str, NDArray[np.float32]], counters: dict[str, int]) -> None:
        """Continue from `state()` and the `counters()` that were saved with it."""
        self.reset(counters["resets"])
        self.updates = counters["updates"]
        self.networks.load_state(state, counters)
        self._drawn_at = self.updates - counters["critic_steps"]
        for name, loss in (("actor_loss", self.actor_loss), ("critic_loss", self.critic_loss)):
            loss.copy_(torch.from_numpy(state[name].copy()))

    @property
    def critic_steps(self) -> int:
        """Steps of the critics since they were drawn, without asking the device."""
        return self.updates - self._drawn_at

    def require_taken(self) -> None:
        """Raise `RuntimeError` unless the critics have taken as many steps on the device as it was asked for."""
        taken, asked = self.networks.critics_adam.steps, self.critic_steps
        if taken != asked:
            raise RuntimeError(f"{self.device} has taken {taken} steps of the critics; expected {asked}")
