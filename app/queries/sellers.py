"""SELECTs of the Sellers & categories page: exposure shares, concentration, and the rows behind a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from app.queries import groups
from app.queries.groups import LABEL
from app.queries.item_filter import attribute_keys, of_value, pointer
from app.queries.traffic import TRAFFIC
from engine.audit.groups import DIMENSIONS, UNKNOWN
from engine.audit.traffic import DISCOUNTS, discount_weights, exposure_total

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "ATTRIBUTE",
    "DIMENSIONS",
    "DISCOUNTS",
    "ITEMS",
    "Change",
    "attributes",
    "causes",
    "change",
    "choices",
    "concentration",
    "driver_cohorts",
    "drivers",
    "exposure",
    "ledger",
    "n_queries",
]

ITEMS = 50
"""Moved items listed behind a change."""


class Change(NamedTuple):
    """Where one value's exposure share changed (fractions of all exposure)."""

    by_query: pd.DataFrame
    """query_id, text, frequency, gain, loss, net, largest first; net sums to the whole change."""
    items: pd.DataFrame
    """The ITEMS places of its own items that changed most: query_id, text, item_id, title, rank, rank_without_sid,
    matched_prefix, change."""


ATTRIBUTE = "attribute: "
"""How a dimension that is an attribute of the items begins; its name follows."""


def exposure(cursor: duckdb.DuckDBPyConnection, run_id: str, discount: str, dimension: str) -> pd.DataFrame:
    """Every value of a dimension with its share of exposure with and without SIDs, largest change first."""
    return cursor.execute(
        """
        SELECT "value", share, share_without, difference, low, high, p_value, q_value, n_items, catalogue_share,
               merit, n_merit_pairs, revenue_share, revenue_share_without, n_queries, effective_n, verdict
        FROM exposure WHERE run_id = ? AND discount = ? AND dimension = ?
        ORDER BY abs(difference) DESC NULLS LAST, "value"
        """,
        [run_id, discount, dimension],
    ).df()


