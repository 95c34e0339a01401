"""A policy tried on stored rankings: a bonus for a group of items, or a cap on its places in the first ten.

Nothing is scored again: the stored scores are changed, the rankings re-ordered, and what that does to exposure and to the
order of judged items is counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.audit.exposure import drawn_sums, resample_counts
from engine.audit.intervals import Interval, mean_interval
from engine.audit.traffic import PAGE, discount_weights


class Policy(NamedTuple):
    """What is done to a group's items."""

    bonus: float = 0.0  # Added to their scores, in the score's own unit.
    cap: int | None = None  # At most so many of them in the first ten; the rest stands just behind it.


class Pairs(NamedTuple):
    """Scored pairs (M,) of queries 0..Q-1."""

    query: np.ndarray  # int64.
    score: np.ndarray  # float64.
    first: np.ndarray  # int64 first-stage rank from 1, which orders equal scores; 0: not retrieved.
    rank: np.ndarray  # int64 rank from 1 as it is stored; 0: not retrieved.
    grade: np.ndarray  # float64, NaN where not judged.


class Change(NamedTuple):
    """A quantity before and after, and the interval of the difference over new queries."""

    before: float
    after: float
    difference: Interval


class Tried(NamedTuple):
    """What a policy does."""

    new_rank: np.ndarray  # (M,) under the policy.
    share: Change  # The group's share of exposure.
    shown: Change  # Items of the group in the first ten: mean over queries with traffic, as often as they are asked.
    ndcg: Change  # nDCG@10, mean over the queries that count for it.
    ndcg_before: np.ndarray  # (Q,) NaN where a query does not count.
    ndcg_after: np.ndarray
    changed: np.ndarray  # (Q,) bool: the first ten are others, or in another order.


def try_policy(
    pairs: Pairs, inside: np.ndarray, policy: Policy, weight: np.ndarray, counts: np.ndarray, *, discount: str = "log2"
) -> Tried:
    """Try a policy for the pairs whose items are `inside` (M,) bool.

    `weight` (Q,): how often each query is asked, 0 for one that counts for nDCG alone; `counts` (Q,) bool: the judged queries
    that nDCG is told of.
    """
    n_queries = len(weight)
    touched = np.flatnonzero((np.bincount(pairs.query, weights=inside, minlength=n_queries) > 0)[pairs.query])
    few = Pairs(*(column[touched] for column in pairs))  # queries without an item of the group stay as they are
    score, rank = pairs.score.copy(), pairs.rank
    score[touched] = governed(few, inside[touched], policy)
    new_rank = rank.copy()
    if policy != Policy():
        new_rank[touched] = places(few.query, score[touched], few.first)
    seen, new = (exposure_of(r, pairs.query, weight, discount) for r in (rank, new_rank))
    of_group, of_group_after = (np.bincount(pairs.query, weights=e * inside, minlength=n_queries) for e in (seen, new))
    everything = np.bincount(pairs.query, weights=seen, minlength=n_queries)
    on_page, on_page_after = (
        np.bincount(pairs.query, weights=inside & (r > 0) & (r <= PAGE), minlength=n_queries) * weight
        for r in (rank, new_rank)
    )
    before, after = (
        np.where(counts, ndcg(s, pairs.grade, pairs.query, n_queries), np.nan) for s in (pairs.score, score)
    )
    known = np.isfinite(before)
    moved = (rank != new_rank) & ((np.minimum(rank, new_rank) > 0) & (np.minimum(rank, new_rank) <= PAGE))
    return Tried(
        new_rank,
        _ratio(of_group, of_group_after, everything),
        _ratio(on_page, on_page_after, weight.astype(np.float64)),
        Change(_mean(before), _mean(after), mean_interval(np.round((after - before)[known], 12))),
        before,
        after,
        np.bincount(pairs.query, weights=moved, minlength=n_queries) > 0,
    )


