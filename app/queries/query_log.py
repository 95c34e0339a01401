"""SELECTs of the query log: the queries that a run answered, filtered, ordered and paged; its neighbours; what it is filtered by.

A page of the log is known by the same plain arguments everywhere: `Asked`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.queries.query import BEAMS_ALONE, METRIC, NORMAL
from engine.store.query_sets import normalise

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

TIER = "CASE WHEN q.frequency = 0 THEN 'no traffic' ELSE q.tier END"
"""A query that nobody asked belongs to no third of the traffic."""
TIERS = ("head", "torso", "tail", "no traffic")
JUDGED = {
    "judged": "q.n_judged > 0",
    "measured": "m.difference IS NOT NULL",
    "not judged": "coalesce(q.n_judged, 0) = 0",
}
"""Conditions on what is known of a query; the keys are what the page offers."""
ORDERS = {
    "most frequent": "frequency DESC NULLS LAST",
    "worst for traffic": "weighted ASC NULLS LAST, difference ASC NULLS LAST, frequency DESC NULLS LAST",
    "worst regression": "difference ASC NULLS LAST, frequency DESC NULLS LAST",
    "best gain": "difference DESC NULLS LAST, frequency DESC NULLS LAST",
    "A to Z": "text",
}
"""Orders of the log; the keys are what the page offers. Ties go by query id."""


class Asked(NamedTuple):
    """Which queries of the log, and in which order; None is every one."""

    run_id: str
    order: str = "most frequent"
    tier: str | None = None
    kind: str | None = None
    category: str | None = None
    """A path: its own queries and those of all categories below it."""
    judged: str | None = None
    words: str = ""
    """All must occur in the text, in any order."""


def _matching(asked: Asked) -> tuple[str, dict[str, str | None]]:
    """The log as a named SELECT `asked`, and its parameters."""
    condition = JUDGED.get(asked.judged or "", "true")
    sql = f"""
        WITH scored AS (
            SELECT *, CASE WHEN count(*) OVER (PARTITION BY {NORMAL}) = 1 THEN text ELSE query_id END AS handle
            FROM queries WHERE query_id IN (SELECT query_id FROM scores WHERE run_id = $run UNION {BEAMS_ALONE})),
        measured AS (
            SELECT m.query_id, m.value, m.value_without, m.difference,
                   m.difference * q.frequency / nullif(sum(CASE WHEN m.difference IS NOT NULL THEN q.frequency END) OVER (), 0) AS weighted
            FROM query_metrics m JOIN queries q USING (query_id) WHERE m.run_id = $run AND m.metric = $metric),
        asked AS (
            SELECT q.query_id, q.text, q.handle, q.frequency, {TIER} AS tier, q.split, q.source, q.seen, q.kind, q.n_judged,
                   q.category, m.value, m.value_without, m.difference,
                   CASE WHEN q.frequency > 0 THEN m.weighted END AS weighted
            FROM scored q LEFT JOIN measured m USING (query_id)
            WHERE ($tier IS NULL OR {TIER} = $tier) AND ($kind IS NULL OR q.kind = $kind)
              AND ($category IS NULL OR q.category = $category OR starts_with(q.category, $category || $separator))
              AND {condition}
              AND len(list_filter(string_split($words, ' '), lambda w: NOT contains(lower(q.text), w))) = 0)
    """
    values = {"run": asked.run_id, "metric": METRIC, "tier": asked.tier, "kind": asked.kind, "category": asked.category,
              "words": normalise(asked.words)}  # fmt: skip
    return sql, values


def _separator(cursor: duckdb.DuckDBPyConnection) -> str:
    row = cursor.execute("SELECT category_separator FROM snapshot").fetchone()
    return str(row[0]) if row and row[0] else " > "


def page(cursor: duckdb.DuckDBPyConnection, *asked: str | int | None) -> pd.DataFrame:
    """Queries of the log, `(*Asked, limit, offset)`: with nDCG@10 with and without SIDs where it was measured.

    `handle` names the query in a link: its text, or its id where other queries of the log have the same text. `weighted`
    is the query's part in the mean difference that weighs measured queries by how often they are asked.
    """
    *wanted, limit, offset = asked
    which = Asked(*wanted)  # type: ignore[arg-type]
    sql, values = _matching(which)
    return cursor.execute(
        f"{sql} SELECT * FROM asked ORDER BY {ORDERS[which.order]}, query_id LIMIT $limit OFFSET $offset",
        values | {"separator": _separator(cursor), "limit": limit, "offset": offset},
    ).df()


class Found(NamedTuple):
    """How much of the log is like that."""

    queries: int
    searches: float
    """Of them together."""
    all_searches: float
    """Of the whole log."""


def found(cursor: duckdb.DuckDBPyConnection, *asked: str | None) -> Found:
    """How many queries are like that, and how often they are asked together."""
    sql, values = _matching(Asked(*asked))  # type: ignore[arg-type]
    row = cursor.execute(
        f"{sql} SELECT count(*), coalesce(sum(frequency), 0), (SELECT coalesce(sum(frequency), 0) FROM scored) FROM asked",
        values | {"separator": _separator(cursor)},
    ).fetchone()
    assert row is not None
    return Found(int(row[0]), float(row[1]), float(row[2]))


class Neighbours(NamedTuple):
    """Where a query stands in the log, and what comes before and after it."""

    place: int
    of: int
    before: str | None
    """As `handle` of `page`."""
    after: str | None


def neighbours(cursor: duckdb.DuckDBPyConnection, *asked: str | None) -> Neighbours | None:
    """The place of a query, `(*Asked, query_id)`, in the log as it was filtered and ordered; None where it is not in it."""
    *wanted, query_id = asked
    which = Asked(*wanted)  # type: ignore[arg-type]
    sql, values = _matching(which)
    row = cursor.execute(
        f"""{sql}, placed AS (
            SELECT query_id, row_number() OVER w AS place, count(*) OVER () AS n, lag(handle) OVER w AS before, lead(handle) OVER w AS after
            FROM asked WINDOW w AS (ORDER BY {ORDERS[which.order]}, query_id))
        SELECT place, n, before, after FROM placed WHERE query_id = $query""",
        values | {"separator": _separator(cursor), "query": query_id},
    ).fetchone()
    return None if row is None else Neighbours(int(row[0]), int(row[1]), row[2], row[3])


def kinds(cursor: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """The kinds of query that the catalogue states."""
    rows = cursor.execute("SELECT DISTINCT kind FROM queries WHERE kind IS NOT NULL ORDER BY kind").fetchall()
    return tuple(str(kind) for (kind,) in rows)


def categories(cursor: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Categories that queries of the catalogue belong to, and those above them, by path."""
    rows = cursor.execute(
        """
        WITH parts AS (
            SELECT DISTINCT string_split(category, $separator) AS part FROM queries WHERE category IS NOT NULL)
        SELECT DISTINCT array_to_string(part[1:unnest(range(1, len(part) + 1))], $separator) AS path FROM parts ORDER BY path
        """,
        {"separator": _separator(cursor)},
    ).fetchall()
    return tuple(str(path) for (path,) in rows)
