"""SELECTs behind a query's beams: what stands under each, which of it is relevant, which like queries it was learnt from,
and how much a generator that is unsure finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# Items by every prefix of their SID that is asked for.
_UNDER = """
    wanted AS (SELECT DISTINCT unnest($prefixes::VARCHAR[]) AS prefix),
    sids_under AS (
        SELECT p.prefix, w.prefix AS sid FROM sid_prefixes p JOIN wanted USING (prefix)
        JOIN sid_prefixes w ON w.run_id = p.run_id AND w.leaf = p.leaf AND w.whole WHERE p.run_id = $run),
    under AS (SELECT u.prefix, s.item_id FROM sids_under u JOIN sids s USING (sid) WHERE s.run_id = $run)"""


def evidence(
    cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str | None, prefixes: tuple[str, ...], titles: int
) -> pd.DataFrame:
    """Each prefix that holds items: prefix, n_under, n_relevant and n_judged (of this query, under it), titles (the first
    `titles` of them, cut: relevant ones, then by popularity)."""
    return cursor.execute(
        f"""
        WITH {_UNDER},
        graded AS (SELECT item_id, avg(grade) AS grade FROM judgments WHERE query_id = $query GROUP BY item_id)
        SELECT u.prefix, count(*) AS n_under, count(g.grade) AS n_judged,
               count(*) FILTER (g.grade >= (SELECT relevant_grade FROM snapshot)) AS n_relevant,
               min_by(left(i.title, 300), (coalesce(-g.grade, 1), coalesce(-i.popularity, 1), i.item_id), {int(titles)}) AS titles
        FROM under u JOIN items i USING (item_id) LEFT JOIN graded g USING (item_id) GROUP BY u.prefix ORDER BY u.prefix
        """,
        {"run": run_id, "query": query_id, "prefixes": list(prefixes)},
    ).df()


def items_of(
    cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str | None, prefix: str, limit: int | None
) -> pd.DataFrame:
    """Items under a prefix with the query's grades: graded ones first, then by popularity."""
    return cursor.execute(
        f"""
        WITH {_UNDER},
        graded AS (SELECT item_id, avg(grade) AS grade FROM judgments WHERE query_id = $query GROUP BY item_id)
        SELECT i.item_id, i.title, i.seller, i.category, s.sid, g.grade
        FROM under u JOIN items i USING (item_id) JOIN sids s ON s.run_id = $run AND s.item_id = u.item_id
        LEFT JOIN graded g ON g.item_id = u.item_id
        ORDER BY g.grade DESC NULLS LAST, i.popularity DESC NULLS LAST, i.item_id LIMIT $limit
        """,
        {"run": run_id, "query": query_id, "prefixes": [prefix], "limit": limit},
    ).df()


def relevant_count(cursor: duckdb.DuckDBPyConnection, query_id: str) -> int:
    """How many items were judged relevant to the query."""
    row = cursor.execute(
        """
        SELECT count(*) FROM (SELECT avg(grade) AS grade FROM judgments WHERE query_id = ? GROUP BY item_id)
        WHERE grade >= (SELECT relevant_grade FROM snapshot)
        """,
        [query_id],
    ).fetchone()
    return int(row[0]) if row else 0


def learnt_from(
    cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str | None, words: tuple[str, ...], sids: tuple[str, ...]
) -> pd.DataFrame:
    """Judged training queries that share words with the query and have relevant items of these SIDs: sid, query_id, text,
    n_words (shared), n_items (relevant, of the SID), the likest first."""
    return cursor.execute(
        """
        WITH alike AS (
            SELECT query_id, text,
                   len(list_intersect(string_split_regex(lower(text), '[^\\w]+'), $words::VARCHAR[])) AS n_words
            FROM queries WHERE split = 'train' AND query_id IS DISTINCT FROM $query)
        SELECT s.sid, a.query_id, a.text, a.n_words, count(DISTINCT s.item_id) AS n_items
        FROM alike a JOIN judgments j USING (query_id) JOIN sids s ON s.run_id = $run AND s.item_id = j.item_id
        WHERE a.n_words > 0 AND j.grade >= (SELECT relevant_grade FROM snapshot)
          AND s.sid IN (SELECT unnest($sids::VARCHAR[]))
        GROUP BY ALL ORDER BY s.sid, a.n_words DESC, n_items DESC, a.query_id
        """,
        {"run": run_id, "query": query_id, "words": list(words), "sids": list(sids)},
    ).df()


class Certainty(NamedTuple):
    """Judged test queries with a relevant item, by whether their beams hold a share `bar` of the probability together."""

    below: int
    hits_below: int
    """Of them, those with a relevant item under a beam (its whole SID)."""
    above: int
    hits_above: int


def certainty(cursor: duckdb.DuckDBPyConnection, run_id: str, bar: float) -> Certainty:
    """How often beams reach a relevant item when they hold less than `bar` of the probability, and when they hold more."""
    row = cursor.execute(
        """
        WITH held AS (SELECT query_id, sum(exp(log_prob)) AS p FROM beams WHERE run_id = $run GROUP BY query_id),
        reached AS (
            SELECT j.query_id, bool_or(b.sid IS NOT NULL) AS hit
            FROM (SELECT query_id, item_id FROM judgments GROUP BY ALL
                  HAVING avg(grade) >= (SELECT relevant_grade FROM snapshot)) j
            JOIN queries q ON q.query_id = j.query_id AND q.split = 'test'
            LEFT JOIN sids s ON s.run_id = $run AND s.item_id = j.item_id
            LEFT JOIN beams b ON b.run_id = $run AND b.query_id = j.query_id AND b.sid = s.sid
            GROUP BY j.query_id)
        SELECT count(*) FILTER (p < $bar), count(*) FILTER (p < $bar AND hit), count(*) FILTER (p >= $bar),
               count(*) FILTER (p >= $bar AND hit)
        FROM held JOIN reached USING (query_id)
        """,
        {"run": run_id, "bar": bar},
    ).fetchone()
    return Certainty(*(int(n) for n in row)) if row else Certainty(0, 0, 0, 0)
