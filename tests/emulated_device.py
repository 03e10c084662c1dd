"""`emulated_cuda`: a CUDA device for machines without one. Its tensors say `cuda:0` and hold their numbers on the CPU;
as on a GPU, no operation takes tensors of both devices, and none of its tensors can be a NumPy array."""

from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)


class CudaTensor(Tensor):
    """A tensor of the emulated device."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Do `func` as CUDA would: with tensors of this device alone, and numbers."""
        if func == Tensor.device.__get__:
            return CUDA
        if func in (Tensor.numpy, Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if func is Tensor.cpu:
            return args[0].as_subclass(Tensor).clone()
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func is not Tensor.copy_ and any(not isinstance(tensor, cls) and tensor.dim() > 0 for tensor in tensors):
            raise RuntimeError(f"{func.__name__}: expected all tensors on one device, found cuda:0 and cpu")
        return super().__torch_function__(func, types, args, kwargs)


class _ToDevice(TorchFunctionMode):
    """Makes tensors on the device, and sends them there."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.to:
            tensor, device = args
            on_cpu = tensor.cpu().clone()
            return on_cpu if torch.device(device).type == "cpu" else on_cpu.as_subclass(CudaTensor)
        if torch.device(kwargs.get("device") or "cpu").type == "cpu":
            return func(*args, **kwargs)
        return func(*args, **kwargs | {"device": "cpu"}).as_subclass(CudaTensor)


@contextmanager
def emulated_cuda():
    """Within, torch has one CUDA device."""
    found = mock.patch.multiple("torch.cuda", is_available=lambda: True, device_count=lambda: 1)
    with found, _ToDevice():
        yield
