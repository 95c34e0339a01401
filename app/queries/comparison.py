"""What two runs have in common and where they differ: queries matched on their words, items on their ids.

Every function takes `beside`, the snapshot of the second run (see `app.fetch.fetch_both`), which may be the first one's own.
"""

from __future__ import annotations

from typing import NamedTuple

import duckdb
import pandas as pd

from engine.audit.intervals import Interval, mean_interval

MOST_ASKED = 2_000
"""Queries, the most asked first, whose beams are compared."""
TIERS = ("head", "torso", "tail")


def same_catalogue(cursor: duckdb.DuckDBPyConnection, beside: str) -> bool:
    """Whether both snapshots were made of the same catalogue."""
    row = cursor.execute(
        f'SELECT (SELECT fingerprint FROM snapshot) = (SELECT fingerprint FROM "{beside}".snapshot)'
    ).fetchone()
    return bool(row and row[0])


def _queries(beside: str) -> str:
    """Table `paired`: query_id of the first snapshot, base_id of the second, of queries with the same words. Ids would not do:
    another export of the same log numbers them otherwise. Words that several queries share are paired in the order of ids."""
    return f"""
        WITH here AS (SELECT query_id, text, row_number() OVER (PARTITION BY text ORDER BY query_id) AS place FROM queries),
        there AS (SELECT query_id AS base_id, text, row_number() OVER (PARTITION BY text ORDER BY query_id) AS place
                  FROM "{beside}".queries),
        paired AS (SELECT query_id, base_id FROM here JOIN there USING (text, place))
    """


def by_query(cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str, metric: str) -> pd.DataFrame:
    """A measure of every query that both runs were judged on, the worst change first.

    Columns: query_id, text, frequency, tier, value, base_value, difference.
    """
    return cursor.execute(
        f"""
        {_queries(beside)}
        SELECT query_id, q.text, q.frequency, q.tier, m.value, b.value AS base_value, m.value - b.value AS difference
        FROM query_metrics m JOIN paired USING (query_id) JOIN queries q USING (query_id)
        JOIN "{beside}".query_metrics b ON b.query_id = paired.base_id AND b.run_id = $base AND b.metric = m.metric
        WHERE m.run_id = $run AND m.metric = $metric
        ORDER BY difference, q.frequency DESC NULLS LAST, query_id
        """,
        {"run": run_id, "base": base_run, "metric": metric},
    ).df()


def changes(
    cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str, metric: str
) -> dict[str, Interval]:
    """Mean change of a measure over the queries that both runs were judged on, 'all' of them and by tier of traffic.

    Where the other run ranks every query as this run's own baseline does, this is what SIDs change, and its interval the
    stored one: of one quantity a page states one interval.
    """
    rows = by_query(cursor, beside, run_id, base_run, metric)
    parts = {"all": rows, **{tier: rows[rows["tier"] == tier] for tier in TIERS}}
    stored = cursor.execute(
        f"""
        {_queries(beside)}
        SELECT replace(c.segment, 'tier=', ''), c.difference, c.low, c.high, c.n FROM comparisons c JOIN runs r USING (run_id, ranker, baseline)
        WHERE run_id = $run AND c.metric = $metric AND NOT EXISTS (
            FROM query_metrics m LEFT JOIN paired USING (query_id)
            LEFT JOIN "{beside}".query_metrics b ON b.query_id = paired.base_id AND b.run_id = $base AND b.metric = m.metric
            WHERE m.run_id = $run AND m.metric = $metric AND b.value IS DISTINCT FROM m.value_without)
        """,
        {"run": run_id, "base": base_run, "metric": metric},
    ).fetchall()
    known = {part: Interval(*found) for part, *found in stored}
    return {
        part: known.get(part) or mean_interval(own["difference"].to_numpy(dtype=float)) for part, own in parts.items()
    }


class Tally(NamedTuple):
    """Queries that got better, stayed and got worse."""

    won: int
    tied: int
    lost: int


def tally(rows: pd.DataFrame) -> Tally:
    """Of rows of `by_query`."""
    change = rows["difference"]
    return Tally(int((change > 0).sum()), int((change == 0).sum()), int((change < 0).sum()))


