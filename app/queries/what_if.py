"""SELECTs of listings written otherwise: items to sample, what SIDs mean, a query's stored place of an item."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_GROUPS = {"category": "i.category", "seller": "i.seller"}
"""What items are sampled from; the keys are what the page offers."""
PLACES = 20
"""Places in which a sampled item is looked for."""


def sample(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str, value: str, n: int) -> pd.DataFrame:
    """At most `n` items of a category or seller that some stored query ranks, drawn by a hash of their ids, each with the most
    asked query that ranks it in its first PLACES, else with the one that ranks it best: item_id, title, query_id, text, rank; n_items of the group, n_ranked
    of them ranked."""
    return cursor.execute(
        f"""
        WITH inside AS (SELECT item_id, title FROM items i WHERE {_GROUPS[dimension]} = $value),
        ranked AS (
            SELECT s.item_id, s.query_id, s.rank, q.text,
                   row_number() OVER (
                       PARTITION BY s.item_id
                       ORDER BY s.rank > $places, CASE WHEN s.rank > $places THEN s.rank END, q.frequency DESC NULLS LAST, s.rank, s.query_id) AS nth
            FROM scores s JOIN inside USING (item_id) JOIN queries q USING (query_id)
            WHERE s.run_id = $run AND s.retrieved AND s.rank IS NOT NULL)
        SELECT item_id, title, query_id, text, rank, (SELECT count(*) FROM inside) AS n_items, count(*) OVER () AS n_ranked
        FROM ranked JOIN inside USING (item_id) WHERE nth = 1 ORDER BY hash(item_id), item_id LIMIT $n
        """,
        {"run": run_id, "value": value, "n": n, "places": PLACES},
    ).df()


def groups(cursor: duckdb.DuckDBPyConnection, dimension: str) -> list[str]:
    """The categories or sellers of the catalogue, those of most items first."""
    rows = cursor.execute(
        f"SELECT {_GROUPS[dimension]} AS name FROM items i WHERE name IS NOT NULL GROUP BY name ORDER BY count(*) DESC, name"
    ).fetchall()
    return [str(row[0]) for row in rows]


def busiest(cursor: duckdb.DuckDBPyConnection, run_id: str, item_id: str, limit: int) -> pd.DataFrame:
    """Stored queries that rank an item, the best place first: query_id, text, handle (what a link names the query by), rank,
    frequency."""
    return cursor.execute(
        """
        SELECT s.query_id, q.text, CASE WHEN (SELECT count(*) FROM queries o WHERE lower(o.text) = lower(q.text)) = 1
                                       THEN q.text ELSE q.query_id END AS handle, s.rank, q.frequency
        FROM scores s JOIN queries q USING (query_id)
        WHERE s.run_id = ? AND s.item_id = ? AND s.retrieved AND s.rank IS NOT NULL
        ORDER BY s.rank, q.frequency DESC NULLS LAST, s.query_id LIMIT ?
        """,
        [run_id, item_id, limit],
    ).df()
