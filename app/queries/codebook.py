"""What the Codebook page reads: prefixes, their cards, and the health of each level."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from app.queries.names import GIVEN, NAMED, Given, paths_of, values

_UNDER = "(s.sid = $prefix OR starts_with(s.sid, $prefix || '-'))"
_CODE_COLUMNS = """
    c.level, c.prefix, c.parent, c.code, c.label, c.label_score, c.label_items, c.n_items, c.n_sids, c.purity,
    c.category_entropy, c.top_category, c.n_categories, c.n_sellers, c.n_brands, c.price_median, c.exposure,
    c.exposure_without, c.exposure - c.exposure_without AS exposure_change, c.n_queries, c.query_weight, c.mean_distance,
    c.dead, c.under_used
"""
MIXES = {"category": "i.category", "seller": "i.seller", "brand": "i.brand"}
"""Item fields whose mix under a prefix is shown."""


def depth(cursor: duckdb.DuckDBPyConnection, run_id: str) -> int:
    """Levels of the run's codes; 0 without any."""
    row = cursor.execute("SELECT max(level) FROM codes WHERE run_id = ?", [run_id]).fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def health(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Every health measure; level NULL is the whole SID."""
    return cursor.execute(
        """
        SELECT level, metric, value, low, high, n, threshold, verdict, by_construction, note FROM health
        WHERE run_id = ? ORDER BY level NULLS LAST, metric
        """,
        [run_id],
    ).df()


def pure_by_construction(cursor: duckdb.DuckDBPyConnection, run_id: str) -> list[int]:
    """Levels whose codes hold one category because the method forces it."""
    rows = cursor.execute(
        "SELECT level FROM health WHERE run_id = ? AND metric = 'category_purity' AND by_construction ORDER BY level",
        [run_id],
    ).fetchall()
    return [int(level) for (level,) in rows]


class Wanted(NamedTuple):
    """Which codes of a level are asked for."""

    level: int  # 0 = every level.
    find: str = ""  # Words, each of them in the name (its ancestors' too), the code or the main category.
    mixed: bool = False  # Only those whose items lie in two categories or more.


def _wanted(wanted: Wanted) -> str:
    """Common table expressions `given` and `found`: the codes asked for."""
    found = "SELECT * FROM codes WHERE run_id = $run AND ($level = 0 OR level = $level) AND (n_categories > 1 OR NOT $mixed)"
    if not wanted.find:
        return f"{GIVEN}, found AS ({found} AND $find = '')"
    return f"""
        {GIVEN}, every AS ({found}), {paths_of("every").replace("paths AS", "searched AS")},
        found AS (
            SELECT e.* FROM every e JOIN searched n USING (prefix)
            WHERE len(list_filter(string_split_regex(lower(trim($find)), '\\s+'), lambda w: NOT contains(
                lower(n.path || ' ' || e.prefix || ' ' || coalesce(e.label, '') || ' ' || coalesce(e.top_category, '')), w))) = 0
        )
    """


def count_codes(cursor: duckdb.DuckDBPyConnection, run_id: str, wanted: Wanted, given: Given) -> int:
    """How many codes are such."""
    row = cursor.execute(
        f"WITH {_wanted(wanted)} SELECT count(*) FROM found", {"run": run_id, **wanted._asdict(), **values(given)}
    ).fetchone()
    return int(row[0]) if row else 0


def codes(
    cursor: duckdb.DuckDBPyConnection, run_id: str, wanted: Wanted, given: Given, limit: int, offset: int
) -> pd.DataFrame:
    """Such codes, most items first: `path` (the name in words), `name` (its last part), `inside` (the rest) and the columns of the table, less terms and centroids."""
    return cursor.execute(
        f"""
        WITH {_wanted(wanted)},
        page AS (SELECT * FROM found ORDER BY n_items DESC, prefix LIMIT $limit OFFSET $offset), {paths_of("page")}
        SELECT n.name, n.inside, n.path, {_CODE_COLUMNS} FROM page c LEFT JOIN paths n USING (prefix) ORDER BY c.n_items DESC, c.prefix
        """,
        {"run": run_id, **wanted._asdict(), "limit": limit, "offset": offset, **values(given)},
    ).df()


def code(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> dict[str, Any] | None:
    """One prefix by column name, `terms` as a list of {term, weight, support}; None where it does not exist."""
    result = cursor.execute(
        f"SELECT {_CODE_COLUMNS}, c.price_low, c.price_high, c.terms FROM codes c WHERE run_id = $run AND prefix = $prefix",
        {"run": run_id, "prefix": prefix},
    )
    names = [column[0] for column in result.description]
    row = result.fetchone()
    if row is None:
        return None
    found = dict(zip(names, row, strict=True))
    found["terms"] = json.loads(found["terms"] or "[]")
    return found


def owners(cursor: duckdb.DuckDBPyConnection, run_id: str, code: int) -> pd.DataFrame:
    """Categories that a level-1 code belongs to: category, merged (it shares the code with others)."""
    return cursor.execute(
        "SELECT category, merged FROM category_codes WHERE run_id = ? AND code_1 = ? ORDER BY category", [run_id, code]
    ).df()


def tree(cursor: duckdb.DuckDBPyConnection, run_id: str, root: str, most: int, given: Given) -> pd.DataFrame:
    """The prefixes below `root` ('' = all), at most `most` of them: whole levels while they fit, nearest first.

    Columns: level, prefix, parent, label, name, n_items, exposure, exposure_change, purity, label_score, top_category,
    n_categories, department (of the main category; 'unknown' without).
    """
    below = (
        "c.run_id = $run AND c.n_items > 0 AND ($root = '' OR c.prefix = $root OR starts_with(c.prefix, $root || '-'))"
    )
    where = {"run": run_id, "root": root}
    sizes = cursor.execute(f"SELECT level, count(*) FROM codes c WHERE {below} GROUP BY 1 ORDER BY 1", where).fetchall()
    total, deepest = 0, 0
    for level, size in sizes:
        total += size
        if total > most and deepest:
            break
        deepest = level
    return cursor.execute(
        f"""
        WITH {GIVEN}
        SELECT c.level, c.prefix, c.parent, c.label, {NAMED.format(given="g", code="c")} AS name, c.n_items, c.exposure,
               c.exposure - c.exposure_without AS exposure_change, c.purity, c.label_score, c.top_category, c.n_categories,
               coalesce(d.department, c.top_category, 'unknown') AS department
        FROM codes c LEFT JOIN given g USING (prefix) LEFT JOIN categories d ON d.category = c.top_category
        WHERE {below} AND c.level <= $deepest ORDER BY c.level, c.n_items DESC, c.prefix LIMIT $most
        """,
        where | {"deepest": deepest, "most": most, **values(given)},
    ).df()


def departments(cursor: duckdb.DuckDBPyConnection, run_id: str) -> list[str]:
    """Departments of the main categories of the run's codes of level 1, most items first: so colours keep their meaning."""
    rows = cursor.execute(
        """
        SELECT coalesce(d.department, c.top_category, 'unknown') AS department
        FROM codes c LEFT JOIN categories d ON d.category = c.top_category
        WHERE c.run_id = ? AND c.level = 1 AND c.n_items > 0 GROUP BY 1 ORDER BY sum(c.n_items) DESC, 1
        """,
        [run_id],
    ).fetchall()
    return [str(department) for (department,) in rows]


def items(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, limit: int, offset: int) -> pd.DataFrame:
    """Items under a prefix, nearest to its centre first.

    Columns: item_id, title, category, seller, brand, price, currency, sid, distance (latent), n_sharing.
    """
    return cursor.execute(
        f"""
        SELECT i.item_id, i.title, i.category, i.seller, i.brand, i.price, i.currency, s.sid,
               s.distance[len(string_split($prefix, '-'))] AS distance, s.n_sharing
        FROM sids s JOIN items i USING (item_id)
        WHERE s.run_id = $run AND {_UNDER} ORDER BY distance, item_id LIMIT $limit OFFSET $offset
        """,
        {"run": run_id, "prefix": prefix, "limit": limit, "offset": offset},
    ).df()


def typical(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, each: int) -> pd.DataFrame:
    """The items nearest to the prefix's centre, around the median distance, and farthest: `each` of them.

    Columns: place ('near' | 'median' | 'borderline'), item_id, title, category, distance. An item appears once.
    """
    return cursor.execute(
        f"""
        WITH ranked AS (
            SELECT s.item_id, s.distance[len(string_split($prefix, '-'))] AS distance,
                   row_number() OVER (ORDER BY s.distance[len(string_split($prefix, '-'))], s.item_id) AS place,
                   count(*) OVER () AS n
            FROM sids s WHERE s.run_id = $run AND {_UNDER}
        )
        SELECT CASE WHEN place <= $each THEN 'near' WHEN place > n - $each THEN 'borderline' ELSE 'median' END AS place,
               r.item_id, i.title, i.category, r.distance
        FROM ranked r JOIN items i USING (item_id)
        WHERE place <= $each OR place > n - $each OR place BETWEEN (n - $each) // 2 + 1 AND (n - $each) // 2 + $each
        ORDER BY r.place
        """,
        {"run": run_id, "prefix": prefix, "each": each},
    ).df()


def mix(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, field: str) -> pd.DataFrame:
    """Items under a prefix per value of a field of MIXES: value ('unknown' where absent), n_items, share."""
    return cursor.execute(
        f"""
        SELECT coalesce({MIXES[field]}, 'unknown') AS value, count(*) AS n_items,
               count(*) / sum(count(*)) OVER () AS share
        FROM sids s JOIN items i USING (item_id) WHERE s.run_id = $run AND {_UNDER} GROUP BY 1 ORDER BY 2 DESC, 1
        """,
        {"run": run_id, "prefix": prefix},
    ).df()


def measures(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> pd.DataFrame:
    """Per item under a prefix: item_id, price, distance at the prefix's level."""
    return cursor.execute(
        f"""
        SELECT s.item_id, i.price, s.distance[len(string_split($prefix, '-'))] AS distance
        FROM sids s JOIN items i USING (item_id) WHERE s.run_id = $run AND {_UNDER} ORDER BY s.item_id
        """,
        {"run": run_id, "prefix": prefix},
    ).df()


def residuals(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> pd.DataFrame:
    """Residual norm before level 1 and after each level, of the items under a prefix ('' = all).

    Columns: step (0 = before level 1), low, median, high (10th, 50th, 90th percentile), n_items.
    """
    return cursor.execute(
        f"""
        SELECT step, quantile_cont(norm, 0.1) AS low, median(norm) AS median, quantile_cont(norm, 0.9) AS high,
               count(*) AS n_items
        FROM (SELECT unnest(range(len(residual_norms))) AS step, unnest(residual_norms) AS norm
              FROM sids s WHERE s.run_id = $run AND ($prefix = '' OR {_UNDER}))
        GROUP BY step ORDER BY step
        """,
        {"run": run_id, "prefix": prefix},
    ).df()


def siblings(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, given: Given) -> pd.DataFrame:
    """The other prefixes of the same parent, nearest first.

    Columns: prefix, name, label, label_score, label_items, distance (between centroids, latent), n_items, purity,
    n_categories, top_category.
    """
    return cursor.execute(
        f"""
        WITH {GIVEN}
        SELECT o.prefix, {NAMED.format(given="g", code="o")} AS name, o.label, o.label_score, o.label_items,
               CASE WHEN len(o.centroid) = len(c.centroid) THEN list_distance(o.centroid, c.centroid) END AS distance,
               o.n_items, o.purity, o.n_categories, o.top_category
        FROM codes c JOIN codes o ON o.run_id = c.run_id AND o.level = c.level
             AND o.parent IS NOT DISTINCT FROM c.parent AND o.prefix <> c.prefix AND o.n_items > 0
        LEFT JOIN given g ON g.prefix = o.prefix
        WHERE c.run_id = $run AND c.prefix = $prefix ORDER BY distance NULLS LAST, o.prefix
        """,
        {"run": run_id, "prefix": prefix, **values(given)},
    ).df()


def family(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> list[str]:
    """The prefixes of the same parent that hold items, by their codes, the prefix itself among them."""
    rows = cursor.execute(
        """
        SELECT o.prefix FROM codes c JOIN codes o ON o.run_id = c.run_id AND o.level = c.level
             AND o.parent IS NOT DISTINCT FROM c.parent AND (o.n_items > 0 OR o.prefix = c.prefix)
        WHERE c.run_id = ? AND c.prefix = ? ORDER BY o.code
        """,
        [run_id, prefix],
    ).fetchall()
    return [str(prefix) for (prefix,) in rows]


def queries_reaching(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> pd.DataFrame:
    """Queries with a beam through a prefix, most traffic first.

    Columns: query_id, text, tier, frequency, beam_rank (best), probability (of all beams under it), n_beams.
    """
    return cursor.execute(
        f"""
        SELECT s.query_id, q.text, q.tier, q.frequency, min(s.rank) AS beam_rank, sum(exp(s.log_prob)) AS probability,
               count(*) AS n_beams
        FROM beams s JOIN queries q USING (query_id) WHERE s.run_id = $run AND {_UNDER}
        GROUP BY ALL ORDER BY q.frequency DESC NULLS LAST, beam_rank, s.query_id
        """,
        {"run": run_id, "prefix": prefix},
    ).df()


def item(cursor: duckdb.DuckDBPyConnection, run_id: str, item_id: str) -> dict[str, Any] | None:
    """One item with its SID by column name; None where the catalogue does not have it."""
    result = cursor.execute(
        """
        SELECT i.item_id, i.title, i.category, i.seller, i.brand, i.price, i.currency, i.tier,
               s.sid, s.n_sharing, s.residual_norms, s.distance
        FROM items i LEFT JOIN sids s ON s.item_id = i.item_id AND s.run_id = ? WHERE i.item_id = ?
        """,
        [run_id, item_id],
    )
    names = [column[0] for column in result.description]
    row = result.fetchone()
    return dict(zip(names, row, strict=True)) if row else None


def queries_of_item(cursor: duckdb.DuckDBPyConnection, run_id: str, item_id: str) -> pd.DataFrame:
    """Queries that scored an item, deepest match and best rank first.

    Columns: query_id, text, match_level, beam_rank, rank, rank_without_sid, grade (NULL = not judged), frequency.
    """
    return cursor.execute(
        """
        SELECT s.query_id, q.text, s.match_level, s.beam_rank, s.rank, s.rank_without_sid, j.grade, q.frequency
        FROM scores s JOIN queries q USING (query_id)
        LEFT JOIN judgments j ON j.query_id = s.query_id AND j.item_id = s.item_id
        WHERE s.run_id = ? AND s.item_id = ?
        ORDER BY s.match_level DESC, s.rank NULLS LAST, q.frequency DESC, s.query_id
        """,
        [run_id, item_id],
    ).df()


def generations(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """What the run has given SIDs, one row a generation: 0 is what it was trained on. Empty for imported runs."""
    return cursor.execute(
        "SELECT * EXCLUDE run_id FROM generations WHERE run_id = ? ORDER BY generation", [run_id]
    ).df()


def count_assigned(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str) -> int:
    """Items of later generations under a prefix ('' = all)."""
    row = cursor.execute(
        f"SELECT count(*) FROM assigned s WHERE s.run_id = $run AND ($prefix = '' OR {_UNDER})",
        {"run": run_id, "prefix": prefix},
    ).fetchone()
    return int(row[0]) if row else 0


def assigned(cursor: duckdb.DuckDBPyConnection, run_id: str, limit: int, offset: int) -> pd.DataFrame:
    """Items of later generations, the newest first and in each the farthest from its SID first, less run and codes."""
    return cursor.execute(
        """
        SELECT * EXCLUDE (run_id, codes) FROM assigned WHERE run_id = ?
        ORDER BY generation DESC, distance DESC, item_id LIMIT ? OFFSET ?
        """,
        [run_id, limit, offset],
    ).df()


def first_labels(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """prefix and label of every level-1 code."""
    return cursor.execute(
        "SELECT prefix, label FROM codes WHERE run_id = ? AND level = 1 ORDER BY prefix", [run_id]
    ).df()
