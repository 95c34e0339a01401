"""Several processes under `torchrun` that train one language model: each takes its share of every batch.

    torchrun --nproc-per-node 4 -m engine train --set generator.kind=full

Process 0 does what a single one would, and leads: whenever it trains a language model it tells the others on what, and all
take the same steps. The others follow and do nothing else. Gradients are summed over the processes, so that a step is the
whole batch's up to rounding; the sum is the same number in all of them, and so stay the weights.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

LONGEST_WAIT = timedelta(days=7)
"""The others wait while process 0 encodes, answers and reports; `torchrun` ends all when one of them dies."""


def processes() -> int:
    """How many train together; 1 without `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This one's number; 0 leads."""
    return int(os.environ.get("RANK", "0")) if processes() > 1 else 0


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """In process 0: lets the others go at the end. Where this process is alone it does nothing."""
    if processes() == 1:
        yield
        return
    distributed = _joined()
    yield
    tell(None)
    _part(distributed)


def leave(code: int) -> None:
    """End a process that trained together, at once; where this process is alone it does nothing.

    What PyTorch 2.13 keeps of a group aborts now and then an interpreter that takes itself down, and with it `torchrun`, though all
    is done.
    """
    if processes() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def told() -> Iterator[Any]:
    """In the others: what process 0 tells, until it lets go."""
    distributed = _joined()
    while (said := _broadcast(None)) is not None:
        yield said
    _part(distributed)


def tell(said: Any) -> None:
    """From process 0, tell the others."""
    if processes() > 1 and rank() == 0:
        _broadcast(said)


def share(rows: Any) -> Any:
    """This process's part of the rows of a batch; every process gets some of each length where they are sorted by it."""
    return rows[rank() :: processes()]


def add_up(weights: Iterable[nn.Parameter], losses: Tensor) -> None:
    """Sum the gradients of all processes, and their losses, in place."""
    if processes() > 1:
        from torch import distributed

        for weight in weights:
            if weight.grad is not None:
                distributed.all_reduce(weight.grad)
        distributed.all_reduce(losses)


def agreed(number: int) -> bool:
    """Whether all processes say the same number."""
    if processes() == 1:
        return True
    from torch import distributed

    said: list[Any] = [None] * processes()
    distributed.all_gather_object(said, number)
    return len(set(said)) == 1


def _joined() -> Any:
    """The library's module, connected to the other processes."""
    import torch
    from torch import distributed

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    return distributed


def _part(distributed: Any) -> None:
    distributed.barrier()  # none takes its connections down while another still uses them
    distributed.destroy_process_group()


def _broadcast(said: Any) -> Any:
    import torch
    from torch import distributed

    box = [said]
    distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]
