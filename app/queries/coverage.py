"""What the Coverage page reads: categories, their tiers, the funnel, and the way from a gap to its queries."""

from __future__ import annotations

import duckdb
import pandas as pd

from engine.audit.tiers import category_tiers

FUNNEL = ("has_sid", "uniquely_decodable", "generated", "in_top_k")
TIERS = ("head", "torso", "tail")


def coverage(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """The `coverage` table with each category's department, largest first."""
    return cursor.execute(
        """
        SELECT c.category, g.department, c.tier, c.n_items, c.codes_owned, c.codes_shared, c.own_level1, c.utilisation,
               c.aliasing, c.purity, c.auc_lift, c.low, c.high, c.n_queries, c.has_sid, c.uniquely_decodable, c.generated,
               c.in_top_k, c.protected, c.reason
        FROM coverage c LEFT JOIN categories g USING (category)
        WHERE c.run_id = ? ORDER BY c.n_items DESC, c.category
        """,
        [run_id],
    ).df()


def retier(rows: pd.DataFrame, head: float, torso: float) -> pd.DataFrame:
    """The rows with `tier` set anew: by falling n_items, head = categories that begin below the first `head` of all
    items, torso = below `torso`, tail = the rest (shares 0..1); equal sizes share a tier."""
    sizes = rows.set_index("category")["n_items"]
    tier = category_tiers(sizes, head=head, torso=torso - head)
    return rows.assign(tier=rows["category"].map(tier))


def by_tier(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a tier: n_categories, n_items, own_level1 (share of categories), utilisation, aliasing, purity (weighted
    by items), funnel counts (NaN where unknown), and categories protected / not / too small to tell."""
    out = []
    for tier in TIERS:
        part = rows[rows["tier"] == tier]
        if part.empty:
            continue
        weight = part["n_items"] / part["n_items"].sum()
        verdicts = part["protected"].value_counts()
        row = {"tier": tier, "n_categories": len(part), "n_items": int(part["n_items"].sum())}
        row |= {"own_level1": float(part["own_level1"].astype(float).mean())}
        row |= {name: float((part[name] * weight).sum()) for name in ("utilisation", "aliasing", "purity")}
        row |= {name: int(part[name].sum()) if part[name].notna().any() else float("nan") for name in FUNNEL}
        row |= {
            "protected": int(verdicts.get("yes", 0)),
            "unprotected": int(verdicts.get("no", 0)),
            "too_small": int(verdicts.get("n too small", 0)),
        }
        out.append(row)
    return pd.DataFrame(out)


def code_use(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Items under every prefix of every level, unused level-1 codes included: level, prefix, n_items."""
    return cursor.execute(
        "SELECT level, prefix, n_items FROM codes WHERE run_id = ? ORDER BY level, prefix", [run_id]
    ).df()


def items(cursor: duckdb.DuckDBPyConnection, run_id: str, category: str, limit: int, offset: int) -> pd.DataFrame:
    """Items of a category and how far each comes in the funnel, the earliest lost first.

    Columns: item_id, title, seller, sid, n_sharing, n_beams (stored queries with its SID in a beam), best_rank,
    best_rank_without, lost_at (the first step not passed: 'has a SID' | 'uniquely decodable' |
    'unique and generated' | 'in a top 10', or 'not lost'; 'not known' where the run holds no beams or scores).
    """
    return cursor.execute(
        """
        WITH mine AS (SELECT item_id, title, seller FROM items WHERE category = $category),
        reach AS (
            SELECT b.sid, count(DISTINCT b.query_id) AS n_beams FROM beams b
            WHERE b.run_id = $run AND b.sid IN (SELECT sid FROM sids JOIN mine USING (item_id) WHERE run_id = $run)
            GROUP BY 1
        ),
        best AS (
            SELECT item_id, min(rank) AS best_rank, min(rank_without_sid) AS best_rank_without
            FROM scores WHERE run_id = $run AND item_id IN (SELECT item_id FROM mine) GROUP BY 1
        ),
        there AS (
            SELECT EXISTS (FROM beams WHERE run_id = $run) AS beams, EXISTS (FROM scores WHERE run_id = $run) AS scores
        )
        SELECT m.item_id, m.title, m.seller, s.sid, s.n_sharing,
               CASE WHEN t.beams THEN coalesce(r.n_beams, 0) END AS n_beams,
               b.best_rank, b.best_rank_without,
               CASE WHEN s.sid IS NULL THEN 'has a SID' WHEN s.n_sharing > 1 THEN 'uniquely decodable'
                    WHEN NOT t.beams THEN 'not known'
                    WHEN r.sid IS NULL THEN 'unique and generated'
                    WHEN NOT t.scores THEN 'not known'
                    WHEN b.best_rank IS NULL OR b.best_rank > 10 THEN 'in a top 10' ELSE 'not lost' END AS lost_at
        FROM mine m CROSS JOIN there t LEFT JOIN sids s ON s.run_id = $run AND s.item_id = m.item_id
        LEFT JOIN reach r USING (sid) LEFT JOIN best b ON b.item_id = m.item_id
        ORDER BY list_position(['has a SID', 'uniquely decodable', 'unique and generated', 'in a top 10', 'not known', 'not lost'], lost_at),
                 m.item_id
        LIMIT $limit OFFSET $offset
        """,
        {"run": run_id, "category": category, "limit": limit, "offset": offset},
    ).df()


def codes(cursor: duckdb.DuckDBPyConnection, run_id: str, category: str, level: int) -> pd.DataFrame:
    """Prefixes of a level that hold items of a category.

    Columns: prefix, label, n_mine (its items there), n_items (all), share (mine / all), top_category, n_queries.
    """
    return cursor.execute(
        """
        SELECT c.prefix, c.label, count(*) AS n_mine, c.n_items, count(*) / c.n_items AS share, c.top_category, c.n_queries
        FROM sids s JOIN items i USING (item_id)
        JOIN codes c ON c.run_id = s.run_id AND c.prefix = array_to_string(s.codes[1:$level], '-')
        WHERE s.run_id = $run AND i.category = $category
        GROUP BY c.prefix, c.label, c.n_items, c.top_category, c.n_queries ORDER BY n_mine DESC, c.prefix
        """,
        {"run": run_id, "category": category, "level": level},
    ).df()


def queries(cursor: duckdb.DuckDBPyConnection, run_id: str, category: str, prefix: str) -> pd.DataFrame:
    """Queries that should reach a category: those with a relevant judged item in it, or that belong to it.

    With a `prefix` ('' = all), only by items under that prefix. The worst served first. Columns: query_id, text, tier,
    frequency, n_relevant (judged relevant items of the category), match_level and beam_rank (best over them, or over all
    its scored items of the category where none is judged relevant), best_rank, best_rank_without, item_id (that item).
    """
    return cursor.execute(
        """
        WITH mine AS (
            SELECT i.item_id FROM items i LEFT JOIN sids s ON s.run_id = $run AND s.item_id = i.item_id
            WHERE i.category = $category AND ($prefix = '' OR s.sid = $prefix OR starts_with(s.sid, $prefix || '-'))
        ),
        relevant AS (
            SELECT j.query_id, j.item_id FROM judgments j JOIN mine USING (item_id), snapshot n
            WHERE j.grade >= n.relevant_grade
        ),
        wanted AS (
            SELECT DISTINCT query_id FROM relevant
            UNION SELECT query_id FROM queries WHERE category = $category AND $prefix = ''
        ),
        scored AS (
            SELECT s.query_id, s.item_id, s.match_level, nullif(s.beam_rank, 0) AS beam_rank, s.rank, s.rank_without_sid,
                   r.item_id IS NOT NULL AS relevant
            FROM scores s JOIN wanted USING (query_id) JOIN mine USING (item_id)
            LEFT JOIN relevant r ON r.query_id = s.query_id AND r.item_id = s.item_id
            WHERE s.run_id = $run
            QUALIFY relevant OR NOT bool_or(relevant) OVER (PARTITION BY s.query_id)
        )
        SELECT w.query_id, q.text, q.tier, q.frequency, count(*) FILTER (s.relevant) AS n_relevant,
               coalesce(max(s.match_level), 0) AS match_level,
               min(s.beam_rank) AS beam_rank, min(s.rank) AS best_rank, min(s.rank_without_sid) AS best_rank_without,
               arg_min(s.item_id, (coalesce(s.rank, 1000000000), s.item_id)) AS item_id
        FROM wanted w JOIN queries q USING (query_id) LEFT JOIN scored s USING (query_id)
        GROUP BY ALL ORDER BY match_level, best_rank DESC NULLS FIRST, q.frequency DESC, w.query_id
        """,
        {"run": run_id, "category": category, "prefix": prefix},
    ).df()
