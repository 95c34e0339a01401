"""A snapshot of as many items as a large shop holds: every item of a trained one many times over, its answers as they are."""

from __future__ import annotations

from pathlib import Path

import duckdb

COPIED = ("items", "sids", "projection")
COUNTS = ("n_items", "n_sharing", "has_sid", "in_beam", "in_top_k", "unshared", "shown")
"""Columns that count items; in the table `online` they are shares."""


def grow(snapshot: Path, n_items: int) -> None:
    """Copy the items of a snapshot in place until there are `n_items` or more; it must be open nowhere."""
    with duckdb.connect(str(snapshot)) as connection:
        connection.execute("SET enable_progress_bar = false")
        (held,) = connection.execute("SELECT count(*) FROM items").fetchone() or (0,)
        copies = -(-n_items // held)
        moved = "item_id || '-' || k AS item_id"
        for table in COPIED:
            spread = ", x + 0.02 * sin(k * 12.9) AS x, y + 0.02 * cos(k * 78.2) AS y" if table == "projection" else ""
            connection.execute(
                f"INSERT INTO {table} SELECT * EXCLUDE (k) REPLACE ({moved}{spread}) FROM {table}, range(1, {copies}) AS copies(k)"
            )
        counts = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_name <> 'online' AND list_contains(?, column_name)",
            [list(COUNTS)],
        ).fetchall()
        for table, column in counts:
            connection.execute(f'UPDATE "{table}" SET "{column}" = "{column}" * {copies}')
