"""Reads delimited text through DuckDB: every value as text, undividable rows kept by `store_rejects`.

Python finds the dialect and the header, and hands DuckDB the lines after it: two readers are never of two minds about
where rows begin. DuckDB counts records where people count lines, so its places (first bytes of rows) become lines here.
"""

from __future__ import annotations

import codecs
import csv
import json
import shutil
import sys
from pathlib import Path

import duckdb
import numpy as np

from engine.datasets.contract import COLUMNS
from engine.datasets.reading.decisions import Decision
from engine.datasets.reading.dialect import (
    SEPARATOR_NAMES,
    Candidate,
    Dialect,
    Header,
    each_record,
    find_dialects,
    reader,
)
from engine.datasets.reading.encoding import as_utf8, copy_of
from engine.datasets.reading.names import known_names
from engine.datasets.reading.raw import (
    BadRow,
    Cell,
    RawTable,
    count,
    first_line,
    needs,
    own_names,
    places,
    require_width,
)
from engine.datasets.settings import ReadOptions
from engine.errors import DataError

MAX_LINE_BYTES = 32_000_000
ENOUGH = 50_000
"""Rejected rows that are looked at one by one; a file with more is written in another way than was found."""
FAULTS = 1_000_000
"""Faults that DuckDB's reader keeps, each with the text of its row: one for every value that a row lacks."""

_WHY = {
    "MISSING COLUMNS": "it has too few values: the header names {n} columns",
    "TOO MANY COLUMNS": "it has too many values: the header names {n} columns; put quotes around values with a {separator}",
    "UNQUOTED VALUE": "a quotation mark opens a value and is not closed rightly; double the marks inside a value",
    "INVALID ENCODING": "it is not UTF-8; save the file as UTF-8",
    "LINE SIZE OVER MAXIMUM": f"it is longer than {MAX_LINE_BYTES:,} bytes",
}


