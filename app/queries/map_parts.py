"""Parts of the map and what is in them: a drawn region, items that carry words, the items under a code.

A part is named by a kind and a text (both go into the cache's key and into links): 'region' 'x0,x1,y0,y1' (a box) or
'x0,y0,x1,y1,x2,y2,...' (the corners of a lasso); 'words'; 'code' with a prefix.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from app.queries.map import Box, inside

FROM = "FROM map_items p WHERE p.run_id = $run"
_FIELDS = ("i.title", "coalesce(i.brand, '')", "coalesce(i.seller, '')", "coalesce(i.category, '')")
MOST_CORNERS = 48
"""Corners of a lasso that are kept, so that its link stays short."""
LEAST_WITH = 3
"""Items of a part that must carry a value before it is compared."""
_NUMBER = r"-?\d{1,6}(\.\d{1,4})?"


class Part(NamedTuple):
    """A condition on `map_items p`, with its named values."""

    sql: str
    values: dict[str, Any]


def region(text: str | None) -> tuple[float, ...] | None:
    """The numbers of a region in a link: 4 of a box (sorted), 2 a corner of a lasso; None where it is neither."""
    if not text or not re.fullmatch(rf"{_NUMBER}(,{_NUMBER})*", text):
        return None
    found = tuple(float(part) for part in text.split(","))
    if len(found) == 4:
        return (*sorted(found[:2]), *sorted(found[2:]))
    return found if len(found) >= 6 and len(found) % 2 == 0 and len(found) <= 2 * MOST_CORNERS else None


def bounds(numbers: tuple[float, ...]) -> Box:
    """The box around a region."""
    if len(numbers) == 4:
        return numbers[0], numbers[1], numbers[2], numbers[3]
    x, y = numbers[::2], numbers[1::2]
    return min(x), max(x), min(y), max(y)


def words(text: str) -> list[str]:
    """Words that must all be in an item's title, brand, seller or category."""
    return text.lower().split()


def part(kind: str, text: str) -> Part:
    """The condition of a part. Raises ValueError for what is no part."""
    if kind == "words":
        values = {f"word{n}": word for n, word in enumerate(words(text))}
        # Field by field: no word goes over two, and what many items share is looked at once.
        carried = [" OR ".join(f"contains(lower({field}), ${name})" for field in _FIELDS) for name in values] or [
            "true"
        ]
        return Part(
            f"p.item IN (SELECT i.rowid FROM items i WHERE {' AND '.join(f'({one})' for one in carried)})", values
        )
    if kind == "code":
        under = "SELECT leaf FROM sid_prefixes WHERE run_id = $run AND prefix = $prefix"
        return Part(f"p.leaf IN ({under})", {"prefix": text})
    numbers = region(text)
    if kind != "region" or numbers is None:
        raise ValueError(f"'{kind}' '{text}' is no part of a map")
    box = Part("p.x BETWEEN $x0 AND $x1 AND p.y BETWEEN $y0 AND $y1", dict(inside(bounds(numbers))))
    if len(numbers) == 4:
        return box
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    edges = [
        {"x0": x0, "y0": y0, "slope": (x1 - x0) / (y1 - y0), "low": min(y0, y1), "high": max(y0, y1)}
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True)
        if y0 != y1
    ]
    # A ray to the right crosses the border an odd number of times from inside.
    crossed = (
        "len(list_filter($edges, lambda e: p.y >= e.low AND p.y < e.high AND p.x < e.x0 + (p.y - e.y0) * e.slope))"
    )
    return Part(f"{box.sql} AND {crossed} % 2 = 1", box.values | {"edges": edges})


def size(cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str, text: str) -> int:
    """Items of a part."""
    chosen = part(kind, text)
    row = cursor.execute(f"SELECT count(*) {FROM} AND {chosen.sql}", {"run": run_id, **chosen.values}).fetchone()
    return int(row[0]) if row else 0


def rows(cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str, text: str, limit: int, offset: int) -> pd.DataFrame:
    """Items of a part: item_id, title, category, seller, brand, price, currency, sid, kept, x, y."""
    chosen = part(kind, text)
    return cursor.execute(
        f"""
        WITH page AS (
            SELECT p.item, p.leaf, p.x, p.y, i.item_id FROM (SELECT * {FROM} AND {chosen.sql}) p JOIN items i ON i.rowid = p.item
            ORDER BY p.leaf, i.item_id LIMIT $limit OFFSET $offset
        )
        SELECT i.item_id, i.title, i.category, i.seller, i.brand, i.price, i.currency, w.prefix AS sid, p.x, p.y, k.kept
        FROM page p JOIN items i ON i.rowid = p.item JOIN sid_prefixes w ON w.run_id = $run AND w.leaf = p.leaf AND w.whole
        LEFT JOIN projection_kept k ON k.run_id = $run AND k.item_id = p.item_id
        ORDER BY p.leaf, i.item_id
        """,
        {"run": run_id, "limit": limit, "offset": offset, **chosen.values},
    ).df()


