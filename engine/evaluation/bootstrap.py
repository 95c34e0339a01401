"""Bootstrap intervals over queries, and paired differences.

Queries are the unit of sampling. One matrix of resample counts (R, Q) serves every metric, ranker and segment, so that
differences are paired by construction; a segment is a mask over queries, and an interval or p-value speaks of new
queries of that kind. A metric over fewer than two usable queries is NaN, never a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from engine.evaluation.pairs import auc

_CHUNK_QUERIES = 512


class Estimate(NamedTuple):
    """A metric over queries: `value`, 95 % percentile interval, `n` queries it rests on, and its `draws` (R,)."""

    value: float
    low: float
    high: float
    n: int
    draws: np.ndarray


class Difference(NamedTuple):
    """First minus second estimate on the same resamples; `p_value` two-sided, NaN where either is unknown."""

    difference: float
    low: float
    high: float
    p_value: float
    n: int


def resample_queries(n_queries: int, resamples: int, *, seed: int) -> np.ndarray:
    """(resamples, n_queries) float32: how often each query is drawn, n_queries draws with replacement."""
    rng = np.random.default_rng(seed)
    out = np.empty((resamples, n_queries), dtype=np.float32)
    for r in range(resamples):
        out[r] = np.bincount(rng.integers(n_queries, size=n_queries), minlength=n_queries)
    return out


def bootstrap_metric(
    numerator: np.ndarray, denominator: np.ndarray, weights: np.ndarray, masks: Mapping[str, np.ndarray]
) -> dict[str, Estimate]:
    """sum(numerator) / sum(denominator) over the queries of every segment; both (Q,), NaN = query not usable.

    A mean of per-query values is values / ones, precision is true positives / predicted ones. `weights` (R, Q) of
    `resample_queries`, `masks` name -> (Q,) bool. Needs two queries with a positive denominator.
    """
    usable = np.isfinite(numerator) & np.isfinite(denominator)
    inside = np.array([usable & mask for mask in masks.values()], dtype=bool).reshape(len(masks), len(usable))
    top, bottom = np.where(inside, numerator, 0.0), np.where(inside, denominator, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (weights @ top.T.astype(np.float32)) / (weights @ bottom.T.astype(np.float32))
    out = {}
    for s, name in enumerate(masks):
        n = int((bottom[s] > 0).sum())
        value = float(top[s].sum() / bottom[s].sum()) if n >= 2 else float("nan")
        out[name] = _estimate(value, draws[:, s].astype(np.float64), n)
    return out


def bootstrap_auc(
    score: np.ndarray,
    positive: np.ndarray,
    query: np.ndarray,
    weights: np.ndarray,
    masks: Mapping[str, np.ndarray],
) -> dict[str, Estimate]:
    """Pooled AUC of every segment: pairs of the segment's queries in one list, resampled by query.

    The AUC of a resample is a quadratic form w'Aw / (w'p w'n) in the counts w of queries, A[a, b] = positives of
    query a above negatives of query b; A is made once, in blocks of b, and serves all resamples and segments.
    Needs two queries with both classes; `n` counts the queries that have pairs.
    """
    positive = np.asarray(positive, dtype=bool)
    n_queries = weights.shape[1]
    pos_q = np.bincount(query[positive], minlength=n_queries).astype(np.float64)
    neg_q = np.bincount(query[~positive], minlength=n_queries).astype(np.float64)
    both = (pos_q > 0) & (neg_q > 0)
    above = {name: np.zeros(len(weights)) for name in masks}
    for columns, block in _wins(score, positive, query, n_queries):
        for name, mask in masks.items():
            rows, inside = np.flatnonzero(mask & (pos_q > 0)), np.flatnonzero(mask[columns])
            if len(rows) and len(inside):
                won = weights[:, rows] @ block[np.ix_(rows, inside)]
                above[name] += (won * weights[:, columns[inside]]).sum(axis=1, dtype=np.float64)
    out = {}
    for name, mask in masks.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = above[name] / ((weights @ np.where(mask, pos_q, 0)) * (weights @ np.where(mask, neg_q, 0)))
        held = mask[query]
        value = auc(score[held], positive[held]) if (both & mask).sum() >= 2 else float("nan")
        out[name] = _estimate(value, draws, int((mask & (pos_q + neg_q > 0)).sum()))
    return out


def _wins(
    score: np.ndarray, positive: np.ndarray, query: np.ndarray, n_queries: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks (columns b, A[:, b]) float32 of the win counts: positives of query a above negatives of b, ties 1/2."""
    score = np.asarray(score, dtype=np.float64)
    order = np.argsort(score[positive], kind="stable")
    pos_score, pos_query = score[positive][order], query[positive][order]
    group = sparse.csr_matrix(
        (np.ones(len(pos_query), dtype=np.float32), (pos_query, np.arange(len(pos_query)))),
        shape=(n_queries, len(pos_query)),
    )
    neg_score, neg_query = score[~positive], query[~positive]
    low, high = np.searchsorted(pos_score, neg_score, "left"), np.searchsorted(pos_score, neg_score, "right")
    present = np.unique(neg_query)
    for start in range(0, len(present), _CHUNK_QUERIES):
        columns = present[start : start + _CHUNK_QUERIES]
        inside = np.flatnonzero((neg_query >= columns[0]) & (neg_query <= columns[-1]))
        column = np.searchsorted(columns, neg_query[inside])
        beaten = np.zeros((len(pos_score) + 1, len(columns)), dtype=np.float32)
        np.add.at(beaten, (low[inside], column), 0.5)
        np.add.at(beaten, (high[inside], column), 0.5)
        np.cumsum(beaten, axis=0, out=beaten)
        yield columns, group @ beaten[:-1]


def paired_difference(first: Estimate, second: Estimate) -> Difference:
    """First minus second, resample by resample; p = twice the smaller tail at zero, counted with one more draw."""
    draws = first.draws - second.draws
    draws = draws[np.isfinite(draws)]
    n = min(first.n, second.n)
    if not np.isfinite(first.value - second.value) or not len(draws):
        return Difference(float("nan"), float("nan"), float("nan"), float("nan"), n)
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    low, high = np.quantile(draws, [0.025, 0.975])
    p_value = min(1.0, 2.0 * (tail + 1) / (len(draws) + 1))
    return Difference(first.value - second.value, float(low), float(high), p_value, n)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of a metric over runs, resample by resample: its interval speaks of new queries, not of new runs."""
    value = float(np.mean([e.value for e in estimates]))
    return _estimate(value, np.mean([e.draws for e in estimates], axis=0), min(e.n for e in estimates))


def mean_over_redrawn_runs(estimates: Sequence[Estimate], picks: np.ndarray) -> Estimate:
    """The same where every resample r also redraws the runs, `picks` (R, S) positions: it speaks of new runs too.

    S draws out of S runs vary too little by (S - 1) / S, so deviations from the mean of the runs are stretched for it
    (the rescaled bootstrap; Rao and Wu, 1988). Needs two runs.
    """
    draws = np.stack([e.draws for e in estimates])
    n_runs = len(draws)
    assert n_runs > 1
    middle = draws.mean(axis=0)
    deviation = draws[picks, np.arange(draws.shape[1])[:, None]].mean(axis=1) - middle
    stretch = np.sqrt(n_runs / (n_runs - 1))
    value = float(np.mean([e.value for e in estimates]))
    return _estimate(value, middle + stretch * deviation, min(e.n for e in estimates))


def _estimate(value: float, draws: np.ndarray, n: int) -> Estimate:
    if not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"), n, np.full(len(draws), np.nan))
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n, draws)
