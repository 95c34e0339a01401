"""SELECTs of policies tried on stored rankings: the rankings as numbers, and which group each item is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from app.queries.traffic import TRAFFIC

if TYPE_CHECKING:
    import duckdb

MOST_PAIRS = 450_000
"""Pairs of queries with traffic that are re-ordered, the most asked queries first, and again of judged queries that nDCG is
told of, a sample: what a policy can be tried on in a moment."""

_LABELS = {
    "seller": "i.seller",
    "category": "i.category",
    "department": "c.department",
    "brand": "i.brand",
    "tier": "i.tier",
    "code": "s.sid",
}
"""What a group may be named by; the keys are what the page offers."""


class Rankings(NamedTuple):
    """Scored pairs (M,) of some queries (Q)."""

    queries: pd.DataFrame
    """query_id, text, weight (its traffic; 0: it counts for nDCG alone), counts (for nDCG), split."""
    query: np.ndarray  # (M,) int64 row of `queries`.
    item: np.ndarray  # (M,) int64 row of `labels`.
    score: np.ndarray
    first: np.ndarray  # int64 first-stage rank (imported without one: the rank); 0: not retrieved.
    rank: np.ndarray  # int64 as stored; 0: not retrieved.
    grade: np.ndarray  # NaN where not judged.
    n_asked: int  # Queries with traffic and a stored ranking, these or not.
    traffic: float  # Share of their traffic that these have.
    n_judged: int  # Judged queries with an nDCG, these or not.


def rankings(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Rankings:
    """The stored rankings of the most asked queries, and of judged ones whose nDCG@10 the run was measured by: `MOST_PAIRS` of each."""
    cursor.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE policy_queries AS
        WITH {TRAFFIC}, ranked AS (SELECT query_id, count(*) AS n FROM scores WHERE run_id = $run AND retrieved GROUP BY 1),
        known AS (
            SELECT q.query_id, q.text, q.split, t.weight, coalesce(r.n, 0) AS n, coalesce(r.n, 0) > 0 AND t.weight > 0 AS asked, m.value IS NOT NULL AS judged
            FROM queries q JOIN traffic t USING (query_id) LEFT JOIN ranked r USING (query_id)
            LEFT JOIN query_metrics m ON m.run_id = $run AND m.query_id = q.query_id AND m.metric = 'ndcg@10'),
        numbered AS (
            SELECT *, sum(n) OVER (ORDER BY asked DESC, weight DESC, query_id ROWS UNBOUNDED PRECEDING) AS by_traffic,
                   sum(n) OVER (ORDER BY judged DESC, hash(query_id), query_id ROWS UNBOUNDED PRECEDING) AS by_chance
            FROM known),
        counted AS (
            SELECT count(*) FILTER (asked) AS n_asked, sum(weight) FILTER (asked) AS whole, count(*) FILTER (judged) AS n_judged FROM known),
        chosen AS (
            SELECT *, asked AND by_traffic <= $most AS replayed, judged AND by_chance <= $most AS counts FROM numbered CROSS JOIN counted)
        SELECT row_number() OVER (ORDER BY query_id) - 1 AS number, query_id, text, split,
               CASE WHEN replayed THEN weight ELSE 0 END AS weight, counts, n_asked, whole, n_judged
        FROM chosen WHERE replayed OR counts ORDER BY query_id
        """,
        {"run": run_id, "most": MOST_PAIRS},
    )
    queries = cursor.execute("SELECT * FROM policy_queries ORDER BY number").df()
    made = cursor.execute(
        """
        WITH pairs AS MATERIALIZED (SELECT p.number, s.query_id, s.item_id, s.score, s.retrieved, s.first_stage_rank, s.rank FROM scores s JOIN policy_queries p USING (query_id) WHERE s.run_id = $run),
        graded AS (SELECT query_id, item_id, avg(grade) AS grade FROM judgments SEMI JOIN policy_queries USING (query_id) GROUP BY ALL)
        SELECT s.number AS query, i.rowid AS item, s.score,
               CASE WHEN s.retrieved THEN coalesce(s.first_stage_rank, s.rank, 0) ELSE 0 END AS first,
               CASE WHEN s.retrieved THEN coalesce(s.rank, 0) ELSE 0 END AS rank, g.grade::DOUBLE AS grade
        FROM pairs s JOIN items i USING (item_id) LEFT JOIN graded g ON g.query_id = s.query_id AND g.item_id = s.item_id
        ORDER BY s.number, i.rowid
        """,
        {"run": run_id},
    ).df()
    whole = float(queries["whole"].iloc[0]) if len(queries) else 0.0
    known = queries["counts"].astype(bool) if len(queries) else pd.Series(dtype=bool)
    return Rankings(
        queries[["query_id", "text", "split", "weight"]].assign(counts=known),
        made["query"].to_numpy(np.int64),
        made["item"].to_numpy(np.int64),
        made["score"].to_numpy(np.float64),
        made["first"].to_numpy(np.int64),
        made["rank"].to_numpy(np.int64),
        made["grade"].to_numpy(np.float64, na_value=np.nan),
        int(queries["n_asked"].iloc[0]) if len(queries) else 0,
        float(queries["weight"].sum()) / whole if whole > 0 else float("nan"),
        int(queries["n_judged"].iloc[0]) if len(queries) else 0,
    )


def labels(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str) -> pd.Series:
    """The group of every item, in the order of the snapshot, as a categorical; missing where it has none. A 'code' is the whole SID."""
    rows = cursor.execute(
        f"""
        SELECT {_LABELS[dimension]} AS label FROM items i LEFT JOIN categories c USING (category)
        LEFT JOIN sids s ON s.run_id = ? AND s.item_id = i.item_id ORDER BY i.rowid
        """,
        [run_id],
    ).df()
    return rows["label"].astype("category")


def codes(cursor: duckdb.DuckDBPyConnection, run_id: str, level: int) -> pd.DataFrame:
    """prefix, label, n_items of the codes of a level that hold items, the largest first."""
    return cursor.execute(
        "SELECT prefix, label, n_items FROM codes WHERE run_id = ? AND level = ? AND n_items > 0 ORDER BY n_items DESC, prefix",
        [run_id, level],
    ).df()
