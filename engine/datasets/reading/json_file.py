"""Reads JSON-lines files with Python's parser: it alone gives the place of an error inside a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb

from engine.datasets.reading.raw import BadRow, RawTable
from engine.datasets.reading.records import Record, as_text, load_records


def read_jsonl(
    connection: duckdb.DuckDBPyConnection, table: str, label: str, path: Path, staging: Path
) -> RawTable:  # fmt: skip
    """Loads table `raw_<table>`; `label` is its name in messages. Raises DataError where no line holds an object."""
    return load_records(connection, table, label, _records(path), staging)


def _records(path: Path) -> Iterator[Record | BadRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                yield Record(number, _json_row(line))
            except ValueError as error:
                text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
                yield BadRow(number, "row cannot be read", "", str(error), text, 1)


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
    values = {key: as_text(value) for key, value in row.items()}
    if b"\\u" in line:
        try:
            "".join(v for pair in values.items() for v in pair if v).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half of a surrogate pair, which is not text") from None
    return values
