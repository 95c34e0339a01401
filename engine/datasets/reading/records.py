"""Records of formats that are no table on disk (JSON, XML, qrels, workbooks) -> a raw table, by way of Parquet parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.datasets.reading.raw import BadRow, Cell, RawTable, own_names, places, require_width
from engine.errors import DataError

BATCH = 50_000
"""Records that are turned into columns at once."""


class Record(NamedTuple):
    """One record of a file."""

    line: int  # 1-based line (or row of a workbook, or place in a list) where it begins.
    values: Mapping[str, object]  # Name -> text, number, flag, None, or a list or object, which become JSON.


def load_records(
    connection: duckdb.DuckDBPyConnection, table: str, label: str, records: Iterable[Record | BadRow], staging: Path
) -> RawTable:  # fmt: skip
    """Loads table `raw_<table>`, every value as text, by way of files in `staging`; `label` is its name in messages.

    Raises DataError where there is no record at all.
    """
    name = f"raw_{table}"
    bad: list[BadRow] = []
    lines: list[int] = []
    keys: dict[str, int] = {}
    parts: list[str] = []
    rows: list[dict[int, str | None]] = []
    inexact: set[int] = set()  # Columns with values that are no numbers.

    def flush() -> None:
        part = staging / f"{name}-{len(parts)}.parquet"
        columns = {
            f"c{place}": pa.array([row.get(place) for row in rows], pa.string()) for place in range(1, len(keys) + 1)
        }
        pq.write_table(pa.table(columns), part)
        parts.append(str(part))
        rows.clear()

    for record in records:
        if isinstance(record, BadRow):
            bad.append(record)
            continue
        row: dict[int, str | None] = {}
        for key, value in record.values.items():
            if key.strip():  # An empty name is none: nothing could speak of its values.
                place = keys.setdefault(key, len(keys) + 1)
                row[place] = as_text(value)
                if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                    inexact.add(place)
        rows.append(row)
        lines.append(record.line)
        require_width(len(keys), label)
        if len(rows) == BATCH:
            flush()
    if not keys:
        why = f": line {bad[0].line}: {bad[0].why}" if bad else ""
        raise DataError(f"{label} holds no records{why}")
    if rows or not parts:
        flush()
    clean = own_names(list(keys), table, label)
    columns = {
        each: Cell(place, "VARCHAR", exact=n not in inexact)
        for n, (each, place) in enumerate(zip(clean, places(len(clean)), strict=True), start=1)
    }
    select = ", ".join(places(len(clean)))
    connection.execute(f"CREATE TABLE {name} AS SELECT {select} FROM read_parquet(?, union_by_name = true)", [parts])
    found = np.array(lines, np.int64)
    return RawTable(name, label, columns, len(lines), bad, lambda: found)


def as_text(value: object) -> str | None:
    """A value as a raw table holds it; NaN, which JSON does not know and pandas writes, is missing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value != value:
        return None
    return json.dumps(value, ensure_ascii=False)
