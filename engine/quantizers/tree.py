"""Codes that mean something under their parent alone: a tree of clusters, descended to the nearest child.

Code 3 under 17 and code 3 under 18 are unlike. Grown by k-means within each cluster (DSI, and DSIRM's local codes), or
given by items' SIDs (the controls).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from engine.progress import Progress, silent
from engine.quantizers.kmeans import balance, kmeans
from engine.quantizers.protocol import Quantized


class Level(NamedTuple):
    """The clusters of one level, those of a parent next to each other and in the order of their codes."""

    first: np.ndarray
    """(P + 1,) int64: the children of parent p are first[p] .. first[p + 1] - 1."""
    code: np.ndarray  # (M,) int64 code of each cluster under its parent.
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

    def child(self, parent: np.ndarray, code: np.ndarray) -> np.ndarray:
        """The cluster (N,) of that `code` (N,) under `parent` (N,); -1 where there is none, or the parent is -1."""
        width = int(max(self.code.max(initial=0), code.max(initial=0))) + 1
        key = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first)) * width + self.code
        wanted = parent * width + code
        at = np.searchsorted(key, wanted).clip(max=len(key) - 1)
        return np.where((parent >= 0) & (key[at] == wanted), at, -1)


class Way(NamedTuple):
    """The way of rows down a tree."""

    codes: np.ndarray  # (N, L) int64.
    distances: np.ndarray  # (N, L) float32 to the centroids on the way.
    last: np.ndarray  # (N, D) float32 centroid at its end.

    def of(self, x: np.ndarray) -> Quantized:
        """The rows `x` (N, D) that took it, quantized."""
        return Quantized(self.codes, np.column_stack([np.linalg.norm(x, axis=1), self.distances]), x, self.last)


class ClusterTree:
    """Levels of clusters; rows start in the cluster 0 above them, or in clusters that the caller names."""

    def __init__(self, levels: list[Level]) -> None:
        self.levels = levels

    def descend(self, x: np.ndarray, start: np.ndarray | None = None, above: np.ndarray | None = None) -> Way:
        """`x` (N, D) to the nearest child at every level, from `start` (N,) with centroids `above` (N, D)."""
        cluster = np.zeros(len(x), dtype=np.int64) if start is None else start
        codes, distances, last = [], [], np.zeros_like(x) if above is None else above
        for level in self.levels:
            cluster = level.nearest(x, cluster)
            last = level.centroids[cluster]
            codes.append(level.code[cluster])
            distances.append(np.linalg.norm(x - last, axis=1))
        return Way(_columns(codes, len(x), np.int64), _columns(distances, len(x), np.float32), last)

    def follow(self, x: np.ndarray, codes: np.ndarray) -> Way:
        """`x` (N, D) along the given `codes` (N, L); where a prefix has no cluster, its last one that has stands in."""
        cluster = np.zeros(len(x), dtype=np.int64)
        distances, last = [], np.zeros_like(x)
        for level, code in zip(self.levels, codes.T, strict=True):
            cluster = level.child(cluster, code)
            found = cluster >= 0
            last[found] = level.centroids[cluster[found]]
            distances.append(np.linalg.norm(x - last, axis=1))
        return Way(codes, _columns(distances, len(x), np.float32), last)

    def encode(self, x: np.ndarray) -> Quantized:
        """Embeddings (N, D) to the nearest child at every level.

        `quantized` is the centroid of the deepest cluster, `residual_norms` the distances to the centroids on the way.
        """
        x = np.ascontiguousarray(x, dtype=np.float32)
        return self.descend(x).of(x)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its arrays by name."""
        return {
            f"{name}.{depth}": torch.from_numpy(np.ascontiguousarray(array))
            for depth, level in enumerate(self.levels)
            for name, array in level._asdict().items()
        }

    @staticmethod
    def restore(tensors: dict[str, torch.Tensor], depth: int) -> ClusterTree:
        """The inverse of `tensors` for a tree of `depth` levels."""
        return ClusterTree([Level(*(tensors[f"{name}.{at}"].numpy() for name in Level._fields)) for at in range(depth)])


def of_codes(x: np.ndarray, codes: np.ndarray) -> ClusterTree:
    """The tree of the SIDs `codes` (N, L) of items (N, D): a centroid is the mean of the items under its prefix."""
    parent, n_parents = np.zeros(len(x), dtype=np.int64), 1
    levels = []
    for code in codes.T:
        key, cluster = np.unique(np.stack([parent, code]), axis=1, return_inverse=True)
        cluster = cluster.ravel()
        total = np.zeros((key.shape[1], x.shape[1]))
        np.add.at(total, cluster, x)
        mean = (total / np.bincount(cluster)[:, None]).astype(np.float32)
        first = np.searchsorted(key[0], np.arange(n_parents + 1)).astype(np.int64)
        levels.append(Level(first, key[1].astype(np.int64), mean))
        parent, n_parents = cluster, key.shape[1]
    return ClusterTree(levels)


def grow(
    x: np.ndarray,
    cluster: np.ndarray,
    above: np.ndarray,
    sizes: tuple[int, ...],
    *,
    seed: int,
    progress: Progress = silent,
) -> ClusterTree:
    """Clusters `x` (N, D) recursively, at most `sizes[l]` children a cluster, within the clusters `cluster` (N,) whose
    centroids are `above` (P, D).

    A cluster with no more distinct rows than that gets one child a row, as in DSI, whose smallest clusters number their
    documents. Children that end up empty are left out.
    """
    levels: list[Level] = []
    for depth, size in enumerate(sizes):
        n_clusters = len(above)
        members = np.split(np.argsort(cluster, kind="stable"), np.cumsum(np.bincount(cluster, minlength=n_clusters)))
        first, codes, centroids = [0], [], []
        for parent in range(n_clusters):
            inside = x[members[parent]]
            # A cluster may be empty: a code without members, or rounding that sent a row to its near twin's. Who comes
            # there goes straight down.
            children = _children(inside, size, seed=seed + 7919 * parent + depth) if len(inside) else above[[parent]]
            centroids.append(children)
            codes.append(np.arange(len(children)))
            first.append(first[-1] + len(children))
            if parent % 64 == 0:
                progress(depth * n_clusters + parent, len(sizes) * n_clusters)
        level = Level(np.array(first, dtype=np.int64), np.concatenate(codes), np.concatenate(centroids))
        cluster, above = level.nearest(x, cluster), level.centroids
        levels.append(level)
    progress(1, 1)
    return ClusterTree(levels)


def _children(x: np.ndarray, size: int, *, seed: int) -> np.ndarray:
    """Centroids (k, D), k <= size, of the members (n, D) of one cluster; each is nearest to a member at least."""
    distinct = np.unique(x, axis=0)
    if len(distinct) <= size:
        return distinct
    found = balance(x, kmeans(x, size, seed=seed), seed=seed)
    used = np.unique((x @ found.T - np.square(found).sum(axis=1) / 2).argmax(axis=1))
    return found[used]


def _columns(parts: list[np.ndarray], n: int, kind: type[np.generic]) -> np.ndarray:
    return np.stack(parts, axis=1).astype(kind) if parts else np.zeros((n, 0), dtype=kind)
