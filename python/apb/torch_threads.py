"""`one_torch_thread`: what torch computes by the caller's thread alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """What is too small for threads of torch's own, which no fork survives, or has to be the same bits for any number
    of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
