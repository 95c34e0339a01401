"""DSI's tokenizer: k-means within each cluster of the level above (Tay et al. 2022, arXiv 2202.06991, section 3.2).

A code of level l means something only under its parent: code 3 under 17 and code 3 under 18 are unlike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from engine.progress import Progress, silent
from engine.quantizers import storage
from engine.quantizers.kmeans import balance, kmeans
from engine.quantizers.protocol import Quantized, Unsupervised

KIND = "hierarchical"


class Level(NamedTuple):
    """The clusters of one level, those of a parent next to each other and in the order of their codes."""

    first: np.ndarray
    """(P + 1,) int64: the children of parent p are first[p] .. first[p + 1] - 1; the root is the parent of level 1."""
    centroids: np.ndarray  # (M, D) float32.

    def nearest(self, x: np.ndarray, parent: np.ndarray) -> np.ndarray:
        """For each row of `x` (N, D), the cluster (N,) among the children of `parent` (N,) that is nearest to it."""
        order = np.argsort(parent, kind="stable")
        parents, starts = np.unique(parent[order], return_index=True)
        found = np.empty(len(x), dtype=np.int64)
        for at, rows in zip(parents, np.split(order, starts[1:]), strict=True) if len(x) else ():
            low, high = self.first[at], self.first[at + 1]
            children = self.centroids[low:high]
            score = x[rows] @ children.T - np.square(children).sum(axis=1) / 2
            found[rows] = low + score.argmax(axis=1)
        return found


class HierarchicalQuantizer(Unsupervised):
    """A tree of k-means clusters over frozen embeddings; rows descend it to the nearest child at every level."""

    def __init__(self, sizes: tuple[int, ...], tree: list[Level]) -> None:
        self.sizes = sizes
        self.tree = tree

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest child at every level.

        `quantized` is the centroid of the deepest cluster, `residual_norms` the distances to the centroids on the way.
        """
        x = np.ascontiguousarray(x, dtype=np.float32)
        cluster = np.zeros(len(x), dtype=np.int64)
        codes, norms, quantized = [], [np.linalg.norm(x, axis=1)], np.zeros_like(x)
        for level in self.tree:
            parent, cluster = cluster, level.nearest(x, cluster)
            quantized = level.centroids[cluster]
            codes.append(cluster - level.first[parent])
            norms.append(np.linalg.norm(x - quantized, axis=1))
        return Quantized(np.stack(codes, axis=1), np.stack(norms, axis=1), x, quantized)

    def save(self, path: Path) -> None:
        """Writes the tree and settings into the folder `path`."""
        tensors = {
            f"{name}.{depth}": torch.from_numpy(array)
            for depth, level in enumerate(self.tree)
            for name, array in level._asdict().items()
        }
        storage.write(path, KIND, {"sizes": list(self.sizes)}, tensors)

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> HierarchicalQuantizer:
        """The inverse of `save`, from what it wrote."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        depths = range(len(settings["sizes"]))
        tree = [Level(arrays[f"first.{depth}"], arrays[f"centroids.{depth}"]) for depth in depths]
        return HierarchicalQuantizer(tuple(settings["sizes"]), tree)


def fit_hierarchical(
    item_x: np.ndarray, sizes: tuple[int, ...], *, seed: int, progress: Progress = silent
) -> HierarchicalQuantizer:
    """Clusters item embeddings (N, D) recursively, at most `sizes[l]` children a cluster at level l.

    A cluster with no more distinct rows than that gets one child a row, as in the paper, whose smallest clusters
    number their documents. Children that end up empty are left out.
    """
    x = np.ascontiguousarray(item_x, dtype=np.float32)
    cluster = np.zeros(len(x), dtype=np.int64)
    n_clusters = 1
    tree: list[Level] = []
    for depth, size in enumerate(sizes):
        members = np.split(np.argsort(cluster, kind="stable"), np.cumsum(np.bincount(cluster, minlength=n_clusters)))
        first, centroids = [0], []
        for parent in range(n_clusters):
            inside = x[members[parent]]
            # Rounding may send a row to its near twin's cluster; a query that comes to the empty one goes straight down.
            children = (
                _children(inside, size, seed=seed + 7919 * parent + depth)
                if len(inside)
                else tree[-1].centroids[[parent]]
            )
            centroids.append(children)
            first.append(first[-1] + len(children))
            if parent % 64 == 0:
                progress(depth * n_clusters + parent, len(sizes) * n_clusters)
        level = Level(np.array(first, dtype=np.int64), np.concatenate(centroids))
        cluster = level.nearest(x, cluster)
        n_clusters = len(level.centroids)
        tree.append(level)
    progress(1, 1)
    return HierarchicalQuantizer(sizes, tree)


def _children(x: np.ndarray, size: int, *, seed: int) -> np.ndarray:
    """Centroids (k, D), k <= size, of the members (n, D) of one cluster; each is nearest to a member at least."""
    distinct = np.unique(x, axis=0)
    if len(distinct) <= size:
        return distinct
    found = balance(x, kmeans(x, size, seed=seed), seed=seed)
    used = np.unique((x @ found.T - np.square(found).sum(axis=1) / 2).argmax(axis=1))
    return found[used]
