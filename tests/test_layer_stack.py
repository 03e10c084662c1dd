"""`LayerStack`: outputs and gradients are those of autograd, natively and by torch."""

import pytest
import torch
from apb.layer_stack import NativeLayerStack, TorchLayerStack
from hypothesis import given, settings
from hypothesis import strategies as st


def torch_stack(sizes, relus, networks, rows):
    return TorchLayerStack(sizes, relus, networks, rows, torch.device("cpu"))


# Sums of up to 256 float32 products of size O(1): their rounding is below 256 * 2^-24 = 1.5e-5.
ROUNDING = {"rtol": 2e-5, "atol": 2e-5}


@pytest.mark.parametrize("make", [NativeLayerStack, torch_stack])
@settings(max_examples=60)
@given(
    st.integers(1, 4),
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(0, 2**31),
)
def test_a_stack_computes_the_outputs_and_gradients_that_autograd_finds(make, networks, rows, layers, width, seed):
    """Of N networks, some of whose layers are shared by all, some not learned, some with a ReLU."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    sizes, relus, chain, learned = [width], [], [], []
    for size, relu, shared, is_learned in layers:
        count = 1 if shared else networks
        chain.append((normal(count, size, sizes[-1]) / sizes[-1] ** 0.5, normal(count, size)))
        learned.append(is_learned and not (shared and networks > 1))
        sizes.append(size)
        relus.append(relu)
    x, slope = normal(networks, rows, width), normal(networks, rows, sizes[-1])

    exact = [(weight.double().requires_grad_(), bias.double().requires_grad_()) for weight, bias in chain]
    start = y = x.double().requires_grad_()
    for (weight, bias), relu in zip(exact, relus, strict=True):
        y = torch.einsum("nri,noi->nro", y, weight.expand(networks, -1, -1)) + bias.unsqueeze(1)
        y = y.relu() if relu else y
    y.backward(slope.double())

    stack = make(sizes, relus, networks, rows)
    torch.testing.assert_close(stack.forward(chain, x).double(), y.detach(), **ROUNDING)
    gradients = [
        (torch.empty_like(w), torch.empty_like(b)) if use else None for (w, b), use in zip(chain, learned, strict=True)
    ]
    stack.backward(chain, slope.clone(), gradients)
    for found, parameters in zip(gradients, exact, strict=True):
        for part, parameter in zip(found or (), parameters, strict=False):
            torch.testing.assert_close(part.double(), parameter.grad, **ROUNDING)
    stack.forward(chain, x)
    torch.testing.assert_close(stack.input_gradient(chain, slope.clone()).double(), start.grad, **ROUNDING)
