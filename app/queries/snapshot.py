"""What the snapshot is: its own row, its runs."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd


def info(cursor: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The one row of table `snapshot`, by column name."""
    result = cursor.execute("SELECT * FROM snapshot")
    names = [column[0] for column in result.description]
    row = result.fetchone()
    assert row is not None, "open_snapshot refuses a snapshot without its row"
    return dict(zip(names, row, strict=True))


def runs(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Every run, oldest first; `config`, `versions` and `notes` are JSON text."""
    return cursor.execute("SELECT * FROM runs ORDER BY created_at, run_id").df()


def stages(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """How long each stage of a run took and its peak memory."""
    return cursor.execute(
        "SELECT stage, seconds, peak_mb, cached FROM stages WHERE run_id = ? ORDER BY position", [run_id]
    ).df()


def synthetic_queries(cursor: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """How many queries were made from item fields, and how many there are."""
    row = cursor.execute("SELECT count(*) FILTER (source = 'synthetic'), count(*) FROM queries").fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
