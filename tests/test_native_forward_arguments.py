"""The native forward pass refuses by name what it cannot use, and its module is chosen for the processor."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from apb import _native
from bad_arrays import Call, in_one_buffer, shared_memory
from native_cases import Case, random_case
from numpy.typing import NDArray

SMALL = random_case(np.random.default_rng(0), 4, 2, [5, 6], False, 3)
X = np.zeros((3, 7, 4), np.float32)
OUT = np.zeros((3, 7, 2), np.float32)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"obs": X.tolist()}, TypeError, "obs is list"),
        ({"obs": X.astype(np.float16)}, TypeError, "obs has dtype float16; expected float32 or float64"),
        ({"obs": X.astype(">f4")}, TypeError, "obs has dtype >f4"),
        ({"obs": X.astype(np.int64)}, TypeError, "obs has dtype int64"),
        ({"obs": X[0]}, ValueError, "obs has 2 dimensions"),
        ({"obs": X[:2]}, ValueError, r"obs has shape \(2, 7, 4\); expected \(M=3, B, obs=4\)"),
        ({"obs": X[:, :, :3]}, ValueError, r"obs has shape \(3, 7, 3\)"),
        ({"obs": np.zeros((3, 7), "f4,f4,f4,f4,u1").view(np.uint8)}, TypeError, "obs has dtype uint8"),
        ({"out": OUT.astype(np.float16)}, TypeError, "out has dtype float16"),
        ({"out": OUT[:, :6]}, ValueError, r"out has shape \(3, 6, 2\); expected \(M=3, B=7, act=2\)"),
        ({"out": read_only(OUT)}, ValueError, "out is read-only"),
        ({"out": np.lib.stride_tricks.as_strided(OUT, OUT.shape, (0, 8, 4))}, ValueError, "elements overlap"),
        ({"out": np.lib.stride_tricks.as_strided(OUT, OUT.shape, (56, 4, 4))}, ValueError, "elements overlap"),
        ({"mean": np.zeros(3, np.float32)}, ValueError, r"mean has shape \(3,\); expected \(obs=4,\)"),
        ({"mean": np.zeros(4)}, TypeError, "mean has dtype float64; expected float32"),
        ({"inverse_std": np.zeros(8, np.float32)[::2]}, ValueError, "inverse_std is not C-contiguous"),
        ({"scale": np.zeros(4, np.float32)}, ValueError, r"scale has shape \(4,\); expected \(act=2,\)"),
        ({"offset": np.zeros((2, 1), np.float32)}, ValueError, "offset has 2 dimensions"),
        ({"clip": -1.0}, ValueError, "clip = -1"),
        ({"clip": float("nan")}, ValueError, "clip = nan"),
        ({"clip": 1e-50}, ValueError, "clip = 1e-50"),  # 0 as a float32, which would mean no clipping
        ({"clip": -1e-50}, ValueError, "clip = -1e-50"),
        ({"pool": 4}, TypeError, "pool"),
    ],
)
def test_forward_refuses_a_bad_argument_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SMALL.population().forward(**{"obs": X, "out": OUT.copy(), **arguments})


def test_forward_refuses_strides_that_are_no_multiple_of_an_element() -> None:
    packed = np.zeros((3, 7), np.dtype([("x", "f4", 4), ("tag", "u1")]))
    with pytest.raises(ValueError, match="obs has a stride of 17 bytes"):
        SMALL.population().forward(packed["x"], OUT.copy())


@pytest.mark.parametrize("out", [X[:, :, :2], X[:, ::-1, 2:], X.view(np.float64)])
def test_forward_refuses_to_write_into_what_it_reads(out: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="obs and out share memory"):
        SMALL.population().forward(X, out)


def test_forward_writes_beside_its_observations_in_one_buffer() -> None:
    buffer = np.zeros((2, 3, 7, 4), np.float32)
    SMALL.population().forward(buffer[0], buffer[1, :, :, :2])


FORWARD = Call(
    SMALL.population().forward,
    lambda: {
        "obs": X.copy(),
        "mean": np.zeros(4, np.float32),
        "inverse_std": np.ones(4, np.float32),
        "scale": np.ones(2, np.float32),
        "offset": np.zeros(2, np.float32),
        "out": OUT.copy(),
    },
    written=frozenset({"out"}),
)


@pytest.mark.parametrize("names", shared_memory(FORWARD))
def test_forward_refuses_to_write_into_any_of_its_arguments_and_takes_neighbours(names: tuple[str, str]) -> None:
    arrays = [FORWARD.arguments()[name] for name in names]
    FORWARD.having(**dict(zip(names, in_one_buffer(*arrays, offset=arrays[0].nbytes), strict=True)))
    with pytest.raises(ValueError, match=rf"{names[1]} and {names[0]} share memory"):
        FORWARD.having(**dict(zip(names, in_one_buffer(*arrays, offset=8), strict=True)))


@pytest.mark.parametrize(
    ("adapters", "error", "message"),
    [
        (SMALL.adapters.astype(np.float64), TypeError, "adapters has dtype float64"),
        (SMALL.adapters[:2], ValueError, r"adapters has shape \(2, 39\); expected \(M=3, n=39\)"),
        (SMALL.adapters[:, :-1], ValueError, r"adapters has shape \(3, 38\)"),
        (np.asfortranarray(SMALL.adapters), ValueError, "adapters is not C-contiguous"),
    ],
)
def test_load_refuses_bad_adapters(adapters: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SMALL.population().load(adapters)


@pytest.mark.parametrize(
    ("weights", "biases", "error", "message"),
    [
        ([], [], ValueError, "the backbone has 0 layers"),
        (SMALL.weights, [], ValueError, "biases has 0 arrays; expected 1"),
        ([SMALL.weights[0].astype(np.float64)], SMALL.biases, TypeError, r"weights\[0\] has dtype float64"),
        ([SMALL.weights[0].T], SMALL.biases, ValueError, r"weights\[0\] is not C-contiguous"),
        (SMALL.weights, [SMALL.biases[0][:-1]], ValueError, r"biases\[0\] has shape \(5,\); expected \(out=6,\)"),
        (SMALL.weights * 2, SMALL.biases * 2, ValueError, r"weights\[1\] has 5 columns; expected 6"),
        ([np.zeros((0, 5), np.float32)], [np.zeros(0, np.float32)], ValueError, "number of outputs = 0"),
        ([np.zeros((6, 0), np.float32)], SMALL.biases, ValueError, "number of inputs = 0"),
    ],
)
def test_a_backbone_refuses_bad_layers(weights: Any, biases: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _native.Backbone(weights, biases, False)


def test_sizes_out_of_range_are_refused() -> None:
    backbone = _native.Backbone(SMALL.weights, SMALL.biases, False)
    for sizes in [(0, 4, 2), (-1, 4, 2), (1, 0, 2), (1, 4, 0), (1, 4, 2**25)]:
        with pytest.raises(ValueError, match="out of range"):
            _native.Population(backbone, *sizes)
    for threads in (0, -3, 1025):
        with pytest.raises(ValueError, match=f"num_threads = {threads} is out of range"):
            _native.ThreadPool(threads)
    with pytest.raises(ValueError, match="number of layers = 2; expected 1"):
        backbone.load(SMALL.weights * 2, SMALL.biases * 2)


def test_act_refuses_what_it_cannot_answer() -> None:
    with pytest.raises(ValueError, match="members = 3"):
        SMALL.population().act(np.zeros(4, np.float32))
    one = Case(SMALL.weights, SMALL.biases, False, SMALL.adapters[:1], 4, 2).population()
    for obs, error, message in [
        (np.zeros(5, np.float32), ValueError, r"obs has shape \(5,\); expected \(obs=4,\)"),
        (np.zeros((2, 2, 4), np.float32), ValueError, "obs has 3 dimensions"),
        (np.zeros(4, np.int32), TypeError, "obs has dtype int32"),
        ([0.0] * 4, TypeError, "obs is list"),
        (np.ma.masked_array(np.zeros(4, np.float32)), TypeError, "obs is a masked array"),
        (np.full(4, np.nan, np.float32), ValueError, r"obs\[0, 0\] = nan"),
    ]:
        with pytest.raises(error, match=message):
            one.act(obs)
    with pytest.raises(ValueError, match="clip"):
        one.set_transform(clip=-2.0)


@pytest.mark.parametrize("isa", _native.AVAILABLE_ISAS)
def test_the_environment_variable_chooses_the_instruction_set(isa: str) -> None:
    program = "from apb import _native; print(_native.ISA, _native.ThreadPool.__module__)"
    environment = {**os.environ, "APB_ISA": isa}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == [isa, f"apb._core_{isa}"]


def test_an_unknown_instruction_set_is_refused_with_the_known_ones() -> None:
    environment = {**os.environ, "APB_ISA": "avx1024"}
    command = [sys.executable, "-c", "from apb import _native"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "APB_ISA = 'avx1024'; expected one of baseline" in result.stderr
