"""SIDs that several items hold, and why that does harm: the queries, items and grades, or the categories, that conflict."""

from __future__ import annotations

import duckdb
import pandas as pd

from app.queries.names import GIVEN, Given, paths_of, values

_UNDER = "($prefix = '' OR s.sid = $prefix OR starts_with(s.sid, $prefix || '-'))"
_CONFLICTS = f"""
    grades AS (SELECT query_id, item_id, avg(grade) AS grade FROM judgments GROUP BY ALL),
    judged AS (
        SELECT s.sid, g.query_id, g.item_id, g.grade, g.grade >= (SELECT relevant_grade FROM snapshot) AS relevant
        FROM sids s JOIN sid_sharing h ON h.run_id = s.run_id AND h.sid = s.sid AND h.n_conflicts > 0
        JOIN grades g ON g.item_id = s.item_id
        WHERE s.run_id = $run AND {_UNDER}
    ),
    pairs AS (
        SELECT a.sid, a.query_id, a.item_id AS item_a, a.grade AS grade_a, b.item_id AS item_b, b.grade AS grade_b
        FROM judged a JOIN judged b ON b.sid = a.sid AND b.query_id = a.query_id AND a.relevant AND NOT b.relevant
    )
"""


def sharing(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> dict[str, int]:
    """Counts of the shared SIDs under a prefix ('' = all) and of the items that hold them, by reason: 'n_<reason>',
    'items_<reason>', and in all 'n', 'items'."""
    rows = cursor.execute(
        f"""
        SELECT s.reason, count(*), sum(s.n_items)::BIGINT FROM sid_sharing s
        WHERE s.run_id = $run AND {_UNDER} GROUP BY 1
        """,
        {"run": run_id, "prefix": prefix},
    ).fetchall()
    counts = {"n": 0, "items": 0}
    for reason, n, items in rows:
        counts |= {f"n_{reason}": n, f"items_{reason}": items}
        counts["n"] += n
        counts["items"] += items
    return counts


def shared(
    cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, harmful: bool, given: Given, limit: int, offset: int
) -> pd.DataFrame:
    """Shared SIDs under a prefix ('' = all), or only the `harmful` ones; those graded apart for most queries first.

    Columns: sid, name, inside, path, label, n_items, n_categories, n_conflicts (queries), harmful, reason.
    """
    return cursor.execute(
        f"""
        WITH {GIVEN}, page AS (
            SELECT s.*, s.sid AS prefix FROM sid_sharing s
            WHERE s.run_id = $run AND {_UNDER} AND (s.harmful OR NOT $harmful)
            ORDER BY s.harmful DESC, s.n_conflicts DESC, s.n_items DESC, s.sid LIMIT $limit OFFSET $offset
        ), {paths_of("page")}
        SELECT p.sid, n.name, n.inside, n.path, c.label, p.n_items, p.n_categories, p.n_conflicts, p.harmful, p.reason
        FROM page p LEFT JOIN paths n USING (prefix) LEFT JOIN codes c ON c.run_id = $run AND c.prefix = p.sid
        ORDER BY p.harmful DESC, p.n_conflicts DESC, p.n_items DESC, p.sid
        """,
        {"run": run_id, "prefix": prefix, "harmful": harmful, "limit": limit, "offset": offset, **values(given)},
    ).df()


def count_conflicts(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> tuple[int, int, int]:
    """Under a prefix ('' = all): pairs of items of one SID of which a query finds one relevant and the other not; the
    queries, each counted once a SID; the SIDs."""
    row = cursor.execute(
        f"WITH {_CONFLICTS} SELECT count(*), count(DISTINCT (sid, query_id)), count(DISTINCT sid) FROM pairs",
        {"run": run_id, "prefix": prefix},
    ).fetchone()
    return (int(row[0]), int(row[1]), int(row[2])) if row else (0, 0, 0)


def conflicts(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, limit: int, offset: int) -> pd.DataFrame:
    """Those pairs, the widest apart first.

    Columns: query_id, query, relevant_id, relevant_title, relevant_grade, other_id, other_title, other_grade, sid,
    frequency.
    """
    return cursor.execute(
        f"""
        WITH {_CONFLICTS}
        SELECT p.query_id, q.text AS query, p.item_a AS relevant_id, a.title AS relevant_title, p.grade_a AS relevant_grade,
               p.item_b AS other_id, b.title AS other_title, p.grade_b AS other_grade, p.sid, q.frequency
        FROM pairs p JOIN queries q USING (query_id)
        JOIN items a ON a.item_id = p.item_a JOIN items b ON b.item_id = p.item_b
        ORDER BY p.grade_a - p.grade_b DESC, q.frequency DESC NULLS LAST, p.sid, p.query_id, p.item_a, p.item_b
        LIMIT $limit OFFSET $offset
        """,
        {"run": run_id, "prefix": prefix, "limit": limit, "offset": offset},
    ).df()


def count_mixed(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> int:
    """Items of SIDs under a prefix ('' = all) whose items lie in several categories."""
    row = cursor.execute(
        f"SELECT coalesce(sum(s.n_items), 0) FROM sid_sharing s WHERE s.run_id = $run AND {_UNDER} AND s.n_categories > 1",
        {"run": run_id, "prefix": prefix},
    ).fetchone()
    return int(row[0]) if row else 0


def mixed(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, limit: int, offset: int) -> pd.DataFrame:
    """Items of SIDs that several categories share, SID by SID: sid, category, item_id, title, seller, brand."""
    return cursor.execute(
        f"""
        SELECT s.sid, i.category, i.item_id, i.title, i.seller, i.brand
        FROM sids s JOIN sid_sharing h ON h.run_id = s.run_id AND h.sid = s.sid AND h.n_categories > 1
        JOIN items i ON i.item_id = s.item_id
        WHERE s.run_id = $run AND {_UNDER} ORDER BY h.n_items DESC, s.sid, i.category, i.item_id LIMIT $limit OFFSET $offset
        """,
        {"run": run_id, "prefix": prefix, "limit": limit, "offset": offset},
    ).df()
