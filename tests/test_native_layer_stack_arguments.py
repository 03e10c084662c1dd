"""A native stack refuses by name what it cannot use, and writes nothing then."""

import re
from typing import Any

import numpy as np
import pytest
from apb import _native
from bad_arrays import Call, in_one_buffer, mistakes, of_every, shared_memory, spread, wrong_sizes

SIZES, RELUS, NETWORKS, ROWS = [3, 4, 5], [True, False], 2, 6


def parts(kind: str) -> list[str]:
    return [f"{kind}[{layer}].{part}" for layer in range(2) for part in ("weight", "bias")]


def zeros(kind: str) -> dict[str, np.ndarray]:
    shapes = [(NETWORKS, 4, 3), (NETWORKS, 4), (NETWORKS, 5, 4), (NETWORKS, 5)]
    return {name: np.zeros(shape, np.float32) for name, shape in zip(parts(kind), shapes, strict=True)}


def pairs(kind: str, arguments: dict[str, Any]) -> list[Any]:
    values = [arguments.pop(name) for name in parts(kind)]
    return list(zip(values[::2], values[1::2], strict=True))


def stack(outputs: bool = True) -> Any:
    made = _native.LayerStack(SIZES, RELUS, NETWORKS, ROWS)
    if outputs:
        layers = pairs("layers", zeros("layers"))
        made.forward(layers, np.zeros((2, 6, 3), np.float32), np.zeros((2, 6, 5), np.float32))
    return made


def forward(**arguments: Any) -> None:
    stack().forward(pairs("layers", arguments), **arguments)


def backward(**arguments: Any) -> None:
    layers, gradients = pairs("layers", arguments), pairs("gradients", arguments)
    stack().backward(layers, gradients=gradients, **arguments)


def input_gradient(**arguments: Any) -> None:
    stack().input_gradient(pairs("layers", arguments), **arguments)


ANY_STEP = frozenset({*parts("layers"), *parts("gradients")})
"""Of the layers' arrays, the networks may lie apart; the other axes have to be contiguous."""
FORWARD = Call(
    forward,
    lambda: zeros("layers") | {"x": np.zeros((2, 6, 3), np.float32), "out": np.zeros((2, 6, 5), np.float32)},
    written=frozenset({"out"}),
    strided=ANY_STEP,
)
BACKWARD = Call(
    backward,
    lambda: zeros("layers") | {"slope": np.zeros((2, 6, 5), np.float32)} | zeros("gradients"),
    written=frozenset(parts("gradients")),
    strided=ANY_STEP,
)
INPUT_GRADIENT = Call(
    input_gradient,
    lambda: zeros("layers") | {"slope": np.zeros((2, 6, 5), np.float32), "out": np.zeros((2, 6, 3), np.float32)},
    written=frozenset({"out"}),
    strided=ANY_STEP,
)
CALLS = {call.function.__name__: call for call in (FORWARD, BACKWARD, INPUT_GRADIENT)}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_arguments_that_the_refusals_start_from_are_accepted(call: Call) -> None:
    call.having()


@pytest.mark.parametrize(("call", "name", "value", "error"), of_every(CALLS, mistakes))
def test_an_array_in_a_wrong_form_is_refused_by_name_and_never_converted(call, name, value, error) -> None:
    with pytest.raises(error, match=rf"^{re.escape(name)} (is|has) "):
        call.having(**{name: value})


@pytest.mark.parametrize(("call", "name", "value"), of_every(CALLS, wrong_sizes))
def test_sizes_that_are_zero_or_do_not_agree_are_refused(call, name, value) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(name)} (has shape|is for) .*; expected"):
        call.having(**{name: value})


