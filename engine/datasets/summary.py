"""A stored catalogue summed up from its files: which columns are filled, and its search log by position and day."""

from __future__ import annotations

import contextlib

import duckdb
from pandas import DataFrame

from engine.datasets.contract import TABLES, Catalogue


def missing_values(catalogue: Catalogue) -> DataFrame:
    """table, column, n_rows, n_missing of every column that a catalogue may have, vectors too."""
    found = []
    with contextlib.closing(duckdb.connect()) as connection:
        for table in (name for name in TABLES if name != "judgments_raw"):
            names = [name for name in TABLES[table].names if name != "source" or table == "judgments"]
            counts = ", ".join(f'count("{name}")' for name in names)
            path = str(catalogue.folder / f"{table}.parquet")
            n, *given = connection.execute(f"SELECT count(*), {counts} FROM read_parquet(?)", [path]).fetchone() or ()
            found += [(table, name, n, n - there) for name, there in zip(names, given, strict=True)]
    return DataFrame(found, columns=["table", "column", "n_rows", "n_missing"])


def log_sums(catalogue: Catalogue) -> DataFrame:
    """The search log as a whole, by position and by day (rows that state none under NULL), apart for synthetic rows: kind,
    value, source, n_rows, impressions, clicks, purchases, n_queries, n_items."""
    keys = {"all": "NULL", "position": "CAST(CAST(position AS BIGINT) AS VARCHAR)", "day": "strftime(date, '%Y-%m-%d')"}
    each = " UNION ALL ".join(
        f"""SELECT '{kind}' AS kind, CAST({key} AS VARCHAR) AS "value", source, count(*) AS n_rows, sum(impressions) AS impressions,
        sum(clicks) AS clicks, sum(purchases) AS purchases, count(DISTINCT query_id) AS n_queries, count(DISTINCT item_id) AS n_items
        FROM log GROUP BY ALL"""
        for kind, key in keys.items()
    )
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET threads = 1")  # sums of floats must not depend on who adds first
        path = str(catalogue.folder / "interactions.parquet").replace("'", "''")
        connection.execute(f"CREATE VIEW log AS SELECT * FROM read_parquet('{path}')")
        return connection.execute(
            f"""WITH sums AS MATERIALIZED ({each})
            SELECT * FROM sums WHERE kind = 'all' OR kind IN (SELECT kind FROM sums WHERE "value" IS NOT NULL)
            ORDER BY kind, source, TRY_CAST("value" AS BIGINT), "value" """
        ).df()
