"""Measures of scored pairs (M,) grouped by query (M,)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """P(score of a positive > of a negative) + half of P(equal) (Mann-Whitney); NaN unless both classes are there."""
    positive = np.asarray(positive, dtype=bool)
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if n_pos == 0 or n_neg == 0:
        return float("nan")
    ranks = rankdata(np.asarray(score, dtype=np.float64))
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def within_query_auc(score: np.ndarray, positive: np.ndarray, query: np.ndarray, n_queries: int) -> np.ndarray:
    """(n_queries,) AUC among each query's own pairs; NaN where a query lacks a class."""
    out = np.full(n_queries, np.nan)
    for q, rows in _by_query(query):
        out[q] = auc(score[rows], positive[rows])
    return out


def ndcg(score: np.ndarray, grade: np.ndarray, query: np.ndarray, n_queries: int, *, k: int = 10) -> np.ndarray:
    """(n_queries,) nDCG@k over judged pairs, gain 2^grade - 1, discount 1/log2(1 + rank) (Burges et al., 2005).

    Pairs of equal score share the mean gain of their group (McSherry and Najork, 2008), so that the order of rows
    never counts. NaN where no pair has a positive grade.
    """
    out = np.full(n_queries, np.nan)
    for q, rows in _by_query(query):
        gain = 2.0 ** np.asarray(grade[rows], dtype=np.float64) - 1.0
        discount = np.where(np.arange(len(rows)) < k, 1.0 / np.log2(np.arange(2, len(rows) + 2)), 0.0)
        ideal = np.sort(gain)[::-1] @ discount
        if ideal > 0:
            _, group = np.unique(-np.asarray(score[rows], dtype=np.float64), return_inverse=True)
            mean_gain = np.bincount(group, weights=gain) / np.bincount(group)
            out[q] = mean_gain[np.sort(group)] @ discount / ideal
    return out


def operating_point(score: np.ndarray, positive: np.ndarray) -> float:
    """The score at or above which predicting 'relevant' has the best F1 (of equals the highest); for validation pairs.

    NaN without positives.
    """
    positive = np.asarray(positive, dtype=bool)
    if not positive.any():
        return float("nan")
    cut, group = np.unique(-np.asarray(score, dtype=np.float64), return_inverse=True)
    hits = np.cumsum(np.bincount(group, weights=positive))
    called = np.cumsum(np.bincount(group))
    return float(-cut[np.argmax(2 * hits / (called + positive.sum()))])


def retrieval_recall(retrieved: np.ndarray, query: np.ndarray, n_queries: int) -> np.ndarray:
    """(n_queries,) share of the query's relevant pairs that were `retrieved` (M,) bool; NaN without relevant pairs."""
    count = np.bincount(query, minlength=n_queries)
    found = np.bincount(query, weights=np.asarray(retrieved, dtype=np.float64), minlength=n_queries)
    return np.where(count > 0, found / np.maximum(count, 1), np.nan)


def _by_query(query: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    order = np.argsort(query, kind="stable")
    ids, starts = np.unique(query[order], return_index=True)
    yield from zip(ids.tolist(), np.split(order, starts[1:]), strict=True)
