"""DSI's tokenizer: k-means within each cluster of the level above (Tay et al. 2022, arXiv 2202.06991, section 3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.progress import Progress, silent
from engine.quantizers import storage
from engine.quantizers.protocol import Quantized, Unsupervised
from engine.quantizers.tree import ClusterTree, grow

KIND = "hierarchical"


class HierarchicalQuantizer(Unsupervised):
    """A tree of k-means clusters over frozen embeddings; rows descend it to the nearest child at every level."""

    def __init__(self, sizes: tuple[int, ...], tree: ClusterTree) -> None:
        self.sizes = sizes
        self.tree = tree

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest child at every level."""
        return self.tree.encode(x)

    def save(self, path: Path) -> None:
        """Writes the tree and settings into the folder `path`."""
        storage.write(path, KIND, {"sizes": list(self.sizes)}, self.tree.tensors())

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> HierarchicalQuantizer:
        """The inverse of `save`, from what it wrote."""
        sizes = tuple(settings["sizes"])
        return HierarchicalQuantizer(sizes, ClusterTree.restore(tensors, len(sizes)))


def fit_hierarchical(
    item_x: np.ndarray, sizes: tuple[int, ...], *, seed: int, progress: Progress = silent
) -> HierarchicalQuantizer:
    """Clusters item embeddings (N, D) recursively, at most `sizes[l]` children a cluster at level l."""
    x = np.ascontiguousarray(item_x, dtype=np.float32)
    root = np.zeros(len(x), dtype=np.int64)
    return HierarchicalQuantizer(sizes, grow(x, root, np.zeros_like(x[:1]), sizes, seed=seed, progress=progress))
