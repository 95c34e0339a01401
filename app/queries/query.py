"""SELECTs of the Query page: a query's beams, its ranking with and without SIDs, target items, the loss ledger.

Every function takes a cursor and plain arguments, and gives a DataFrame. A query is known by its id inside
the snapshot; `find_query` turns what a person typed into that id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.store.query_sets import normalise

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

METRIC = "ndcg@10"
"""The per-query metric that 'worst regression' sorts by."""

NORMAL = r"trim(regexp_replace(lower(text), '\s+', ' ', 'g'))"
"""A query's text in SQL as `normalise` makes it."""

# A column of the catalogue that the format does not name is kept among the attributes. Nothing but web addresses is shown.
IMAGE = """
    CASE WHEN regexp_matches(coalesce(i.attributes ->> 'image_url', i.attributes ->> 'image_link', ''), '^https?://') THEN
        coalesce(i.attributes ->> 'image_url', i.attributes ->> 'image_link') END"""

# Of imports every beam counts; of what is trained, synthetic queries have beams and no search tree where others are shown.
BEAMS_ALONE = """
    SELECT b.query_id FROM beams b JOIN runs r USING (run_id) WHERE run_id = $run AND r.method = 'imported'
    UNION SELECT b.query_id FROM beam_nodes b JOIN runs r USING (run_id) WHERE run_id = $run AND r.ranker IS NULL"""

LEDGER = {
    "query tier": "CASE WHEN q.frequency = 0 THEN 'no traffic' ELSE l.query_tier END",
    "category tier": "l.category_tier",
    "category": "l.category",
    "kind of query": "q.kind",
}
"""What the loss ledger is told by; the keys are what the page offers. A query that nobody asked is in no tier."""


def find_query(cursor: duckdb.DuckDBPyConnection, run_id: str, text: str) -> pd.DataFrame:
    """The snapshot's query of that normalised text, else of that id; zero or one row.

    `cached` says whether this run stored scores for it, or beams where it ranks nothing; among equal texts a scored and frequent one wins.
    """
    return cursor.execute(
        f"""
        SELECT q.*, EXISTS (SELECT 1 FROM scores s WHERE s.run_id = $run AND s.query_id = q.query_id)
               OR q.query_id IN ({BEAMS_ALONE}) AS cached,
               ({NORMAL} = $text) AS by_text
        FROM queries q
        WHERE {NORMAL} = $text OR query_id = $id
        ORDER BY by_text DESC, cached DESC, frequency DESC NULLS LAST, query_id
        LIMIT 1
        """,
        {"run": run_id, "text": normalise(text), "id": text.strip()},
    ).df()


def query_metrics(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str) -> pd.DataFrame:
    """The query's own metrics with and without SIDs; empty where it is not judged."""
    return cursor.execute(
        "SELECT metric, value, value_without, difference FROM query_metrics WHERE run_id = ? AND query_id = ? ORDER BY metric",
        [run_id, query_id],
    ).df()


def beams(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str) -> pd.DataFrame:
    """The K predicted SIDs of a query, best first, with labels and how the SID is shared."""
    return cursor.execute(
        """
        SELECT b.rank, b.sid, b.codes, b.log_prob, b.level_log_probs, b.n_items, c.label, s.harmful, s.reason
        FROM beams b
        LEFT JOIN codes c ON c.run_id = b.run_id AND c.prefix = b.sid
        LEFT JOIN sid_sharing s ON s.run_id = b.run_id AND s.sid = b.sid
        WHERE b.run_id = ? AND b.query_id = ? ORDER BY b.rank
        """,
        [run_id, query_id],
    ).df()


def beam_nodes(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str) -> pd.DataFrame:
    """The best prefixes of every level, pruned ones included, by level and rank."""
    return cursor.execute(
        """
        SELECT level, prefix, parent, log_prob, step_log_prob, rank, kept, n_items
        FROM beam_nodes WHERE run_id = ? AND query_id = ? ORDER BY level, rank
        """,
        [run_id, query_id],
    ).df()


def free_beams(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str) -> pd.DataFrame:
    """What the generator says when it may emit any code, valid or not."""
    return cursor.execute(
        "SELECT rank, sid, log_prob, valid FROM free_beams WHERE run_id = ? AND query_id = ? ORDER BY rank",
        [run_id, query_id],
    ).df()


def prefix_facts(cursor: duckdb.DuckDBPyConnection, run_id: str, prefixes: tuple[str, ...]) -> pd.DataFrame:
    """Label, size and sharing of the given prefixes (stored or live beams alike)."""
    return cursor.execute(
        """
        SELECT c.prefix, c.level, c.label, c.n_items, c.n_sids, c.top_category, s.harmful, s.reason
        FROM codes c LEFT JOIN sid_sharing s ON s.run_id = c.run_id AND s.sid = c.prefix
        WHERE c.run_id = $run AND c.prefix IN (SELECT unnest($prefixes::VARCHAR[]))
        ORDER BY c.level, c.prefix
        """,
        {"run": run_id, "prefixes": list(prefixes)},
    ).df()


def scores(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str) -> pd.DataFrame:
    """The scored items of a query (retrieved and judged), as stored, by rank."""
    return cursor.execute(
        "SELECT * EXCLUDE (run_id, query_id) FROM scores WHERE run_id = ? AND query_id = ? ORDER BY rank NULLS LAST, item_id",
        [run_id, query_id],
    ).df()