class DelimitedFile:
    """A delimited text of which the beginning has been read: its names and dialect are known, its rows not yet."""

    def __init__(
        self, label: str, path: Path, suffix: str, table: str | None, options: ReadOptions, staging: Path
    ) -> None:
        """Raises DataError where it is no text, has only blank lines, or no line of it is a header."""
        self.label, self.staging = label, staging
        text = as_utf8(path, label, staging, options.encoding)
        self.path, self.encoding = text.path, text
        stated = None
        if options.delimiter is not None or options.quote is not None:
            mark = '"' if options.quote is None else options.quote
            stated = Dialect(options.delimiter or ("\t" if suffix == ".tsv" else ","), mark, mark)
        self.ways = find_dialects(self.path, suffix, table, stated)
        if not self.ways:
            raise DataError(f"{label} holds only blank lines; it needs {needs(table or 'items')}")
        self.options = options
        self.rewritten: dict[Dialect, Path] = {}  # With one kind of line end, which DuckDB's reader asks for at times.
        self.way = self.ways[0]
        if options.header is not None:
            self.way = self.way._replace(header=Header(list(options.header), 0, 0))

    @property
    def names(self) -> list[str]:
        """Of its columns, as written."""
        return self.way.header.names

    @property
    def is_table(self) -> bool:
        """Whether it has a header that says anything: prose has none."""
        return len(self.names) > 1 and self.way.known > 0

    def decisions(self) -> list[Decision]:
        """How it is read."""
        header, dialect = self.way.header, self.way.dialect
        at = f"header on line {header.first}" if header.first else "no header"
        whole = f"{len(self.names)} columns in {self.way.even:.0%} of the first rows, {self.way.known} of known name"
        found = [
            Decision(self.label, "format", f"{dialect.words()}; {at}", whole, '[read] delimiter = ";", quote, header')
        ]
        text = self.encoding
        if text.encoding != "utf-8" or "rejected" in text.because:
            found.append(Decision(self.label, "encoding", text.encoding, text.because, '[read] encoding = "cp1252"'))
        return found

    def load(self, connection: duckdb.DuckDBPyConnection, table: str) -> RawTable:
        """Loads table `raw_<table>`. Where rows cannot be divided, other ways of quoting are tried, and the best one taken.

        Raises DataError for a header that no contract knows where the rows under it look like data.
        """
        require_width(len(self.names), self.label)
        self._require_header(table)
        best = self._load(connection, table, self.way)
        # Rows without marks are read alike, whatever marks are thought to mean.
        if self.options.quote is None and any('"' in row.text or "'" in row.text for row in best.bad_rows):
            for way in self._others():
                other = self._load(connection, table, way)
                if _lost(other) < _lost(best) and not _marked(connection, other, way):
                    self.way, best = way, other
            best = self._load(connection, table, self.way)
        return best

    def _others(self) -> list[Candidate]:
        own = self.way.dialect
        ways = [Dialect(own.separator, '"', "\\"), Dialect(own.separator, "", "")]
        return [self.way._replace(dialect=d) for d in ways if d != own]

    def _require_header(self, table: str) -> None:
        if self.options.header is not None or known_names(self.names, table):
            return
        wanted = [c.name for c in COLUMNS[table] if c.required] or ["item_id"]
        if table in ("interactions", "judgments", "beams", "scores"):
            wanted.insert(0, "query")
        shown = self.way.dialect.separator.join(self.names)[:80]
        raise DataError(
            f"{self.label}:{self.way.header.first} '{shown}' names no known column ({', '.join(wanted)} ...): if it is data, "
            f"write header = {json.dumps(wanted)} under [read.{table}] in dataset.toml; if it is a header in other words, "
            f'{wanted[0]} = "its name here" under [columns.{table}]'
        )

    def _load(self, connection: duckdb.DuckDBPyConnection, table: str, way: Candidate) -> RawTable:
        dialect, header = way.dialect, way.header
        names = own_names(header.names, table, self.label)
        columns = {name: Cell(place, "VARCHAR") for name, place in zip(names, places(len(names)), strict=True)}
        name = f"raw_{table}"
        path, skipped = self._after_header(self.rewritten.get(dialect, self.path), header)
        for old in (name, f"errors_{name}", f"scans_{name}"):
            connection.execute(f"DROP TABLE IF EXISTS {old}")
        try:
            connection.execute(
                f"""CREATE TABLE {name} AS SELECT * FROM read_csv(?, columns = ?, delim = ?, auto_detect = false,
                header = false, skip = {skipped}, compression = 'none', quote = ?, escape = ?, max_line_size = {MAX_LINE_BYTES},
                store_rejects = true, rejects_table = 'errors_{name}', rejects_scan = 'scans_{name}', rejects_limit = {FAULTS})""",
                [
                    str(path),
                    {c.place: c.kind for c in columns.values()},
                    dialect.separator,
                    dialect.quote,
                    dialect.escape,
                ],
            )
        except duckdb.InvalidInputException as error:
            if "state machine" in str(error) and dialect not in self.rewritten:
                self.rewritten[dialect] = _one_line_end(self.path, dialect, self.staging / f"{len(self.rewritten)}")
                return self._load(connection, table, way)
            raise DataError(f"{self.label} cannot be read as CSV: {first_line(error)}") from None
        errors = connection.execute(
            f"""SELECT line_byte_position, min(error_type::VARCHAR), arg_min(coalesce(column_name, ''), error_type::VARCHAR)
            FROM errors_{name} GROUP BY line_byte_position ORDER BY 1"""
        ).fetchall()
        n_rows, bad = count(connection, name), []
        full = count(connection, f"errors_{name}") >= FAULTS
        if len(errors) > ENOUGH or full:
            some = f"{len(errors):,} {'rows and more' if full else f'of {n_rows + len(errors):,} rows'}"
            raise DataError(
                f"{self.label}: {some} cannot be divided into {len(names)} columns; name "
                f'its separator and quotation mark, like delimiter = ";" and quote = "" under [read.{table}] in dataset.toml'
            )
        if errors:
            cut = header.after - skipped  # Lines that are not in the file that DuckDB read.
            bad = self._bad_rows(path, errors, names, dialect, cut)
        raw = RawTable(name, self.label, columns, n_rows, bad)
        raw.find_lines = lambda: self._lines(dialect, header, n_rows, {b.line for b in bad})
        return raw

    def _after_header(self, source: Path, header: Header) -> tuple[Path, int]:
        """A file and how many of its lines to skip; a copy of the rows where the header is not one plain first line.

        The copy begins with a line of no meaning: by its end DuckDB tells which line ends are those of rows.
        """
        if header.after == header.first == 1:
            return source, 1
        target = copy_of(source, "rows", self.staging)
        with source.open("rb") as read, target.open("wb") as written:
            start = read.read(1 << 16)
            read.seek(0)
            _skip_lines(read, header.after)
            before = start[: read.tell()] if header.after else start.removeprefix(codecs.BOM_UTF8)
            ends = [end for end in (b"\r\n", b"\n", b"\r") if (before.endswith(end) if header.after else end in before)]
            written.write(b"-" + (ends or [b"\n"])[0])
            if not header.after and start.startswith(codecs.BOM_UTF8):
                read.seek(len(codecs.BOM_UTF8))
            shutil.copyfileobj(read, written, 1 << 20)
        return target, 1

    def _lines(self, dialect: Dialect, header: Header, n_rows: int, bad: set[int]) -> np.ndarray:
        """(n_rows,) int64: the first line of each row that DuckDB kept, given the lines of those it did not."""
        if _n_lines(self.path) == header.after + n_rows + len(bad):
            # As many lines as records, none of which is shorter than a line: each is one, and none is blank.
            lines = np.arange(header.after + 1, header.after + n_rows + len(bad) + 1)
            return lines[~np.isin(lines, list(bad))]
        starts = [line for line, _ in each_record(self.path, dialect) if line > header.after and line not in bad]
        if len(starts) != n_rows:
            # Only a file whose quoting two readers understand differently: the record's number is all that is known.
            return np.arange(header.after + 1, header.after + n_rows + 1)
        return np.array(starts, np.int64)

    def _bad_rows(
        self, path: Path, errors: list[tuple[int, str, str]], names: list[str], dialect: Dialect, cut: int
    ) -> list[BadRow]:
        """Places and whole text of the rows that DuckDB's reader rejected, by their first byte in `path`."""
        starts: dict[int, tuple[str, str]] = {}
        with path.open("rb") as file:
            line, done, last = 1 + cut, 0, b""
            for position, kind, column in errors:
                while done < position:
                    chunk = file.read(min(1 << 20, position - done))
                    if not chunk:
                        break
                    line += _breaks(chunk, last)
                    done, last = done + len(chunk), chunk[-1:]
                # The reader's position may be the '\n' of a Windows line end, a blank line before the row, or behind its spaces.
                ahead = file.read(4096)
                file.seek(done)
                blank = ahead[: len(ahead) - len(ahead.lstrip(b"\r\n"))] if last in (b"", b"\r", b"\n") else b""
                starts[line + _breaks(blank, last)] = (kind, column)
        records = [first for first, _ in each_record(self.path, dialect)]
        ends = dict(zip(records, [*records[1:], sys.maxsize], strict=True))
        wanted = sorted(starts)
        texts = _physical_lines(self.path, [(first, ends.get(first, first + 1)) for first in wanted])
        bad = []
        called = dict(zip(places(len(names)), names, strict=True))
        separator = SEPARATOR_NAMES.get(dialect.separator, dialect.separator)
        for first, text in zip(wanted, texts, strict=True):
            kind, column = starts[first]
            why = _WHY.get(kind, kind.lower()).format(n=len(names), separator=separator)
            rows = sum(1 for part in text.splitlines() if part.strip()) if kind == "UNQUOTED VALUE" else 1
            bad.append(BadRow(first, "row cannot be read", called.get(column, ""), why, text, max(rows, 1)))
        return bad


