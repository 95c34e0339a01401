"""What the Codebook's map reads: points, a density where there are too many of them, and how faithful it is."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import pandas as pd

MOST_POINTS = 50_000
"""WebGL points a view; above this the map shows a density, or a stratified sample."""
BINS = 128
"""Density bins a side: each occupied one is a marker that can be clicked."""
Box = tuple[float, float, float, float]
"""x from, x to, y from, y to."""
EVERYWHERE: Box = (-1e30, 1e30, -1e30, 1e30)
_INSIDE = "p.run_id = ? AND p.x BETWEEN ? AND ? AND p.y BETWEEN ? AND ?"


def count(cursor: duckdb.DuckDBPyConnection, run_id: str, box: Box) -> int:
    """Items placed inside a box."""
    row = cursor.execute(f"SELECT count(*) FROM projection p WHERE {_INSIDE}", [run_id, *box]).fetchone()
    return int(row[0]) if row else 0


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


def points(cursor: duckdb.DuckDBPyConnection, run_id: str, level: int, box: Box, most: int) -> pd.DataFrame:
    """Items inside a box: all of them, or about `most` by a sample stratified by level-1 code (every code keeps
    its share, rounded up).

    Columns: item_id, sid, x, y (float32), department, tier, purity (of the item's prefix at `level`), n (all inside).
    """
    rows = cursor.execute(
        f"""
        WITH inside AS (
            SELECT p.item_id, p.x, p.y, s.sid, array_to_string(s.codes[1:?], '-') AS prefix,
                   row_number() OVER (PARTITION BY s.codes[1] ORDER BY hash(p.item_id), p.item_id) AS place,
                   count(*) OVER (PARTITION BY s.codes[1]) AS n_stratum, count(*) OVER () AS n
            FROM projection p JOIN sids s ON s.run_id = p.run_id AND s.item_id = p.item_id WHERE {_INSIDE}
        )
        SELECT d.item_id, d.sid, d.x, d.y, coalesce(g.department, 'unknown') AS department,
               coalesce(i.tier, 'unknown') AS tier, c.purity, d.n
        FROM inside d JOIN items i USING (item_id) LEFT JOIN categories g ON g.category = i.category
        LEFT JOIN codes c ON c.run_id = ? AND c.prefix = d.prefix
        WHERE d.n <= ? OR d.place <= ceil(n_stratum * ? / d.n)
        ORDER BY d.item_id
        """,
        [level, run_id, *box, run_id, most, most],
    ).df()
    for name in ("x", "y", "purity"):
        rows[name] = rows[name].to_numpy(dtype=np.float32, na_value=np.nan)
    return rows


def density(cursor: duckdb.DuckDBPyConnection, run_id: str, level: int, box: Box, bins: int) -> pd.DataFrame:
    """Items per cell of a bins x bins grid over the items inside a box; empty cells are left out.

    Columns: x, y (cell centres, float32), n_items, prefix (the commonest at `level`), share (of it in the cell).
    """
    rows = cursor.execute(
        f"""
        WITH inside AS (
            SELECT p.x, p.y, array_to_string(s.codes[1:?], '-') AS prefix
            FROM projection p JOIN sids s ON s.run_id = p.run_id AND s.item_id = p.item_id WHERE {_INSIDE}
        ), span AS (
            SELECT min(x) AS x0, greatest(max(x) - min(x), 1e-6) / ? AS dx,
                   min(y) AS y0, greatest(max(y) - min(y), 1e-6) / ? AS dy FROM inside
        ), cells AS (
            SELECT least(floor((x - x0) / dx), ? - 1) AS i, least(floor((y - y0) / dy), ? - 1) AS j, prefix, count(*) AS n
            FROM inside, span GROUP BY ALL
        )
        SELECT any_value(x0) + (i + 0.5) * any_value(dx) AS x, any_value(y0) + (j + 0.5) * any_value(dy) AS y,
               sum(n)::BIGINT AS n_items, arg_max(prefix, (n, prefix)) AS prefix, max(n) / sum(n) AS share
        FROM cells, span GROUP BY i, j ORDER BY i, j
        """,
        [level, run_id, *box, bins, bins, bins, bins],
    ).df()
    for name in ("x", "y"):
        rows[name] = rows[name].to_numpy(dtype=np.float32)
    return rows


def highlighted(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, box: Box, most: int) -> pd.DataFrame:
    """Where the items under a prefix lie, at most `most` of them: item_id, x, y."""
    return cursor.execute(
        f"""
        SELECT p.item_id, p.x, p.y FROM projection p JOIN sids s ON s.run_id = p.run_id AND s.item_id = p.item_id
        WHERE {_INSIDE} AND (s.sid = ? OR starts_with(s.sid, ? || '-')) ORDER BY hash(p.item_id), p.item_id LIMIT ?
        """,
        [run_id, *box, prefix, prefix, most],
    ).df()
