"""`CudaGraphs`: programs of tensor operations on a GPU, each recorded once and from then on launched as a whole."""

import os
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

SWITCH = "APB_CUDA_GRAPHS"
"""The environment variable that turns recording off, by 0."""


def recording_wanted() -> bool:
    """Whether `SWITCH` is not 0."""
    return os.environ.get(SWITCH) != "0"


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
        with torch.cuda.device(device):
            # Of its own: torch's for recording is of whatever device it was first used on, and its libraries' buffers,
            # which recordings on it share, go with the first of these that is freed.
            self._stream = torch.cuda.Stream()

    def run(self, name: Hashable, program: Callable[..., None], *inputs: Tensor) -> None:
        """Queue a program on the device.

        Args:
            name: What it is told from others by; the same name is the same program.
            program: Takes the inputs.
            inputs: Tensors of the device or the CPU, of the same shapes for all programs and at every run; free to be
                overwritten afterwards.

        Raises:
            RuntimeError: the program cannot be recorded; with a note on `SWITCH`.
        """
        with torch.cuda.device(self._device):
            self._inputs = self._inputs or tuple(torch.empty_like(given, device=self._device) for given in inputs)
            for mine, given in zip(self._inputs, inputs, strict=True):
                mine.copy_(given)
            current = torch.cuda.current_stream()
            if name not in self._graphs:
                self._graphs[name] = None
                self._stream.wait_stream(current)
                with torch.cuda.stream(self._stream):
                    program(*self._inputs)
                current.wait_stream(self._stream)
                return
            graph = self._graphs[name]
            if graph is None:
                graph = self._graphs[name] = self._recorded(program)
            graph.replay()

    def _recorded(self, program: Callable[..., None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                torch.cuda.stream(torch.cuda.current_stream()),  # goes back to it even where the recording fails
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                program(*self._inputs)
        except RuntimeError as error:
            error.add_note(
                f"updates cannot be recorded as a CUDA graph here; set {SWITCH}=0 in the environment to launch their "
                "operations one by one, and please report this"
            )
            raise
        return graph
