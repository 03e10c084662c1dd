"""`Learner`: the lanes of a run as groups that are updated side by side, one torch thread each on a CPU, one group on a
GPU."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from apb.adapter import AdapterShape
from apb.backbone import Backbone
from apb.errors import DivergenceError
from apb.replay import Batch, Replay
from apb.td3 import TD3, TD3Settings

MAX_INTRA_OP_THREADS = 2
"""Threads inside the matrix products of a single lane: at batch 256 a third gains nothing (docs/benchmarks.md)."""


class Learner:
    """TD3 over K lanes.

    On a CPU every lane is its own group, and groups are spread over `num_threads` workers with one intra-op thread
    each; a single lane uses two inside its matrix products instead. On CUDA all lanes form one group, one batched
    program.

    Args:
        backbone, shape, seeds, settings, trainable_backbone, device: see `TD3`.
        num_threads: Threads that updates may use.
    """

    def __init__(
        self,
        backbone: Backbone,
        shape: AdapterShape,
        seeds: Sequence[int],
        settings: TD3Settings,
        *,
        trainable_backbone: bool,
        device: str,
        num_threads: int,
    ) -> None:
        self.seeds = tuple(seeds)
        size = 1 if device == "cpu" else len(seeds)
        self._lanes = [slice(start, start + size) for start in range(0, len(seeds), size)]
        self._groups = [
            TD3(backbone, shape, seeds[lanes], settings, trainable_backbone=trainable_backbone, device=device)
            for lanes in self._lanes
        ]
        self.device = torch.device(device)
        workers = min(num_threads, len(self._groups))
        self._intra_op_threads = min(num_threads, MAX_INTRA_OP_THREADS) if workers == 1 else 1
        self._workers = ThreadPoolExecutor(workers, "apb-lane") if workers > 1 else None
        self._statistics: tuple[torch.Tensor, torch.Tensor, float] | None = None
        self.sampling_seconds = 0.0

    def set_normalization(self, mean: NDArray[np.float64], inverse_std: NDArray[np.float64], clip: float) -> None:
        """Normalise sampled observations from now on: mean and inverse_std (K, obs), as `Normalizer` does for
        acting."""
        tensors = [
            torch.from_numpy(array.astype(np.float32)).to(self.device).unsqueeze(1) for array in (mean, inverse_std)
        ]
        self._statistics = (tensors[0], tensors[1], clip)

    @property
    def updates(self) -> int:
        """Critic updates that each lane has taken."""
        return self._groups[0].updates

    @property
    def resets(self) -> int:
        """Periodic resets that each lane has had."""
        return self._groups[0].resets

    def update(self, replay: Replay, count: int) -> None:
        """`count` updates of every lane from its own replay.

        Raises:
            DivergenceError: a loss became NaN or infinite; names the lane, its seed and the update.
        """
        if self._workers is None:
            for group, lanes in zip(self._groups, self._lanes, strict=True):
                self._update_group(group, lanes, replay, count)
        else:
            jobs = [
                self._workers.submit(self._update_group, group, lanes, replay, count)
                for group, lanes in zip(self._groups, self._lanes, strict=True)
            ]
            for job in jobs:
                job.result()
        self._check_finite()

    def _update_group(self, group: TD3, lanes: slice, replay: Replay, count: int) -> None:
        # The setting is per thread, cheap, and another library may have changed it since the last call.
        if torch.get_num_threads() != self._intra_op_threads:
            torch.set_num_threads(self._intra_op_threads)
        for _ in range(count):
            start = time.perf_counter()
            batch = replay.sample(group.updates, lanes)
            if self.device.type != "cpu":
                batch = Batch(*(getattr(batch, name).to(self.device) for name in Batch.__slots__))
            if self._statistics is not None:
                mean, inverse_std, clip = (self._statistics[0][lanes], self._statistics[1][lanes], self._statistics[2])
                for name in ("observation", "next_observation"):
                    setattr(batch, name, ((getattr(batch, name) - mean) * inverse_std).clamp_(-clip, clip))
            if lanes.start == 0:
                self.sampling_seconds += time.perf_counter() - start
            group.update(batch)

    def _check_finite(self) -> None:
        for name, losses in self.losses().items():
            for lane in np.flatnonzero(~np.isfinite(losses)):
                raise DivergenceError(
                    f"the {name} of lane {lane} (seed {self.seeds[lane]}) is {losses[lane]} at update {self.updates}; "
                    "expected a finite number: look at the scale of the rewards, or lower learning_rate"
                )

    def losses(self) -> dict[str, NDArray[np.float32]]:
        """The last `actor_loss` and `critic_loss` of every lane, each of shape (K,)."""
        return {
            name: torch.cat([getattr(group, name) for group in self._groups]).cpu().numpy()
            for name in ("actor_loss", "critic_loss")
        }

    def reset(self) -> None:
        """Periodic reset: new adapters, critics, targets and optimisers for every lane; the replay stays."""
        for group in self._groups:
            group.reset(group.resets + 1)

    def adapters(self) -> NDArray[np.float32]:
        """The current adapters of the lanes as flat vectors, shape (K, n): a copy."""
        return np.concatenate([group.adapters() for group in self._groups])

    def set_adapters(self, parameters: NDArray[np.float32]) -> None:
        """Overwrite the adapters with flat vectors (K, n)."""
        for group, lanes in zip(self._groups, self._lanes, strict=True):
            group.set_adapters(parameters[lanes])

    def backbones(self) -> list[Backbone]:
        """The backbone of each lane: K times the frozen one, or the trained copies."""
        return [group.lane_backbone(lane) for group in self._groups for lane in range(len(group.seeds))]

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Tensors for an exact continuation, lane axis in front."""
        states = [group.state() for group in self._groups]
        return {name: np.concatenate([state[name] for state in states]) for name in states[0]}

    def counters(self) -> dict[str, int]:
        """Integers for an exact continuation."""
        actor_steps, critic_steps = self._groups[0].optimizer_steps
        return {
            "updates": self.updates,
            "resets": self.resets,
            "actor_steps": actor_steps,
            "critic_steps": critic_steps,
        }

    def load_state(self, state: dict[str, NDArray[np.float32]], counters: dict[str, int]) -> None:
        """Continue from `state()` and `counters()`."""
        steps = (counters["actor_steps"], counters["critic_steps"])
        for group, lanes in zip(self._groups, self._lanes, strict=True):
            part = {name: value[lanes] for name, value in state.items()}
            group.load_state(part, counters["updates"], counters["resets"], steps)

    def close(self) -> None:
        """End the worker threads."""
        if self._workers is not None:
            self._workers.shutdown()
