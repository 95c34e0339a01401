"""What the Codebook's map draws: points, a density where there are too many of them, names of clusters, and what to colour by."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import pandas as pd

MOST_POINTS = 20_000
"""Points a view; above this the map shows a density, or a stratified sample."""
MOST_TITLES = 8_000
"""Points whose titles are sent along for hovering; above this a click fetches the title."""
TITLE = 60
"""Characters of a title that are sent along."""
BINS = 128
"""Density bins a side: each occupied one is a marker that can be clicked."""
NAMED = 21
"""Values of a colouring that have a colour and a symbol of their own."""
Box = tuple[float, float, float, float]
"""x from, x to, y from, y to."""
EVERYWHERE: Box = (-1e30, 1e30, -1e30, 1e30)
_INSIDE = "p.run_id = $run AND p.x BETWEEN $x0 AND $x1 AND p.y BETWEEN $y0 AND $y1"
_AT = "l.run_id = $run AND l.leaf = p.leaf AND (l.level = $level OR (l.whole AND l.level < $level))"
"""Joins `sid_prefixes l`, the code of an item of `map_items p` at $level."""

KINDS = {
    "department": "coalesce(g.department, 'unknown')",
    "tier": "coalesce(i.tier, 'unknown')",
    "code": "l.prefix",
    "seller": "coalesce(i.seller, 'unknown')",
    "brand": "coalesce(i.brand, 'unknown')",
}
"""Colourings by a value among several: the value in SQL."""
AMOUNTS = {
    "purity": "c.purity",
    "price": "i.price",
    "age": "date_diff('day', i.created_at, (SELECT max(created_at) FROM items)) / 365.25",
    "grade": "j.grade",
    "exposure": "coalesce(e.change, 0)",
    "reached": "coalesce(b.depth, 0)",
}
"""Colourings by an amount: the amount in SQL, NULL where unknown."""
_CATEGORIES = " LEFT JOIN categories g ON g.category = i.category"
_CODE = f" LEFT JOIN sid_prefixes l ON {_AT}"
_JOINS = {
    "department": _CATEGORIES,
    "code": _CODE,
    "purity": f"{_CODE} LEFT JOIN codes c ON c.run_id = $run AND c.prefix = l.prefix",
    "grade": " LEFT JOIN (SELECT item_id, avg(grade) AS grade FROM judgments GROUP BY 1) j ON j.item_id = i.item_id",
    "exposure": " LEFT JOIN item_reach e ON e.run_id = $run AND e.item = p.item",
    "reached": """ LEFT JOIN (
        SELECT leaf, max(level) AS depth FROM sid_prefixes WHERE run_id = $run AND prefix IN (SELECT unnest($reached::VARCHAR[])) GROUP BY 1
    ) b ON b.leaf = p.leaf""",
}
"""What a colouring reads besides `map_items p` and `items i`."""


def inside(box: Box) -> dict[str, float]:
    """Named values of a box."""
    return dict(zip(("x0", "x1", "y0", "y1"), box, strict=True))


def count(cursor: duckdb.DuckDBPyConnection, run_id: str, box: Box) -> int:
    """Items placed inside a box."""
    row = cursor.execute(
        f"SELECT count(*) FROM projection p WHERE {_INSIDE}", {"run": run_id, **inside(box)}
    ).fetchone()
    return int(row[0]) if row else 0


def extent(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Box:
    """The box of all items."""
    row = cursor.execute("SELECT min(x), max(x), min(y), max(y) FROM projection WHERE run_id = ?", [run_id]).fetchone()
    assert row is not None
    return float(row[0]), float(row[1]), float(row[2]), float(row[3])


def one(cursor: duckdb.DuckDBPyConnection, run_id: str, item_id: str) -> pd.DataFrame:
    """Where an item lies: item_id, sid, x, y; no row where it is not on the map."""
    return cursor.execute(
        """SELECT p.item_id, s.sid, p.x, p.y FROM projection p JOIN sids s ON s.run_id = p.run_id AND s.item_id = p.item_id
           WHERE p.run_id = ? AND p.item_id = ?""",
        [run_id, item_id],
    ).df()


def vocabulary(cursor: duckdb.DuckDBPyConnection, most: int) -> list[str]:
    """Sellers, brands, category names and words of titles, the commonest first: what a mistyped word is held against."""
    rows = cursor.execute(
        r"""
        SELECT name FROM (
            SELECT seller AS name, count(*) AS n FROM items GROUP BY 1 UNION ALL SELECT brand, count(*) FROM items GROUP BY 1
            UNION ALL SELECT name, n_items FROM categories
            UNION ALL SELECT name, count(*) FROM (
                SELECT unnest(list_distinct(regexp_extract_all(lower(left(title, 200)), '\pL{3,}'))) AS name
                FROM (SELECT title FROM items ORDER BY hash(item_id) LIMIT 20000)) GROUP BY 1
        ) WHERE name IS NOT NULL GROUP BY 1 ORDER BY max(n) DESC, 1 LIMIT ?
        """,
        [most],
    ).fetchall()
    return [str(name) for (name,) in rows]


def currency(cursor: duckdb.DuckDBPyConnection) -> str:
    """The currency of all prices; blank where there are several or none."""
    rows = cursor.execute("SELECT DISTINCT currency FROM items WHERE price IS NOT NULL LIMIT 2").fetchall()
    return str(rows[0][0] or "") if len(rows) == 1 else ""


def drawn_runs(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """Runs that have a map."""
    rows = cursor.execute("SELECT DISTINCT run_id FROM projection_info ORDER BY 1").fetchall()
    return [str(run) for (run,) in rows]


def colourings(cursor: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, bool]:
    """Which colourings the data has anything for; by name, 'reached' apart (it needs a query)."""
    result = cursor.execute(
        """
        SELECT count(category) > 0 AS department, count(tier) > 0 AS tier, true AS code, count(seller) > 0 AS seller,
               count(brand) > 0 AS brand, count(category) > 0 AS purity, count(price) > 0 AS price,
               count(DISTINCT created_at) > 1 AS age, EXISTS (SELECT 1 FROM judgments) AS grade,
               EXISTS (SELECT 1 FROM scores WHERE run_id = $run AND rank IS NOT NULL)
               AND EXISTS (SELECT 1 FROM scores WHERE run_id = $run AND rank_without_sid IS NOT NULL) AS exposure
        FROM items
        """,
        {"run": run_id},
    )
    names = [column[0] for column in result.description]
    row = result.fetchone()
    assert row is not None
    return {name: bool(value) for name, value in zip(names, row, strict=True)}


def marked_values(cursor: duckdb.DuckDBPyConnection, run_id: str, colouring: str, level: int) -> pd.DataFrame:
    """The values of a colouring that have a mark of their own, by falling items of the whole map, so that a value keeps it
    wherever one looks: value, label (of a code), n_items; at most NAMED."""
    return cursor.execute(
        f"""
        SELECT v.*, c.label FROM (
            SELECT {KINDS[colouring]} AS value, count(*) AS n_items
            FROM map_items p JOIN items i ON i.rowid = p.item {_JOINS.get(colouring, "")}
            WHERE p.run_id = $run AND $level > 0 GROUP BY 1 ORDER BY value = 'unknown', n_items DESC, value LIMIT {NAMED}
        ) v LEFT JOIN codes c ON $coded AND c.run_id = $run AND c.prefix = v.value
        ORDER BY value = 'unknown', n_items DESC, value
        """,
        {"run": run_id, "level": level, "coded": colouring == "code"},
    ).df()


def amounts(cursor: duckdb.DuckDBPyConnection, run_id: str, colouring: str, level: int) -> dict[str, float]:
    """The scale of a colouring by amount, of the whole map, so that a colour means the same wherever one looks: low and high
    (the 1st and 99th percentile), n (items that have the amount), n_items."""
    row = cursor.execute(
        f"""
        SELECT quantile_cont(value, 0.01) AS low, quantile_cont(value, 0.99) AS high, count(value) AS n, count(*) AS n_items FROM (
            SELECT {AMOUNTS[colouring]} AS value
            FROM map_items p JOIN items i ON i.rowid = p.item {_JOINS.get(colouring, "")} WHERE p.run_id = $run AND $level > 0
        )
        """,
        {"run": run_id, "level": level},
    ).fetchone()
    assert row is not None
    return dict(
        zip(("low", "high", "n", "n_items"), (float(v) if v is not None else float("nan") for v in row), strict=True)
    )


def faithfulness(cursor: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, Any] | None:
    """How far the map can be trusted, its seed and parameters; None where it is not computed yet."""
    result = cursor.execute("SELECT * FROM projection_info WHERE run_id = ?", [run_id])
    names = [column[0] for column in result.description]
    row = result.fetchone()
    if row is None:
        return None
    found = dict(zip(names, row, strict=True))
    found["parameters"] = json.loads(found["parameters"] or "{}")
    return found


def points(
    cursor: duckdb.DuckDBPyConnection, run_id: str, level: int, box: Box, most: int, colouring: str, query_id: str = ""
) -> pd.DataFrame:
    """Items inside a box: all of them, or about `most` by a sample stratified by level-1 code (every code keeps
    its share, rounded up).

    `colouring`: a key of KINDS or AMOUNTS ('reached': by the beams of `query_id`). Columns: item_id, sid, x, y (float32),
    value (of the colouring), title, category (its last part), n (all inside). Titles are cut to TITLE characters.
    """
    amount = colouring in AMOUNTS
    values = {"run": run_id, "level": level, "most": most, **inside(box)}
    if colouring == "reached":
        values["reached"] = _reached(cursor, run_id, query_id)
    joins = "".join(dict.fromkeys((_CATEGORIES, _JOINS.get(colouring, ""))))
    rows = cursor.execute(
        f"""
        WITH inside AS (SELECT item, x, y, leaf, code_1, place FROM map_items p WHERE {_INSIDE}),
        strata AS (SELECT code_1, count(*) AS n_stratum, sum(count(*)) OVER ()::BIGINT AS n FROM inside GROUP BY 1),
        p AS (
            SELECT i.*, s.n FROM inside i JOIN strata s ON s.code_1 IS NOT DISTINCT FROM i.code_1
            QUALIFY s.n <= $most OR row_number() OVER (PARTITION BY i.code_1 ORDER BY i.place) <= ceil(s.n_stratum * $most / s.n)
        )
        SELECT i.item_id, w.prefix AS sid, p.x, p.y, {(AMOUNTS if amount else KINDS)[colouring]} AS value, p.n,
               left(i.title, {TITLE}) AS title, g.name AS category
        FROM p JOIN items i ON i.rowid = p.item JOIN sid_prefixes w ON w.run_id = $run AND w.leaf = p.leaf AND w.whole
        {joins} WHERE $level > 0 ORDER BY i.item_id
        """,
        values,
    ).df()
    for name in ("x", "y", *(("value",) if amount else ())):
        rows[name] = rows[name].to_numpy(dtype=np.float32, na_value=np.nan)
    return rows


def _reached(cursor: duckdb.DuckDBPyConnection, run_id: str, query_id: str) -> list[str]:
    """Every prefix of a query's beams."""
    found = cursor.execute("SELECT codes FROM beams WHERE run_id = ? AND query_id = ?", [run_id, query_id]).fetchall()
    return sorted({"-".join(map(str, codes[:k])) for (codes,) in found for k in range(1, len(codes) + 1)})


