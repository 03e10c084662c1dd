"""`CudaGraphs`: programs of tensor operations on a GPU, each recorded once and from then on launched as a whole."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor


class CudaGraphs:
    """Runs each program as it is the first time, and from the second time on as a CUDA graph.

    An update is some hundred kernels of a few microseconds each; to launch them one by one takes a CPU longer than the
    GPU needs for them. The first, ordinary run lets the libraries below torch prepare what no recording may.

    A recording takes the addresses of tensors, not their values. So a program

    - reads what changes from its inputs, which are copied to one place, and from tensors that live as long as it;
    - writes its results in place, and returns nothing;
    - asks for no value on the host: no `item`, no `cpu`, no branch on a tensor. What Python does in it besides happens
      when it is recorded, not when it is launched.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._inputs: tuple[Tensor, ...] = ()
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph | None] = {}

    def run(self, name: Hashable, program: Callable[..., None], *inputs: Tensor) -> None:
        """Queue a program on the device.

        Args:
            name: What it is told from others by; the same name is the same program.
            program: Takes the inputs.
            inputs: Tensors of the device or the CPU, of the same shapes for all programs and at every run; free to be
                overwritten afterwards.
        """
        with torch.cuda.device(self._device):
            self._inputs = self._inputs or tuple(torch.empty_like(given, device=self._device) for given in inputs)
            for mine, given in zip(self._inputs, inputs, strict=True):
                mine.copy_(given)
            if name not in self._graphs:
                self._graphs[name] = None
                program(*self._inputs)
                return
            graph = self._graphs[name]
            if graph is None:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    program(*self._inputs)
                self._graphs[name] = graph
            graph.replay()
