"""Metrics of rankers and beams, with bootstrap intervals and paired tests over queries (METHOD section 4).

Queries are the unit of sampling. One matrix of resample counts (R, Q) serves every metric, ranker and segment, so that
differences are paired by construction; a segment is a mask over queries, and an interval or p-value speaks of new
queries of that kind. A metric over fewer than two usable queries is NaN, never a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

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


class Evaluation(NamedTuple):
    """Tables of the schema without `run_id`: `metrics`, `comparisons`, `query_metrics`."""

    metrics: pd.DataFrame
    comparisons: pd.DataFrame
    query_metrics: pd.DataFrame


# ---------------------------------------------------------------- measures of pairs (M,) grouped by query (M,)


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


def _by_query(query: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    order = np.argsort(query, kind="stable")
    ids, starts = np.unique(query[order], return_index=True)
    yield from zip(ids.tolist(), np.split(order, starts[1:]), strict=True)


# ---------------------------------------------------------------- measures of beams, per query


def hit_at_k(levels: np.ndarray, query: np.ndarray, n_queries: int, n_levels: int) -> np.ndarray:
    """(n_queries, L): 1 where a relevant item's prefix of that level is in the beams, else 0; NaN without relevant items.

    `levels` (M,): match level of every relevant pair with its query's K beams; `query` (M,).
    """
    deepest = np.full(n_queries, -1, dtype=np.int64)
    np.maximum.at(deepest, query, levels)
    hit = (deepest[:, None] >= np.arange(1, n_levels + 1)).astype(np.float64)
    hit[deepest < 0] = np.nan
    return hit


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


def retrieval_recall(retrieved: np.ndarray, query: np.ndarray, n_queries: int) -> np.ndarray:
    """(n_queries,) share of the query's relevant pairs that were `retrieved` (M,) bool; NaN without relevant pairs."""
    count = np.bincount(query, minlength=n_queries)
    found = np.bincount(query, weights=np.asarray(retrieved, dtype=np.float64), minlength=n_queries)
    return np.where(count > 0, found / np.maximum(count, 1), np.nan)


# ---------------------------------------------------------------- bootstrap by query


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


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values (T,) corrected so that the chance of any false discovery stays at the level (Holm, 1979); NaN stays NaN
    and counts for nothing."""
    p_values = np.asarray(p_values, dtype=np.float64)
    out = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factor = np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(p_values[order] * factor), 1.0)
    return out


def detectable_difference(low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray | float:
    """The true difference that a 5 % two-sided test would find with 80 % power, from a 95 % interval: 2.80 standard
    errors."""
    return 2.8016 * (high - low) / (2 * 1.96)


def _estimate(value: float, draws: np.ndarray, n: int) -> Estimate:
    if not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"), n, np.full(len(draws), np.nan))
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n, draws)


# ---------------------------------------------------------------- tables


def evaluate(
    scores: Mapping[str, np.ndarray],
    grades: np.ndarray,
    query: np.ndarray,
    segments: Mapping[str, np.ndarray],
    *,
    relevant_grade: float,
    comparisons: Sequence[tuple[str, str]] = (),
    with_without: tuple[str, str] | None = None,
    query_ids: Sequence[str] | None = None,
    operating_points: Mapping[str, float] | None = None,
    resamples: int = 2_000,
    seed: int = 0,
) -> Evaluation:
    """Every ranker on the same judged pairs: `scores` ranker -> (M,), `grades` (M,), `query` (M,) positions 0..Q-1.

    `segments` name -> (Q,) bool over queries; `comparisons` (ranker, baseline); `operating_points` ranker -> threshold
    chosen on validation (precision and recall are given only then); `with_without` names the two rankers of
    `query_metrics`, whose rows carry `query_ids` (Q,). Metrics are '<ranker>.auc', '.within_query_auc', '.ndcg@10',
    '.precision', '.recall'.
    """
    query = np.asarray(query, dtype=np.int64)
    n_queries = len(next(iter(segments.values())))
    positive = np.asarray(grades) >= relevant_grade
    weights = resample_queries(n_queries, resamples, seed=seed)
    estimates: dict[tuple[str, str, str], Estimate] = {}
    by_query: dict[tuple[str, str], np.ndarray] = {}
    for ranker, score in scores.items():
        score = np.asarray(score, dtype=np.float64)
        per_query = {
            "within_query_auc": within_query_auc(score, positive, query, n_queries),
            "ndcg@10": ndcg(score, grades, query, n_queries),
        }
        by_query.update({(ranker, name): value for name, value in per_query.items()})
        found = {"auc": bootstrap_auc(score, positive, query, weights, segments)}
        for name, value in per_query.items():
            found[name] = bootstrap_metric(value, np.ones(n_queries), weights, segments)
        if operating_points is not None and ranker in operating_points:
            called = score >= operating_points[ranker]
            hits = np.bincount(query[called & positive], minlength=n_queries).astype(np.float64)
            for name, among in (("precision", called), ("recall", positive)):
                total = np.bincount(query[among], minlength=n_queries).astype(np.float64)
                found[name] = bootstrap_metric(hits, total, weights, segments)
        for name, by_segment in found.items():
            estimates.update({(ranker, name, segment): estimate for segment, estimate in by_segment.items()})
    metrics = [
        (f"{ranker}.{name}", segment, e.value, e.low, e.high, e.n) for (ranker, name, segment), e in estimates.items()
    ]
    differences = [
        (ranker, baseline, name, segment, *paired_difference(e, estimates[baseline, name, segment]))
        for ranker, baseline in comparisons
        for (first, name, segment), e in estimates.items()
        if first == ranker and (baseline, name, segment) in estimates
    ]
    return Evaluation(
        pd.DataFrame(metrics, columns=["metric", "segment", "value", "low", "high", "n"]),
        pd.DataFrame(
            differences,
            columns=["ranker", "baseline", "metric", "segment", "difference", "low", "high", "p_value", "n"],
        ),
        _query_metrics(by_query, with_without, query_ids),
    )


def evaluate_queries(
    values: Mapping[str, np.ndarray], segments: Mapping[str, np.ndarray], *, resamples: int = 2_000, seed: int = 0
) -> pd.DataFrame:
    """`metrics` rows of per-query values (Q,), NaN = not defined for the query: hit@5, survival, validity, recall."""
    n_queries = len(next(iter(segments.values())))
    weights = resample_queries(n_queries, resamples, seed=seed)
    rows: list[tuple[str, str, float, float, float, int]] = []
    for name, value in values.items():
        estimates = bootstrap_metric(np.asarray(value, dtype=np.float64), np.ones(n_queries), weights, segments)
        rows.extend((name, segment, e.value, e.low, e.high, e.n) for segment, e in estimates.items())
    return pd.DataFrame(rows, columns=["metric", "segment", "value", "low", "high", "n"])


def _query_metrics(
    by_query: Mapping[tuple[str, str], np.ndarray],
    with_without: tuple[str, str] | None,
    query_ids: Sequence[str] | None,
) -> pd.DataFrame:
    rows = []
    if with_without is not None:
        assert query_ids is not None
        for name in ("within_query_auc", "ndcg@10"):
            value, value_without = (by_query[ranker, name] for ranker in with_without)
            for q in np.flatnonzero(np.isfinite(value)).tolist():
                difference = value[q] - value_without[q]
                rows.append((query_ids[q], name, value[q], value_without[q], difference))
    return pd.DataFrame(rows, columns=["query_id", "metric", "value", "value_without", "difference"])
