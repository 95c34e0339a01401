"""SELECTs of query sets: which of their texts a snapshot knows, and how well each run ranks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.queries.query import METRIC, NORMAL
from engine.store.query_sets import normalise

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


def texts(cursor: duckdb.DuckDBPyConnection, run_id: str, wanted: tuple[str, ...]) -> pd.DataFrame:
    """One row a normal form of the given texts: normal, query_id (NULL: the snapshot does not know it), frequency (of all
    queries of that text), n_judged, value, value_without, difference (nDCG@10; NULL: not measured), n_candidates (NULL: the
    run did not answer it). Of equal texts a measured and frequent one stands for all."""
    return cursor.execute(
        f"""
        WITH wanted AS (SELECT DISTINCT unnest($texts::VARCHAR[]) AS normal),
        alike AS (SELECT *, {NORMAL} AS normal FROM queries WHERE {NORMAL} IN (SELECT normal FROM wanted)),
        ordered AS (
            SELECT a.normal, a.query_id, a.n_judged, m.value, m.value_without, m.difference,
                   sum(a.frequency) OVER (PARTITION BY a.normal) AS frequency,
                   row_number() OVER (
                       PARTITION BY a.normal ORDER BY m.difference IS NULL, a.frequency DESC NULLS LAST, a.query_id) AS place
            FROM alike a LEFT JOIN query_metrics m ON m.run_id = $run AND m.metric = $metric AND m.query_id = a.query_id),
        candidates AS (
            SELECT query_id, count(*) FILTER (retrieved) AS n_candidates FROM scores
            WHERE run_id = $run AND query_id IN (SELECT query_id FROM alike) GROUP BY query_id)
        SELECT w.normal, o.* EXCLUDE (normal, place), c.n_candidates
        FROM wanted w LEFT JOIN ordered o ON o.normal = w.normal AND o.place = 1 LEFT JOIN candidates c USING (query_id)
        ORDER BY w.normal
        """,
        {"run": run_id, "metric": METRIC, "texts": [normalise(text) for text in wanted]},
    ).df()


def by_kind(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Measured queries by the kind that the catalogue states: kind, value, value_without, difference, frequency."""
    return cursor.execute(
        """
        SELECT q.kind, m.value, m.value_without, m.difference, q.frequency
        FROM query_metrics m JOIN queries q USING (query_id)
        WHERE m.run_id = ? AND m.metric = ? AND q.kind IS NOT NULL ORDER BY q.kind, q.query_id
        """,
        [run_id, METRIC],
    ).df()


def nothing_relevant(cursor: duckdb.DuckDBPyConnection, run_id: str, limit: int) -> tuple[str, ...]:
    """Texts of queries for which the run retrieved no item that was judged relevant, the most frequent first."""
    rows = cursor.execute(
        """
        WITH relevant AS (
            SELECT query_id, item_id FROM judgments GROUP BY ALL HAVING avg(grade) >= (SELECT relevant_grade FROM snapshot))
        SELECT q.text FROM relevant r JOIN queries q USING (query_id)
        LEFT JOIN judged_scores s ON s.run_id = ? AND s.query_id = r.query_id AND s.item_id = r.item_id AND s.retrieved
        WHERE q.query_id IN (SELECT query_id FROM scores WHERE run_id = ?)
        GROUP BY q.query_id, q.text, q.frequency HAVING count(s.item_id) = 0
        ORDER BY q.frequency DESC NULLS LAST, q.query_id LIMIT ?
        """,
        [run_id, run_id, limit],
    ).fetchall()
    return tuple(str(text) for (text,) in rows)