def density(cursor: duckdb.DuckDBPyConnection, run_id: str, level: int, box: Box, bins: int) -> pd.DataFrame:
    """Items per cell of a bins x bins grid over the items inside a box; empty cells are left out.

    Columns: x, y (cell centres, float32), n_items, prefix (the commonest at `level`), share (of it in the cell), label.
    """
    rows = cursor.execute(
        f"""
        WITH inside AS (SELECT p.x, p.y, p.leaf FROM map_items p WHERE {_INSIDE}),
        span AS (
            SELECT min(x) AS x0, greatest(max(x) - min(x), 1e-6) / $bins AS dx,
                   min(y) AS y0, greatest(max(y) - min(y), 1e-6) / $bins AS dy FROM inside
        ), p AS (
            SELECT least(floor((x - x0) / dx), $bins - 1)::INTEGER AS i, least(floor((y - y0) / dy), $bins - 1)::INTEGER AS j, leaf, count(*) AS n
            FROM inside, span GROUP BY ALL
        ), cells AS (
            SELECT p.i, p.j, l.prefix, sum(p.n)::BIGINT AS n FROM p JOIN sid_prefixes l ON {_AT} GROUP BY ALL
        ), squares AS (
            SELECT i, j, any_value(x0) + (i + 0.5) * any_value(dx) AS x, any_value(y0) + (j + 0.5) * any_value(dy) AS y,
                   sum(n)::BIGINT AS n_items, arg_max(prefix, (n, prefix)) AS prefix, max(n) / sum(n) AS share
            FROM cells, span GROUP BY i, j
        )
        SELECT q.x, q.y, q.n_items, q.prefix, q.share, c.label
        FROM squares q LEFT JOIN codes c ON c.run_id = $run AND c.prefix = q.prefix ORDER BY q.i, q.j
        """,
        {"run": run_id, "level": level, "bins": bins, **inside(box)},
    ).df()
    for name in ("x", "y"):
        rows[name] = rows[name].to_numpy(dtype=np.float32)
    return rows


