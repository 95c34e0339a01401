"""Coverage of categories: who owns codes, who is generated, who reaches page one, and is the tail protected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.inequality import gini, lorenz
from engine.audit.prefixes import crosstab, find_prefixes, levels, numbered, stack_codes
from engine.audit.wording import counted

__all__ = ["Lift", "auc_lift", "coverage_table", "gini", "lorenz"]

MIN_QUERIES = 8
"""Test queries below which a category's lift is 'n too small'."""
LIFT_MARGIN = 0.02
"""AUC that a category may lose at the low end of its interval and still count as protected."""
REACH_RATIO = 0.5
"""A category whose items are generated less than this part as often as the catalogue's is lost in the funnel."""


class Lift(NamedTuple):
    """AUC with SIDs minus AUC without, and its 95 % interval over queries."""

    value: float
    low: float
    high: float
    n_queries: int


def _concordance(query: np.ndarray, score: np.ndarray, relevant: np.ndarray, n_queries: int) -> np.ndarray:
    """(Q, Q) for relevant pairs of query a and others of query b: how many are in the right order, ties half."""
    out = np.zeros((n_queries, n_queries))
    positive, of = score[relevant], query[relevant]
    for b in range(n_queries):
        negative = np.sort(score[~relevant & (query == b)])
        below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
        out[:, b] = np.bincount(of, weights=below / 2, minlength=n_queries)
    return out


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

    A query drawn w times counts w times on both sides of every comparison, so that each resample's AUC is a ratio of
    quadratic forms in w: exact, without ranking anything again.

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
    gain = _concordance(code, score, relevant, n) - _concordance(code, score_without, relevant, n)
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    pairs = (weight @ positives) * (weight @ negatives)
    lift = ((weight @ gain) * weight).sum(axis=1)[pairs > 0] / pairs[pairs > 0]
    value = gain.sum() / (positives.sum() * negatives.sum())
    low, high = np.quantile(lift, [0.025, 0.975])
    return Lift(float(value), float(low), float(high), n)


def _lifts(judged: pd.DataFrame, group: pd.Series, relevant_grade: float, resamples: int, seed: int) -> dict[str, Lift]:
    """Lift of each value of `group` (aligned with the judged pairs)."""
    out = {}
    for name, rows in judged.groupby(group, sort=True):
        out[str(name)] = auc_lift(
            rows["query_id"].to_numpy(dtype=object).astype(str),
            rows["score"].to_numpy(dtype=np.float64),
            rows["score_without_sid"].to_numpy(dtype=np.float64),
            (rows["grade"] >= relevant_grade).to_numpy(),
            resamples=resamples,
            seed=seed,
        )
    return out


def _best_rank(scores: pd.DataFrame, items: pd.DataFrame) -> np.ndarray:
    """(N,) best rank of each item over all queries that retrieved it; inf where none did."""
    rows = scores[scores["rank"].notna()]
    position = pd.Index(items["item_id"]).get_indexer(pd.Index(rows["item_id"]))
    best = np.full(len(items), np.inf)
    np.minimum.at(best, position[position >= 0], rows["rank"].to_numpy(dtype=np.float64)[position >= 0])
    return best


def _own_level1(
    first: np.ndarray, category: np.ndarray, n: int, names: np.ndarray, owners: pd.DataFrame | None
) -> np.ndarray:
    """(C,) bool: a level-1 code that no other category has."""
    if owners is not None and len(owners):
        shared = owners.groupby("code_1")["category"].transform("nunique")
        alone = set(owners.loc[shared == 1, "category"])
        return np.array([name in alone for name in names], dtype=bool)
    table = crosstab(first, category, int(first.max(initial=-1)) + 1, n)
    only = np.flatnonzero(np.diff(table.indptr) == 1)
    out = np.zeros(n, dtype=bool)
    out[table.indices[table.indptr[only]]] = True
    return out


