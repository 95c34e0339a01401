"""How many threads torch work takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Work on one thread: steps of small models are over before a second thread has woken up (docs/LOG.md)."""
    import torch  # seconds to import; who only reads a run does without

    before = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
