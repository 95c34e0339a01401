"""Residual k-means of frozen embeddings: RK-means as a tokenizer, and the title stacks that SID signals average over.

No query supervises any of it, so its codes are the same in every fold.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.progress import Progress, silent
from engine.quantizers import storage
from engine.quantizers.protocol import Quantized, Unsupervised
from engine.quantizers.residual import ResidualCodebooks

KIND = "kmeans"
COARSEST = 60
"""Items a leaf cell in the coarsest stack, were all cells of its codebooks filled evenly."""
FINEST = 5
"""The same in the finest."""
_LEVELS = 3


class KMeansQuantizer(Unsupervised):
    """RK-means: k-means of all embeddings, then of what is left, level by level (the control of GRID, 2507.22224).

    The latent is the embedding itself.
    """

    def __init__(self, codebooks: ResidualCodebooks) -> None:
        self.codebooks = codebooks
        self.sizes = codebooks.sizes

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest code at every level."""
        return self.codebooks.encode(_rows(x))

    def save(self, path: Path) -> None:
        """Writes vectors and settings into the folder `path`."""
        settings = {"sizes": list(self.sizes), "dim": self.codebooks.dim}
        storage.write(path, KIND, settings, self.codebooks.state())

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> KMeansQuantizer:
        """The inverse of `save`, from what it wrote."""
        codebooks = ResidualCodebooks(tuple(settings["sizes"]), settings["dim"])
        codebooks.load_state(tensors)
        return KMeansQuantizer(codebooks)


def fit_kmeans(
    item_x: np.ndarray, sizes: tuple[int, ...], *, seed: int, progress: Progress = silent
) -> KMeansQuantizer:
    """Balanced residual k-means of item embeddings (N, D), whole catalogue, with `sizes` codes a level."""
    codebooks = ResidualCodebooks(sizes, item_x.shape[1])
    codebooks.fit(_rows(item_x), None, seed=seed)
    progress(1, 1)
    return KMeansQuantizer(codebooks)


def title_stacks(item_x: np.ndarray, n_stacks: int, *, seed: int, progress: Progress = silent) -> list[np.ndarray]:
    """SIDs (N, 3) int64 of `n_stacks` residual k-means of title embeddings (N, D), from coarse to fine.

    Each stack has its own sizes (`stack_sizes`) and its own random start, so that their mistakes differ.
    """
    x = _rows(item_x)
    stacks = []
    for stack, sizes in enumerate(stack_sizes(len(item_x), n_stacks)):
        codebooks = ResidualCodebooks(sizes, x.shape[1])
        codebooks.fit(x, None, seed=seed + 1000 * (stack + 1))
        stacks.append(codebooks.encode(x).codes)
        progress(stack + 1, n_stacks)
    return stacks


def stack_sizes(n_items: int, n_stacks: int) -> list[tuple[int, ...]]:
    """Codes per level of each stack.

    Leaf cells grow geometrically from N / 60 to N / 5; half of their logarithm is level 1, a quarter each of the
    deeper levels. At 55k items and 8 stacks cells hold about 1,800 to 5 items, with no size twice.
    """
    sizes = []
    for stack in range(n_stacks):
        at = stack / (n_stacks - 1) if n_stacks > 1 else 0.5
        leaves = max(n_items / (COARSEST * (FINEST / COARSEST) ** at), 8.0)
        first = max(2, round(math.sqrt(leaves)))
        deeper = max(2, round((leaves / first) ** (1 / (_LEVELS - 1))))
        sizes.append((first, *[deeper] * (_LEVELS - 1)))
    return sizes


def _rows(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
