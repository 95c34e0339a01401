"""Which pairs people are asked to judge, in which order, and what they see of one."""

from __future__ import annotations

import duckdb
import pandas as pd

from app.queries.agreement import KINDS, disputed_sql

PARTS = ("both", "disputed", "unjudged")
"""Of which pairs a queue is made: disputed ones, unjudged ones on page one, or as many of each."""

_DISPUTED = " UNION ALL ".join(
    f"SELECT query_id, item_id, row_number() OVER (ORDER BY sure DESC, misplaced DESC, query_id, item_id) AS place FROM ({disputed_sql(kind)})"
    for kind in KINDS
)
_UNJUDGED = """
    SELECT s.query_id, s.item_id, row_number() OVER (ORDER BY q.frequency / log2(1 + s.rank) DESC, s.query_id, s.item_id) AS place
    FROM scores s JOIN queries q USING (query_id)
    WHERE s.run_id = $run AND s.rank <= 10 AND NOT s.judged AND q.frequency > 0 AND q.source <> 'synthetic'"""


def queue(cursor: duckdb.DuckDBPyConnection, run_id: str, part: str, size: int, seed: int) -> pd.DataFrame:
    """query_id, item_id of the most valuable pairs of a part of PARTS, at most `size`, in an order of the seed's own.

    Disputed pairs come by how surely they are disputed, each kind in turn; unjudged ones of page one by the traffic of their
    query times the attention that their rank gets. Where one part is short the other fills the queue.
    """
    return cursor.execute(
        f"""
        WITH disputed AS (
            SELECT query_id, item_id, row_number() OVER (ORDER BY first, query_id, item_id) AS place FROM (
                SELECT query_id, item_id, min(place) AS first FROM ({_DISPUTED}) WHERE $part <> 'unjudged' GROUP BY ALL)
        ), unjudged AS (SELECT * FROM ({_UNJUDGED}) WHERE $part <> 'disputed')
        SELECT query_id, item_id FROM (
            SELECT * FROM (FROM disputed UNION ALL FROM unjudged) ORDER BY place, query_id, item_id LIMIT $size)
        ORDER BY hash(query_id, item_id, $seed), query_id, item_id
        """,
        {"run": run_id, "part": part, "size": size, "seed": seed},
    ).df()


def pair(cursor: duckdb.DuckDBPyConnection, query_id: str, item_id: str) -> dict[str, str | None]:
    """What a judge sees of a pair: query, title, brand, category, attributes (JSON); no score and no grade of anybody."""
    row = cursor.execute(
        """SELECT q.text AS query, i.title, i.brand, i.category, CAST(i.attributes AS VARCHAR) AS attributes
           FROM queries q, items i WHERE q.query_id = $query AND i.item_id = $item""",
        {"query": query_id, "item": item_id},
    ).fetchone()
    assert row is not None
    return dict(zip(("query", "title", "brand", "category", "attributes"), row, strict=True))