def item_facts(
    cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str | None, item_ids: tuple[str, ...]
) -> pd.DataFrame:
    """Catalogue fields, SID and mean grade of the given items; `query_id` None where nothing can be judged.

    `image` is the address of a picture where the item's attributes hold one.
    """
    return cursor.execute(
        f"""
        SELECT i.item_id, i.title, i.seller, i.brand, i.category, i.price, i.currency, i.tier, {IMAGE} AS image,
               s.sid, s.codes, s.n_sharing, j.grade, j.n_raters
        FROM items i
        LEFT JOIN sids s ON s.run_id = $run AND s.item_id = i.item_id
        LEFT JOIN (SELECT item_id, avg(grade) AS grade, sum(n_raters) AS n_raters
                   FROM judgments WHERE query_id = $query GROUP BY item_id) j ON j.item_id = i.item_id
        WHERE i.item_id IN (SELECT unnest($items::VARCHAR[]))
        ORDER BY i.item_id
        """,
        {"run": run_id, "query": query_id, "items": list(item_ids)},
    ).df()


def search_items(cursor: duckdb.DuckDBPyConnection, text: str, limit: int) -> pd.DataFrame:
    """Items whose id is `text` or whose title holds all its words, the id match first, then by popularity."""
    return cursor.execute(
        """
        SELECT item_id, title, seller, category, price, currency FROM items
        WHERE item_id = $id
           OR ($text <> '' AND len(list_filter(string_split($text, ' '), lambda w: NOT contains(lower(title), w))) = 0)
        ORDER BY item_id = $id DESC, popularity DESC NULLS LAST, item_id LIMIT $limit
        """,
        {"id": text.strip(), "text": normalise(text), "limit": limit},
    ).df()


def suggested_targets(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str, limit: int) -> pd.DataFrame:
    """Relevant items of the query that are badly placed: not retrieved first, then by rank, worst first."""
    return cursor.execute(
        """
        SELECT s.item_id, i.title, j.grade, s.rank::DOUBLE AS rank, s.retrieved, s.match_level
        FROM scores s JOIN items i USING (item_id)
        JOIN (SELECT item_id, avg(grade) AS grade FROM judgments WHERE query_id = $query GROUP BY item_id) j USING (item_id)
        WHERE s.run_id = $run AND s.query_id = $query AND j.grade >= (SELECT relevant_grade FROM snapshot)
        ORDER BY s.rank DESC NULLS FIRST, j.grade DESC, s.item_id LIMIT $limit
        """,
        {"run": run_id, "query": query_id, "limit": limit},
    ).df()


def ledger(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str) -> pd.DataFrame:
    """Judged relevant items by verdict (and level or feature) and a dimension of LEDGER.

    Columns: verdict, level, feature, value (of the dimension), n_pairs, n_queries, share (of the value's pairs); the
    verdicts in the order in which they are asked.
    """
    return cursor.execute(
        f"""
        WITH counted AS (
            SELECT verdict, level, feature, coalesce({LEDGER[dimension]}, '(unknown)') AS "value", count(*) AS n_pairs,
                   count(DISTINCT l.query_id) AS n_queries
            FROM loss_ledger l JOIN queries q USING (query_id) WHERE run_id = ? GROUP BY ALL)
        SELECT *, n_pairs / sum(n_pairs) OVER (PARTITION BY "value") AS share FROM counted
        ORDER BY list_position(['not retrieved', 'lost in the beam', 'outranked', 'found'], verdict), level, n_pairs DESC,
                 feature, "value"
        """,
        [run_id],
    ).df()


def ledger_pairs(
    cursor: duckdb.DuckDBPyConnection, run_id: str, verdict: str, level: int | None, feature: str | None,
    dimension: str, value: str,
) -> pd.DataFrame:  # fmt: skip
    """The judged relevant items behind one row of `ledger`, of the most frequent queries first."""
    return cursor.execute(
        f"""
        SELECT l.query_id, q.text, q.frequency, l.item_id, i.title, l.grade, l.rank, l.rank_without_sid, l.verdict, l.level,
               l.feature, l.category, l.category_tier, {LEDGER["query tier"]} AS query_tier, q.kind
        FROM loss_ledger l JOIN queries q USING (query_id) JOIN items i USING (item_id)
        WHERE run_id = $run AND verdict = $verdict AND level IS NOT DISTINCT FROM $level::INTEGER
          AND feature IS NOT DISTINCT FROM $feature::VARCHAR AND coalesce({LEDGER[dimension]}, '(unknown)') = $value
        ORDER BY q.frequency DESC NULLS LAST, l.query_id, l.rank NULLS LAST, l.item_id
        """,
        {"run": run_id, "verdict": verdict, "level": level, "feature": feature, "value": value},
    ).df()


def has_images(cursor: duckdb.DuckDBPyConnection, run_id: str) -> bool:
    """Whether any query of the run could be compared with item images."""
    found = cursor.execute(
        "SELECT EXISTS (SELECT 1 FROM reference_points WHERE run_id = ? AND mm_missing < 1)", [run_id]
    )
    return found.fetchone() == (True,)


def items_under(cursor: duckdb.DuckDBPyConnection, run_id: str, sids: tuple[str, ...]) -> pd.DataFrame:
    """Items that hold one of the SIDs: what a query's beams point at."""
    return cursor.execute(
        """
        SELECT item_id, s.sid, i.title, i.category, i.seller FROM sids s JOIN items i USING (item_id)
        WHERE s.run_id = ? AND s.sid IN (SELECT unnest(?::VARCHAR[])) ORDER BY s.sid, item_id
        """,
        [run_id, list(sids)],
    ).df()
