"""Exposure audit: who is seen more, and who less, when the ranking uses SIDs.

Retrieved candidates alone are ranked and count. A position's exposure is its discount (`traffic.discount_weights`), a
query counts by its frequency, and a share is exposure over all exposure of the same kind. The change over the logged
query mix is exact; intervals and p-values speak of new queries drawn like the logged ones: a bootstrap of queries, each
carrying its frequency, as one product of resample counts and per-query exposures. Of more than `BLOCKS` queries random blocks
of them are drawn (random groups, Wolter 2007, chapter 2): the variance is the same but for its own error, sqrt(2 / BLOCKS).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from engine.audit.groups import UNKNOWN
from engine.audit.inequality import gini_rows
from engine.audit.severity import BARS, LEAST_QUERIES, SURE, WATCH
from engine.audit.traffic import DISCOUNTS

EXPOSURE_COLUMNS = (
    *("discount", "dimension", "value", "share", "share_without", "difference", "low", "high", "p_value", "q_value"),
    *("n_items", "catalogue_share", "merit", "n_merit_pairs", "revenue_share", "revenue_share_without"),
    *("n_queries", "effective_n", "verdict"),
)
CONCENTRATION_COLUMNS = (*("discount", "dimension", "metric", "value", "value_without", "difference", "low", "high"),)
CONCENTRATION_DIMENSIONS = ("seller", "category", "brand")
MATERIAL = BARS[WATCH].absolute
"""A change of share below which a clear one is still tiny."""
TOO_SMALL = "n too small"
BLOCKS = 4_096
"""Most parts of the queries that are drawn as one: bounds the time of intervals, whatever the length of the log."""
_RESAMPLE_CHUNK = 500
_GROUP_CHUNK = 512


class Seen(NamedTuple):
    """How the items are seen over the whole query mix. D discounts in the order of `DISCOUNTS`."""

    weight: np.ndarray  # (Q,) weight of each query that ranked anything; only ratios matter.
    total: np.ndarray
    """(D, Q) exposure of all the query's candidates; equal with and without SIDs, for the ranks are the same set."""
    by_item: np.ndarray  # (D, 2, N) each item's share of all exposure, with and without SIDs; NaN where there is none.
    price: np.ndarray
    """(N,) 0 where it is not known, or not in the catalogue's commonest currency: sums over several would mean nothing."""
    merit: np.ndarray  # (N,) sum of the grades of the item's judged retrieved pairs.
    n_merit_pairs: np.ndarray  # (N,) how many there are.


class Dimension(NamedTuple):
    """One way to group the items, and the exposure of its (query, group) cells that occur."""

    name: str
    values: np.ndarray  # (G,) names of the groups.
    member: np.ndarray  # (N,) group of each item.
    query: np.ndarray  # (C,) query of each cell, as in `Seen.weight`.
    group: np.ndarray  # (C,)
    discounts: np.ndarray  # (D, 2, C) sum of the discounts of the group's items in the query, with and without SIDs.

    def matrix(self, value: np.ndarray, n_queries: int) -> sparse.csc_matrix:
        """(Q, G) from one value a cell."""
        return sparse.csc_matrix((value, (self.query, self.group)), shape=(n_queries, len(self.values)))

    def of(self, item_value: np.ndarray) -> np.ndarray:
        """(G,) sums of one value an item."""
        return np.bincount(self.member, weights=item_value, minlength=len(self.values))