def places(
    cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str, text: str, box: Box, most: int, on: str = ""
) -> pd.DataFrame:
    """Where the items of a part lie inside a box, at most `most` of them, on the map of the run or of the run `on`.

    Columns: item_id, sid (of the map's run), x, y, n (all inside).
    """
    chosen = part(kind, text)
    values = {"run": run_id, "on": on or run_id, "most": most, **chosen.values}
    shown = dict(zip(("left", "right", "low", "high"), box, strict=True))
    return cursor.execute(
        f"""
        WITH lit AS (
            SELECT item, leaf, x, y FROM map_items
            WHERE run_id = $on AND x BETWEEN $left AND $right AND y BETWEEN $low AND $high
              AND item IN (SELECT p.item {FROM} AND {chosen.sql})
        )
        SELECT i.item_id, w.prefix AS sid, o.x, o.y, (SELECT count(*) FROM lit) AS n
        FROM lit o JOIN items i ON i.rowid = o.item JOIN sid_prefixes w ON w.run_id = $on AND w.leaf = o.leaf AND w.whole
        ORDER BY hash(i.item_id), i.item_id LIMIT $most
        """,
        values | shown,
    ).df()


def surroundings(cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str, text: str) -> Box | None:
    """A region's own box; else one around the middle nine tenths of a part's items, so that strays do not widen it, with a margin.
    None without items."""
    if kind == "region" and (drawn := region(text)):
        return bounds(drawn)
    chosen = part(kind, text)
    row = cursor.execute(
        f"""SELECT quantile_cont(p.x, 0.05), quantile_cont(p.x, 0.95), quantile_cont(p.y, 0.05), quantile_cont(p.y, 0.95)
            {FROM} AND {chosen.sql}""",
        {"run": run_id, **chosen.values},
    ).fetchone()
    if row is None or row[0] is None:
        return None
    x0, x1, y0, y1 = (float(v) for v in row)
    wide, high = max(0.15 * (x1 - x0), 0.1), max(0.15 * (y1 - y0), 0.1)
    return x0 - wide, x1 + wide, y0 - high, y1 + high


def kept(cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str, text: str) -> pd.DataFrame:
    """How faithful the map is in a part: how many measured items (n) keep which share of their true neighbours (kept);
    kind '' is the whole map."""
    chosen = part(kind, text) if kind else Part("true", {})
    return cursor.execute(
        f"""
        WITH measured AS (SELECT i.rowid AS item, k.kept FROM projection_kept k JOIN items i USING (item_id) WHERE k.run_id = $run)
        SELECT m.kept, count(*) AS n FROM measured m SEMI JOIN (SELECT p.item {FROM} AND {chosen.sql}) USING (item) GROUP BY 1 ORDER BY 1
        """,
        {"run": run_id, **chosen.values},
    ).df()


def carried(cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str, text: str) -> pd.DataFrame:
    """What the items of a part carry, and how many carry it in the part and outside.

    Columns: field ('code' with its level, 'category', 'seller', 'brand', 'word' of a title), level, value, label (of a code),
    inside, outside, n_inside, n_outside (items that have the field at all). Values that fewer than LEAST_WITH items of the
    part carry are left out.
    """
    chosen = part(kind, text)
    return cursor.execute(
        f"""
        WITH chosen AS (
            SELECT p.leaf, i.category, i.seller, i.brand, left(i.title, 1000) AS title
            FROM (SELECT p.leaf, p.item {FROM} AND {chosen.sql}) p JOIN items i ON i.rowid = p.item
        ), carried AS (
            SELECT 'code' AS field, l.level, l.prefix AS "value", sum(h.n)::BIGINT AS inside
            FROM (SELECT leaf, count(*) AS n FROM chosen GROUP BY 1) h JOIN sid_prefixes l ON l.run_id = $run AND l.leaf = h.leaf GROUP BY ALL
            UNION ALL SELECT 'category', NULL, category, count(*) FROM chosen WHERE category IS NOT NULL GROUP BY ALL
            UNION ALL SELECT 'seller', NULL, seller, count(*) FROM chosen WHERE seller IS NOT NULL GROUP BY ALL
            UNION ALL SELECT 'brand', NULL, brand, count(*) FROM chosen WHERE brand IS NOT NULL GROUP BY ALL
            UNION ALL SELECT 'word', NULL, word, count(*) FROM (
                SELECT unnest(list_distinct(regexp_extract_all(lower(title), '[\\pL\\pN]{{2,}}'))) AS word FROM chosen) GROUP BY ALL
        ), have AS (
            UNPIVOT (SELECT count(*) AS code, count(category) AS category, count(seller) AS seller, count(brand) AS brand, count(*) AS word
                     FROM chosen) ON code, category, seller, brand, word INTO NAME field VALUE n
        )
        SELECT c.field, c.level, c."value", k.label, c.inside, v.n_items - c.inside AS outside, h.n AS n_inside, a.n_items - h.n AS n_outside
        FROM carried c JOIN map_values v ON v.run_id = $run AND v.field = c.field AND v."value" = c."value"
             AND coalesce(v.level, 0) = coalesce(c.level, 0)
        JOIN have h ON h.field = c.field JOIN map_values a ON a.run_id = $run AND a.field = c.field AND a."value" IS NULL
        LEFT JOIN codes k ON c.field = 'code' AND k.run_id = $run AND k.prefix = c."value"
        WHERE c.inside >= {LEAST_WITH} ORDER BY c.field, c.level, c.inside DESC, c."value"
        """,
        {"run": run_id, **chosen.values},
    ).df()


