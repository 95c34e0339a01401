"""Measures of beams, per query."""

from __future__ import annotations

import numpy as np


def hit_at_k(levels: np.ndarray, query: np.ndarray, n_queries: int, n_levels: int) -> np.ndarray:
    """(n_queries, L): 1 where a relevant item's prefix of that level is in the beams, else 0; NaN without relevant items.

    `levels` (M,): match level of every relevant pair with its query's K beams; `query` (M,).
    """
    deepest = np.full(n_queries, -1, dtype=np.int64)
    np.maximum.at(deepest, query, levels)
    hit = (deepest[:, None] >= np.arange(1, n_levels + 1)).astype(np.float64)
    hit[deepest < 0] = np.nan
    return hit


def item_hit_at_k(
    levels: np.ndarray, sharing: np.ndarray, query: np.ndarray, n_queries: int, n_levels: int
) -> np.ndarray:
    """(n_queries, L): the same counted by item: a relevant item whose prefix is hit counts 1 / the items under that prefix
    (the chance to name it by its prefix), and a query counts its best one; 0 without a hit, NaN without relevant items.

    `sharing` (M, L): items under each pair's item's prefix of every level, itself included (`items_under`).
    """
    credit = np.where(levels[:, None] >= np.arange(1, n_levels + 1), 1.0 / np.maximum(sharing, 1), 0.0)
    best = np.full((n_queries, n_levels), -np.inf)
    np.maximum.at(best, query, credit)
    best[np.isneginf(best)] = np.nan
    return best


def items_under(codes: np.ndarray) -> np.ndarray:
    """(N, L) int32: how many items share each item's prefix of every level, from SIDs (N, L); 0 without a SID."""
    codes = np.asarray(codes, dtype=np.int64)
    held = codes[:, 0] >= 0
    under = np.zeros(codes.shape, dtype=np.int32)
    prefix = np.zeros(int(held.sum()), dtype=np.int64)
    for level, code in enumerate(codes[held].T):
        prefix, size = np.unique(prefix * (code.max(initial=0) + 1) + code, return_inverse=True, return_counts=True)[1:]
        under[held, level] = size[prefix]
    return under


def prefix_survival(levels: np.ndarray, query: np.ndarray, n_queries: int, n_levels: int) -> np.ndarray:
    """(n_queries, L): share of the query's relevant items whose prefix of that level is among the beams; NaN without."""
    reached = np.asarray(levels)[:, None] >= np.arange(1, n_levels + 1)
    total = np.zeros((n_queries, n_levels))
    np.add.at(total, query, reached)
    count = np.bincount(query, minlength=n_queries)[:, None]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def beam_diversity(beam_codes: np.ndarray) -> np.ndarray:
    """(Q, L): distinct prefixes of each level among the beams (Q, K, L), as a share of the beams; NaN without beams."""
    n_queries, width, n_levels = beam_codes.shape
    real = np.min(beam_codes, axis=2, initial=0) >= 0
    new = np.zeros((n_queries, n_levels))
    for k in range(width):
        same = np.logical_and.accumulate(beam_codes[:, :k] == beam_codes[:, k : k + 1], axis=2) & real[:, :k, None]
        new += real[:, k, None] & ~same.any(axis=1)
    beams = real.sum(axis=1)[:, None]
    return np.where(beams > 0, new / np.maximum(beams, 1), np.nan)


def validity(beam_codes: np.ndarray, item_codes: np.ndarray) -> np.ndarray:
    """(Q,) share of the beams (Q, K, L) that some item (N, L) holds; NaN without beams."""
    real = np.min(beam_codes, axis=2, initial=0) >= 0
    known = {row.tobytes() for row in np.ascontiguousarray(item_codes, dtype=np.int64)}
    flat = np.ascontiguousarray(beam_codes[real], dtype=np.int64)
    valid = np.zeros(real.shape, dtype=bool)
    valid[real] = [row.tobytes() in known for row in flat]
    return np.where(real.any(axis=1), valid.sum(axis=1) / np.maximum(real.sum(axis=1), 1), np.nan)