def resample_counts(n: int, resamples: int, seed: int) -> np.ndarray:
    """(R, n) how often each of n queries is drawn in each resample of n with replacement; rows sum to n."""
    rng = np.random.default_rng(seed)
    out = np.empty((resamples, n), dtype=np.uint8)
    if not n:
        return out
    for start in range(0, resamples, _RESAMPLE_CHUNK):
        rows = min(_RESAMPLE_CHUNK, resamples - start)
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        # A count above 255 has a probability below 1e-300 for any n.
        out[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
    return out


def drawn_sums(counts: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(R, ...) float64 sums of one value a query (Q, ...) over the queries of each resample, a block at a time."""
    blocks = range(0, len(counts), _RESAMPLE_CHUNK)
    return np.concatenate([counts[b : b + _RESAMPLE_CHUNK].astype(np.float64) @ value for b in blocks])


class Resamples(NamedTuple):
    """Draws of the queries, and all exposure in each."""

    counts: np.ndarray  # (R, B) of `resample_counts`.
    blocks: sparse.csr_matrix  # (B, Q) which queries are drawn as one; the identity for B = Q.
    scale: np.ndarray  # (D,) brings exposure near 1, for float32.
    total: np.ndarray  # (D, R) scaled.

    @classmethod
    def draw(cls, seen: Seen, resamples: int, seed: int) -> Resamples:
        """Resamples of the queries of `seen`."""
        n = len(seen.weight)
        drawn = min(n, BLOCKS)
        block = np.arange(n) if n == drawn else np.random.default_rng(seed).permutation(n) % drawn
        blocks = sparse.csr_matrix((np.ones(n), (block, np.arange(n))), shape=(drawn, n))
        counts = resample_counts(drawn, resamples, seed)
        scale = (1.0 / np.maximum(seen.total.mean(axis=1), np.finfo(float).tiny)).astype(np.float32)
        total = drawn_sums(counts, blocks @ seen.total.T).T
        return cls(counts, blocks, scale, np.maximum(total * scale[:, None], np.finfo(np.float32).tiny))

    def shares(self, d: int, numerator: sparse.csc_matrix) -> Iterator[tuple[slice, np.ndarray]]:
        """Resampled shares (R, g) of the groups (Q, G), one block of groups after the other."""
        for first in range(0, numerator.shape[1], _GROUP_CHUNK):
            block = slice(first, min(first + _GROUP_CHUNK, numerator.shape[1]))
            dense = (self.blocks @ numerator[:, block]).toarray().astype(np.float32) * self.scale[d]
            out = np.empty((len(self.counts), dense.shape[1]), dtype=np.float32)
            for start in range(0, len(self.counts), _RESAMPLE_CHUNK):
                rows = slice(start, start + _RESAMPLE_CHUNK)
                out[rows] = self.counts[rows].astype(np.float32) @ dense
            out /= self.total[d][:, None]
            yield block, out


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """False-discovery-rate adjusted p-values (Benjamini and Hochberg 1995); NaN stays NaN and does not count."""
    p = np.asarray(p, dtype=np.float64)
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    if known.size:
        order = known[np.argsort(p[known], kind="stable")]
        adjusted = p[order] * len(order) / np.arange(1, len(order) + 1)
        out[order] = np.minimum(np.minimum.accumulate(adjusted[::-1])[::-1], 1.0)
    return out


def _intervals(resamples: Resamples, d: int, change: sparse.csc_matrix) -> tuple[np.ndarray, ...]:
    """Low, high and two-sided p of every group's change in share."""
    n_groups, n = change.shape[1], len(resamples.counts)
    low, high, p = np.zeros(n_groups), np.zeros(n_groups), np.ones(n_groups)
    edges = [int(np.floor(0.025 * (n - 1))), int(np.ceil(0.975 * (n - 1)))]
    for block, drawn in resamples.shares(d, change):
        down, up = (drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0)
        p[block] = np.minimum(2 * (np.minimum(down, up) + 1) / (n + 1), 1.0)
        by_group = np.partition(np.ascontiguousarray(drawn.T), edges, axis=1)
        low[block], high[block] = by_group[:, edges[0]], by_group[:, edges[1]]
    return low, high, p


def shares(value: np.ndarray) -> np.ndarray:
    """Parts of the total; unknown where there is none."""
    total = value.sum()
    return value / total if total > 0 else np.full(len(value), np.nan)


def verdicts(difference: np.ndarray, q_value: np.ndarray, effective_n: np.ndarray) -> np.ndarray:
    """(G,) what to call each change: its direction, how sure it is, and whether it is of any size."""
    sign = np.where(difference > 0, "gains", "loses").astype(object)
    sure = np.where(np.abs(difference) >= MATERIAL, ", clear", ", clear but tiny").astype(object)
    said = sign + np.where(q_value <= SURE, sure, ", could be chance").astype(object)
    said = np.where(difference == 0, "unchanged", said)
    return np.where(effective_n >= LEAST_QUERIES, said, TOO_SMALL)


def exposure_rows(dimension: Dimension, seen: Seen, resamples: Resamples) -> pd.DataFrame:
    """Rows of the `exposure` table: every value of one dimension under every discount.

    `q_value` corrects over the values of the dimension under one discount that appear in some retrieved list.
    """
    n_groups = len(dimension.values)
    weight = seen.weight[dimension.query]
    n_items = np.bincount(dimension.member, minlength=n_groups)
    n_queries = np.bincount(dimension.group, minlength=n_groups)
    absent = n_queries == 0
    mass, squares = (np.bincount(dimension.group, weights=w, minlength=n_groups) for w in (weight, weight**2))
    known = {
        "n_items": n_items,
        "catalogue_share": n_items / len(dimension.member),
        "merit": shares(dimension.of(seen.merit)),
        "n_merit_pairs": dimension.of(seen.n_merit_pairs).astype(np.int64),
    }
    reach = {"n_queries": n_queries, "effective_n": np.where(absent, 0.0, mass**2 / np.where(absent, 1.0, squares))}
    tables = []
    for d, discount in enumerate(DISCOUNTS):
        exposure = weight * dimension.discounts[d]
        share, without = (
            np.bincount(dimension.group, weights=part, minlength=n_groups) / seen.total[d].sum() for part in exposure
        )
        change = dimension.matrix(exposure[0] - exposure[1], len(seen.weight))
        low, high, p = _intervals(resamples, d, change)
        p[absent] = np.nan
        q = benjamini_hochberg(p)
        revenue, revenue_without = (shares(dimension.of(part * seen.price)) for part in seen.by_item[d])
        tables.append(
            pd.DataFrame(
                {
                    "discount": discount,
                    "dimension": dimension.name,
                    "value": dimension.values.astype(object),
                    "share": share,
                    "share_without": without,
                    "difference": share - without,
                    "low": np.where(absent, np.nan, low),
                    "high": np.where(absent, np.nan, high),
                    "p_value": p,
                    "q_value": q,
                    **known,
                    "revenue_share": revenue,
                    "revenue_share_without": revenue_without,
                    **reach,
                    "verdict": verdicts(share - without, q, reach["effective_n"]),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def concentration(share: np.ndarray) -> dict[str, np.ndarray]:
    """(R,) HHI, Gini and share of the ten largest, of shares (R, G) that are made to sum to 1."""
    total = share.sum(axis=1, keepdims=True)
    share = share / np.where(total > 0, total, 1)
    top = min(10, share.shape[1])
    largest = np.partition(share, share.shape[1] - top, axis=1)[:, share.shape[1] - top :]
    return {"hhi": (share**2).sum(axis=1), "gini": gini_rows(share), "top10_share": largest.sum(axis=1)}


def concentration_rows(dimension: Dimension, seen: Seen, resamples: Resamples) -> pd.DataFrame:
    """Rows of the `exposure_concentration` table: HHI, Gini and top-10 share over one dimension's values.

    Values without any exposure count as zeros; items of unknown value are left out. The interval is of the difference.
    """
    known = np.flatnonzero(dimension.values != UNKNOWN)
    rows = []
    for d, discount in enumerate(DISCOUNTS):
        measures = []
        for part in seen.weight[dimension.query] * dimension.discounts[d]:
            matrix = dimension.matrix(part, len(seen.weight))[:, known]
            drawn = np.concatenate([block for _, block in resamples.shares(d, matrix)], axis=1)
            exact = np.asarray(matrix.sum(axis=0))
            measures.append((concentration(exact), concentration(drawn)))
        for metric in ("hhi", "gini", "top10_share"):
            value, without = (float(exact[metric][0]) for exact, _ in measures)
            low, high = np.quantile(measures[0][1][metric] - measures[1][1][metric], [0.025, 0.975])
            rows.append((discount, dimension.name, metric, value, without, value - without, low, high))
    return pd.DataFrame(rows, columns=list(CONCENTRATION_COLUMNS))
