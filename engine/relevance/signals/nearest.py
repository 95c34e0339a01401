"""Nearest titles by the cosine of frozen embeddings."""

from __future__ import annotations

import numpy as np

_EXACT = 10_000
"""Up to so many titles every pair is compared; beyond, inverted lists are searched (k-means cells of titles)."""
_TRAINED_ON = 20_000


def nearest_titles(item_x: np.ndarray, k: int) -> np.ndarray:
    """(N, min(k, N)) int64 titles most similar to each of `item_x` (N, D) unit rows, itself first."""
    import faiss

    n, dim = item_x.shape
    x = np.ascontiguousarray(item_x, dtype=np.float32)
    k = min(k, n)
    index: faiss.Index = faiss.IndexFlatIP(dim)
    if n > _EXACT:
        cells = int(np.sqrt(n))
        index = lists = faiss.IndexIVFFlat(index, dim, cells, faiss.METRIC_INNER_PRODUCT)
        lists.nprobe = max(8, cells // 16)
        lists.train(x[:: max(1, n // _TRAINED_ON)])
    index.add(x)
    _, found = index.search(x, k)
    own = np.arange(n)[:, None]
    found = np.where(found >= 0, found, own)
    # Duplicates of a title may come before it; it belongs to its own neighbourhood whatever the order of ties.
    return np.concatenate([own, _without(found, own)], axis=1)[:, :k].astype(np.int64)


def _without(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(N, k - 1): `found` less its own column, or less its last one where the title itself was not found."""
    drop = found == own
    drop[~drop.any(axis=1), -1] = True
    first = drop.argmax(axis=1)
    keep = np.arange(found.shape[1]) != first[:, None]
    return found[keep].reshape(len(found), -1)
