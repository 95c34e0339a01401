"""Coverage of categories: who owns codes, who is generated, who reaches page one, and is the tail protected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.prefixes import crosstab, numbered
from engine.audit.shelf import Shelf
from engine.audit.wording import counted

TOP_K = 10
"""The last step of the funnel is 'ranked at or above it for some query'."""
MIN_QUERIES = 8
"""Test queries below which a category's lift is 'n too small'."""
LIFT_MARGIN = 0.02
"""AUC that a category may lose at the low end of its interval and still count as protected."""
REACH_RATIO = 0.5
"""A category whose items are in beams less than this part as often as the catalogue's is lost in the funnel."""
_BLOCK = 1_000_000
"""Judged pairs x resamples at a time."""


class Lift(NamedTuple):
    """AUC with SIDs minus AUC without, and its 95 % interval over queries."""

    value: float
    low: float
    high: float
    n_queries: int


CATEGORY, DEPARTMENT = "category", "department"
"""What a category is judged by: its own test queries, or all of its department's."""
_UNTESTED = Lift(float("nan"), float("nan"), float("nan"), 0)
_LIFT_COLUMNS = {"": ("auc_lift", "low", "high", "n_queries"), "pooled_": ("lift", "low", "high", "n")}


def _ordered(query: np.ndarray, score: np.ndarray, relevant: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(R,) relevant pairs above others, ties half, where query q counts weight[q, r] times on either side.

    `weight` (Q, R) holds whole numbers, so that the sums are exact.
    """
    order = np.argsort(score[~relevant], kind="stable")
    other = score[~relevant][order]
    below = np.zeros((len(other) + 1, weight.shape[1]))
    np.cumsum(weight[query[~relevant][order]], axis=0, out=below[1:])
    low, high = (np.searchsorted(other, score[relevant], side) for side in ("left", "right"))
    return np.einsum("pr,pr->r", weight[query[relevant]], below[low] + below[high]) / 2


def auc_lift(
    query: np.ndarray,
    score: np.ndarray,
    score_without: np.ndarray,
    relevant: np.ndarray,
    *,
    resamples: int = 2_000,
    seed: int = 0,
) -> Lift:
    """Lift in AUC over pooled pairs, with a bootstrap by query.

    A query drawn w times counts w times on both sides of every comparison: each resample is exact, without ranking
    anything again, and a block of resamples at a time keeps memory at its size times the pairs.

    Args:
        query: (M,) any labels of the pairs' queries.
        score, score_without: (M,) the two rankers' scores.
        relevant: (M,) bool.
    """
    names, code = np.unique(query, return_inverse=True)
    n = len(names)
    positives = np.bincount(code, weights=relevant, minlength=n)
    negatives = np.bincount(code, weights=~relevant, minlength=n)
    if not positives.sum() or not negatives.sum():
        return Lift(float("nan"), float("nan"), float("nan"), n)

    def lifts(weight: np.ndarray) -> np.ndarray:
        gain = _ordered(code, score, relevant, weight) - _ordered(code, score_without, relevant, weight)
        pairs = (positives @ weight) * (negatives @ weight)
        return gain[pairs > 0] / pairs[pairs > 0]

    rng = np.random.default_rng(seed)
    size = max(1, min(resamples, _BLOCK // len(code)))
    drawn = [
        lifts(rng.multinomial(n, np.full(n, 1 / n), size=min(size, resamples - start)).T.astype(np.float64))
        for start in range(0, resamples, size)
    ]
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return Lift(float(lifts(np.ones((n, 1)))[0]), float(low), float(high), n)


def _lifts(judged: pd.DataFrame, group: pd.Series, resamples: int, seed: int) -> dict[str, Lift]:
    """Lift of each value of `group` (aligned with the judged pairs)."""
    out = {}
    for name, rows in judged.groupby(group, sort=True):
        out[str(name)] = auc_lift(
            rows["query_id"].to_numpy(dtype=object).astype(str),
            rows["score"].to_numpy(dtype=np.float64),
            rows["score_without_sid"].to_numpy(dtype=np.float64),
            rows["relevant"].to_numpy(dtype=bool),
            resamples=resamples,
            seed=seed,
        )
    return out


def _own_level1(shelf: Shelf, category: np.ndarray, names: np.ndarray) -> np.ndarray:
    """(C,) bool: a level-1 code that no other category has."""
    if len(shelf.owners):
        shared = shelf.owners.groupby("code_1")["category"].transform("nunique")
        return np.isin(names.astype(str), shelf.owners.loc[shared == 1, "category"].astype(str))
    table = crosstab(shelf.tree[0].member, category, len(shelf.tree[0]), len(names))
    only = np.flatnonzero(np.diff(table.indptr) == 1)
    out = np.zeros(len(names), dtype=bool)
    out[table.indices[table.indptr[only]]] = True
    return out


class Reached(NamedTuple):
    """How far items came."""

    prefixes: np.ndarray  # The prefixes, as text, that some beam goes through.
    best_rank: np.ndarray  # (N,) best rank of each item over all queries that retrieved it; inf where none did.


def _held(shelf: Shelf, code: np.ndarray, names: np.ndarray) -> pd.DataFrame:
    """What each category holds of the codebook."""
    whole, second = shelf.tree[-1], shelf.tree[min(1, len(shelf.tree) - 1)]
    n = len(names)
    by_sid = crosstab(whole.member, code, len(whole), n)
    owned_sid = np.diff(by_sid.indptr) == 1
    held = by_sid.tocoo()
    owned = np.bincount(held.col, weights=owned_sid[held.row], minlength=n).astype(np.int64)
    distinct = np.bincount(held.col, minlength=n)
    pair = crosstab(second.member, code, len(second), n)
    in_prefix = np.asarray(pair.sum(axis=1)).ravel()
    coo = pair.tocoo()
    pure = np.bincount(coo.col, weights=coo.data.astype(np.float64) ** 2 / in_prefix[coo.row], minlength=n)
    with_sid = np.bincount(code[(code >= 0) & (whole.member >= 0)], minlength=n)
    return pd.DataFrame(
        {
            "category": names,
            "codes_owned": owned,
            "codes_shared": distinct - owned,
            "own_level1": _own_level1(shelf, code, names),
            "utilisation": distinct / np.bincount(code[code >= 0], minlength=n),
            "purity": np.where(with_sid > 0, pure / np.maximum(with_sid, 1), np.nan),
        }
    )


class _Funnel(NamedTuple):
    """(N,) bool of every item: what it has, and how far it comes."""

    has: np.ndarray
    unshared: np.ndarray  # No other item has its SID: no step, for sharing a SID is not a loss.
    in_beam: np.ndarray  # Some beam is its SID.
    shown: np.ndarray  # In the top k of some query, by a beam or not.


def _funnel(shelf: Shelf, reached: Reached) -> _Funnel:
    whole = shelf.tree[-1]
    has = whole.member >= 0
    unshared = has & (whole.size[whole.member] == 1) if len(whole) else has
    generated = np.append(np.isin(whole.texts().astype(str), reached.prefixes.astype(str)), False)
    return _Funnel(has, unshared, has & generated[whole.member], reached.best_rank <= TOP_K)


def coverage_table(
    shelf: Shelf,
    categories: pd.DataFrame,
    reached: Reached,
    judged: pd.DataFrame,
    *,
    min_queries: int = MIN_QUERIES,
    resamples: int = 2_000,
    seed: int = 0,
) -> pd.DataFrame:
    """The `coverage` table, one row per category, in the order of `categories`.

    Args:
        shelf: of the items item_id, category are read.
        categories: the `categories` table.
        reached: by beams and rankings.
        judged: judged pairs of the *test* queries: query_id, category (of the query), score, score_without_sid,
            relevant.
        min_queries: test queries below which a lift is not told; such a category is judged by its department's, and
            `judged_by` and `reason` say so.
        resamples, seed: of the bootstrap by query.

    `auc_lift` is the category's own, `pooled_lift` its department's. The funnel is nested, in items: has a SID -> some
    beam is that SID -> and in the top k of some query; `unshared` and `shown` stand apart from it. Verdict: see
    `_verdict` and docs/metrics.md.
    """
    code, names = numbered(shelf.items["category"])
    steps = _funnel(shelf, reached)

    def count(flag: np.ndarray) -> np.ndarray:
        return np.bincount(code[(code >= 0) & flag], minlength=len(names))

    held = count(steps.has)
    table = _held(shelf, code, names)
    table.insert(5, "aliasing", count(steps.has & ~steps.unshared) / np.maximum(held, 1))
    table["has_sid"] = held
    table["in_beam"] = count(steps.in_beam)
    table["in_top_k"] = count(steps.in_beam & steps.shown)
    table["unshared"] = count(steps.unshared)
    table["shown"] = count(steps.shown)
    table = categories[["category", "tier", "n_items", "department"]].merge(table, on="category", how="left")
    department = judged["category"].map(categories.set_index("category")["department"])
    leaf, pooled = (_lifts(judged, of, resamples, seed) for of in (judged["category"], department))
    everywhere = steps.in_beam.sum() / max(steps.has.sum(), 1)
    verdicts = _verdicts(table, leaf, pooled, everywhere, min_queries)
    return pd.concat([table.drop(columns="department"), verdicts], axis=1)


def _verdicts(
    table: pd.DataFrame, leaf: dict[str, Lift], pooled: dict[str, Lift], everywhere: float, min_queries: int
) -> pd.DataFrame:
    """Both lifts, the verdict, by which of them, and the reason, of every row; `everywhere`: the catalogue's reach."""
    rows = []
    for row in table.to_dict("records"):
        own, wider = leaf.get(row["category"], _UNTESTED), pooled.get(row["department"], _UNTESTED)
        by, lift = _judged_by(own, wider, min_queries)
        reach = row["in_beam"] / max(row["has_sid"], 1)
        verdict, reason = _verdict(lift, bool(row["own_level1"]), reach, everywhere, min_queries)
        if by == DEPARTMENT:
            asked = counted(wider.n_queries, "test query", "test queries")
            reason = (
                f"lift pooled over department '{row['department']}' ({asked}, {own.n_queries} of its own); {reason}"
            )
        rows.append((*_told(own, min_queries), *_told(wider, min_queries), verdict, by, reason))
    lifts = [f"{whose}{name}" for whose, names in _LIFT_COLUMNS.items() for name in names]
    return pd.DataFrame(rows, columns=[*lifts, "protected", "judged_by", "reason"])


def _told(lift: Lift, min_queries: int) -> tuple[float, float, float, int]:
    """The lift as the table tells it: unknown where too few queries speak of it."""
    return lift if lift.n_queries >= min_queries else _UNTESTED._replace(n_queries=lift.n_queries)


def _judged_by(own: Lift, wider: Lift, min_queries: int) -> tuple[str | None, Lift]:
    """What a category is judged by, and that lift; None where neither has queries enough."""
    if own.n_queries >= min_queries:
        return CATEGORY, own
    return (DEPARTMENT, wider) if wider.n_queries >= min_queries else (None, own)


def tier_verdict(lift: Lift, reach: float, catalogue_reach: float) -> tuple[str, str]:
    """The verdict on a whole tier and why, by the rules for a category without the one about level-1 codes."""
    return _verdict(lift, None, reach, catalogue_reach, MIN_QUERIES)


def _verdict(
    lift: Lift, own_level1: bool | None, reach: float, catalogue_reach: float, min_queries: int
) -> tuple[str, str]:
    """Is the category protected: ('yes' | 'no' | 'n too small', why).

    'no' for a lift whose interval lies below 0, or for items generated less than `REACH_RATIO` as often as the
    catalogue's. 'yes' where the interval excludes a loss of more than `LIFT_MARGIN`. Otherwise 'no' for a measured loss
    where the category has no level-1 code of its own (None: not asked), else the test queries are too few to tell.
    """
    code = {True: "own level-1 code", False: "no level-1 code of its own", None: ""}[own_level1]
    funnel = f"{100 * reach:.0f} % of its items are in some beam (catalogue {100 * catalogue_reach:.0f} %)"

    def because(*parts: str) -> str:
        return "; ".join(filter(None, parts))

    if lift.n_queries < min_queries or np.isnan(lift.value):
        asked = f"{counted(lift.n_queries, 'test query', 'test queries')}, {min_queries} needed"
        return "n too small", because(asked, code, funnel)
    interval = f"AUC lift {100 * lift.value:+.1f} pp [{100 * lift.low:+.1f}, {100 * lift.high:+.1f}]"
    if lift.high < 0:
        return "no", because(f"{interval} lies below 0", code, funnel)
    if catalogue_reach > 0 and reach < REACH_RATIO * catalogue_reach:
        return "no", because(f"few of its items are generated: {funnel}", interval, code)
    margin = f"{100 * LIFT_MARGIN:.0f} pp"
    if lift.low >= -LIFT_MARGIN:
        return "yes", because(f"{interval} excludes a loss of more than {margin}", code, funnel)
    if own_level1 is False and lift.value < 0:
        return "no", because(f"{code}, and {interval}", funnel)
    return "n too small", because(f"{interval} is too wide to exclude a loss of {margin}", code, funnel)
