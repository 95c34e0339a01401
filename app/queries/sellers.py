"""SELECTs of the Sellers & categories page: exposure shares, concentration, and the rows behind a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from engine.audit.causes import causes, exposure_total
from engine.audit.groups import DIMENSIONS, item_groups
from engine.audit.traffic import DISCOUNTS, discount_weights

if TYPE_CHECKING:
    import duckdb

__all__ = ["DIMENSIONS", "DISCOUNTS", "ITEMS", "Change", "change", "choices", "concentration", "exposure", "n_queries"]

ITEMS = 50
"""Moved items listed behind a change."""


# Queries without traffic do not count, unless none has any: as in the audit itself.
_TRAFFIC = """
        traffic AS (
            SELECT query_id, CASE WHEN (SELECT sum(greatest(frequency, 0)) FROM queries) > 0
                                  THEN greatest(coalesce(frequency, 0), 0) ELSE 1 END AS weight
            FROM queries)
"""


class Change(NamedTuple):
    """Why one value's exposure share changed (fractions of all exposure)."""

    by_prefix: pd.DataFrame
    """prefix (None = unmatched), label, gain, loss, net, n_queries; net sums to `total`."""
    by_query: pd.DataFrame
    """query_id, text, frequency, gain, loss, net; net sums to `total`."""
    items: pd.DataFrame
    """The ITEMS places of its own items that changed most: query_id, text, item_id, title, rank, rank_without_sid,
    matched_prefix, change."""
    total: float
    """The whole change."""


def exposure(cursor: duckdb.DuckDBPyConnection, run_id: str, discount: str, dimension: str) -> pd.DataFrame:
    """Every value of a dimension with its share of exposure with and without SIDs, largest change first."""
    return cursor.execute(
        """
        SELECT "value", share, share_without, difference, low, high, p_value, q_value, n_items, catalogue_share,
               merit, n_merit_pairs, revenue_share, revenue_share_without, n_queries, effective_n
        FROM exposure WHERE run_id = ? AND discount = ? AND dimension = ?
        ORDER BY abs(difference) DESC NULLS LAST, "value"
        """,
        [run_id, discount, dimension],
    ).df()


def choices(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """The discounts and dimensions the run has exposure rows for."""
    return cursor.execute(
        "SELECT discount, dimension, count(*) AS n FROM exposure WHERE run_id = ? GROUP BY ALL ORDER BY ALL",
        [run_id],
    ).df()


def concentration(cursor: duckdb.DuckDBPyConnection, run_id: str, discount: str, dimension: str) -> pd.DataFrame:
    """HHI, Gini and top share of the dimension, with and without SIDs."""
    return cursor.execute(
        """
        SELECT metric, value, value_without, difference, low, high FROM exposure_concentration
        WHERE run_id = ? AND discount = ? AND dimension = ? ORDER BY metric
        """,
        [run_id, discount, dimension],
    ).df()


def n_queries(cursor: duckdb.DuckDBPyConnection, run_id: str) -> int:
    """Queries with ranked items that count for exposure: the number every interval on the page rests on."""
    row = cursor.execute(
        f"""
        WITH {_TRAFFIC}
        SELECT count(DISTINCT query_id) FROM scores JOIN traffic USING (query_id)
        WHERE run_id = ? AND retrieved AND weight > 0
        """,
        [run_id],
    ).fetchone()
    return int(row[0]) if row else 0


def _members(cursor: duckdb.DuckDBPyConnection, dimension: str, value: str) -> list[str]:
    """Items of one value of a dimension, grouped as the audit groups them."""
    items = cursor.execute("SELECT item_id, seller, category, brand, price, currency, created_at FROM items").df()
    groups = item_groups(items)
    return [] if dimension not in groups else items["item_id"][groups[dimension] == value].tolist()


def change(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str, value: str, discount: str) -> Change:
    """The causes of one value's change: through which codes, on which queries, which items."""
    members = _members(cursor, dimension, value)
    ranked = f"""
        {_TRAFFIC},
        ranked AS (
            SELECT s.query_id, t.weight, s.item_id, s.rank, s.rank_without_sid, s.matched_prefix
            FROM scores s JOIN traffic t USING (query_id)
            WHERE s.run_id = $run AND t.weight > 0 AND s.rank IS NOT NULL AND s.rank_without_sid IS NOT NULL)
    """
    lists = cursor.execute(
        f"WITH {ranked} SELECT weight, count(*) AS n FROM ranked GROUP BY query_id, weight ORDER BY query_id",
        {"run": run_id},
    ).df()
    rows = (
        cursor.execute(
            f"""
            WITH {ranked},
            own AS (SELECT unnest($members::VARCHAR[]) AS item_id),
            asked AS (SELECT DISTINCT query_id FROM ranked JOIN own USING (item_id))
            SELECT r.*, o.item_id IS NOT NULL AS in_group
            FROM ranked r SEMI JOIN asked USING (query_id) LEFT JOIN own o ON o.item_id = r.item_id
            """,
            {"run": run_id, "members": members},
        )
        .to_arrow_table()  # of half a million rows with texts: five times as fast as a DataFrame made directly
        .to_pandas()
    )
    total = exposure_total(lists["n"].to_numpy(), lists["weight"].to_numpy(), discount)
    found = causes(rows, total=total, discount=discount)
    labels = cursor.execute("SELECT prefix, label FROM codes WHERE run_id = ?", [run_id]).df()
    texts = cursor.execute("SELECT query_id, text, frequency FROM queries").df()
    moved = rows[rows["in_group"]].copy()
    moved["change"] = (moved["weight"] / total) * (
        discount_weights(moved["rank"].to_numpy(), discount)
        - discount_weights(moved["rank_without_sid"].to_numpy(), discount)
    )
    moved = moved.assign(size=moved["change"].abs()).sort_values(
        ["size", "query_id", "item_id"], ascending=[False, True, True]
    )
    moved = moved.drop(columns="size").head(ITEMS)
    titles = cursor.execute(
        "SELECT item_id, title FROM items WHERE item_id IN (SELECT unnest(?::VARCHAR[]))",
        [moved["item_id"].unique().tolist()],
    ).df()
    return Change(
        found.by_prefix.merge(labels, on="prefix", how="left"),
        found.by_query.merge(texts, on="query_id", how="left"),
        moved.merge(texts[["query_id", "text"]], on="query_id", how="left")
        .merge(titles, on="item_id", how="left")
        .drop(columns=["weight", "in_group"]),
        found.change,
    )
