"""Exposure of groups that no snapshot holds, computed when asked by the audit's own functions: any attribute of the items
as a dimension, and crossings (a seller within each category, a category's sellers).

A group's cells are summed in SQL; intervals, corrections and verdicts are `engine.audit.exposure`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from app.queries.item_filter import pointer
from engine.audit.exposure import (
    EXPOSURE_COLUMNS,
    Dimension,
    Resamples,
    Seen,
    benjamini_hochberg,
    exposure_rows,
    verdicts,
)
from engine.audit.groups import UNKNOWN
from engine.audit.traffic import DISCOUNTS, discount_weights

if TYPE_CHECKING:
    import duckdb

_REST = "\ue000rest"
"""All items outside a crossing: they count in the whole and have no row."""
RESAMPLES = 2_000
MOST_VALUES = 100
"""An attribute with more values is no dimension here: after correction for so many, these resamples could call none clear."""
CROSSED = {"seller": "category", "category": "seller", "brand": "category"}
"""What a dimension's value is crossed with."""


LABEL = """coalesce(CASE WHEN json_type(i.attributes, $at) NOT IN ('ARRAY', 'OBJECT', 'NULL')
            THEN nullif(json_extract_string(i.attributes, $at), '') END, $unknown)"""
"""The value of an attribute of `items i`; takes $at (a pointer) and $unknown."""


def attribute(cursor: duckdb.DuckDBPyConnection, run_id: str, key: str) -> pd.DataFrame:
    """Rows as of table `exposure`, every discount, for the values of one attribute of the items; `dimension` is its name."""
    _group(cursor, LABEL, "true", {"at": pointer(key), "unknown": UNKNOWN})
    return _exposure(cursor, run_id, key)


def crossing(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str, value: str) -> pd.DataFrame:
    """Rows as of table `exposure`, every discount, for one value split by `CROSSED`: they add up to its own row."""
    across = CROSSED[dimension]
    values = {"unknown": UNKNOWN, "value": value}
    _group(cursor, f"coalesce(i.{across}, $unknown)", f"coalesce(i.{dimension}, $unknown) = $value", values)
    return _exposure(cursor, run_id, across)


def under(rows: pd.DataFrame, discount: str) -> pd.DataFrame:
    """The rows of one discount, the largest change first."""
    mine = rows[rows["discount"] == discount].drop(columns=["discount", "dimension"])
    order = mine["difference"].abs().sort_values(ascending=False, kind="stable").index
    return mine.loc[order].reset_index(drop=True)


