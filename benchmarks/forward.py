"""`forward`: the policy's action for one observation and for batches, against SB3's `predict` and torch."""

from itertools import pairwise

import apb
import numpy as np
import torch
from apb.adapter import Adapter
from gymnasium.spaces import Box

from benchmarks.harness import Row, compare, installed, interleave, scaled

TOPIC = "forward"
OBSERVATION_SIZE, ACTION_SIZE = 17, 6
SIZES = [256, 256]
BATCH_LIMITS = {16: 35.0, 64: 110.0, 1024: None}


def run(quick: bool) -> list[Row]:
    """HalfCheetah's sizes, 256 x 256; everything on one thread."""
    torch.set_num_threads(1)
    repetitions = 7 if quick else 31
    observation_space = Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float64)
    action_space = Box(-1, 1, (ACTION_SIZE,), np.float32)
    backbone = apb.Backbone.random(0, reading="A", hidden_sizes=SIZES)
    adapter = Adapter.initial(backbone, OBSERVATION_SIZE, ACTION_SIZE)
    policy = apb.Policy(backbone, adapter, observation_space, action_space)
    network = _torch_network()
    rows = np.random.default_rng(0).standard_normal((1024, OBSERVATION_SIZE))

    one = rows[0]
    calls = {"apb": lambda: policy(one), "torch": lambda: _torch_action(network, one)}
    if installed("stable_baselines3"):
        model = _sb3_model(observation_space, action_space)
        calls["SB3"] = lambda: model.predict(one, deterministic=True)
    seconds = interleave(calls, repetitions=repetitions, calls=200)
    found = [
        _row("1 observation, float64, from Python", seconds, peer, limit=5.0 if peer == "SB3" else None)
        for peer in ("SB3", "torch")
    ]
    for count, limit in BATCH_LIMITS.items():
        batch = rows[:count].astype(np.float32)
        calls = {"apb": lambda b=batch: policy(b), "torch": lambda b=batch: _torch_action(network, b)}
        seconds = interleave(calls, repetitions=repetitions, calls=max(5, 2000 // count))
        found.append(_row(f"{count} observations", seconds, "torch", limit=limit, min_ratio=None if limit else 1.0))
    return found


def _row(case: str, seconds: dict[str, list[float]], peer: str, **targets: float | None) -> Row:
    other = scaled(seconds[peer]) if peer in seconds else None
    ours = ("apb, 1 thread", scaled(seconds["apb"]))
    return compare(TOPIC, case, ours, (f"{peer}, 1 thread", other), "us", higher_is_better=False, **targets)


def _torch_network() -> torch.nn.Module:
    sizes = [OBSERVATION_SIZE, *SIZES]
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], ACTION_SIZE), torch.nn.Tanh())


def _torch_action(network: torch.nn.Module, observation: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(observation).float()).numpy()


def _sb3_model(observation_space: Box, action_space: Box) -> object:
    import gymnasium
    from stable_baselines3 import TD3

    class Spaces(gymnasium.Env):
        def __init__(self) -> None:
            self.observation_space, self.action_space = observation_space, action_space

    return TD3("MlpPolicy", Spaces(), policy_kwargs={"net_arch": SIZES}, buffer_size=10, device="cpu")
