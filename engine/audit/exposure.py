"""Exposure audit: who is seen more, and who less, when the ranking uses SIDs.

Retrieved candidates alone are ranked and count. A position's exposure is its discount (`traffic.discount_weights`), a
query counts by its frequency, and a share is exposure over all exposure of the same kind. The change over the logged
query mix is exact; intervals and p-values speak of new queries drawn like the logged ones: a bootstrap of queries, each
carrying its frequency, as one product of resample counts and per-query exposures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from engine.audit.causes import Causes, causes, exposure_total
from engine.audit.groups import UNKNOWN, item_groups
from engine.audit.inequality import gini_rows
from engine.audit.traffic import CLICK_DECAY, DISCOUNTS, discount_weights, traffic_weights
from engine.progress import Progress, silent

__all__ = [
    "Causes",
    "Ranking",
    "causes",
    "concentration_table",
    "exposure_table",
    "exposure_total",
    "item_exposure",
    "ranking",
]

EXPOSURE_COLUMNS = (
    *("discount", "dimension", "value", "share", "share_without", "difference", "low", "high", "p_value", "q_value"),
    *("n_items", "catalogue_share", "merit", "n_merit_pairs", "revenue_share", "revenue_share_without"),
    *("n_queries", "effective_n"),
)
CONCENTRATION_DIMENSIONS = ("seller", "category", "brand")
_RESAMPLE_CHUNK = 500
_GROUP_CHUNK = 512


class Ranking(NamedTuple):
    """The retrieved candidates as numbers, one entry a (query, item)."""

    query: np.ndarray
    """(M,) position of the query."""
    item: np.ndarray
    """(M,) position of the item."""
    rank: np.ndarray
    """(M,) rank with SIDs, from 1."""
    rank_without: np.ndarray
    """(M,) rank without SIDs, from 1."""
    weight: np.ndarray
    """(Q,) weight of each query; only ratios matter."""


def ranking(scores: pd.DataFrame, items: pd.DataFrame, queries: pd.DataFrame) -> Ranking:
    """The ranked rows of `scores` (query_id, item_id, rank, rank_without_sid) whose query has weight.

    `queries` gives query_id and frequency: queries without traffic do not count, unless no query has any.
    """
    rows = scores[scores["rank"].notna() & scores["rank_without_sid"].notna()]
    query = pd.Index(queries["query_id"]).get_indexer(pd.Index(rows["query_id"]))
    item = pd.Index(items["item_id"]).get_indexer(pd.Index(rows["item_id"]))
    weight = traffic_weights(queries["frequency"].to_numpy(dtype=np.float64))
    counted = (query >= 0) & (item >= 0)
    counted &= weight[np.maximum(query, 0)] > 0
    used, code = np.unique(query[counted], return_inverse=True)
    return Ranking(
        code,
        item[counted].astype(np.int64),
        rows["rank"].to_numpy(dtype=np.int64)[counted],
        rows["rank_without_sid"].to_numpy(dtype=np.int64)[counted],
        weight[used],
    )


def item_exposure(
    ranked: Ranking, n_items: int, discount: str = "log2", *, click_decay: float = CLICK_DECAY
) -> tuple[np.ndarray, np.ndarray]:
    """Each item's share of exposure with and without SIDs: two arrays (N,), each summing to 1."""
    with_sid, without = (
        _share(np.bincount(ranked.item, weights=part, minlength=n_items))
        for part in _row_exposure(ranked, discount, click_decay)
    )
    return with_sid, without


class _Cells(NamedTuple):
    """The (query, group) pairs of one dimension that occur."""

    query: np.ndarray
    group: np.ndarray
    of_row: np.ndarray
    """(M,) the cell of each ranked row."""
    shape: tuple[int, int]

    def matrix(self, value: np.ndarray) -> sparse.csc_matrix:
        """(Q, G) from one value a cell."""
        return sparse.csc_matrix((value, (self.query, self.group)), shape=self.shape)


