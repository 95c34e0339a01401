"""What the Coverage page reads: categories, their tiers, the funnel, and the way from a gap to its queries."""

from __future__ import annotations

import duckdb
import pandas as pd

from app.queries.item_filter import WHERE, Filter, parameters
from engine.audit.coverage import TOP_K, Lift, tier_verdict
from engine.audit.severity import LEAST_QUERIES
from engine.audit.tiers import category_tiers

FUNNEL = ("has_sid", "in_beam", "in_top_k")
"""Steps, each within the one before."""
COUNTS = ("n_items", *FUNNEL, "unshared", "shown")
TIERS = ("head", "torso", "tail")


def coverage(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """The `coverage` table with each category's department, largest first."""
    return cursor.execute(
        """
        SELECT c.* EXCLUDE (run_id), g.department, g.name
        FROM coverage c LEFT JOIN categories g USING (category)
        WHERE c.run_id = ? ORDER BY c.n_items DESC, c.category
        """,
        [run_id],
    ).df()


def counted(cursor: duckdb.DuckDBPyConnection, run_id: str, which: Filter) -> pd.DataFrame:
    """What `coverage` counts, over the items that pass a filter: category, `COUNTS`, utilisation, aliasing.

    Whether a SID is shared is asked of the whole catalogue. Categories without such items have no row.
    """
    return cursor.execute(
        f"""
        WITH there AS (
            SELECT EXISTS (FROM beams WHERE run_id = $run) AS beams, EXISTS (FROM scores WHERE run_id = $run) AS scores
        ),
        mine AS (
            SELECT i.category, s.sid, s.n_sharing, coalesce(r.n_beams > 0, false) AS reached, coalesce(r.best_rank <= {TOP_K}, false) AS seen
            FROM items i LEFT JOIN sids s ON s.run_id = $run AND s.item_id = i.item_id
            LEFT JOIN item_reach r ON r.run_id = $run AND r.item = i.rowid
            WHERE i.category IS NOT NULL AND {WHERE}
        )
        SELECT category, count(*) AS n_items, count(sid) AS has_sid,
               CASE WHEN any_value(t.beams) THEN count(*) FILTER (reached) END AS in_beam,
               CASE WHEN any_value(t.beams) AND any_value(t.scores) THEN count(*) FILTER (reached AND seen) END AS in_top_k,
               count(*) FILTER (n_sharing = 1) AS unshared,
               CASE WHEN any_value(t.scores) THEN count(*) FILTER (seen) END AS shown,
               count(DISTINCT sid) / count(*) AS utilisation,
               count(*) FILTER (n_sharing > 1) / greatest(count(sid), 1) AS aliasing
        FROM mine CROSS JOIN there t GROUP BY category ORDER BY n_items DESC, category
        """,
        {"run": run_id, **parameters(which)},
    ).df()


def narrowed(rows: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """The rows of `coverage` with the counts of `counted` in place of their own; `n_all` keeps the whole category's size.

    Categories without such items are left out; lifts and verdicts stay those of the whole category.
    """
    told = [*COUNTS, "utilisation", "aliasing"]
    kept = rows.assign(n_all=rows["n_items"]).drop(columns=told)
    return kept.merge(counts[["category", *told]], on="category").sort_values(
        ["n_items", "category"], ascending=[False, True], ignore_index=True
    )


def retier(rows: pd.DataFrame, head: float, torso: float) -> pd.DataFrame:
    """The rows with `tier` set anew: by falling n_items, head = categories that begin below the first `head` of all
    items, torso = below `torso`, tail = the rest (shares 0..1); equal sizes share a tier."""
    sizes = rows.set_index("category")["n_items"]
    tier = category_tiers(sizes, head=head, torso=torso - head)
    return rows.assign(tier=rows["category"].map(tier))


def by_tier(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a tier: n_categories, own_level1 (share of categories), utilisation, aliasing, purity (weighted by items),
    `COUNTS` (NaN where unknown), and categories protected / not / too small to tell / not judged."""
    out = []
    for tier in TIERS:
        part = rows[rows["tier"] == tier]
        if part.empty:
            continue
        weight = part["n_items"] / part["n_items"].sum()
        verdicts = part["protected"].fillna("not judged").value_counts()
        row = {"tier": tier, "n_categories": len(part)}
        row |= {"own_level1": float(part["own_level1"].astype(float).mean())}
        row |= {name: float((part[name] * weight).sum()) for name in ("utilisation", "aliasing", "purity")}
        row |= {name: int(part[name].sum()) if part[name].notna().any() else float("nan") for name in COUNTS}
        names = {"protected": "yes", "unprotected": "no", "too_small": "n too small", "not_judged": "not judged"}
        out.append(row | {name: int(verdicts.get(verdict, 0)) for name, verdict in names.items()})
    return pd.DataFrame(out)


def tier_lifts(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """AUC of the served ranker minus its baseline's over the test queries of each category tier: tier, difference, low,
    high, n."""
    return cursor.execute(
        """
        SELECT replace(c.segment, 'category_tier=', '') AS tier, c.difference, c.low, c.high, c.n
        FROM comparisons c JOIN runs r USING (run_id, ranker, baseline)
        WHERE run_id = ? AND c.metric = 'auc' AND starts_with(c.segment, 'category_tier=')
        ORDER BY list_position(['head', 'torso', 'tail'], tier)
        """,
        [run_id],
    ).df()


def tier_verdicts(tiers: pd.DataFrame, lifts: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Each tier's verdict and why ('yes' | 'no' | 'n too small' | 'not judged'), of `by_tier` rows of the whole catalogue."""
    known = lifts.set_index("tier")
    everywhere = tiers["in_beam"].sum() / max(tiers["has_sid"].sum(), 1)
    out = {}
    for row in tiers.to_dict("records"):
        if row["tier"] not in known.index or pd.isna(row["in_beam"]):
            out[row["tier"]] = ("not judged", "no AUC lift, or no beams, are known of it")
            continue
        lift = Lift(*known.loc[row["tier"], ["difference", "low", "high", "n"]])
        reach = row["in_beam"] / max(row["has_sid"], 1)
        out[row["tier"]] = (
            ("n too small", f"{lift.n_queries:.0f} test queries, {LEAST_QUERIES} needed")
            if lift.n_queries < LEAST_QUERIES
            else tier_verdict(lift, reach, everywhere)
        )
    return out


def code_use(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Items under every prefix of every level, unused level-1 codes included: level, prefix, n_items."""
    return cursor.execute(
        "SELECT level, prefix, n_items FROM codes WHERE run_id = ? ORDER BY level, prefix", [run_id]
    ).df()


def items(
    cursor: duckdb.DuckDBPyConnection, run_id: str, category: str, which: Filter, limit: int, offset: int
) -> pd.DataFrame:
    """Items of a category that pass a filter and how far each comes in the funnel, the earliest lost first.

    Columns: item_id, title, seller, sid, n_sharing, n_beams (stored queries with its SID in a beam), best_rank,
    best_rank_without, lost_at (the first step not passed: 'has a SID' | 'in a beam' | 'in a top 10', or 'not lost'; 'not
    known' where the run holds no beams or scores).
    """
    return cursor.execute(
        f"""
        WITH mine AS (SELECT i.rowid AS item, i.item_id, i.title, i.seller FROM items i WHERE i.category = $category AND {WHERE}),
        there AS (
            SELECT EXISTS (FROM beams WHERE run_id = $run) AS beams, EXISTS (FROM scores WHERE run_id = $run) AS scores
        )
        SELECT m.item_id, m.title, m.seller, s.sid, s.n_sharing,
               CASE WHEN t.beams THEN coalesce(r.n_beams, 0) END AS n_beams,
               r.best_rank, r.best_rank_without,
               CASE WHEN s.sid IS NULL THEN 'has a SID' WHEN NOT t.beams THEN 'not known'
                    WHEN coalesce(r.n_beams, 0) = 0 THEN 'in a beam' WHEN NOT t.scores THEN 'not known'
                    WHEN r.best_rank IS NULL OR r.best_rank > {TOP_K} THEN 'in a top 10' ELSE 'not lost' END AS lost_at
        FROM mine m CROSS JOIN there t LEFT JOIN sids s ON s.run_id = $run AND s.item_id = m.item_id
        LEFT JOIN item_reach r ON r.run_id = $run AND r.item = m.item
        ORDER BY list_position(['has a SID', 'in a beam', 'in a top 10', 'not known', 'not lost'], lost_at), m.item_id
        LIMIT $limit OFFSET $offset
        """,
        {"run": run_id, "category": category, "limit": limit, "offset": offset, **parameters(which)},
    ).df()


def slipped(cursor: duckdb.DuckDBPyConnection, run_id: str, category: str) -> pd.DataFrame:
    """How SIDs move each item of a category, those that lose most first.

    Columns: item_id, title, change (of the share of all exposure, discount log2; NULL where it is ranked for no query with
    traffic), n_queries (such), and of the query that moves it most in the direction of its change: query_id, text, rank_without_sid,
    rank.
    """
    return cursor.execute(
        """
        WITH everything AS (SELECT sum(weight * log2) AS total FROM ranked_queries WHERE run_id = $run),
        moved AS (
            SELECT i.item_id, q.query_id, r.rank, r.rank_without_sid,
                   q.weight * (1 / log2(1 + r.rank) - 1 / log2(1 + r.rank_without_sid)) / (SELECT total FROM everything) AS change
            FROM ranked_pairs r JOIN items i ON i.rowid = r.item JOIN ranked_queries q ON q.run_id = r.run_id AND q.query = r.query
            WHERE r.run_id = $run AND i.category = $category
        ),
        summed AS (
            SELECT item_id, round(sum(change), 12) AS change, count(*) AS n_queries,
                   arg_min(query_id, (-abs(change), query_id)) FILTER (change * sign(total) >= 0) AS query_id
            FROM (SELECT *, sum(change) OVER (PARTITION BY item_id) AS total FROM moved) GROUP BY item_id
        )
        SELECT i.item_id, i.title, s.change, s.n_queries, s.query_id, q.text, m.rank_without_sid, m.rank
        FROM items i LEFT JOIN summed s USING (item_id)
        LEFT JOIN moved m ON m.item_id = s.item_id AND m.query_id = s.query_id LEFT JOIN queries q ON q.query_id = s.query_id
        WHERE i.category = $category ORDER BY s.change NULLS LAST, i.item_id
        """,
        {"run": run_id, "category": category},
    ).df()


def relevant_moves(cursor: duckdb.DuckDBPyConnection, run_id: str, category: str) -> pd.DataFrame:
    """What its own lift rests on: the judged relevant pairs of the category's test queries, the deepest fall first.

    Columns: query_id, text, item_id, title, rank_without_sid, rank (NULL: not retrieved).
    """
    return cursor.execute(
        """
        SELECT j.query_id, q.text, j.item_id, i.title, s.rank_without_sid, s.rank
        FROM judgments j JOIN queries q USING (query_id) JOIN items i USING (item_id) CROSS JOIN snapshot n
        LEFT JOIN judged_scores s ON s.run_id = $run AND s.query_id = j.query_id AND s.item_id = j.item_id
        WHERE q.split = 'test' AND q.category = $category AND j.grade >= n.relevant_grade
        ORDER BY 1 / log2(1 + s.rank) - 1 / log2(1 + s.rank_without_sid) NULLS LAST, j.query_id, j.item_id
        """,
        {"run": run_id, "category": category},
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
