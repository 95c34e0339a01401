"""SELECTs of the Explain page: stored contributions, the reference they start from, the ranker's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


def contributions(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str, item_id: str) -> pd.DataFrame:
    """The stored Shapley values of a pair; empty where they are computed on demand."""
    return cursor.execute(
        "SELECT feature, value FROM contributions WHERE run_id = ? AND query_id = ? AND item_id = ? ORDER BY feature",
        [run_id, query_id, item_id],
    ).df()


def reference(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str) -> pd.DataFrame:
    """What the run's own ranker is explained from: the query's mean candidate, no match; zero or one row.

    `ranker` names the weights that scored the query: under cross-validation those that never saw its fold.
    """
    return cursor.execute(
        """
        SELECT p.* EXCLUDE (run_id, query_id) FROM reference_points p JOIN runs r USING (run_id)
        WHERE p.run_id = ? AND p.query_id = ? AND (p.ranker = r.ranker OR starts_with(p.ranker, r.ranker || '.cv'))
        """,
        [run_id, query_id],
    ).df()


def ranker_weights(cursor: duckdb.DuckDBPyConnection, run_id: str, ranker: str) -> pd.DataFrame:
    """The float64 arrays of a ranker: name, shape, values (row-major)."""
    return cursor.execute(
        'SELECT name, shape, "values" FROM ranker_weights WHERE run_id = ? AND ranker = ? ORDER BY name',
        [run_id, ranker],
    ).df()


def item(cursor: duckdb.DuckDBPyConnection, run_id: str, item_id: str) -> pd.DataFrame:
    """One item's catalogue row with its SID in this run; zero or one row."""
    return cursor.execute(
        """
        SELECT i.*, s.sid, s.codes, s.forced, s.n_sharing
        FROM items i LEFT JOIN sids s ON s.run_id = $run AND s.item_id = i.item_id
        WHERE i.item_id = $item LIMIT 1
        """,
        {"run": run_id, "item": item_id},
    ).df()


def prefix_labels(cursor: duckdb.DuckDBPyConnection, run_id: str, sid: str) -> pd.DataFrame:
    """Level, prefix, label and size of every prefix of one SID."""
    return cursor.execute(
        """
        SELECT level, prefix, label, n_items FROM codes
        WHERE run_id = $run AND ($sid = prefix OR starts_with($sid, prefix || '-')) ORDER BY level
        """,
        {"run": run_id, "sid": sid},
    ).df()


def labels(cursor: duckdb.DuckDBPyConnection, run_id: str, prefixes: tuple[str, ...]) -> pd.DataFrame:
    """prefix, label of those prefixes that have items."""
    return cursor.execute(
        "SELECT prefix, label FROM codes WHERE run_id = $run AND prefix IN (SELECT unnest($prefixes)) ORDER BY prefix",
        {"run": run_id, "prefixes": list(prefixes)},
    ).df()


def strongest(cursor: duckdb.DuckDBPyConnection, run_id: str, limit: int) -> pd.DataFrame:
    """Judged, retrieved pairs by the size of the SID's contribution, largest first."""
    return cursor.execute(
        """
        WITH judged AS (SELECT query_id, item_id, avg(grade) AS grade FROM judgments GROUP BY ALL),
        strong AS (
            SELECT s.query_id, s.item_id, s.sid, s.rank, s.rank_without_sid, j.grade FROM judged_scores s JOIN judged j USING (query_id, item_id)
            WHERE s.run_id = $run AND s.retrieved AND s.sid IS NOT NULL ORDER BY abs(s.sid) DESC, s.query_id, s.item_id LIMIT $limit
        )
        SELECT s.query_id, q.text, s.item_id, i.title, s.grade, s.sid, s.rank, s.rank_without_sid
        FROM strong s JOIN queries q USING (query_id) JOIN items i USING (item_id)
        ORDER BY abs(s.sid) DESC, s.query_id, s.item_id
        """,
        {"run": run_id, "limit": limit},
    ).df()
