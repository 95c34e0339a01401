"""Why a group's exposure changed: through which codes it gained and lost, and on which queries.

A gain belongs to the item's own matched prefix. A loss is split equally over the items that overtook it, and so over
*their* matched prefixes. 'Unmatched' (no agreement with any beam) is a row of its own, so that the rows sum exactly to
the group's change of share.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.traffic import discount_weights


class Causes(NamedTuple):
    """A group's change of exposure share, told two ways; `net` sums to `change` in both tables."""

    by_prefix: pd.DataFrame  # prefix (None = unmatched), gain (>= 0), loss (<= 0), net, n_queries; largest |net| first.
    by_query: pd.DataFrame  # query_id, gain, loss, net; largest |net| first.
    change: float  # Share with SIDs minus share without.


def exposure_total(n_candidates: np.ndarray, weight: np.ndarray, discount: str = "log2") -> float:
    """All exposure there is: what a share is a share of.

    Args:
        n_candidates: (Q,) retrieved candidates of every query with traffic (ranks run from 1 to that).
        weight: (Q,) frequency of each.
        discount: see `traffic.discount_weights`.
    """
    n_candidates = np.asarray(n_candidates, dtype=np.int64)
    ranks = np.arange(1, int(n_candidates.max(initial=0)) + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(discount_weights(ranks, discount))])
    return float(cumulative[n_candidates] @ np.asarray(weight, dtype=np.float64))


def causes(rows: pd.DataFrame, *, total: float, discount: str = "log2") -> Causes:
    """Cause of one group's gain and loss.

    Args:
        rows: every retrieved candidate of every query in which the group appears: query_id, weight (the query's
            frequency), rank, rank_without_sid, matched_prefix (None: unmatched), in_group (bool).
        total: all exposure over the whole query mix (`exposure_total`), so that changes are changes of share.
        discount: see `traffic.discount_weights`.
    """
    query, names = pd.factorize(rows["query_id"])
    order = np.argsort(query, kind="stable")
    query = query[order]
    rank = rows["rank"].to_numpy(dtype=np.int64)[order]
    without = rows["rank_without_sid"].to_numpy(dtype=np.int64)[order]
    prefix, prefix_names = pd.factorize(rows["matched_prefix"])
    prefix = np.where(prefix < 0, len(prefix_names), prefix)[order]
    member = rows["in_group"].to_numpy(dtype=bool)[order]
    weight = rows["weight"].to_numpy(dtype=np.float64)[order] / total
    delta = weight * (discount_weights(rank, discount) - discount_weights(without, discount))

    gained, lost = np.flatnonzero(member & (delta > 0)), np.flatnonzero(member & (delta < 0))
    parts = [_Parts(query[gained], prefix[gained], delta[gained])]
    start = np.searchsorted(query, np.arange(len(names) + 1))
    bounds = np.searchsorted(query[lost], np.arange(len(names) + 1))
    for of in np.unique(query[lost]):
        inside = slice(start[of], start[of + 1])
        losers = lost[bounds[of] : bounds[of + 1]]
        overtook = (rank[inside] < rank[losers, None]) & (without[inside] > without[losers, None])
        # Nobody overtook it only where rows are missing: the loss is then told as unmatched, not dropped.
        n_winners = overtook.sum(axis=1)
        orphan = losers[n_winners == 0]
        loser, winner = np.nonzero(overtook)
        parts.append(
            _Parts(
                np.full(len(loser) + len(orphan), of),
                np.concatenate([prefix[inside][winner], np.full(len(orphan), len(prefix_names))]),
                np.concatenate([(delta[losers] / np.maximum(n_winners, 1))[loser], delta[orphan]]),
            )
        )
    joined = _Parts(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    by_prefix = _summed(joined, joined.prefix, [*prefix_names, None], "prefix")
    by_query = _summed(joined, joined.query, list(names), "query_id")
    return Causes(by_prefix, by_query.drop(columns="n_queries"), float(delta[member].sum()))


class _Parts(NamedTuple):
    """Pieces of the change: whose query, through which prefix, how much."""

    query: np.ndarray
    prefix: np.ndarray
    amount: np.ndarray


def _summed(parts: _Parts, key: np.ndarray, names: list[str | None], column: str) -> pd.DataFrame:
    """One row a value of `key` that occurs."""
    gain = np.bincount(key, weights=np.maximum(parts.amount, 0.0), minlength=len(names))
    loss = np.bincount(key, weights=np.minimum(parts.amount, 0.0), minlength=len(names))
    n = int(parts.query.max(initial=0)) + 1
    n_queries = np.bincount(np.unique(key * n + parts.query) // n, minlength=len(names))
    table = pd.DataFrame({column: pd.Series(names, dtype=object), "gain": gain, "loss": loss, "net": gain + loss})
    table["n_queries"] = n_queries
    table = table[n_queries > 0]
    order = np.argsort(-table["net"].abs().to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)
