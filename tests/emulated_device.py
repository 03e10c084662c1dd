"""`emulated_cuda`: a CUDA device for machines without one. Its tensors say `cuda:0` and hold their numbers on the CPU;
as on a GPU, no operation takes tensors of both devices, and none of its tensors can be a NumPy array. What is recorded
as a graph is done when the graph is replayed, on the tensors that were recorded; a recording may ask for no value."""

from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)
WAITING = (Tensor.cpu, Tensor.item, Tensor.tolist, Tensor.__bool__, Tensor.__int__, Tensor.__float__)
"""What gives the host a value of the device, and so waits for it."""


sync_debug_mode = "default"


def set_sync_debug_mode(mode):
    """Stands in for torch's: with "error" it is one to wait for the device."""
    global sync_debug_mode
    sync_debug_mode = mode


def require_no_waiting(func):
    """Raise what torch does where the host may not wait for the device: for what is only recorded it would forever."""
    if EmulatedGraph.recording is not None:
        raise RuntimeError(f"{func.__name__}: operation not permitted when stream is capturing")
    if sync_debug_mode == "error":
        raise RuntimeError(f"{func.__name__}: called a synchronizing CUDA operation")


class CudaTensor(Tensor):
    """A tensor of the emulated device."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Do `func` as CUDA would: with tensors of this device alone, and numbers."""
        if func == Tensor.device.__get__:
            return CUDA
        if func in (Tensor.numpy, Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if func in WAITING:
            require_no_waiting(func)
        if func is Tensor.cpu:
            return args[0].as_subclass(Tensor).clone()
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        of_cpu = [tensor for tensor in tensors if not isinstance(tensor, cls)]
        if func is not Tensor.copy_ and any(tensor.dim() > 0 for tensor in of_cpu):
            raise RuntimeError(f"{func.__name__}: expected all tensors on one device, found cuda:0 and cpu")
        if of_cpu:
            require_no_waiting(func)
        return super().__torch_function__(func, types, args, kwargs)


class _ToDevice(TorchFunctionMode):
    """Makes tensors on the device, and sends them there."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.to and not isinstance(args[1], torch.dtype):
            tensor, device = args
            require_no_waiting(func)
            on_cpu = tensor.cpu().clone()
            return on_cpu if torch.device(device).type == "cpu" else on_cpu.as_subclass(CudaTensor)
        if torch.device(kwargs.get("device") or "cpu").type == "cpu":
            return func(*args, **kwargs)
        return func(*args, **kwargs | {"device": "cpu"}).as_subclass(CudaTensor)


class EmulatedGraph:
    """Stands in for `torch.cuda.CUDAGraph`: the calls that were recorded, with the tensors that they read and wrote."""

    recording = None

    def __init__(self):
        self.calls = []

    @contextmanager
    def record(self, **options):
        """Stands in for `torch.cuda.graph`: within, nothing is done that is seen afterwards."""
        recorder = _Recorder(self.calls)
        type(self).recording = self
        try:
            with recorder:
                yield
        finally:
            type(self).recording = None
        for storage, before in recorder.before.values():
            storage.copy_(before)
        for made in recorder.made:
            made.fill_(float("nan") if made.is_floating_point() else 0)

    def replay(self):
        """Do the calls again, in the same places."""
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for place, value in zip(_tensors(out), _tensors(again), strict=True):
                if place.data_ptr() != value.data_ptr():
                    place.copy_(value)


aten = torch.ops.aten
UNRECORDABLE = (aten._local_scalar_dense, aten.nonzero, aten._unique2, aten.equal, aten.lift_fresh, aten.index)
"""Operations that read a value, or make a size of it, or bring numbers from the host."""


class _Recorder(TorchDispatchMode):
    """Writes down calls, what is in the memory that they write to, and the tensors that they make."""

    def __init__(self, calls):
        super().__init__()
        self.calls, self.before, self.made = calls, {}, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.overloadpacket in UNRECORDABLE:
            require_no_waiting(func)
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        made = {tensor.untyped_storage().data_ptr() for tensor in self.made}
        for tensor in _tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.before and storage.data_ptr() not in made:
                self.before[storage.data_ptr()] = storage, storage.clone()
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        self.made += [tensor for tensor in _tensors(out) if tensor.untyped_storage().data_ptr() not in given]
        return out


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@contextmanager
def emulated_cuda():
    """Within, torch has one CUDA device."""
    found = mock.patch.multiple(
        "torch.cuda",
        is_available=lambda: True,
        device_count=lambda: 1,
        device=nullcontext,
        stream=nullcontext,
        Stream=mock.MagicMock,
        current_stream=mock.MagicMock,
        CUDAGraph=EmulatedGraph,
        graph=EmulatedGraph.record,
        set_sync_debug_mode=set_sync_debug_mode,
    )
    with found, _ToDevice():
        yield
