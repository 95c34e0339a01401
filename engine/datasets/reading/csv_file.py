"""Reads CSV and TSV files through DuckDB: every value as text, undividable rows kept by `store_rejects`.

DuckDB counts records where people count lines, so its places (first bytes of rows) are resolved to lines here.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np

from engine.datasets.contract import COLUMNS
from engine.datasets.reading.raw import BadRow, Cell, RawTable, clean_columns, count, first_line, needs, places
from engine.errors import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
MAX_LINE_BYTES = 32_000_000

_DELIMITER_NAMES = {",": "a comma", "\t": "a tab", ";": "';'", "|": "'|'"}
_WHY = {
    "MISSING COLUMNS": "it has too few values: the header names {n} columns",
    "TOO MANY COLUMNS": "it has too many values: the header names {n} columns; put quotes around values with {delimiter}",
    "UNQUOTED VALUE": "a quotation mark opens a value and is not closed rightly; double the marks inside a value",
    "INVALID ENCODING": "it is not UTF-8; save the file as UTF-8",
    "LINE SIZE OVER MAXIMUM": f"it is longer than {MAX_LINE_BYTES:,} bytes",
}


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(first line, values) of each record that is not blank; undecodable bytes as surrogates."""
    limit = csv.field_size_limit(sys.maxsize >> 32)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            reader = csv.reader(text, delimiter=DELIMITERS[path.suffix])
            before = 0
            for values in reader:
                if values:
                    yield before + 1, values
                before = reader.line_num
    finally:
        csv.field_size_limit(limit)


def _read_header(path: Path, label: str, table: str) -> list[str]:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{label} is UTF-16; save it as UTF-8")
    delimiter = DELIMITERS[path.suffix]
    header = next((values for _, values in _records(path)), None)
    if header is None:
        raise DataError(f"{label} holds only blank lines; it needs {needs(table)}")
    if any("\udc80" <= letter <= "\udcff" for name in header for letter in name):
        raise DataError(f"{label}:1 the header is not UTF-8; save the file as UTF-8")
    if len(header) == 1:
        for other in set(_DELIMITER_NAMES) - {delimiter}:
            names = [n.strip().strip('"').casefold() for n in header[0].split(other)]
            if len(names) > 1 and set(names) & {c.name for c in COLUMNS[table]}:
                raise DataError(
                    f"{label}:1 columns are separated by {_DELIMITER_NAMES[other]} where {path.suffix} means "
                    f"{_DELIMITER_NAMES[delimiter]}; save it with {_DELIMITER_NAMES[delimiter]}"
                    + (" or name it .tsv" if other == "\t" else "")
                )
    return clean_columns(header, table, label)


def read_csv(connection: duckdb.DuckDBPyConnection, table: str, label: str, path: Path) -> RawTable:
    """Loads table `raw_<table>`; the suffix of `path` tells the delimiter, `label` is its name in messages.

    Raises DataError for a header that is missing, undecodable or wrongly delimited.
    """
    name = f"raw_{table}"
    delimiter = DELIMITERS[path.suffix]
    names = _read_header(path, label, table)
    columns = {name: Cell(place, "VARCHAR") for name, place in zip(names, places(len(names)), strict=True)}
    try:
        connection.execute(
            f"""CREATE TABLE {name} AS SELECT * FROM read_csv(?, columns = ?, delim = ?, auto_detect = false,
            header = true, quote = '"', escape = '"', max_line_size = {MAX_LINE_BYTES}, store_rejects = true,
            rejects_table = 'errors_{name}', rejects_scan = 'scans_{name}', rejects_limit = 0)""",
            [str(path), {cell.place: cell.kind for cell in columns.values()}, delimiter],
        )
    except duckdb.InvalidInputException as error:
        if "state machine" in str(error):
            raise DataError(f"{label} mixes kinds of line ends; save it with one kind throughout") from None
        raise DataError(f"{label} cannot be read as CSV: {first_line(error)}") from None
    errors = connection.execute(
        f"""SELECT line_byte_position, min(error_type::VARCHAR), arg_min(coalesce(column_name, ''), error_type::VARCHAR)
        FROM errors_{name} GROUP BY line_byte_position ORDER BY 1"""
    ).fetchall()
    bad = _bad_rows(path, errors, list(columns), _DELIMITER_NAMES[delimiter]) if errors else []
    n_rows = count(connection, name)
    return RawTable(name, label, columns, n_rows, bad, lambda: _lines(path, n_rows, {b.line for b in bad}))


def _lines(path: Path, n_rows: int, bad: set[int]) -> np.ndarray:
    """(n_rows,) int64: the first line of each row that DuckDB kept, given the lines of those it did not."""
    starts = [line for line, _ in _records(path) if line not in bad][1:]
    if len(starts) != n_rows:
        # Only a file whose quoting two readers understand differently: the record's number is all that is known.
        return np.arange(2, n_rows + 2)
    return np.array(starts, np.int64)


def _bad_rows(path: Path, errors: list[tuple[int, str, str]], names: list[str], delimiter: str) -> list[BadRow]:
    """Places and whole text of the rows that DuckDB's reader rejected, by their first byte."""
    starts: dict[int, tuple[str, str]] = {}
    with path.open("rb") as file:
        line, done = 1, 0
        for position, kind, column in errors:
            while done < position:
                chunk = file.read(min(1 << 20, position - done))
                if not chunk:
                    break
                line += chunk.count(b"\n")
                done += len(chunk)
            # The reader's position may be the '\n' of a Windows line end, or a blank line before the row.
            ahead = file.read(4096)
            file.seek(done)
            blank = ahead[: len(ahead) - len(ahead.lstrip(b"\r\n"))]
            starts[line + blank.count(b"\n")] = (kind, column)
    records = [first for first, _ in _records(path)]
    ends = dict(zip(records, [*records[1:], sys.maxsize], strict=True))
    wanted = sorted(starts)
    texts = _physical_lines(path, [(first, ends.get(first, first + 1)) for first in wanted])
    bad = []
    called = dict(zip(places(len(names)), names, strict=True))
    for first, text in zip(wanted, texts, strict=True):
        kind, column = starts[first]
        why = _WHY.get(kind, kind.lower()).format(n=len(names), delimiter=delimiter)
        rows = sum(1 for part in text.splitlines() if part.strip()) if kind == "UNQUOTED VALUE" else 1
        bad.append(BadRow(first, "row cannot be read", called.get(column, ""), why, text, max(rows, 1)))
    return bad


def _physical_lines(path: Path, ranges: list[tuple[int, int]]) -> list[str]:
    """The text of each range of lines [first, end), which do not overlap and come in order."""
    texts: list[list[str]] = [[] for _ in ranges]
    at = 0
    with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        for number, text in enumerate(file, start=1):
            while at < len(ranges) and number >= ranges[at][1]:
                at += 1
            if at == len(ranges):
                break
            if number >= ranges[at][0]:
                texts[at].append(text)
    return ["".join(parts).rstrip("\r\n") for parts in texts]
