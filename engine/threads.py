"""How many threads numerical work takes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController


@contextlib.contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Work on one thread, torch's and that of numpy's matrix products: steps of small models are over before a second
    thread has woken up, and on a busy machine OpenBLAS waits for it a hundred times as long (docs/LOG.md)."""
    import torch  # seconds to import; who only reads a run does without

    before = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else before)
    try:
        with _products().limit(limits=1 if wanted else None):
            yield
    finally:
        torch.set_num_threads(before)


def limit_torch() -> None:
    """One thread for torch's work in a thread of a pool, for good: OpenMP keeps that number a thread."""
    import torch

    torch.set_num_threads(1)


def limit_block() -> None:
    """One thread for all numerical work on a block, for good, in a process that works on one block a core."""
    limit_torch()
    _products().limit(limits=1)


def thread_count() -> int:
    """Threads that torch would take: the cores, or what the user allows (`OMP_NUM_THREADS`)."""
    import torch

    return torch.get_num_threads()


@functools.cache
def _products() -> ThreadpoolController:
    """The libraries that multiply matrices for numpy and scipy; finding them takes milliseconds, so once."""
    return ThreadpoolController().select(user_api="blas")
