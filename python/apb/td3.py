"""`TD3`: how a group of lanes learns (Fujimoto et al. 2018), with the backbone frozen or, for the plain-TD3 control,
trained.

Symbols (docs/algorithm.md derives them): policy of lane k `pi_k(s) = tanh(T_k psi(P_k s + p_k) + t_k)`, twin critics
`Q_k1, Q_k2`,
primes for the Polyak-averaged targets, `d` for "not terminated". Every tensor has the lane axis K in front; lanes share
nothing
but a frozen psi, so one program serves one lane on a CPU thread and many lanes on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apb import _native, rng
from apb.adapter import AdapterShape, draw_initial
from apb.backbone import Backbone
from apb.networks import Layers, critic_values, draw_critics, policy_actions
from apb.replay import Batch


@dataclass(frozen=True)
class TD3Settings:
    """Hyper-parameters of TD3; `adapt` documents each. Defaults are those of the authors' code (sfujim/TD3)."""

    learning_rate: float = 3e-4
    critic_learning_rate: float | None = None
    batch_size: int = 256
    tau: float = 0.005
    gamma: float = 0.99
    policy_delay: int = 2
    target_policy_noise: float = 0.2
    target_noise_clip: float = 0.5


class TD3:
    """Actor, twin critics, targets and optimisers of K lanes that are updated together.

    Args:
        backbone: psi. Its weights are shared by the lanes and never written unless `trainable_backbone`, which gives
            each lane a copy.
        shape: Sizes of the adapters.
        seeds: One seed per lane, K in all; fixes initial weights and target noise.
        settings: Hyper-parameters.
        trainable_backbone: Train psi too: with a backbone of reading A this is plain TD3.
        device: Where the tensors live and the updates run.
    """

    def __init__(
        self,
        backbone: Backbone,
        shape: AdapterShape,
        seeds: Sequence[int],
        settings: TD3Settings,
        *,
        trainable_backbone: bool = False,
        device: str = "cpu",
    ) -> None:
        self.backbone = backbone
        self.shape = shape
        self.seeds = tuple(seeds)
        self.settings = settings
        self.trainable_backbone = trainable_backbone
        self.device = torch.device(device)
        self.updates = 0
        self.resets = 0
        self.actor_loss = torch.zeros(len(self.seeds), device=self.device)
        self.critic_loss = torch.zeros(len(self.seeds), device=self.device)
        self._noise = np.empty((len(self.seeds), settings.batch_size, shape.action_size), dtype=np.float32)
        self._frozen = {} if trainable_backbone else self._tensors(self.backbone.tensors(), lanes=1)
        self.reset(0)

    # --- the update rule -------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> None:
        """One critic step, and every `policy_delay` steps one actor step and one step of the targets.

        Args:
            batch: Transitions of shape (K, B, ...), drawn from each lane's own replay.
        """
        s = self.settings
        self.updates += 1
        with torch.no_grad():
            noise = (self._draw_noise() * s.target_policy_noise).clamp_(-s.target_noise_clip, s.target_noise_clip)
            next_action = (self._policy(self.target_actor, batch.next_observation) + noise).clamp_(-1, 1)
            q_next = critic_values(self.target_critics, batch.next_observation, next_action).amin(dim=1)
            target = batch.reward + s.gamma * batch.not_terminated * q_next
        q = critic_values(self.critics, batch.observation, batch.action)
        critic_loss = (q - target.unsqueeze(1)).square().mean(dim=2).sum(dim=1)
        self._descend(self.critic_optimizer, self.critics, critic_loss)
        self.critic_loss = critic_loss.detach()
        if self.updates % s.policy_delay == 0:
            first_critics = {name: value.detach()[:, :1] for name, value in self.critics.items()}
            action = self._policy(self.actor, batch.observation)
            actor_loss = -critic_values(first_critics, batch.observation, action).mean(dim=(1, 2))
            self._descend(self.actor_optimizer, self.actor, actor_loss)
            self.actor_loss = actor_loss.detach()
            for targets, sources in ((self.target_actor, self.actor), (self.target_critics, self.critics)):
                for name, target_value in targets.items():
                    target_value.lerp_(sources[name].detach(), s.tau)

    def _policy(self, actor: Layers, observation: Tensor) -> Tensor:
        return policy_actions(actor | self._frozen, observation, self.backbone.input_activation)

    def _descend(self, optimizer: torch.optim.Optimizer, layers: Layers, loss: Tensor) -> None:
        # Lanes share no parameter, so the gradient of the sum is each lane's own gradient. `backward` lays gradients
        # out as
        # their parameters are, which the fused optimiser takes for granted; `autograd.grad` would not.
        optimizer.zero_grad()
        loss.sum().backward(inputs=list(layers.values()))
        optimizer.step()

    def _draw_noise(self) -> Tensor:
        for lane, seed in enumerate(self.seeds):
            key, counter = rng.key(seed, rng.Stream.TARGET_NOISE), rng.counter(self.updates)
            _native.philox_normal(key, counter, self._noise[lane].reshape(-1))
        return torch.from_numpy(self._noise).to(self.device)

    # --- parameters ------------------------------------------------------------------------------------------------

    def reset(self, draw: int) -> None:
        """Draw adapters (and psi, if it is trained) and critics anew, with fresh targets and optimisers.

        Args:
            draw: Number of the draw; 0 at the start of a run, then one more at each periodic reset.
        """
        self.resets = draw
        adapters = np.stack([draw_initial(self.backbone, self.shape, seed, draw) for seed in self.seeds])
        actor = self.shape.split(adapters)
        if self.trainable_backbone:
            for name, value in self.backbone.tensors().items():
                actor[name] = np.broadcast_to(value, (len(self.seeds), *value.shape))
        critics = draw_critics(self.shape.observation_size + self.shape.action_size, self.seeds, draw)
        self.actor = self._leaves(actor)
        self.critics = self._leaves(critics)
        self.target_actor = self._tensors(actor)
        self.target_critics = self._tensors(critics)
        s = self.settings
        self.actor_optimizer = torch.optim.Adam(self.actor.values(), lr=s.learning_rate, fused=True)
        critic_rate = s.learning_rate if s.critic_learning_rate is None else s.critic_learning_rate
        self.critic_optimizer = torch.optim.Adam(self.critics.values(), lr=critic_rate, fused=True)

    def adapters(self) -> NDArray[np.float32]:
        """The lanes' adapters as flat vectors, shape (K, n): a copy."""
        lanes = len(self.seeds)
        flat = torch.cat([self.actor[name].detach().reshape(lanes, -1) for name in self.shape.layers], dim=1)
        return flat.cpu().numpy()

    def set_adapters(self, parameters: NDArray[np.float32]) -> None:
        """Overwrite the adapters with flat vectors (K, n); optimisers and targets stay."""
        with torch.no_grad():
            for name, value in self.shape.split(parameters).items():
                self.actor[name].copy_(torch.from_numpy(np.ascontiguousarray(value)))

    def lane_backbone(self, lane: int) -> Backbone:
        """The backbone of one lane: the frozen one, or the lane's trained copy."""
        if not self.trainable_backbone:
            return self.backbone
        names = self.backbone.tensors()
        values = {name: self.actor[name][lane].detach().cpu().numpy() for name in names}
        weights = tuple(value for name, value in values.items() if name.endswith("weight"))
        biases = tuple(value for name, value in values.items() if name.endswith("bias"))
        return Backbone(weights, biases, self.backbone.input_activation, {"kind": "trained with the task"})

    def state(self) -> dict[str, NDArray[np.float32]]:
        """All tensors that an exact continuation needs, by name, each with the lane axis in front; counters are in
        `counters`."""
        tensors: dict[str, Tensor] = {}
        groups = {
            "actor": self.actor,
            "critics": self.critics,
            "target_actor": self.target_actor,
            "target_critics": self.target_critics,
        }
        for group, layers in groups.items():
            tensors |= {f"{group}.{name}": value for name, value in layers.items()}
        for group, layers, optimizer in (
            ("actor_adam", self.actor, self.actor_optimizer),
            ("critics_adam", self.critics, self.critic_optimizer),
        ):
            for name, value in layers.items():
                moments = optimizer.state.get(value, {})
                for moment in ("exp_avg", "exp_avg_sq"):
                    tensors[f"{group}.{moment}.{name}"] = moments.get(moment, torch.zeros_like(value))
        tensors |= {"actor_loss": self.actor_loss, "critic_loss": self.critic_loss}
        return {name: value.detach().cpu().numpy().copy() for name, value in tensors.items()}

    def load_state(
        self, state: dict[str, NDArray[np.float32]], updates: int, resets: int, optimizer_steps: tuple[int, int]
    ) -> None:
        """Continue from `state()` and the counters that were saved with it."""
        self.reset(resets)
        self.updates = updates
        with torch.no_grad():
            groups = {
                "actor": self.actor,
                "critics": self.critics,
                "target_actor": self.target_actor,
                "target_critics": self.target_critics,
            }
            for group, layers in groups.items():
                for name, value in layers.items():
                    value.copy_(torch.from_numpy(state[f"{group}.{name}"]))
        for group, layers, optimizer, steps in (
            ("actor_adam", self.actor, self.actor_optimizer, optimizer_steps[0]),
            ("critics_adam", self.critics, self.critic_optimizer, optimizer_steps[1]),
        ):
            if steps == 0:
                continue
            for name, value in layers.items():
                optimizer.state[value] = {
                    "step": torch.tensor(float(steps), device=self.device),
                    "exp_avg": torch.from_numpy(state[f"{group}.exp_avg.{name}"].copy()).to(self.device),
                    "exp_avg_sq": torch.from_numpy(state[f"{group}.exp_avg_sq.{name}"].copy()).to(self.device),
                }
        self.actor_loss = torch.from_numpy(state["actor_loss"].copy()).to(self.device)
        self.critic_loss = torch.from_numpy(state["critic_loss"].copy()).to(self.device)

    @property
    def optimizer_steps(self) -> tuple[int, int]:
        """Steps that the actor's and the critics' Adam have taken since the last reset."""
        steps = []
        for layers, optimizer in ((self.actor, self.actor_optimizer), (self.critics, self.critic_optimizer)):
            first = next(iter(layers.values()))
            steps.append(int(optimizer.state[first]["step"]) if first in optimizer.state else 0)
        return steps[0], steps[1]

    def _tensors(self, arrays: dict[str, NDArray[np.float32]], lanes: int | None = None) -> Layers:
        # Row-major even where NumPy would keep the order of a broadcast array: the optimiser's moments are loaded
        # row-major.
        added_axis = lanes is not None
        return {
            name: torch.from_numpy(np.array(value[None] if added_axis else value, dtype=np.float32, order="C")).to(
                self.device
            )
            for name, value in arrays.items()
        }

    def _leaves(self, arrays: dict[str, NDArray[np.float32]]) -> Layers:
        return {name: value.requires_grad_() for name, value in self._tensors(arrays).items()}