def _group(cursor: duckdb.DuckDBPyConnection, label: str, which: str, values: dict[str, str]) -> None:
    """Temporary table `grouped`: item (its rowid), label, member (0, 1, ... in the order of labels), price."""
    cursor.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE grouped AS
        WITH usual AS (SELECT mode(coalesce(currency, '')) AS currency FROM items WHERE price IS NOT NULL),
        chosen AS (
            SELECT i.rowid AS item, {label} AS label,
                   CASE WHEN coalesce(i.currency, '') = u.currency THEN coalesce(i.price, 0) ELSE 0 END AS price
            FROM items i CROSS JOIN usual u WHERE {which}
        ), names AS (SELECT label, row_number() OVER (ORDER BY label) - 1 AS member FROM chosen GROUP BY label)
        SELECT c.item, c.label, n.member, c.price FROM chosen c JOIN names n USING (label)
        """,
        values,
    )


def _exposure(cursor: duckdb.DuckDBPyConnection, run_id: str, name: str) -> pd.DataFrame:
    """Exposure rows of the groups in `grouped`; items outside of it count in every whole and have no row."""
    groups = _columns(cursor, "SELECT label, count(*) AS n FROM grouped GROUP BY label ORDER BY label", {})
    asked = _columns(cursor, "SELECT * FROM ranked_queries WHERE run_id = $run ORDER BY query", {"run": run_id})
    if not len(asked["query"]):
        return pd.DataFrame(columns=list(EXPOSURE_COLUMNS))
    values, n_items = groups["label"].astype(object), groups["n"].astype(np.int64)
    (n_outside,) = cursor.execute("SELECT (SELECT count(*) FROM items) - count(*) FROM grouped").fetchone() or (0,)
    if n_outside:
        values, n_items = np.append(values, _REST), np.append(n_items, n_outside)
    cells, revenue = _cells(cursor, run_id)
    sides = [f"{side}{d}" for d in range(len(DISCOUNTS)) for side in ("with", "without")]
    weight, query = asked["weight"].astype(np.float64), np.searchsorted(asked["query"], cells["query"])
    parts = Dimension(
        name, values, np.repeat(np.arange(len(values)), n_items), query, cells["member"],
        np.array([cells[side] for side in sides]).reshape(len(DISCOUNTS), 2, -1),
    )  # fmt: skip
    merit, n_judged = _merit(cursor, run_id, len(values))
    paid = np.array([np.bincount(cells["member"], weight[query] * revenue[side], len(values)) for side in sides])
    if n_outside:
        whole = [weight @ asked[f"{d}{end}"] for d in DISCOUNTS for end in ("_revenue", "_revenue_without")]
        paid[:, -1] = whole - paid.sum(axis=1)
    first = np.append(0, np.cumsum(n_items)[:-1])  # an item of each group stands for all of it
    by_item = np.zeros((len(sides) + 2, int(n_items.sum())))
    by_item[:, first] = np.maximum([*paid, merit, n_judged], 0.0)
    seen = Seen(
        weight, weight * np.array([asked[d] for d in DISCOUNTS]), by_item[:-2].reshape(len(DISCOUNTS), 2, -1),
        np.ones(by_item.shape[1]), by_item[-2], by_item[-1],
    )  # fmt: skip
    draws = Resamples.draw(seen, RESAMPLES, seed=0)
    rows = exposure_rows(parts, seen, draws)
    kept = rows[rows["value"] != _REST].reset_index(drop=True)
    kept["q_value"] = kept.groupby("discount")["p_value"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
    arguments = (kept[c].to_numpy(dtype=np.float64) for c in ("difference", "q_value", "effective_n"))
    return kept.assign(verdict=verdicts(*arguments))


def _columns(cursor: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any]) -> dict[str, np.ndarray]:
    """The rows of a statement, column by column."""
    rows = cursor.execute(sql, values).df()
    return {str(name): rows[name].to_numpy() for name in rows}


def _cells(cursor: duckdb.DuckDBPyConnection, run_id: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Exposure of the (query, group) cells that occur, and the same times price: query, member, with0, without0, ..."""
    (deepest,) = cursor.execute("SELECT max(deepest) FROM ranked_queries WHERE run_id = ?", [run_id]).fetchone() or (0,)
    ranks = np.arange(1, int(deepest) + 1)
    weights = {f"d{d}": discount_weights(ranks, name).tolist() for d, name in enumerate(DISCOUNTS)}
    sums = [
        f"round(sum($d{d}[{rank}]{times}), 12) AS {kind}{side}{d}"
        for d in range(len(DISCOUNTS))
        for side, rank in (("with", "rank"), ("without", "rank_without_sid"))
        for kind, times in (("", ""), ("paid_", " * g.price"))
    ]
    found = _columns(
        cursor,
        f"""
        SELECT r.query, g.member, {", ".join(sums)} FROM ranked_pairs r JOIN grouped g USING (item)
        WHERE r.run_id = $run GROUP BY 1, 2 ORDER BY 1, 2
        """,
        {"run": run_id, **weights},
    )
    return found, {name.removeprefix("paid_"): value for name, value in found.items() if name.startswith("paid_")}


def _merit(cursor: duckdb.DuckDBPyConnection, run_id: str, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """(G,) sum of grades and number of the judged pairs that were ranked, by group; the last one is what lies outside, if any."""
    found = _columns(
        cursor,
        """
        SELECT coalesce(g.member, $rest) AS member, sum(j.grade) AS merit, count(*) AS n
        FROM judgments j JOIN judged_scores s USING (query_id, item_id) JOIN items i USING (item_id)
        LEFT JOIN grouped g ON g.item = i.rowid WHERE s.run_id = $run AND s.rank IS NOT NULL GROUP BY 1
        """,
        {"run": run_id, "rest": n_groups - 1},
    )
    merit, n = np.zeros(n_groups), np.zeros(n_groups)
    merit[found["member"]], n[found["member"]] = found["merit"], found["n"]
    return merit, n
