"""The measures of a run and of its baseline, paired query by query, with the intervals by which the gate decides."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from engine.audit.exposure import concentration, resample_counts
from engine.audit.gate import ALL, Change
from engine.audit.gate_config import GateConfig
from engine.audit.intervals import mean_interval
from engine.audit.traffic import traffic_weights
from engine.evaluation.beams import item_hit_at_k
from engine.evaluation.bootstrap import bootstrap_auc, bootstrap_metric, paired_difference, resample_queries
from engine.reporting.evaluation import query_segments
from engine.store.snapshot import Snapshot

_CHUNK = 200
"""Resamples whose shares of all sellers are held at once."""
_NOBODY = "nothing was measured on judged test queries of both"


class Side(NamedTuple):
    """One of the two runs."""

    snapshot_id: str
    run_id: str
    fingerprint: str
    dataset: str
    relevant_grade: float
    levels: int | None
    beam_width: int | None
    pinned: bool

    @property
    def name(self) -> str:
        """'run (snapshot)'."""
        return f"{self.run_id} ({self.snapshot_id})"


def changes(now: Snapshot, side: Side, before: Snapshot, other: Side, rules: GateConfig) -> list[Change]:
    """Every measure of a run and of its baseline; what one of them lacks says why."""
    ndcg, auc, hits = _of_judged_queries(now, side, before, other, rules)
    return [
        *ndcg, *auc, hits, _tail_protection(_coverage(now, side), _coverage(before, other)),
        _concentration(_exposure(now, side), _exposure(before, other), rules.resamples), *_utilisation(now, side, before, other),
        _harmful_sharing(now, side, before, other),
    ]  # fmt: skip


def _of_judged_queries(
    now: Snapshot, side: Side, before: Snapshot, other: Side, rules: GateConfig
) -> tuple[list[Change], list[Change], Change]:
    """nDCG and AUC in every segment, and hits, all by the same draws of the test queries."""
    cursor = now.cursor()
    queries = cursor.execute(
        "SELECT query_id, tier, category, split, seen FROM queries WHERE split = 'test' ORDER BY query_id"
    ).df()
    items = cursor.execute("SELECT DISTINCT category, tier FROM items").df()
    segments = {n: m for n, m in query_segments(queries, items).items() if n == ALL or "tier=" in n}
    if not len(queries):
        nothing = [_unmeasured(name, _NOBODY) for name in ("ndcg", "auc", "item_hit")]
        return [nothing[0]], [nothing[1]], nothing[2]
    weights = resample_queries(len(queries), rules.resamples, seed=0)
    ids = pd.Index(queries["query_id"])
    values = _ndcg_values(now, side, ids), _ndcg_values(before, other, ids)
    ndcg = _paired_means("ndcg", *values, weights, segments)
    pairs = _pairs(now, side).merge(
        _pairs(before, other), on=["query_id", "item_id", "grade"], suffixes=("", "_before")
    )
    query = ids.get_indexer(pairs["query_id"])
    auc = _auc(pairs.assign(query=query, relevant=pairs["grade"] >= side.relevant_grade), weights, segments)
    return ndcg, auc, _item_hit(pairs.assign(query=query)[pairs["grade"] >= side.relevant_grade], side, other, weights)


def _unmeasured(measure: str, why: str, segment: str = ALL) -> Change:
    nan = float("nan")
    return Change(measure, segment, nan, nan, nan, nan, nan, 0, why_not=why)


def _ndcg_values(snapshot: Snapshot, side: Side, ids: pd.Index) -> np.ndarray:
    """(Q,) NaN where it is not defined."""
    sql = "SELECT query_id, value FROM query_metrics WHERE run_id = ? AND metric = 'ndcg@10'"
    rows = snapshot.cursor().execute(sql, [side.run_id]).df()
    return rows.set_index("query_id")["value"].reindex(ids).to_numpy(dtype=np.float64, na_value=np.nan)


def _paired_means(
    measure: str, value: np.ndarray, before: np.ndarray, weights: np.ndarray, segments: dict[str, np.ndarray]
) -> list[Change]:
    """Of values (Q,) of one measure: the mean change over the queries that both have."""
    both = np.isfinite(value) & np.isfinite(before)
    if not both.any():
        return [_unmeasured(measure, _NOBODY)]
    estimates = bootstrap_metric(value - before, np.ones(len(value)), weights, segments)
    return [
        Change(measure, name, _mean(value[mask & both]), _mean(before[mask & both]), *estimates[name][:4])
        for name, mask in segments.items()
    ]  # fmt: skip


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _pairs(snapshot: Snapshot, side: Side) -> pd.DataFrame:
    """Judged pairs of test queries that the run scored."""
    return (
        snapshot.cursor()
        .execute(
            "SELECT s.query_id, s.item_id, j.grade, s.score, s.match_level, i.n_sharing FROM scores s "
            "JOIN judgments j USING (query_id, item_id) JOIN queries q USING (query_id) "
            "LEFT JOIN sids i ON i.run_id = s.run_id AND i.item_id = s.item_id "
            "WHERE s.run_id = ? AND q.split = 'test' ORDER BY s.query_id, s.item_id",
            [side.run_id],
        )
        .df()
    )


def _auc(pairs: pd.DataFrame, weights: np.ndarray, segments: dict[str, np.ndarray]) -> list[Change]:
    if pairs.empty:
        return [_unmeasured("auc", _NOBODY)]
    query, positive = pairs["query"].to_numpy(), pairs["relevant"].to_numpy(dtype=bool)
    now, before = (
        bootstrap_auc(pairs[name].to_numpy(dtype=np.float64), positive, query, weights, segments)
        for name in ("score", "score_before")
    )
    changes = []
    for name in segments:
        change = paired_difference(now[name], before[name])
        changes.append(
            Change(
                "auc", name, now[name].value, before[name].value, change.difference, change.low, change.high, change.n
            )
        )
    return changes


def _item_hit(pairs: pd.DataFrame, side: Side, other: Side, weights: np.ndarray) -> Change:
    """By whole SIDs: 1 / the items under the SID, which compares codebooks of any size."""
    if (
        side.levels is None
        or other.levels is None
        or pairs["match_level"].isna().all()
        or pairs["match_level_before"].isna().all()
    ):
        return _unmeasured("item_hit", "one of the two runs has no beams")
    if side.beam_width != other.beam_width:
        return _unmeasured("item_hit", f"one predicts {side.beam_width} SIDs a query and the other {other.beam_width}")
    n = weights.shape[1]
    values = []
    for run, suffix in ((side, ""), (other, "_before")):
        whole = (pairs[f"match_level{suffix}"] >= run.levels).to_numpy(dtype=np.int64)
        sharing = pairs[f"n_sharing{suffix}"].fillna(0).to_numpy(dtype=np.int64)[:, None]
        values.append(item_hit_at_k(whole, sharing, pairs["query"].to_numpy(), n, 1)[:, 0])
    return _paired_means("item_hit", values[0], values[1], weights, {ALL: np.ones(n, dtype=bool)})[0]


def _coverage(snapshot: Snapshot, side: Side) -> pd.Series:
    """'yes' or 'no' by tail category; those of which n is too small are left out."""
    sql = "SELECT category, protected FROM coverage WHERE run_id = ? AND tier = 'tail' AND protected IN ('yes', 'no')"
    return snapshot.cursor().execute(sql, [side.run_id]).df().set_index("category")["protected"]


def _tail_protection(now: pd.Series, before: pd.Series) -> Change:
    both = pd.concat([now.rename("now"), before.rename("before")], axis=1, join="inner") == "yes"
    if both.empty:
        return _unmeasured("tail_protection", "no tail category has enough test queries in both")
    change = mean_interval((both["now"].astype(int) - both["before"].astype(int)).to_numpy(dtype=np.float64))
    return Change(
        "tail_protection", ALL, float(both["now"].mean()), float(both["before"].mean()), *change, of="categories"
    )


def _exposure(snapshot: Snapshot, side: Side) -> pd.DataFrame:
    """Sums of the discounts 1 / log2(1 + rank) of each seller's items in each query, and the query's frequency."""
    return (
        snapshot.cursor()
        .execute(
            "SELECT s.query_id, i.seller, any_value(q.frequency) AS frequency, sum(1 / log2(1 + s.rank)) AS seen FROM scores s "
            "JOIN items i USING (item_id) JOIN queries q USING (query_id) "
            "WHERE s.run_id = ? AND s.rank IS NOT NULL AND i.seller IS NOT NULL GROUP BY ALL ORDER BY ALL",
            [side.run_id],
        )
        .df()
    )


def _concentration(now: pd.DataFrame, before: pd.DataFrame, resamples: int) -> Change:
    """Over the logged mix of the queries that both ranked; queries are redrawn, each with its frequency."""
    queries = np.intersect1d(now["query_id"], before["query_id"])
    if not len(queries):
        return _unmeasured("concentration", "no query with sellers was ranked by both")
    sellers = np.union1d(now["seller"], before["seller"])
    frequency = now.drop_duplicates("query_id").set_index("query_id")["frequency"].reindex(queries)
    weight = traffic_weights(frequency.to_numpy(dtype=np.float64))
    matrices = []
    for side in (now, before):
        rows = side[side["query_id"].isin(queries)]
        at = np.searchsorted(queries, rows["query_id"]), np.searchsorted(sellers, rows["seller"])
        seen = rows["seen"].to_numpy() * weight[at[0]]
        matrices.append(sparse.csr_matrix((seen, at), shape=(len(queries), len(sellers))))
    counts = resample_counts(len(queries), resamples, seed=0)
    drawn = np.concatenate(
        [
            np.subtract(
                *(_top_ten((matrix.T @ counts[start : start + _CHUNK].T.astype(np.float64)).T) for matrix in matrices)
            )
            for start in range(0, resamples, _CHUNK)
        ]
    )
    value, without = (float(_top_ten(np.asarray(matrix.sum(axis=0)))[0]) for matrix in matrices)
    low, high = np.quantile(drawn, [0.025, 0.975])
    effective = int(weight.sum() ** 2 / (weight**2).sum())
    return Change(
        "concentration",
        ALL,
        value,
        without,
        value - without,
        float(low),
        float(high),
        effective,
        of="equally frequent queries",
    )


def _top_ten(seen: np.ndarray) -> np.ndarray:
    return concentration(seen)["top10_share"]


def _utilisation(now: Snapshot, side: Side, before: Snapshot, other: Side) -> list[Change]:
    """Of every level that both have and that no category forces."""
    sql = (
        "SELECT level, value FROM health WHERE run_id = ? AND metric = 'utilisation' AND level IS NOT NULL "
        "AND NOT coalesce(by_construction, false) ORDER BY level"
    )
    values, old = (
        one.cursor().execute(sql, [run.run_id]).df().set_index("level")["value"]
        for one, run in ((now, side), (before, other))
    )
    levels = values.index.intersection(old.index)
    if not len(levels):
        return [_unmeasured("utilisation", "one of the two runs has no SIDs")]
    n = _n_items(now, side)
    return [_counted("utilisation", f"level {level}", values[level], old[level], n) for level in levels]


def _harmful_sharing(now: Snapshot, side: Side, before: Snapshot, other: Side) -> Change:
    n, n_before = _n_items(now, side), _n_items(before, other)
    if not n or not n_before:
        return _unmeasured("harmful_sharing", "one of the two runs has no SIDs")
    sql = "SELECT coalesce(sum(n_items), 0) FROM sid_sharing WHERE run_id = ? AND harmful"
    shared, old = (one.cursor().execute(sql, [run.run_id]).fetchone() for one, run in ((now, side), (before, other)))
    assert shared is not None
    assert old is not None
    return _counted("harmful_sharing", ALL, float(shared[0]) / n, float(old[0]) / n_before, n)


def _n_items(snapshot: Snapshot, side: Side) -> int:
    row = snapshot.cursor().execute("SELECT count(*) FROM sids WHERE run_id = ?", [side.run_id]).fetchone()
    assert row is not None
    return int(row[0])


def _counted(measure: str, segment: str, value: float, before: float, n: int) -> Change:
    """A count over all items: no sample, so the interval is the value."""
    change = float(value - before)
    return Change(measure, segment, float(value), float(before), change, change, change, n, of="items")
