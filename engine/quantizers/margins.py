"""How sure an assignment is: the distance to the chosen code against that to the next one."""

from __future__ import annotations

import numpy as np

from engine.quantizers.clustering import KMeansQuantizer
from engine.quantizers.hierarchical import HierarchicalQuantizer
from engine.quantizers.model import ContrastiveQuantizer
from engine.quantizers.protocol import Quantized, Quantizer
from engine.quantizers.rqvae import RqVae


def margins(quantizer: Quantizer, made: Quantized) -> np.ndarray:
    """(N, L) of rows that `quantizer` encoded: (d2 - d1) / d2, d1 the distance to the chosen code's vector and d2 to the
    nearest other's; 0 on the border. NaN where there is no other, where level 1 is forced, and for other tokenizers."""
    found = np.full(made.codes.shape, np.nan)
    if isinstance(quantizer, ContrastiveQuantizer | RqVae | KMeansQuantizer):
        books = quantizer.codebooks
        residual = made.latent
        for level, tensor in enumerate(books.vectors):
            vectors, own = tensor.numpy(), made.codes[:, level]
            there = books.owned.numpy() if level == 0 else np.ones(len(vectors), dtype=bool)
            if not (level == 0 and quantizer.forced_level):
                found[:, level] = _relative(residual, vectors, own, there)
            residual = residual - vectors[own]
    elif isinstance(quantizer, HierarchicalQuantizer):
        cluster = np.zeros(len(made.codes), dtype=np.int64)
        for depth, clusters in enumerate(quantizer.tree):
            parent, cluster = cluster, clusters.first[cluster] + made.codes[:, depth]
            for at in np.unique(parent):
                rows = np.flatnonzero(parent == at)
                children = clusters.centroids[clusters.first[at] : clusters.first[at + 1]]
                own = made.codes[rows, depth]
                found[rows, depth] = _relative(made.latent[rows], children, own, np.ones(len(children), dtype=bool))
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