def _cells(ranked: Ranking, group: np.ndarray, n_groups: int) -> _Cells:
    cell, of_row = np.unique(ranked.query * n_groups + group[ranked.item], return_inverse=True)
    return _Cells(cell // n_groups, cell % n_groups, of_row, (len(ranked.weight), n_groups))


class _Seen(NamedTuple):
    """Exposure of one dimension's groups under one discount."""

    with_sid: sparse.csc_matrix
    """(Q, G) query weight x discount, summed over the group's items."""
    without: sparse.csc_matrix
    total: np.ndarray
    """(Q,) the same over all candidates; equal with and without SIDs, for the ranks are the same set."""


def _row_exposure(ranked: Ranking, discount: str, click_decay: float) -> tuple[np.ndarray, np.ndarray]:
    """(M,) query weight x discount of each ranked row, with and without SIDs."""
    weight = ranked.weight[ranked.query]
    with_sid, without = (
        weight * discount_weights(rank, discount, click_decay=click_decay)
        for rank in (ranked.rank, ranked.rank_without)
    )
    return with_sid, without


def _seen(ranked: Ranking, cells: _Cells, exposure: tuple[np.ndarray, np.ndarray]) -> _Seen:
    with_sid, without = (
        cells.matrix(np.bincount(cells.of_row, weights=part, minlength=len(cells.query))) for part in exposure
    )
    total = np.bincount(ranked.query, weights=exposure[0], minlength=len(ranked.weight))
    return _Seen(with_sid, without, total)


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


def _ratios(counts: np.ndarray, numerator: sparse.csc_matrix, total: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Resampled shares (R, g) of the groups, one block of groups after the other."""
    scale = np.float32(1.0 / max(total.mean(), np.finfo(float).tiny))
    drawn_total = np.concatenate(
        [
            counts[start : start + _RESAMPLE_CHUNK].astype(np.float64) @ total
            for start in range(0, len(counts), _RESAMPLE_CHUNK)
        ]
    )
    drawn_total = np.maximum(drawn_total * scale, np.finfo(np.float32).tiny)
    for first in range(0, numerator.shape[1], _GROUP_CHUNK):
        block = slice(first, min(first + _GROUP_CHUNK, numerator.shape[1]))
        dense = numerator[:, block].toarray().astype(np.float32) * scale
        out = np.empty((len(counts), dense.shape[1]), dtype=np.float32)
        for start in range(0, len(counts), _RESAMPLE_CHUNK):
            rows = slice(start, start + _RESAMPLE_CHUNK)
            out[rows] = counts[rows].astype(np.float32) @ dense
        out /= drawn_total[:, None]
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


def _intervals(counts: np.ndarray, change: sparse.csc_matrix, total: np.ndarray) -> tuple[np.ndarray, ...]:
    """Low, high and two-sided p of every group's change in share."""
    n_groups, n = change.shape[1], len(counts)
    low, high, p = np.zeros(n_groups), np.zeros(n_groups), np.ones(n_groups)
    edges = [int(np.floor(0.025 * (n - 1))), int(np.ceil(0.975 * (n - 1)))]
    for block, drawn in _ratios(counts, change, total):
        down, up = (drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0)
        p[block] = np.minimum(2 * (np.minimum(down, up) + 1) / (n + 1), 1.0)
        by_group = np.partition(np.ascontiguousarray(drawn.T), edges, axis=1)
        low[block], high[block] = by_group[:, edges[0]], by_group[:, edges[1]]
    return low, high, p


def _judged_retrieved(judgments: pd.DataFrame | None, scores: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """The judged retrieved pairs: item (position) and grade."""
    if judgments is None or not len(judgments):
        return pd.DataFrame({"item": np.empty(0, dtype=np.int64), "grade": np.empty(0)})
    ranked = scores.loc[scores["rank"].notna(), ["query_id", "item_id"]]
    pairs = judgments[["query_id", "item_id", "grade"]].merge(ranked, on=["query_id", "item_id"])
    item = pd.Index(items["item_id"]).get_indexer(pd.Index(pairs["item_id"]))
    return pd.DataFrame({"item": item, "grade": pairs["grade"].to_numpy(dtype=np.float64)})


def _share(value: np.ndarray) -> np.ndarray:
    """A part of the total; unknown where there is none."""
    total = value.sum()
    return value / total if total > 0 else np.full(len(value), np.nan)


def exposure_table(
    scores: pd.DataFrame,
    items: pd.DataFrame,
    queries: pd.DataFrame,
    judgments: pd.DataFrame | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    click_decay: float = CLICK_DECAY,
    progress: Progress = silent,
) -> pd.DataFrame:
    """The `exposure` table: every value of every dimension under every discount.

    Args:
        scores: query_id, item_id, rank, rank_without_sid (unknown ranks: not retrieved).
        items: the catalogue; item_id, seller, category, brand, price, currency, created_at.
        queries: query_id, frequency.
        judgments: query_id, item_id, grade; for the merit. None leaves it unknown.
        resamples, seed: of the bootstrap by query.
        click_decay: of the 'click' discount.

    Empty where nothing was retrieved. `q_value` corrects over the values of one dimension under one discount that appear in some retrieved list.
    """
    ranked = ranking(scores, items, queries)
    groups = item_groups(items) if len(ranked.query) else {}
    counts = resample_counts(len(ranked.weight), resamples, seed)
    price = np.nan_to_num(items["price"].to_numpy(dtype=np.float64))
    price = np.where(_main_currency(items), price, 0.0)
    judged = _judged_retrieved(judgments, scores, items)
    exposures = {name: _row_exposure(ranked, name, click_decay) for name in DISCOUNTS}
    tables, done = [], 0
    for dimension, label in groups.items():
        names, group = np.unique(label.astype(str), return_inverse=True)
        n_groups = len(names)
        n_items = np.bincount(group, minlength=n_groups)
        of_judged = group[judged["item"]]
        merit = _share(np.bincount(of_judged, weights=judged["grade"], minlength=n_groups))
        cells = _cells(ranked, group, n_groups)
        of_cell = ranked.weight[cells.query]
        n_queries = np.bincount(cells.group, minlength=n_groups)
        mass = np.bincount(cells.group, weights=of_cell, minlength=n_groups)
        squares = np.bincount(cells.group, weights=of_cell**2, minlength=n_groups)
        absent = n_queries == 0
        for discount, exposure in exposures.items():
            seen = _seen(ranked, cells, exposure)
            share = _column_sums(seen.with_sid) / seen.total.sum()
            share_without = _column_sums(seen.without) / seen.total.sum()
            low, high, p = _intervals(counts, (seen.with_sid - seen.without).tocsc(), seen.total)
            p[absent] = np.nan
            revenue = [
                _share(np.bincount(group[ranked.item], weights=part * price[ranked.item], minlength=n_groups))
                for part in exposure
            ]
            tables.append(
                pd.DataFrame(
                    {
                        "discount": discount,
                        "dimension": dimension,
                        "value": names.astype(object),
                        "share": share,
                        "share_without": share_without,
                        "difference": share - share_without,
                        "low": np.where(absent, np.nan, low),
                        "high": np.where(absent, np.nan, high),
                        "p_value": p,
                        "q_value": benjamini_hochberg(p),
                        "n_items": n_items,
                        "catalogue_share": n_items / len(items),
                        "merit": merit,
                        "n_merit_pairs": np.bincount(of_judged, minlength=n_groups),
                        "revenue_share": revenue[0],
                        "revenue_share_without": revenue[1],
                        "n_queries": n_queries,
                        "effective_n": np.where(absent, 0.0, mass**2 / np.where(absent, 1.0, squares)),
                    }
                )
            )
            done += 1
            progress(done, len(groups) * len(DISCOUNTS))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(EXPOSURE_COLUMNS))


def _column_sums(matrix: sparse.csc_matrix) -> np.ndarray:
    return np.asarray(matrix.sum(axis=0)).ravel()


def _main_currency(items: pd.DataFrame) -> np.ndarray:
    """(N,) items priced in the catalogue's commonest currency: sums over several would mean nothing."""
    if "currency" not in items or items["currency"].isna().all():
        return np.ones(len(items), dtype=bool)
    currency = items["currency"].fillna("").astype(str)
    return (currency == currency[items["price"].notna()].mode().iloc[0]).to_numpy()


def _concentration(share: np.ndarray) -> dict[str, np.ndarray]:
    """(R,) HHI, Gini and share of the ten largest, of shares (R, G) that are made to sum to 1."""
    total = share.sum(axis=1, keepdims=True)
    share = share / np.where(total > 0, total, 1)
    top = min(10, share.shape[1])
    largest = np.partition(share, share.shape[1] - top, axis=1)[:, share.shape[1] - top :]
    return {"hhi": (share**2).sum(axis=1), "gini": gini_rows(share), "top10_share": largest.sum(axis=1)}


def concentration_table(
    scores: pd.DataFrame,
    items: pd.DataFrame,
    queries: pd.DataFrame,
    *,
    resamples: int = 2_000,
    seed: int = 0,
    click_decay: float = CLICK_DECAY,
) -> pd.DataFrame:
    """The `exposure_concentration` table: HHI, Gini and top-10 share over all sellers, categories and brands.

    Values without any exposure count as zeros; items of unknown value are left out. The interval is of the difference.
    Arguments as for `exposure_table`.
    """
    ranked = ranking(scores, items, queries)
    counts = resample_counts(len(ranked.weight), resamples, seed)
    rows = []
    for dimension, label in item_groups(items).items() if len(ranked.query) else ():
        if dimension not in CONCENTRATION_DIMENSIONS:
            continue
        names, group = np.unique(label.astype(str), return_inverse=True)
        known = np.flatnonzero(names != UNKNOWN)
        cells = _cells(ranked, group, len(names))
        for discount in DISCOUNTS:
            seen = _seen(ranked, cells, _row_exposure(ranked, discount, click_decay))
            measures = []
            for matrix in (seen.with_sid, seen.without):
                drawn = np.concatenate([part for _, part in _ratios(counts, matrix[:, known], seen.total)], axis=1)
                exact = _column_sums(matrix)[known][None, :]
                measures.append((_concentration(exact), _concentration(drawn)))
            for metric in ("hhi", "gini", "top10_share"):
                value, without = (float(exact[metric][0]) for exact, _ in measures)
                low, high = np.quantile(measures[0][1][metric] - measures[1][1][metric], [0.025, 0.975])
                rows.append((discount, dimension, metric, value, without, value - without, low, high))
    columns = ["discount", "dimension", "metric", "value", "value_without", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