def attributes(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """Attributes of the items that can be a dimension, the commonest first."""
    known = attribute_keys(cursor)
    return [str(name) for name in known.loc[known["n_values"] <= groups.MOST_VALUES, "name"]]


def ledger(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str, value: str) -> pd.DataFrame:
    """What became of the judged relevant pairs of one value's items: verdict, level, feature, n_pairs, n_queries."""
    mine, values = _members(cursor, dimension, value)
    return cursor.execute(
        f"""
        SELECT verdict, level, CASE WHEN starts_with(feature, 'sid_') THEN split_part(feature, '.', 1) ELSE feature END AS feature,
               count(*) AS n_pairs, count(DISTINCT query_id) AS n_queries
        FROM loss_ledger WHERE run_id = $run AND item_id IN (SELECT i.item_id FROM items i WHERE {mine})
        GROUP BY ALL ORDER BY n_pairs DESC, verdict, level, feature
        """,
        {"run": run_id, **values},
    ).df()


def choices(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Which dimensions and discounts the audit holds: discount, dimension, n."""
    return cursor.execute(
        "SELECT discount, dimension, count(*) AS n FROM exposure WHERE run_id = ? GROUP BY ALL ORDER BY ALL", [run_id]
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
        WITH {TRAFFIC}
        SELECT count(DISTINCT query_id) FROM scores JOIN traffic USING (query_id)
        WHERE run_id = ? AND retrieved AND weight > 0
        """,
        [run_id],
    ).fetchone()
    return int(row[0]) if row else 0


def _members(cursor: duckdb.DuckDBPyConnection, dimension: str, value: str) -> tuple[str, dict[str, Any]]:
    """Items of one value of a dimension, grouped as the audit groups them: a condition on `items i`, and what it takes."""
    if dimension.startswith(ATTRIBUTE):
        values = {"at": pointer(dimension.removeprefix(ATTRIBUTE)), "value": value, "unknown": UNKNOWN}
        return f"{LABEL} = $value", values
    return of_value(dimension, value, cursor)


def causes(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str, value: str, discount: str) -> pd.DataFrame:
    """The rows of table `causes` of one value, largest first, with the prefix's label: the rows of each `told` sum to its change."""
    return cursor.execute(
        """
        SELECT c.told, c.part, c.level, c.signal, c.prefix, l.label, c.gain, c.loss, c.net, c.n_queries, c.n_pairs
        FROM causes c LEFT JOIN codes l ON l.run_id = c.run_id AND l.prefix = c.prefix
        WHERE c.run_id = ? AND c.dimension = ? AND c."value" = ? AND c.discount = ?
        ORDER BY c.told, abs(c.net) DESC, c.part, c.level, c.signal, c.prefix
        """,
        [run_id, dimension, value, discount],
    ).df()


def change(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str, value: str, discount: str) -> Change:
    """Where one value's share changed: on which queries, by which of its items."""
    lists = cursor.execute(
        "SELECT n_pairs, weight, deepest FROM ranked_queries WHERE run_id = ? ORDER BY query_id", [run_id]
    ).df()
    total = exposure_total(lists["n_pairs"].to_numpy(), lists["weight"].to_numpy(), discount)
    discounts = discount_weights(np.arange(1, int(lists["deepest"].max() if len(lists) else 0) + 1), discount)
    mine, values = _members(cursor, dimension, value)
    cursor.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE moved AS
        WITH pairs AS MATERIALIZED (  -- else all pairs are joined with their queries first
            SELECT r.query, r.item, r.rank, r.rank_without_sid
            FROM ranked_pairs r JOIN (SELECT i.rowid AS item FROM items i WHERE {mine}) i USING (item)
            WHERE r.run_id = $run AND r.rank <> r.rank_without_sid
        )
        SELECT p.*, t.weight / $total * ($discounts[p.rank] - $discounts[p.rank_without_sid]) AS change
        FROM pairs p JOIN ranked_queries t ON t.run_id = $run AND t.query = p.query
        """,
        {"run": run_id, "discounts": discounts.tolist(), "total": total or 1.0, **values},
    )
    # Steps of 2^-60: the same sums whatever the order of the rows.
    by_query = cursor.execute(
        """
        WITH summed AS (
            SELECT query, sum(CAST(greatest(change, 0) * pow(2, 60) AS HUGEINT))::DOUBLE / pow(2, 60) AS gain,
                   sum(CAST(least(change, 0) * pow(2, 60) AS HUGEINT))::DOUBLE / pow(2, 60) AS loss
            FROM moved GROUP BY query
        )
        SELECT q.query_id, q.text, q.frequency, s.gain, s.loss, s.gain + s.loss AS net FROM summed s JOIN queries q ON q.rowid = s.query
        ORDER BY abs(net) DESC, q.query_id
        """
    ).df()
    items = cursor.execute(
        f"""
        WITH first AS (SELECT * FROM moved ORDER BY abs(change) DESC, query, item LIMIT {ITEMS})
        SELECT q.query_id, i.item_id, f.rank, f.rank_without_sid, r.matched_prefix, q.text, i.title, f.change
        FROM first f JOIN queries q ON q.rowid = f.query JOIN items i ON i.rowid = f.item
        JOIN ranked_pairs r ON r.run_id = $run AND r.query = f.query AND r.item = f.item
        ORDER BY abs(f.change) DESC, q.query_id, i.item_id
        """,
        {"run": run_id},
    ).df()
    return Change(by_query, items)


def driver_cohorts(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """The groups of shown results that drivers are known of: cohort, value, n_pairs, n_queries; the largest first."""
    return cursor.execute(
        """
        SELECT cohort, "value", max(n_pairs) AS n_pairs, max(n_queries) AS n_queries FROM drivers WHERE run_id = ?
        GROUP BY ALL ORDER BY cohort, n_pairs DESC, "value"
        """,
        [run_id],
    ).df()


def drivers(cursor: duckdb.DuckDBPyConnection, run_id: str, cohort: str, value: str) -> pd.DataFrame:
    """What decides the ranking of one group of shown results, the feature of the largest mean absolute contribution first."""
    return cursor.execute(
        """
        SELECT feature, mean, mean_absolute, share, n_pairs, n_queries FROM drivers
        WHERE run_id = ? AND cohort = ? AND "value" = ? ORDER BY mean_absolute DESC, feature
        """,
        [run_id, cohort, value],
    ).df()