COMPACT = 0.25
"""A code is named where the middle four fifths of its items lie within this share of the view, across and up."""
LEAST_SHARE = 0.002
"""Codes that hold less of the items in view than this are not named; nor those of fewer than three items."""


def names(cursor: duckdb.DuckDBPyConnection, run_id: str, box: Box, most: int) -> pd.DataFrame:
    """Where a code's name may stand: above the items in view of every code that is compact there (their median across, their
    ninth decile up), at any level, the largest first. The smaller the box, the more and the deeper codes are compact.

    Columns: prefix, level, label, n_items (in view), x, y.
    """
    n = count(cursor, run_id, box)
    return cursor.execute(
        f"""
        WITH inside AS (SELECT p.x, p.y, p.leaf, p.item FROM map_items p WHERE {_INSIDE}),
        span AS (
            SELECT greatest(max(x) - min(x), 1e-6) AS wide, greatest(max(y) - min(y), 1e-6) AS high FROM inside
        ), sampled AS (  -- enough to place a name
            SELECT * FROM inside WHERE hash(item) % $step = 0
        ), held AS (
            SELECT leaf, count(*) AS n_items FROM inside GROUP BY 1
        ), cells AS (
            SELECT l.level, l.prefix, sum(h.n_items)::BIGINT AS n_items FROM held h JOIN sid_prefixes l ON l.run_id = $run AND l.leaf = h.leaf
            GROUP BY l.level, l.prefix HAVING sum(h.n_items) >= $least
            ORDER BY n_items DESC, string_split(l.prefix, '-')::INTEGER[] LIMIT 300
        ), placed AS (
            SELECT c.level, c.prefix, any_value(c.n_items) AS n_items,
                   quantile_cont(x, [0.1, 0.5, 0.9]) AS qx, quantile_cont(y, [0.1, 0.5, 0.9]) AS qy
            FROM cells c JOIN sid_prefixes l ON l.run_id = $run AND l.prefix = c.prefix JOIN sampled i ON i.leaf = l.leaf GROUP BY ALL
        )
        SELECT p.prefix, p.level, k.label, p.n_items, qx[2] AS x, qy[3] AS y
        FROM placed p JOIN codes k ON k.run_id = $run AND k.prefix = p.prefix, span
        WHERE qx[3] - qx[1] <= {COMPACT} * wide AND qy[3] - qy[1] <= {COMPACT} * high AND k.label IS NOT NULL
        ORDER BY p.n_items DESC, p.level, p.prefix LIMIT $most
        """,
        {"run": run_id, "most": most, "least": max(3.0, LEAST_SHARE * n), "step": max(1, n // 20_000), **inside(box)},
    ).df()