def held_by(cursor: duckdb.DuckDBPyConnection, run_id: str, kind: str, text: str, on: str) -> pd.DataFrame:
    """How the codes of the run `on` hold the items of a part of the run's map, level by level.

    Columns: level, n_codes, prefix and label (of the code that holds most of them), n_most, n (items of the part with a SID).
    """
    chosen = part(kind, text)
    return cursor.execute(
        f"""
        WITH leaves AS (
            SELECT leaf, count(*) AS n FROM map_items WHERE run_id = $on AND item IN (SELECT p.item {FROM} AND {chosen.sql}) GROUP BY 1
        ), held AS (
            SELECT l.level, l.prefix, sum(h.n)::BIGINT AS n
            FROM leaves h JOIN sid_prefixes l ON l.run_id = $on AND l.leaf = h.leaf GROUP BY ALL
        ), told AS (
            SELECT level, count(*) AS n_codes, arg_max(prefix, (n, prefix)) AS prefix, max(n) AS n_most, sum(n)::BIGINT AS n
            FROM held GROUP BY 1
        )
        SELECT t.level, t.n_codes, t.prefix, c.label, t.n_most, t.n
        FROM told t LEFT JOIN codes c ON c.run_id = $on AND c.prefix = t.prefix ORDER BY 1
        """,
        {"run": run_id, "on": on, **chosen.values},
    ).df()


def asked(cursor: duckdb.DuckDBPyConnection, run_id: str, text: str, most: int) -> pd.DataFrame:
    """Queries of the run that a text may mean, the surest first: of that very text or id, else those that carry all its words.

    Columns: query_id, text, frequency, exact.
    """
    return cursor.execute(
        r"""
        WITH known AS (
            SELECT query_id, text, frequency, trim(regexp_replace(lower(text), '\s+', ' ', 'g')) AS plain FROM queries
            WHERE query_id IN (SELECT query_id FROM beams WHERE run_id = $run UNION SELECT query_id FROM scores WHERE run_id = $run)
        )
        SELECT query_id, text, frequency, (plain = array_to_string($words, ' ') OR query_id = $id) AS exact FROM known
        WHERE exact OR len(list_filter($words, lambda w: NOT contains(plain, w))) = 0
        ORDER BY exact DESC, frequency DESC NULLS LAST, query_id LIMIT $most
        """,
        {"run": run_id, "words": words(text), "id": text.strip(), "most": most},
    ).df()


def of_query(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str, limit: int, offset: int) -> pd.DataFrame:
    """The items of a query on the map: under the SID of one of its beams, retrieved, or judged.

    Columns: item_id, title, sid, x, y, beam (rank of the beam that holds it), rank (among the candidates), grade, relevant.
    NULL where it is not among them.
    """
    return cursor.execute(
        """
        WITH beamed AS (
            SELECT w.leaf, min(b.rank) AS beam FROM beams b JOIN sid_prefixes w ON w.run_id = b.run_id AND w.prefix = b.sid AND w.whole
            WHERE b.run_id = $run AND b.query_id = $query GROUP BY 1
        ), found AS (
            SELECT i.rowid AS item, any_value(s.rank) AS rank, true AS found FROM scores s JOIN items i USING (item_id)
            WHERE s.run_id = $run AND s.query_id = $query AND s.retrieved GROUP BY 1
        ), judged AS (
            SELECT i.rowid AS item, avg(j.grade) AS grade FROM judgments j JOIN items i USING (item_id) WHERE j.query_id = $query GROUP BY 1
        ), shown AS (
            SELECT p.item, p.leaf, p.x, p.y, h.beam, f.rank, j.grade
            FROM map_items p LEFT JOIN beamed h USING (leaf) LEFT JOIN found f USING (item) LEFT JOIN judged j USING (item)
            WHERE p.run_id = $run AND (h.beam IS NOT NULL OR f.found OR j.grade IS NOT NULL)
        )
        SELECT i.item_id, i.title, w.prefix AS sid, h.x, h.y, h.beam, h.rank, h.grade,
               h.grade >= (SELECT relevant_grade FROM snapshot) AS relevant
        FROM shown h JOIN items i ON i.rowid = h.item JOIN sid_prefixes w ON w.run_id = $run AND w.leaf = h.leaf AND w.whole
        ORDER BY h.beam NULLS LAST, h.grade DESC NULLS LAST, h.rank NULLS LAST, i.item_id LIMIT $limit OFFSET $offset
        """,
        {"run": run_id, "query": query_id, "limit": limit, "offset": offset},
    ).df()