def judged(cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str, metric: str) -> tuple[int, int]:
    """How many queries each of the two runs was judged on."""
    row = cursor.execute(
        f"""
        SELECT (SELECT count(*) FROM query_metrics WHERE run_id = $run AND metric = $metric),
               (SELECT count(*) FROM "{beside}".query_metrics WHERE run_id = $base AND metric = $metric)
        """,
        {"run": run_id, "base": base_run, "metric": metric},
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def codes(cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str) -> pd.DataFrame:
    """How many items hold each SID in one run and each in the other, by category; only items that both runs hold.

    Columns: codes (of the first), base_codes, category, n; the commonest first.
    """
    return cursor.execute(
        f"""
        SELECT s.codes, b.codes AS base_codes, i.category, count(*) AS n
        FROM sids s JOIN "{beside}".sids b ON b.item_id = s.item_id AND b.run_id = $base LEFT JOIN items i ON i.item_id = s.item_id
        WHERE s.run_id = $run GROUP BY ALL ORDER BY n DESC, s.codes, b.codes, category
        """,
        {"run": run_id, "base": base_run},
    ).df()


def held(cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str) -> tuple[int, int, int]:
    """How many items have a SID in both runs, in the first alone (new), in the second alone (gone)."""
    row = cursor.execute(
        f"""
        SELECT count(*) FILTER (s.item_id IS NOT NULL AND b.item_id IS NOT NULL), count(*) FILTER (b.item_id IS NULL),
               count(*) FILTER (s.item_id IS NULL)
        FROM (FROM sids WHERE run_id = $run) s FULL JOIN (FROM "{beside}".sids WHERE run_id = $base) b USING (item_id)
        """,
        {"run": run_id, "base": base_run},
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


def beams(cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str) -> pd.DataFrame:
    """What the beams of a query reach in either run, of the MOST_ASKED queries with beams in both, the least alike first.

    Columns: query_id, text, frequency, n (items that both runs hold, under the beams of the first), base_n, common, alike
    (common items / items reached by either: Jaccard), difference (of nDCG@10, NULL where not judged).
    """
    return cursor.execute(
        f"""
        {_queries(beside)},
        asked AS (
            SELECT p.query_id, p.base_id, q.text, q.frequency FROM paired p JOIN queries q USING (query_id)
            WHERE query_id IN (SELECT query_id FROM beams WHERE run_id = $run)
              AND base_id IN (SELECT query_id FROM "{beside}".beams WHERE run_id = $base)
            ORDER BY q.frequency DESC NULLS LAST, query_id LIMIT {MOST_ASKED}
        ),
        held AS MATERIALIZED (  -- a SID parts the items: counts of pairs of SIDs are enough
            SELECT s.sid AS here, b.sid AS there, count(*) AS n FROM sids s JOIN "{beside}".sids b ON b.item_id = s.item_id AND b.run_id = $base
            WHERE s.run_id = $run GROUP BY ALL
        ),
        here_sids AS (SELECT DISTINCT a.query_id, b.sid AS here FROM asked a JOIN beams b ON b.query_id = a.query_id AND b.run_id = $run),
        there_sids AS (
            SELECT DISTINCT a.query_id, b.sid AS there FROM asked a JOIN "{beside}".beams b ON b.query_id = a.base_id AND b.run_id = $base
        ),
        counts AS (
            SELECT query_id, coalesce(n, 0)::BIGINT AS n, coalesce(base_n, 0)::BIGINT AS base_n, coalesce(common, 0)::BIGINT AS common
            FROM (SELECT query_id, sum(n) AS n FROM here_sids JOIN held USING (here) GROUP BY 1)
            FULL JOIN (SELECT query_id, sum(n) AS base_n FROM there_sids JOIN held USING (there) GROUP BY 1) USING (query_id)
            LEFT JOIN (
                SELECT query_id, sum(n) AS common FROM here_sids JOIN held USING (here) JOIN there_sids USING (query_id, there) GROUP BY 1
            ) USING (query_id)
        )
        SELECT a.query_id, a.text, a.frequency, coalesce(n, 0) AS n, coalesce(base_n, 0) AS base_n, coalesce(common, 0) AS common,
               common / (n + base_n - common) AS alike, m.value - b.value AS difference
        FROM asked a LEFT JOIN counts USING (query_id)
        LEFT JOIN query_metrics m ON m.query_id = a.query_id AND m.run_id = $run AND m.metric = 'ndcg@10'
        LEFT JOIN "{beside}".query_metrics b ON b.query_id = a.base_id AND b.run_id = $base AND b.metric = 'ndcg@10'
        ORDER BY alike, a.frequency DESC NULLS LAST, a.query_id
        """,
        {"run": run_id, "base": base_run},
    ).df()


def ranking(
    cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str, query_id: str, most: int
) -> pd.DataFrame:
    """The items among the first `most` of a query in either run, by the better of the two ranks.

    Columns: item_id, title, grade, rank, base_rank (NULL: not retrieved there), sid, base_sid, matched_prefix, base_prefix.
    Empty where the other run does not know the query.
    """
    return cursor.execute(
        f"""
        {_queries(beside)},
        here_list AS (SELECT item_id, rank, matched_prefix FROM scores WHERE run_id = $run AND query_id = $query),
        there_list AS (
            SELECT s.item_id, s.rank, s.matched_prefix FROM "{beside}".scores s JOIN paired ON paired.base_id = s.query_id
            WHERE s.run_id = $base AND paired.query_id = $query
        )
        SELECT item_id, coalesce(i.title, o.title) AS title, j.grade, h.rank, t.rank AS base_rank, d.sid, e.sid AS base_sid,
               h.matched_prefix, t.matched_prefix AS base_prefix
        FROM here_list h FULL JOIN there_list t USING (item_id)
        LEFT JOIN items i USING (item_id) LEFT JOIN "{beside}".items o USING (item_id)
        LEFT JOIN judgments j ON j.item_id = coalesce(h.item_id, t.item_id) AND j.query_id = $query
        LEFT JOIN sids d ON d.item_id = coalesce(h.item_id, t.item_id) AND d.run_id = $run
        LEFT JOIN "{beside}".sids e ON e.item_id = coalesce(h.item_id, t.item_id) AND e.run_id = $base
        WHERE EXISTS (FROM there_list) AND least(h.rank, t.rank) <= $most
        ORDER BY least(h.rank, t.rank), h.rank NULLS LAST, item_id
        """,
        {"run": run_id, "base": base_run, "query": query_id, "most": most},
    ).df()


def pair(
    cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str, query_id: str, item_id: str
) -> pd.DataFrame:
    """A query and an item in both runs: one row each, run 'this' or 'other'; rank, rank_without_sid, match_level, matched_prefix."""
    return cursor.execute(
        f"""
        {_queries(beside)}
        SELECT 'this' AS run, rank, rank_without_sid, match_level, matched_prefix FROM scores
        WHERE run_id = $run AND query_id = $query AND item_id = $item
        UNION ALL
        SELECT 'other', s.rank, s.rank_without_sid, s.match_level, s.matched_prefix
        FROM "{beside}".scores s JOIN paired ON paired.base_id = s.query_id
        WHERE s.run_id = $base AND paired.query_id = $query AND s.item_id = $item
        """,
        {"run": run_id, "base": base_run, "query": query_id, "item": item_id},
    ).df()


def coverage(cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str) -> pd.DataFrame:
    """Categories that both runs tell of: shares of their items in a beam and in a top 10, own lift, verdict; each also as base_*.

    The largest change of the share in a beam first.
    """
    return cursor.execute(
        f"""
        SELECT category, c.tier, c.n_items, b.n_items AS base_n_items,
               c.in_beam / nullif(c.has_sid, 0) AS in_beam, b.in_beam / nullif(b.has_sid, 0) AS base_in_beam,
               c.in_top_k / nullif(c.has_sid, 0) AS in_top_k, b.in_top_k / nullif(b.has_sid, 0) AS base_in_top_k,
               c.auc_lift, b.auc_lift AS base_auc_lift, c.protected, b.protected AS base_protected
        FROM (FROM coverage WHERE run_id = $run) c JOIN (FROM "{beside}".coverage WHERE run_id = $base) b USING (category)
        ORDER BY abs(c.in_beam / nullif(c.has_sid, 0) - b.in_beam / nullif(b.has_sid, 0)) DESC NULLS LAST, category
        """,
        {"run": run_id, "base": base_run},
    ).df()


def exposure(
    cursor: duckdb.DuckDBPyConnection, beside: str, run_id: str, base_run: str, discount: str, dimension: str
) -> pd.DataFrame:
    """The share of exposure of every value under both runs' own rankings, the largest change first.

    Columns: value, base_share, share, change, difference and base_difference (with minus without SIDs, within each run).
    """
    return cursor.execute(
        f"""
        SELECT coalesce(e."value", b."value") AS "value", coalesce(b.share, 0) AS base_share, coalesce(e.share, 0) AS share,
               coalesce(e.share, 0) - coalesce(b.share, 0) AS change, e.difference, b.difference AS base_difference
        FROM (FROM exposure WHERE run_id = $run AND discount = $discount AND dimension = $dimension) e
        FULL JOIN (FROM "{beside}".exposure WHERE run_id = $base AND discount = $discount AND dimension = $dimension) b
             ON b."value" = e."value"
        ORDER BY abs(coalesce(e.share, 0) - coalesce(b.share, 0)) DESC, 1
        """,
        {"run": run_id, "base": base_run, "discount": discount, "dimension": dimension},
    ).df()
