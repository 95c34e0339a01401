"""Reads JSON-lines files with Python's parser: it alone gives the place of an error inside a line."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.datasets.raw import BadRow, RawTable, clean_columns, quoted
from engine.errors import DataError

BATCH = 50_000
"""Lines that are turned into columns at once."""


def read_jsonl(
    connection: duckdb.DuckDBPyConnection, table: str, label: str, path: Path, staging: Path
) -> RawTable:  # fmt: skip
    """Loads table `raw_<table>`, every value as text, by way of files in `staging`; `label` is its name in messages.

    Raises DataError where no line holds an object.
    """
    name = f"raw_{table}"
    bad: list[BadRow] = []
    lines: list[int] = []
    keys: dict[str, None] = {}
    parts: list[str] = []
    rows: list[dict[str, str | None]] = []

    def flush() -> None:
        part = staging / f"{name}-{len(parts)}.parquet"
        columns = {key: pa.array([row.get(key) for row in rows], pa.string()) for key in keys}
        pq.write_table(pa.table(columns), part)
        parts.append(str(part))
        rows.clear()

    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                row = _json_row(line)
            except ValueError as error:
                text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
                bad.append(BadRow(number, "row cannot be read", "", str(error), text, 1))
                continue
            keys.update(dict.fromkeys(row))
            rows.append(row)
            lines.append(number)
            if len(rows) == BATCH:
                flush()
    if not keys:
        why = f": line {bad[0].line}: {bad[0].why}" if bad else ""
        raise DataError(f'{label} holds no JSON objects{why}; it needs one object a line, e.g. {{"item_id": "1", ...}}')
    if rows or not parts:
        flush()
    clean = clean_columns(list(keys), table, label)
    select = ", ".join(f"{quoted(key)} AS {quoted(c)}" for key, c in zip(keys, clean, strict=True))
    connection.execute(f"CREATE TABLE {name} AS SELECT {select} FROM read_parquet(?, union_by_name = true)", [parts])
    places = np.array(lines, np.int64)
    return RawTable(name, label, dict.fromkeys(clean, "VARCHAR"), len(lines), bad, lambda: places)


def _json_row(line: bytes) -> dict[str, str | None]:
    """The object of one line, each value as text. Raises ValueError with the reason."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    values = {key: _json_text(value) for key, value in row.items()}
    if b"\\u" in line:
        try:
            "".join(v for pair in values.items() for v in pair if v).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half of a surrogate pair, which is not text") from None
    return values


def _json_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
