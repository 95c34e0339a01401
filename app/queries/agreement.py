"""Who rated, how far raters agree, and where the served ranking, people and a judge disagree most."""

from __future__ import annotations

import duckdb
import pandas as pd

KINDS = ("ranking", "judge", "people")
"""Who disagrees with the grade that people gave: the served ranking, a language model, or people with one another."""
SURE = 0.5
"""The ranking is surely against a grade where the lower end of the misplaced share is above this."""

_SUREST = "sure DESC, misplaced DESC, n_ratings DESC, query_id, item_id"


def disputed_sql(kind: str) -> str:
    """SQL of the pairs of a kind of KINDS; `sure` orders them. Takes $run."""
    assert kind in KINDS, kind
    return f"SELECT * EXCLUDE (run_id, kind) FROM disputed_pairs WHERE run_id = $run AND kind = '{kind}'"


def disputed(cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str, limit: int, offset: int) -> pd.DataFrame:
    """Pairs whose grade somebody disputes, surest first: query_id, text, item_id, title, people (mean), n_ratings, lowest,
    highest, judge, expected_grade, rank, place (among the query's n_judged judged items, by score), against (judged items of the
    other side of relevant that stand on the wrong side of it), others (of how many), misplaced (that share; grades apart for the
    other kinds), sure (its lower 95 % end, by Wilson; grades apart from the nearest rating), split."""
    return cursor.execute(
        f"""
        SELECT d.query_id, q.text, d.item_id, i.title, d.* EXCLUDE (query_id, item_id), q.split
        FROM (SELECT * FROM ({disputed_sql(kind)}) ORDER BY {_SUREST} LIMIT $limit OFFSET $offset) d
        LEFT JOIN (SELECT query_id, text, split FROM queries) q USING (query_id)
        LEFT JOIN (SELECT item_id, title FROM items) i USING (item_id)
        ORDER BY {_SUREST}
        """,
        {"run": run_id, "limit": limit, "offset": offset},
    ).df()


def counts(cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str) -> tuple[int, int, int]:
    """Pairs that are disputed, those surely so (ranking: the lower end above SURE; else a grade or more from the nearest rating),
    and pairs that could be."""
    could = {
        "ranking": "people IS NOT NULL AND (query_id, item_id) IN (SELECT (query_id, item_id) FROM judged_scores WHERE run_id = $run)",
        "judge": "people IS NOT NULL AND judge IS NOT NULL AND $run IS NOT NULL",
        "people": "n_ratings > 1 AND $run IS NOT NULL",
    }[kind]
    row = cursor.execute(
        f"""SELECT count(*), count(*) FILTER ({f"sure > {SURE}" if kind == "ranking" else "sure >= 1"}),
            (SELECT count(*) FROM rated_pairs WHERE {could}) FROM ({disputed_sql(kind)})""",
        {"run": run_id},
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


def raters(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Who rated: rater (NULL: not named), source, n_ratings, n_queries, relevant (share), mean, n_shared (pairs that others
    rated too); most ratings first."""
    return cursor.execute(
        """
        WITH of_pair AS (SELECT query_id, item_id, count(*) AS n FROM ratings GROUP BY ALL)
        SELECT r.rater, r.source, count(*) AS n_ratings, count(DISTINCT query_id) AS n_queries,
               avg((r.grade >= relevant_grade)::INT) AS relevant, avg(r.grade) AS mean, count(*) FILTER (n > 1) AS n_shared
        FROM ratings r JOIN of_pair USING (query_id, item_id), snapshot
        GROUP BY 1, 2 ORDER BY n_ratings DESC, r.source, r.rater
        """
    ).df()


def overlap(cursor: duckdb.DuckDBPyConnection) -> tuple[int, int, int, int]:
    """Ratings, rated pairs, pairs with two ratings or more, and ratings whose rater is not named."""
    row = cursor.execute(
        """SELECT coalesce(sum(n), 0)::BIGINT, count(*), count(*) FILTER (n > 1), coalesce(sum(unnamed), 0)::BIGINT
           FROM (SELECT count(*) AS n, count(*) FILTER (rater IS NULL) AS unnamed FROM ratings GROUP BY query_id, item_id)"""
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2], row[3]


def agreement(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """A row a comparison, a judge's first, then each rater and the others, then two and two: kind, rater, against, n_pairs,
    n_queries, and for percent, kappa, kappa_quadratic, binary_percent and binary_kappa the value, <name>_low, <name>_high."""
    found = cursor.execute("SELECT * FROM rater_agreement").df()
    if found.empty:
        return pd.DataFrame()
    keys = ["kind", "rater", "against", "n_pairs", "n_queries"]
    parts = {"": "value", "_low": "low", "_high": "high"}
    wide = pd.concat(
        [found.pivot(index=keys, columns="measure", values=of).add_suffix(suffix) for suffix, of in parts.items()],
        axis=1,
    )
    order = {"judge": 0, "others": 1, "raters": 2}
    rows = wide.reset_index()
    return rows.sort_values(["kind", "n_pairs"], key=lambda c: c.map(order) if c.name == "kind" else -c, kind="stable")
