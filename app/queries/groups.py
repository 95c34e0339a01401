"""Exposure of groups that no snapshot holds, computed when asked by the audit's own functions: any attribute of the items
as a dimension, and crossings (a seller within each category, a category's sellers).

A group's cells are summed in SQL; intervals, corrections and verdicts are `engine.audit.exposure`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from app.queries.item_filter import pointer
from app.queries.traffic import RANKED
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
_DRAWN = 1.2e9
"""Queries x groups x resamples: bounds the time of an answer."""
RESAMPLES = (1_000, 2_000)
MOST_VALUES = 100
"""An attribute with more values is no dimension here: after correction for so many, these resamples could call none clear."""
CROSSED = {"seller": "category", "category": "seller", "brand": "category"}
"""What a dimension's value is crossed with."""


def attribute(cursor: duckdb.DuckDBPyConnection, run_id: str, key: str) -> pd.DataFrame:
    """Rows as of table `exposure`, every discount, for the values of one attribute of the items; `dimension` is its name."""
    labels = cursor.execute(
        """
        SELECT item_id, CASE WHEN json_type(attributes, $pointer) NOT IN ('ARRAY', 'OBJECT', 'NULL')
                             THEN nullif(json_extract_string(attributes, $pointer), '') END AS label
        FROM items ORDER BY item_id
        """,
        {"pointer": pointer(key)},
    ).df()
    return _exposure(cursor, run_id, key, labels["label"].astype(object).where(labels["label"].notna(), UNKNOWN))


def crossing(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str, value: str) -> pd.DataFrame:
    """Rows as of table `exposure`, every discount, for one value split by `CROSSED`: they add up to its own row."""
    across = CROSSED[dimension]
    labels = cursor.execute(
        f"""
        SELECT item_id, CASE WHEN coalesce("{dimension}", '{UNKNOWN}') <> $value THEN $rest
                             ELSE coalesce("{across}", '{UNKNOWN}') END AS label
        FROM items ORDER BY item_id
        """,
        {"value": value, "rest": _REST},
    ).df()
    return _exposure(cursor, run_id, across, labels["label"].astype(object))


def under(rows: pd.DataFrame, discount: str) -> pd.DataFrame:
    """The rows of one discount, the largest change first."""
    mine = rows[rows["discount"] == discount].drop(columns=["discount", "dimension"])
    order = mine["difference"].abs().sort_values(ascending=False, kind="stable").index
    return mine.loc[order].reset_index(drop=True)


def _exposure(cursor: duckdb.DuckDBPyConnection, run_id: str, name: str, label: pd.Series) -> pd.DataFrame:
    """Exposure rows of groups; `label` of every item in the order of item_id."""
    values, member = np.unique(label.to_numpy(dtype=object).astype(str), return_inverse=True)
    deepest = cursor.execute(
        "SELECT max(greatest(rank, rank_without_sid)) FROM scores WHERE run_id = ?", [run_id]
    ).fetchone()
    if deepest is None or deepest[0] is None:
        return pd.DataFrame(columns=list(EXPOSURE_COLUMNS))
    seen, cells = _seen(cursor, run_id, int(deepest[0]), member)
    query, query_of = np.unique(cells["query"].to_numpy(), return_inverse=True)
    sums = cells[[f"{side}{d}" for d in range(len(DISCOUNTS)) for side in ("with", "without")]].to_numpy(
        dtype=np.float64
    )
    parts = Dimension(name, values, member, query_of, cells["member"].to_numpy(), sums.T.reshape(len(DISCOUNTS), 2, -1))
    assert len(query) == len(seen.weight)
    draws = Resamples.draw(seen, int(np.clip(_DRAWN // max(len(query) * len(values), 1), *RESAMPLES)), seed=0)
    rows = exposure_rows(parts, seen, draws)
    if _REST not in values:
        return rows
    kept = rows[rows["value"] != _REST].reset_index(drop=True)
    kept["q_value"] = kept.groupby("discount")["p_value"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
    arguments = (kept[c].to_numpy(dtype=np.float64) for c in ("difference", "q_value", "effective_n"))
    return kept.assign(verdict=verdicts(*arguments))


def _seen(
    cursor: duckdb.DuckDBPyConnection, run_id: str, deepest: int, member: np.ndarray
) -> tuple[Seen, pd.DataFrame]:
    """What all items get, and the cells (query, group) of the groups."""
    weights = {f"d{d}": discount_weights(np.arange(1, deepest + 1), name).tolist() for d, name in enumerate(DISCOUNTS)}
    placed = f"WITH {RANKED}, placed AS (SELECT item_id, row_number() OVER (ORDER BY item_id) - 1 AS item FROM items)"
    sums = ", ".join(
        f"round(sum($d{d}[rank]), 12) AS with{d}, round(sum($d{d}[rank_without_sid]), 12) AS without{d}"
        for d in range(len(DISCOUNTS))
    )
    given = {"run": run_id, **weights}
    cells = cursor.execute(
        f"""
        {placed} SELECT query_id AS query, $member[item + 1] AS member, any_value(weight) AS weight, {sums}
        FROM ranked JOIN placed USING (item_id) GROUP BY 1, 2 ORDER BY 1, 2
        """,
        {**given, "member": member.tolist()},
    ).df()
    by_item = cursor.execute(
        f"""
        {placed} SELECT item, {", ".join(f"sum(weight * $d{d}[rank]) AS with{d}, sum(weight * $d{d}[rank_without_sid]) AS without{d}" for d in range(len(DISCOUNTS)))}
        FROM ranked JOIN placed USING (item_id) GROUP BY item
        """,
        given,
    ).df()
    known = cursor.execute(
        """
        WITH usual AS (SELECT mode(coalesce(currency, '')) AS currency FROM items WHERE price IS NOT NULL)
        SELECT i.item_id, CASE WHEN coalesce(i.currency, '') = u.currency THEN coalesce(i.price, 0) ELSE 0 END AS price,
               coalesce(sum(j.grade) FILTER (s.rank IS NOT NULL), 0) AS merit, count(*) FILTER (s.rank IS NOT NULL) AS n
        FROM items i CROSS JOIN usual u LEFT JOIN judgments j USING (item_id)
        LEFT JOIN scores s ON s.run_id = $run AND s.query_id = j.query_id AND s.item_id = j.item_id
        GROUP BY ALL ORDER BY i.item_id
        """,
        {"run": run_id},
    ).df()
    total = cells.groupby("query", sort=True)[[f"with{d}" for d in range(len(DISCOUNTS))]].sum()
    weight = cells.groupby("query", sort=True)["weight"].first().to_numpy(dtype=np.float64)
    share = np.zeros((len(DISCOUNTS), 2, len(member)))
    for d in range(len(DISCOUNTS)):
        for side, column in enumerate(("with", "without")):
            share[d, side, by_item["item"]] = by_item[f"{column}{d}"] / max(by_item[f"{column}{d}"].sum(), 1e-300)
    seen = Seen(
        weight, weight * total.to_numpy(dtype=np.float64).T, share, known["price"].to_numpy(dtype=np.float64),
        known["merit"].to_numpy(dtype=np.float64), known["n"].to_numpy(dtype=np.float64),
    )  # fmt: skip
    return seen, cells