def governed(pairs: Pairs, inside: np.ndarray, policy: Policy) -> np.ndarray:
    """(M,) scores under the policy: the stored ones, with the bonus, those above the cap just behind the first ten."""
    score = pairs.score + policy.bonus * inside
    if policy.cap is None:
        return score
    rows = np.flatnonzero(pairs.first > 0)
    rows = rows[np.lexsort((pairs.first[rows], -score[rows], pairs.query[rows]))]
    query, held = pairs.query[rows], inside[rows]
    allowed = ~held | (_running(held, query) <= policy.cap)
    place = np.where(allowed, _running(allowed, query), 0)  # 1..: among those that may be on page one
    # The last of page one: the tenth that may be there, or the last one where fewer may.
    last = np.full(int(query.max(initial=-1)) + 1, -1, dtype=np.int64)
    on_page = np.flatnonzero((place > 0) & (place <= PAGE))
    last[query[on_page]] = on_page  # of several the last one stays
    ahead = np.flatnonzero(~allowed & (last[query] >= 0) & (score[rows] >= score[rows[last[query]]]))
    behind = score[rows[last[query[ahead]]]]
    step = _running(np.ones(len(ahead), dtype=bool), query[ahead])
    score[rows[ahead]] = behind - step * np.spacing(np.abs(behind) + 1e-12)
    return score


def places(query: np.ndarray, score: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(M,) int64 rank among the retrieved of each query, equal scores in the first stage's order; 0 elsewhere."""
    rows = np.flatnonzero(first > 0)
    rows = rows[np.lexsort((first[rows], -score[rows], query[rows]))]
    found = np.zeros(len(query), dtype=np.int64)
    found[rows] = _running(np.ones(len(rows), dtype=bool), query[rows])
    return found


def exposure_of(rank: np.ndarray, query: np.ndarray, weight: np.ndarray, discount: str) -> np.ndarray:
    """(M,) exposure of each pair: its place's discount times how often its query is asked."""
    return np.where(rank > 0, discount_weights(np.maximum(rank, 1), discount), 0.0) * weight[query]


def ndcg(score: np.ndarray, grade: np.ndarray, query: np.ndarray, n_queries: int) -> np.ndarray:
    """(Q,) nDCG@10 over the judged pairs, as `engine.evaluation.pairs.ndcg`: equal scores share their mean gain; NaN where
    nothing has a positive grade."""
    rows = np.flatnonzero(np.isfinite(grade))
    rows = rows[np.lexsort((-score[rows], query[rows]))]
    of, value, gain = query[rows], score[rows], 2.0 ** grade[rows] - 1.0
    place = _running(np.ones(len(rows), dtype=bool), of)
    discount = np.where(place <= PAGE, 1.0 / np.log2(1.0 + np.maximum(place, 1)), 0.0)
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (of[1:] != of[:-1]) | (value[1:] != value[:-1])
    tie = np.cumsum(new) - 1
    mean_gain = (np.bincount(tie, weights=gain) / np.maximum(np.bincount(tie), 1))[tie] if len(rows) else gain
    best = np.lexsort((-gain, of))  # the ideal order fills the same places
    reached = np.bincount(of, weights=mean_gain * discount, minlength=n_queries)
    ideal = np.bincount(of, weights=gain[best] * discount, minlength=n_queries)
    return np.where(ideal > 0, reached / np.where(ideal > 0, ideal, 1.0), np.nan)


def _running(mask: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(M,) how many of `mask` there are up to each row of its query; rows of a query stand together."""
    total = np.cumsum(mask)
    start = np.flatnonzero(np.r_[True, query[1:] != query[:-1]]) if len(query) else np.zeros(0, dtype=np.int64)
    before = np.where(start > 0, total[start - 1], 0)
    return total - np.repeat(before, np.diff(np.r_[start, len(query)]))


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ratio(before: np.ndarray, after: np.ndarray, whole: np.ndarray, *, resamples: int = 1_000) -> Change:
    """Sums over queries (Q,) as shares of `whole` (Q,), the difference with a bootstrap interval over queries."""
    used = whole > 0
    n = int(used.sum())
    if not n:
        return Change(float("nan"), float("nan"), Interval(float("nan"), float("nan"), float("nan"), 0))
    stacked = np.column_stack([(after - before)[used], whole[used]])
    drawn = drawn_sums(resample_counts(n, resamples, 0), stacked)
    low, high = np.quantile(drawn[:, 0] / np.maximum(drawn[:, 1], 1e-300), [0.025, 0.975])
    total = whole[used].sum()
    first, second = before[used].sum() / total, after[used].sum() / total
    return Change(float(first), float(second), Interval(float(second - first), float(low), float(high), n))
