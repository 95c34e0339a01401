"""Nearest titles by the cosine of frozen embeddings."""

from __future__ import annotations

import numpy as np

from engine.relevance.vectors import VectorIndex


def nearest_titles(item_x: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """(M, min(k, N)) int64 titles most similar to those of the items `item` (M,) among `item_x` (N, D) unit rows, each
    item itself first."""
    own = item[:, None]
    found = VectorIndex(item_x).nearest(item_x[item], k).row
    found = np.where(found >= 0, found, own)
    # Duplicates of a title may come before it; it belongs to its own neighbourhood whatever the order of ties.
    return np.concatenate([own, _without(found, own)], axis=1)[:, :k].astype(np.int64)


def _without(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(M, k - 1): `found` less its own column, or less its last one where the title itself was not found."""
    drop = found == own
    drop[~drop.any(axis=1), -1] = True
    first = drop.argmax(axis=1)
    keep = np.arange(found.shape[1]) != first[:, None]
    return found[keep].reshape(len(found), found.shape[1] - 1)
