"""Rows of a snapshot as programs take them: JSON, CSV, Parquet.

write(rows, Path("ranking.parquet"), told)      # by the ending; `told` says what they are
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.leftovers import replacing

FORMATS = ("json", "csv", "parquet")


def plain(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows that JSON can hold: times as ISO 8601, what is missing or no finite number as null, bytes in hexadecimal."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def as_json(rows: pa.Table, told: Mapping[str, Any]) -> str:
    """One object: what `told` says of the rows, then the rows."""
    return json.dumps({**told, "n_rows": rows.num_rows, "rows": plain(rows)}, ensure_ascii=False, allow_nan=False)


def as_csv(rows: pa.Table) -> str:
    """A header and the rows; lists and objects as JSON, what is missing as an empty cell. Nothing is disarmed for spreadsheets."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in plain(rows):
        writer.writerow(
            json.dumps(cell, ensure_ascii=False) if isinstance(cell, dict | list) else cell for cell in row.values()
        )
    return out.getvalue()


def write(rows: pa.Table, path: Path, format: str, told: Mapping[str, Any]) -> None:
    """A file of that format, the old one or the new and never half; Parquet carries `told` in its metadata under 'sidelight'. Raises OSError."""
    if format == "parquet":
        noted = {**(rows.schema.metadata or {}), b"sidelight": json.dumps(told, default=str).encode()}
        rows = rows.replace_schema_metadata(noted)
    with replacing(path) as writing:
        if format == "parquet":
            pq.write_table(rows, writing)
        else:
            writing.write_text(as_csv(rows) if format == "csv" else as_json(rows, told) + "\n", encoding="utf-8")
