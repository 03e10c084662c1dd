"""`cloning`: the two fits of `apb.clone` on HalfCheetah's sizes, against torch."""

import apb
import numpy as np
import torch
from apb import _native
from apb.adapter import draw_initial
from apb.adapter_shape import AdapterShape
from apb.cloning.regression import ActorRegression
from apb.cloning.ridge import CLIP
from apb.threads import available_cpus

from benchmarks.harness import Row, compare, interleave, scaled

TOPIC = "cloning"
OBSERVATION_SIZE, ACTION_SIZE = 17, 6
TRANSITIONS, EPISODES = 100_000, 100
LIMIT = 1.0
BATCH_SIZE = 256


def run(quick: bool) -> list[Row]:
    """The whole of `clone` in closed form, and steps of its gradient fit, on one thread and on all cores."""
    backbone = apb.Backbone.random(0, input_size=OBSERVATION_SIZE)
    shape = AdapterShape.of(backbone, OBSERVATION_SIZE, ACTION_SIZE)
    start = draw_initial(backbone, shape, 0)
    shown = _shown(TRANSITIONS, 0)
    demonstrations = apb.Demonstrations(*shown, [TRANSITIONS // EPISODES] * EPISODES)
    rows = []
    for threads in sorted({1, available_cpus()}):
        pool = _native.ThreadPool(threads)
        torch.set_num_threads(threads)
        seconds = interleave(
            {
                "apb": lambda count=threads: _in_closed_form(demonstrations, backbone, count),
                "torch": lambda: _least_squares(backbone, shown),
            },
            repetitions=3 if quick else 9,
        )
        ours, peer = f"apb, {_threads(threads)}", f"torch.linalg.lstsq, one regression, {_threads(threads)}"
        case = "clone in closed form, 100,000 transitions, 256 features"
        sides = (ours, seconds["apb"]), (peer, seconds["torch"])
        rows.append(compare(TOPIC, case, *sides, "s", higher_is_better=False, limit=LIMIT))
        regression = ActorRegression(backbone, start, shape, BATCH_SIZE, 1e-3, pool)
        batch = shown[0][:BATCH_SIZE], shown[1][:BATCH_SIZE]
        step = _torch_step(backbone, shape.split(start), batch)
        calls = {"apb": lambda own=regression, rows=batch: own.step(*rows), "torch": step}
        seconds = interleave(calls, repetitions=5 if quick else 21, calls=50)
        ours, peer = f"apb, {_threads(threads)}", f"torch, {_threads(threads)}"
        sides = (ours, scaled(seconds["apb"], 1e3)), (peer, scaled(seconds["torch"], 1e3))
        rows.append(compare(TOPIC, "a step of Adam, batch 256", *sides, "ms", higher_is_better=False))
    return rows


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _shown(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal observations, and what a random network does there."""
    observations = np.random.default_rng(seed).standard_normal((count, OBSERVATION_SIZE), dtype=np.float32)
    teacher = apb.Backbone.random(5, input_size=OBSERVATION_SIZE)
    post = np.random.default_rng(2).normal(0, 0.5, (teacher.output_size, ACTION_SIZE)).astype(np.float32)
    return observations, np.tanh(teacher(observations) @ post)


def _in_closed_form(demonstrations: apb.Demonstrations, backbone: apb.Backbone, threads: int) -> apb.CloneResult:
    return apb.clone(demonstrations, backbone, method="ridge", n_eval_episodes=0, num_threads=threads)


def _least_squares(backbone: apb.Backbone, shown: tuple[np.ndarray, np.ndarray]) -> torch.Tensor:
    """What most would write: features, and one regression without a choice of strength or a refinement."""
    x = torch.from_numpy(shown[0])
    for weight, bias in zip(backbone.weights, backbone.biases, strict=True):
        x = torch.nn.functional.linear(x, torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())).relu_()
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    return torch.linalg.lstsq(x, torch.from_numpy(np.arctanh(np.clip(shown[1], -CLIP, CLIP)))).solution


def _torch_step(backbone: apb.Backbone, start: dict, batch: tuple[np.ndarray, np.ndarray]):
    layers = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in start.items()}
    frozen = [(torch.from_numpy(w.copy()), torch.from_numpy(b.copy())) for w, b in _pairs(backbone)]
    adam = torch.optim.Adam(layers.values(), lr=1e-3)
    observations, actions = map(torch.from_numpy, batch)
    linear = torch.nn.functional.linear

    def step() -> None:
        x = linear(observations, layers["pre.weight"], layers["pre.bias"])
        for weight, bias in frozen:
            x = linear(x, weight, bias).relu()
        loss = (linear(x, layers["post.weight"], layers["post.bias"]).tanh() - actions).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return step


def _pairs(backbone: apb.Backbone) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(backbone.weights, backbone.biases, strict=True))
