"""How benchmarks time rivals: in turn within one run, so that what else the machine does meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np


def alternate(rivals: Sequence[Callable[[], object]], rounds: int) -> np.ndarray:
    """Seconds (rounds, R): every rival in turn within each round, after one round that does not count."""
    seconds = np.zeros((rounds, len(rivals)))
    for rival in rivals:
        rival()
    for row in seconds:
        for index, rival in enumerate(rivals):
            start = time.perf_counter()
            rival()
            row[index] = time.perf_counter() - start
    return seconds
