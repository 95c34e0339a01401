"""How sure an assignment is: the distance to the chosen code against that to the next one."""

from __future__ import annotations

import numpy as np

from engine.quantizers.clustering import KMeansQuantizer
from engine.quantizers.hierarchical import HierarchicalQuantizer
from engine.quantizers.local import LocalQuantizer
from engine.quantizers.model import ContrastiveQuantizer
from engine.quantizers.protocol import Quantized, Quantizer
from engine.quantizers.rqvae import RqVae
from engine.quantizers.tree import ClusterTree


def margins(quantizer: Quantizer, made: Quantized) -> np.ndarray:
    """(N, L) of rows that `quantizer` encoded: (d2 - d1) / d2, d1 the distance to the chosen code's vector and d2 to the
    nearest other's; 0 on the border. NaN where there is no other, where level 1 is forced, and for other tokenizers."""
    found = np.full(made.codes.shape, np.nan)
    if isinstance(quantizer, HierarchicalQuantizer):
        found[:] = _tree_margins(quantizer.tree, made.latent, made.codes, np.zeros(len(made.codes), dtype=np.int64))
    elif isinstance(quantizer, ContrastiveQuantizer | RqVae | KMeansQuantizer):
        books, residual = quantizer.codebooks, made.latent
        for level, tensor in enumerate(books.vectors):
            vectors, own = tensor.numpy(), made.codes[:, level]
            there = books.owned.numpy() if level == 0 else np.ones(len(vectors), dtype=bool)
            if not (level == 0 and quantizer.forced_level):
                found[:, level] = _relative(residual, vectors, own, there)
            residual = residual - vectors[own]
        if isinstance(quantizer, LocalQuantizer):
            found[:, 1:] = _tree_margins(quantizer.tree, made.latent, made.codes[:, 1:], made.codes[:, 0])
    return found


def _tree_margins(tree: ClusterTree, x: np.ndarray, codes: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(N, levels of the tree) margins of rows (N, d) that took `codes` down from the clusters `start` (N,)."""
    found = np.full(codes.shape, np.nan)
    parent = start
    for depth, level in enumerate(tree.levels):
        cluster = level.child(parent, codes[:, depth])
        for at in np.unique(parent):
            rows = np.flatnonzero(parent == at)
            low, high = level.first[at], level.first[at + 1]
            all_there = np.ones(high - low, dtype=bool)
            found[rows, depth] = _relative(x[rows], level.centroids[low:high], cluster[rows] - low, all_there)
        parent = cluster
    return found


def _relative(x: np.ndarray, vectors: np.ndarray, own: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(N,) margins of rows (N, d) that chose `own` (N,) among those of `vectors` (K, d) that are `there` (K,)."""
    if there.sum() < 2:
        return np.full(len(x), np.nan)
    distance = np.stack([np.where(there, np.linalg.norm(row - vectors, axis=1), np.inf) for row in x])
    chosen = distance[np.arange(len(x)), own].copy()
    distance[np.arange(len(x)), own] = np.inf
    other = distance.min(axis=1)
    return np.where(other > 0, (other - chosen) / np.where(other > 0, other, 1.0), 0.0)
