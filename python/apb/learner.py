"""`Learner`: TD3 on what the lanes have in their replay, with sampling, normalisation and a watch on the losses."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from apb import _native
from apb.adapter_shape import AdapterShape
from apb.adapter_starts import Start
from apb.backbone import Backbone
from apb.companions import Companion
from apb.errors import DivergenceError, counted
from apb.lane_networks import LaneNetworks
from apb.memory import available_memory, require_room
from apb.replay import Batch, Replay
from apb.settings import BackboneTraining
from apb.shared_backbone import Gather
from apb.state_arrays import named, part
from apb.td3 import TD3
from apb.td3_settings import TD3Settings
from apb.torch_threads import one_torch_thread

ADVICE = "look at the scale of the observations or rewards, or lower learning_rate"
"""What to do about a divergence."""


class Learner:
    """TD3 over K lanes: `td3` learns, and this feeds it, watches its losses, and tells strategies what they need.

    On a CPU the lanes' products are spread over the native threads of `pool`, and the same bits come out for any number
    of them; on CUDA all lanes are one batched program.

    Args:
        backbone, shape, seeds, settings, own_shapes, starts, backbone_training, device, pool, gather: see
            `LaneNetworks`.

    Attributes:
        companions: What takes part in it beside TD3, in order; put there before anything is learned.

    Raises:
        ConfigError: on a CPU, there is not as much memory as networks, their buffers and batches take.
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
        gather: Gather | None = None,
    ) -> None:
        if torch.device(device).type == "cpu":
            sizes = shape.observation_size, shape.action_size
            batches = Replay.required_bytes(len(seeds), settings.batch_size, *sizes)
            require_room(
                TD3.required_bytes(backbone, shape, len(seeds), settings.batch_size) + batches,
                available_memory(),
                f"batch_size = {settings.batch_size}",
                f"of memory to learn in {counted(len(seeds), 'lane')}",
                "a smaller batch_size, or fewer tasks or seeds",
            )
        with one_torch_thread():
            networks = LaneNetworks(
                backbone,
                shape,
                seeds,
                settings,
                own_shapes=own_shapes,
                starts=starts,
                backbone_training=backbone_training,
                device=device,
                pool=pool,
                gather=gather,
            )
            self.td3 = TD3(networks)
        self._statistics: tuple[torch.Tensor, torch.Tensor, float] | None = None
        self._adapters: NDArray[np.float32] | None = None
        self._checked_to = 0
        self.sampling_seconds = 0.0
        self.companions: list[Companion] = []

    def set_normalization(self, mean: NDArray[np.float64], inverse_std: NDArray[np.float64], clip: float) -> None:
        """Normalise sampled observations from now on: mean and inverse_std (K, obs), as `Normalizer` does for
        acting."""
        tensors = [
            torch.from_numpy(array.astype(np.float32)).to(self.td3.device).unsqueeze(1) for array in (mean, inverse_std)
        ]
        self._statistics = (tensors[0], tensors[1], clip)

    def update(self, replay: Replay, count: int) -> bool:
        """`count` updates of every lane from its own replay; whether the policies moved.

        A GPU may still be at the last one when this returns: as long as nothing is asked of it, envs are simulated and
        batches drawn at the same time.

        Raises:
            DivergenceError: a loss became NaN or infinite; names the lane, its seed and the update. On a GPU that of a
                last update that did not move the policies is looked at by the next call, or by `require_finite`.
        """
        moved = False
        with one_torch_thread():
            for _ in range(count):
                batch = self._sample(replay)
                # Each time: the next loss may be of a batch without the cause, or, with a shared psi, of another lane.
                self._check_losses()
                if now := self.td3.update(batch):
                    moved, self._adapters = True, None
                for companion in self.companions:
                    companion.learn(batch, now)
            if moved or self.td3.device.type == "cpu":
                self._check_losses()
        return moved

    def _sample(self, replay: Replay) -> Batch:
        start = time.perf_counter()
        batch = replay.sample(self.updates)
        self.sampling_seconds += time.perf_counter() - start
        for companion in self.companions:
            companion.prepare(batch)
        start = time.perf_counter()
        batch = Batch(**{name: value.to(self.td3.device) for name, value in batch.given().items()})
        batch.observation, batch.next_observation = map(self._normalized, (batch.observation, batch.next_observation))
        self.sampling_seconds += time.perf_counter() - start
        return batch

    def _normalized(self, observation: torch.Tensor) -> torch.Tensor:
        if self._statistics is None:
            return observation
        mean, inverse_std, clip = self._statistics
        return ((observation - mean) * inverse_std).clamp_(-clip, clip)

    def values(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the critics expect of each lane's actor from observations (K, R, obs) on, shape (K, R)."""
        with one_torch_thread():
            return self.td3.values(self._normalized(torch.from_numpy(observation).to(self.td3.device))).cpu().numpy()

    def target_values(self, observation: NDArray[np.float32], action: NDArray[np.float32]) -> NDArray[np.float32]:
        """The lower of each lane's target critics of actions (K, R, act) at observations (K, R, obs), shape (K, R)."""
        tensors = (torch.from_numpy(array).to(self.td3.device) for array in (observation, action))
        state, chosen = tensors
        with one_torch_thread():
            return self.td3.target_values(self._normalized(state), chosen).cpu().numpy()

    def _check_losses(self) -> None:
        """Of the last update, unless they were looked at before."""
        if self._checked_to == self.updates:
            return
        for name, losses in self.losses().items():
            for lane in np.flatnonzero(~np.isfinite(losses)).tolist():
                raise DivergenceError(
                    f"the {name} of {self._owner(lane, len(losses))} is {losses[lane]} at update {self.updates}; "
                    f"expected a finite number: {ADVICE}"
                )
        self._checked_to = self.updates

    def require_finite(self) -> None:
        """Check all that changes as lanes learn, the optimisers' moments too: where the square of a gradient is not
        finite in float32, from 1.8e19 on, a parameter never moves again, and losses do not tell. This takes no longer
        than an update, so it is for where results are looked at.

        Raises:
            DivergenceError: names what is not finite, and its lane and seed.
        """
        with one_torch_thread():
            self._check_losses()
            self.td3.require_taken()
            found = self.td3.networks.finite()
        for group, finite in found.items():
            for lane in np.flatnonzero(~finite).tolist():
                raise DivergenceError(
                    f"{group} of {self._owner(lane, len(finite))} has overflowed by update {self.updates}, and "
                    f"parameters stopped moving; expected finite numbers: {ADVICE}"
                )

    def _owner(self, lane: int, count: int) -> str:
        """Whose the entry of a lane is in an array of so many entries: one for each lane, or what all lanes share."""
        return (
            f"lane {lane} (seed {self.td3.networks.seeds[lane]})"
            if count == len(self.td3.networks.seeds)
            else "all lanes"
        )

    def losses(self) -> dict[str, NDArray[np.float32]]:
        """The last `actor_loss` and `critic_loss` of every lane, each of shape (K,), as far as there was a step."""
        taken = {"actor_loss": self.td3.networks.actor_adam.steps or self.resets, "critic_loss": self.updates}
        losses = {name: getattr(self.td3, name).cpu().numpy().copy() for name, steps in taken.items() if steps}
        return losses | {name: loss for companion in self.companions for name, loss in companion.losses().items()}

    def warmed_up(self, replay: Replay) -> None:
        """The steps before learning are over."""
        with one_torch_thread():
            for companion in self.companions:
                companion.warmed_up(replay)

    @property
    def acts_in_warmup(self) -> bool:
        """Whether the policies act before learning starts, in place of random actions."""
        return any(companion.acts_in_warmup for companion in self.companions)

    def reset(self) -> None:
        """Periodic reset: new adapters, critics, targets and optimisers for every lane; the replay stays."""
        self.td3.reset(self.resets + 1)
        self._adapters = None
        for companion in self.companions:
            companion.reset()

    def adapters(self) -> NDArray[np.float32]:
        """The current adapters of the lanes as flat vectors, shape (K, n): a copy."""
        if self._adapters is None:
            self._adapters = self.td3.networks.adapters()
        return self._adapters.copy()

    def own_adapters(self) -> list[NDArray[np.float32]]:
        """The adapter of each lane at the lane's own sizes, (n_k,)."""
        return self.td3.networks.own_adapters()

    @property
    def own_shapes(self) -> tuple[AdapterShape, ...]:
        """The lanes' own sizes; `LaneNetworks` pads what is smaller than the largest."""
        return self.td3.networks.own_shapes

    @property
    def learned_places(self) -> tuple[NDArray[np.int64], ...]:
        """See `LaneNetworks`."""
        return self.td3.networks.learned_places

    def set_adapters(self, parameters: NDArray[np.float32]) -> None:
        """Overwrite the adapters with flat vectors (K, n)."""
        self.td3.networks.set_adapters(parameters)
        self._adapters = None

    @property
    def updates(self) -> int:
        """Updates of every lane so far."""
        return self.td3.updates

    @property
    def policies_may_move(self) -> bool:
        """Whether the critics have learned long enough for what they say to move a policy (`policy_starts`)."""
        return self.td3.critic_steps >= self.td3.settings.policy_starts

    @property
    def resets(self) -> int:
        """Periodic resets so far."""
        return self.td3.resets

    def begin_with(self, parameters: NDArray[np.float32]) -> None:
        """Overwrite the adapters and those of the target policies with flat vectors (K, n), before anything is
        learned."""
        self.td3.networks.begin_with(parameters)
        self._adapters = None

    def state(self) -> dict[str, NDArray[Any]]:
        """All arrays that an exact continuation needs, by name; see `TD3.state` and `Companion.state`."""
        state = self.td3.state()
        for companion in self.companions:
            state |= named(companion.name, companion.state())
        return state

    def counters(self) -> dict[str, int]:
        """All integers that an exact continuation needs."""
        return self.td3.counters()

    def load_state(self, state: dict[str, NDArray[Any]], counters: dict[str, int]) -> None:
        """Continue from `state()` and the `counters()` that were saved with it."""
        self.td3.load_state(state, counters)
        self._adapters, self._checked_to = None, 0
        for companion in self.companions:
            companion.load_state(part(companion.name, state))

    def backbones(self) -> list[Backbone]:
        """See `TD3`."""
        return self.td3.networks.backbones()
