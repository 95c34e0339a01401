"""Where the tour leads: a good state of every page, of this snapshot."""

from __future__ import annotations

from typing import NamedTuple

import duckdb


class Stops(NamedTuple):
    """What the pages of the tour show; None where the snapshot holds nothing of the kind."""

    query_id: str | None
    query: str | None
    item_id: str | None
    title: str | None
    code: str | None
    """The level-1 code that the query and the item agree on."""
    code_name: str | None
    seller: str | None
    """Whose exposure changes most among the clear changes, else among all."""
    category: str | None
    """The smallest category that is not protected, else the smallest that is judged."""


def stops(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Stops:
    """The stops of the tour, told by the run's own stories, its exposure and its coverage."""
    told = cursor.execute(
        """
        SELECT s.query_id, q.text, s.item_id, i.title, coalesce(s.matched_prefix, d.sid) AS code
        FROM stories s JOIN queries q USING (query_id) LEFT JOIN items i USING (item_id)
        LEFT JOIN sids d USING (run_id, item_id)
        WHERE s.run_id = ? ORDER BY list_position(['example', 'won', 'lost', 'ambiguous'], s.kind) LIMIT 1
        """,
        [run_id],
    ).fetchone()
    if told is None:  # nobody judged: the most frequent query that has beams, and its best code
        told = cursor.execute(
            """
            SELECT q.query_id, q.text, NULL, NULL, b.sid FROM beams b JOIN queries q USING (query_id)
            WHERE b.run_id = ? AND b.rank = 1 ORDER BY q.frequency DESC NULLS LAST, q.query_id LIMIT 1
            """,
            [run_id],
        ).fetchone()
    query_id, query, item_id, title, code = told or (None, None, None, None, None)
    if code is None:
        code = _first(
            cursor.execute(
                "SELECT prefix FROM codes WHERE run_id = ? AND level = 1 ORDER BY n_items DESC, prefix LIMIT 1",
                [run_id],
            ).fetchone()
        )
    code = code and code.split("-")[0]
    name = _first(
        cursor.execute("SELECT label FROM codes WHERE run_id = ? AND prefix = ? LIMIT 1", [run_id, code]).fetchone()
    )
    seller = cursor.execute(
        """
        SELECT "value" FROM exposure WHERE run_id = ? AND discount = 'log2' AND dimension = 'seller'
          AND "value" <> '(unknown)'
        ORDER BY coalesce(q_value <= 0.05 AND effective_n >= 30, false) DESC, abs(difference) DESC, "value" LIMIT 1
        """,
        [run_id],
    ).fetchone()
    category = cursor.execute(
        """
        SELECT category FROM coverage WHERE run_id = ?
        ORDER BY list_position(['no', 'yes', 'n too small'], protected) NULLS LAST, n_items, category LIMIT 1
        """,
        [run_id],
    ).fetchone()
    return Stops(query_id, query, item_id, title, code, name, _first(seller), _first(category))


def _first(row: tuple[str | None, ...] | None) -> str | None:
    return row[0] if row else None