def _n_lines(path: Path) -> int | None:
    """Lines of a file; None where some end in '\\r' alone."""
    before, lines, lone = b"\n", 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            lone += block.count(b"\r") - (before + block).count(b"\r\n")
            before = block[-1:]
    return None if lone else lines + (before != b"\n")


def _breaks(piece: bytes, last: bytes) -> int:
    """Line ends in a piece of a file ('\\n', '\\r\\n' or '\\r') that comes after the byte `last`."""
    halved = last == b"\r" and piece[:1] == b"\n"
    return piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n") - halved


def _lost(raw: RawTable) -> int:
    return sum(b.rows for b in raw.bad_rows)


def _marked(connection: duckdb.DuckDBPyConnection, raw: RawTable, way: Candidate) -> bool:
    """Whether a reading that takes marks for data leaves values that are plainly quoted."""
    if way.dialect.quote:
        return False
    quoted = " OR ".join(f"(length({c.place}) > 1 AND {c.place} LIKE '\"%\"')" for c in raw.columns.values())
    found = connection.execute(f"SELECT 1 FROM {raw.name} WHERE {quoted} LIMIT 1").fetchone()
    return found is not None


def _skip_lines(file, lines: int) -> None:  # type: ignore[no-untyped-def]
    """Moves on by so many lines, ended by '\\n', '\\r\\n' or '\\r'."""
    done = 0
    while done < lines:
        line = file.readline()
        if not line:
            return
        body = line.removesuffix(b"\n").removesuffix(b"\r")
        inner = body.count(b"\r")
        if inner and done + inner >= lines:
            place = -1
            for _ in range(lines - done):
                place = body.index(b"\r", place + 1)
            file.seek(place + 1 - len(line), 1)
            return
        done += inner + 1


def _one_line_end(path: Path, dialect: Dialect, staging: Path) -> Path:
    """A copy whose rows all end in '\\n'; values keep the line ends they hold."""
    target = copy_of(path, "lines", staging)
    limit = csv.field_size_limit(sys.maxsize >> 32)
    try:
        with (
            path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as read,
            target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as written,
        ):
            writer = csv.writer(
                written, delimiter=dialect.separator, lineterminator="\n",
                quoting=csv.QUOTE_NONE if not dialect.quote else csv.QUOTE_MINIMAL if dialect.escape != "\\" else csv.QUOTE_ALL, quotechar=dialect.quote or None,
                escapechar="\\" if dialect.escape == "\\" else None, doublequote=dialect.escape != "\\",
            )  # fmt: skip
            writer.writerows(reader(read, dialect))
    finally:
        csv.field_size_limit(limit)
    return target


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