@pytest.mark.parametrize(("call", "names"), of_every(CALLS, shared_memory))
def test_arrays_that_share_memory_with_a_written_one_are_refused_and_neighbours_are_not(call, names) -> None:
    arrays = [call.arguments()[name] for name in names]
    call.having(**dict(zip(names, in_one_buffer(*arrays, offset=-(-arrays[0].nbytes // 8) * 8), strict=True)))
    groups = [name.split("[")[0] for name in names]
    with pytest.raises(ValueError, match=rf"(?=.*{groups[0]})(?=.*{groups[1]}).* share memory"):
        call.having(**dict(zip(names, in_one_buffer(*arrays, offset=8), strict=True)))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("disorder", [spread, np.asfortranarray, lambda array: array[..., ::-1]])
def test_layers_with_another_order_behind_their_first_axis_are_refused(call: Call, disorder: Any) -> None:
    for name in parts("layers") + parts("gradients"):
        if name in call.arguments() and not (name.endswith("bias") and disorder is np.asfortranarray):
            with pytest.raises(ValueError, match=rf"^{re.escape(name)} is not C-contiguous behind its first axis"):
                call.having(**{name: disorder(call.arguments()[name])})


def test_one_layer_may_serve_all_networks_but_each_has_a_gradient_of_its_own() -> None:
    for call in CALLS.values():
        call.having(**{name: call.arguments()[name][:1] for name in parts("layers")})
    for name in parts("gradients"):
        with pytest.raises(ValueError, match=rf"^{re.escape(name)} is for 1 networks; expected 2$"):
            BACKWARD.having(**{name: BACKWARD.arguments()[name][:1]})
        alike = np.broadcast_to(BACKWARD.arguments()[name][:1], BACKWARD.arguments()[name].shape)
        with pytest.raises(ValueError, match=rf"^{re.escape(name)} is read-only"):
            BACKWARD.having(**{name: alike})
        strides = (0, *alike.strides[1:])
        writable = np.lib.stride_tricks.as_strided(BACKWARD.arguments()[name], alike.shape, strides)
        with pytest.raises(ValueError, match=rf"^{re.escape(name)} has strides .* its elements overlap"):
            BACKWARD.having(**{name: writable})


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_layers_is_refused(count: int) -> None:
    pair = np.zeros((1, 4, 3), np.float32), np.zeros((1, 4), np.float32)
    layers, slope = pairs("layers", zeros("layers")), np.zeros((2, 6, 5), np.float32)
    x, out = np.zeros((2, 6, 3), np.float32), np.zeros((2, 6, 5), np.float32)
    for call in (
        lambda: stack().forward([pair] * count, x, out),
        lambda: stack().backward([pair] * count, slope, [None, None]),
        lambda: stack().input_gradient([pair] * count, slope, x),
    ):
        with pytest.raises(ValueError, match=f"^layers has {count} pairs; expected 2"):
            call()
    with pytest.raises(ValueError, match=f"^gradients has {count} entries; expected 2"):
        stack().backward(layers, slope, [None] * count)


@pytest.mark.parametrize("layers", [None, 3, "ab", [None, None], [1, 2], [(np.zeros(1),), (np.zeros(1),)]])
def test_layers_that_are_no_pairs_are_refused(layers: Any) -> None:
    with pytest.raises(TypeError, match="layers"):
        stack().forward(layers, np.zeros((2, 6, 3), np.float32), np.zeros((2, 6, 5), np.float32))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_pool_is_a_thread_pool(call: Call) -> None:
    with pytest.raises(TypeError, match="pool"):
        call.having(pool=4)


def test_gradients_before_any_outputs_are_refused_and_nothing_is_written() -> None:
    layers, slope = pairs("layers", zeros("layers")), np.ones((2, 6, 5), np.float32)
    places = {name: np.full_like(array, 7) for name, array in zeros("gradients").items()}
    below = np.full((2, 6, 3), 7, np.float32)
    with pytest.raises(RuntimeError, match="expected `forward` first"):
        stack(outputs=False).backward(layers, slope, pairs("gradients", dict(places)))
    with pytest.raises(RuntimeError, match="expected `forward` first"):
        stack(outputs=False).input_gradient(layers, slope, below)
    assert all((array == 7).all() for array in [*places.values(), below])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], [], 1, 1), ValueError, "number of layers = 0 is out of range"),
        (([3], [], 1, 1), ValueError, "number of layers = 0 is out of range"),
        (([3, 2], [True, True], 1, 1), ValueError, "number of sizes = 2; expected 3"),
        (([3, 0], [True], 1, 1), ValueError, r"size = 0 is out of range; expected 1 to 16777216"),
        (([-1, 2], [True], 1, 1), ValueError, "size = -1 is out of range"),
        (([3, 2**24 + 1], [True], 1, 1), ValueError, "size = 16777217 is out of range"),
        (([3, 2], [True], 0, 1), ValueError, "number of networks = 0 is out of range"),
        (([3, 2], [True], 1, 0), ValueError, "number of rows = 0 is out of range"),
        (([3, 2], [True], 1, 2**40), ValueError, "number of rows = 1099511627776 is out of range"),
        (([3.5, 2], [True], 1, 1), TypeError, "sizes"),
        (([3, 2], [True], 1, 2**70), TypeError, "rows"),
        (([2**24, 2**24], [True], 2**24, 2**24), MemoryError, "bad_alloc"),
    ],
)
def test_sizes_that_make_no_stack_are_refused(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _native.LayerStack(*arguments)