def coverage_table(
    items: pd.DataFrame,
    categories: pd.DataFrame,
    codes: np.ndarray,
    *,
    scores: pd.DataFrame,
    beams: pd.DataFrame | None,
    judged: pd.DataFrame | None,
    relevant_grade: float,
    category_codes: pd.DataFrame | None = None,
    top_k: int = 10,
    min_queries: int = MIN_QUERIES,
    pool: bool = True,
    resamples: int = 2_000,
    seed: int = 0,
) -> pd.DataFrame:
    """The `coverage` table, one row per category, in the order of `categories`.

    Args:
        items: the catalogue's items in the order of `codes`; item_id, category.
        categories: the `categories` table.
        codes: (N, L) codes from 0; a first code of -1 means no SID.
        scores: item_id, rank of the retrieved candidates of every query (rank unknown: not retrieved).
        beams: the `beams` table (codes); None where nothing was generated.
        judged: judged pairs of the *test* queries: query_id, category (of the query), score, score_without_sid, grade.
        relevant_grade: a grade at or above it is relevant.
        category_codes: the `category_codes` table where level 1 belongs to categories.
        top_k: the last step of the funnel is 'ranked at or above it for some query'.
        min_queries: test queries below which a lift is not judged.
        pool: judge a category with too few test queries by its department's, and say so in `reason`.
        resamples, seed: of the bootstrap by query.

    The funnel is nested, in items: has a SID -> no other item has it -> some beam is that SID -> in the top k of some
    query. Verdict: see `_verdict` and docs/metrics.md.
    """
    code, names = numbered(items["category"])
    n = len(names)
    tree = levels(codes)
    whole, second = tree[-1], tree[min(1, len(tree) - 1)]
    known = code >= 0
    size = np.bincount(code[known], minlength=n)

    def per_category(flag: np.ndarray) -> np.ndarray:
        return np.bincount(code[known], weights=flag[known], minlength=n)

    by_sid = crosstab(whole.member, code, len(whole), n)
    owned_sid = np.diff(by_sid.indptr) == 1
    held = by_sid.tocoo()
    owned = np.bincount(held.col, weights=owned_sid[held.row], minlength=n).astype(np.int64)
    distinct = np.bincount(held.col, minlength=n)

    has = whole.member >= 0
    alone = has & (whole.size[whole.member] == 1) if len(whole) else has
    generated_sid = np.zeros(len(whole) + 1, dtype=bool)
    if beams is not None and len(beams):
        beam_codes = stack_codes(beams["codes"])
        found = np.zeros(len(beam_codes), dtype=np.int64)
        for depth, level in enumerate(tree):
            found = find_prefixes(level, found, beam_codes[:, depth])
        generated_sid[found[found >= 0]] = True
    decodable = alone
    generated = decodable & generated_sid[whole.member]
    shown = generated & (_best_rank(scores, items) <= top_k)
    any_generated = has & generated_sid[whole.member]

    pair = crosstab(second.member, code, len(second), n)
    in_prefix = np.asarray(pair.sum(axis=1)).ravel()
    coo = pair.tocoo()
    pure = np.bincount(coo.col, weights=coo.data.astype(np.float64) ** 2 / in_prefix[coo.row], minlength=n)
    with_sid = per_category(has)

    table = pd.DataFrame(
        {
            "category": names,
            "codes_owned": owned,
            "codes_shared": distinct - owned,
            "own_level1": _own_level1(tree[0].member, code, n, names, category_codes),
            "utilisation": distinct / size,
            "aliasing": per_category(has & ~alone) / np.maximum(with_sid, 1),
            "purity": np.where(with_sid > 0, pure / np.maximum(with_sid, 1), np.nan),
            "has_sid": with_sid.astype(np.int64),
            "uniquely_decodable": per_category(decodable).astype(np.int64),
            "generated": per_category(generated).astype(np.int64),
            "in_top_k": per_category(shown).astype(np.int64),
            "reach": per_category(any_generated) / np.maximum(with_sid, 1),
        }
    )
    table = categories[["category", "tier", "n_items", "department"]].merge(table, on="category", how="left")
    catalogue_reach = any_generated.sum() / max(has.sum(), 1)

    leaf: dict[str, Lift] = {}
    pooled: dict[str, Lift] = {}
    if judged is not None and len(judged):
        leaf = _lifts(judged, judged["category"], relevant_grade, resamples, seed)
        department = judged["category"].map(categories.set_index("category")["department"])
        pooled = _lifts(judged, department, relevant_grade, resamples, seed) if pool else {}
    rows = []
    keys = ("category", "department", "own_level1", "reach")
    for category, department, own_level1, reach in zip(*(table[key].tolist() for key in keys), strict=True):
        lift = leaf.get(category, Lift(float("nan"), float("nan"), float("nan"), 0))
        prefix = ""
        wider = pooled.get(department)
        if lift.n_queries < min_queries and wider is not None and wider.n_queries >= min_queries:
            prefix = (
                f"lift pooled over department '{department}' "
                f"({counted(wider.n_queries, 'test query', 'test queries')}, {lift.n_queries} of its own); "
            )
            lift = wider
        verdict, reason = _verdict(lift, bool(own_level1), float(reach), catalogue_reach, min_queries)
        judgeable = lift.n_queries >= min_queries
        rows.append(
            (
                lift.value if judgeable else float("nan"),
                lift.low if judgeable else float("nan"),
                lift.high if judgeable else float("nan"),
                lift.n_queries,
                verdict,
                prefix + reason,
            )
        )
    judged_columns = pd.DataFrame(rows, columns=["auc_lift", "low", "high", "n_queries", "protected", "reason"])
    out = pd.concat([table.drop(columns=["department", "reach"]), judged_columns], axis=1)
    return out.reset_index(drop=True)


def _verdict(lift: Lift, own_level1: bool, reach: float, catalogue_reach: float, min_queries: int) -> tuple[str, str]:
    """Is the category protected: ('yes' | 'no' | 'n too small', why).

    'no' for a lift whose interval lies below 0, or for items generated less than `REACH_RATIO` as often as the
    catalogue's. 'yes' where the interval excludes a loss of more than `LIFT_MARGIN`. Otherwise 'no' for a measured loss
    where the category has no level-1 code of its own, else the test queries are too few to tell.
    """
    code = "own level-1 code" if own_level1 else "no level-1 code of its own"
    funnel = f"{reach:.0%} of its items are in some beam (catalogue {catalogue_reach:.0%})"
    if lift.n_queries < min_queries or np.isnan(lift.value):
        return (
            "n too small",
            f"{counted(lift.n_queries, 'test query', 'test queries')}, {min_queries} needed; {code}; {funnel}",
        )
    interval = f"AUC lift {100 * lift.value:+.1f} pp [{100 * lift.low:+.1f}, {100 * lift.high:+.1f}]"
    if lift.high < 0:
        return "no", f"{interval} lies below 0; {code}; {funnel}"
    if catalogue_reach > 0 and reach < REACH_RATIO * catalogue_reach:
        return "no", f"few of its items are generated: {funnel}; {interval}; {code}"
    if lift.low >= -LIFT_MARGIN:
        return "yes", f"{interval} excludes a loss of more than {100 * LIFT_MARGIN:.0f} pp; {code}; {funnel}"
    if not own_level1 and lift.value < 0:
        return "no", f"{code}, and {interval}; {funnel}"
    return "n too small", f"{interval} is too wide to exclude a loss of {100 * LIFT_MARGIN:.0f} pp; {code}; {funnel}"
