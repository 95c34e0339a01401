"""How a delimited text is written: separator, quoting, and where its header ends. One answer for every reader of the file."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.datasets.reading.lines import printable
from engine.datasets.reading.names import known_names
from engine.datasets.reading.raw import MOST_COLUMNS

SEPARATORS = (",", ";", "\t", "|", "\x01")
SAMPLE_BYTES = 1 << 20
SAMPLE_RECORDS = 500
HEADER_WITHIN = 15
"""Records of a file among which its header lies: reports put a title and a date above it."""
SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "'|'", "\x01": "control-A"}


class Dialect(NamedTuple):
    """How values are told apart."""

    separator: str
    quote: str  # '' where quotation marks are data.
    escape: str  # What a quotation mark inside a quoted value is preceded by: the mark itself, or a backslash.

    def words(self) -> str:
        """For people: 'semicolon, values in "..."'."""
        how = "no quotes" if not self.quote else f"values in {self.quote}…{self.quote}"
        return f"{SEPARATOR_NAMES.get(self.separator, repr(self.separator))}, {how}" + (
            ", marks inside after a backslash" if self.escape == "\\" else ""
        )


class Header(NamedTuple):
    """Where rows begin."""

    names: list[str]
    first: int  # 1-based line on which the header begins; 0 where the file has none.
    after: int  # Lines before the first row.


class Candidate(NamedTuple):
    """One way to read the beginning of a file, and how well it fits."""

    dialect: Dialect
    header: Header
    known: int  # Names that the contract or another program knows.
    even: float  # Share of records as wide as the header, 0..1.


def reader(lines: Iterator[str], dialect: Dialect):  # type: ignore[no-untyped-def]
    """Python's reader of that dialect."""
    if not dialect.quote:
        return csv.reader(lines, delimiter=dialect.separator, quoting=csv.QUOTE_NONE)
    doubled = dialect.escape != "\\"
    return csv.reader(
        lines, delimiter=dialect.separator, quotechar=dialect.quote, doublequote=doubled,
        escapechar=None if doubled else "\\",
    )  # fmt: skip


def each_record(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """(first line, values) of each record that is not blank; undecodable bytes as surrogates."""
    limit = csv.field_size_limit(sys.maxsize >> 32)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            found, before = reader(text, dialect), 0
            for values in found:
                if values:
                    yield before + 1, values
                before = found.line_num
    finally:
        csv.field_size_limit(limit)


def find_dialects(path: Path, suffix: str, table: str | None, stated: Dialect | None) -> list[Candidate]:
    """Ways to read a file, the likeliest first; of equally likely ones that which its ending promises."""
    sample = _sample(path)
    marked = sample[0].strip().casefold() if sample else ""
    said = marked[4:5] if marked.startswith("sep=") and len(marked) <= 5 else ""
    natural = "\t" if suffix == ".tsv" else ","
    separators = [said] if said else sorted(SEPARATORS, key=lambda s: s != natural)
    ways = [
        Dialect(separator, quote, escape)
        for separator in separators
        for quote, escape in (('"', '"'), ('"', "\\"), ("", ""), ("'", "'"))
        if escape != "\\" or any('\\"' in line for line in sample)
        if quote != "'" or any(f"{separator}'" in line for line in sample)
    ]
    if stated is not None:
        ways = [stated]
    found = [c for way in ways if (c := _fits(sample, way, table)) is not None]
    return sorted(
        found, key=lambda c: (-min(c.known, 2), -(len(c.header.names) > 1), -round(c.even, 2), -len(c.header.names))
    )


def _sample(path: Path) -> list[str]:
    """The first lines, ends included; the last one whole."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        lines = list(itertools.islice(text, 4 * SAMPLE_RECORDS))
    size = 0
    for n, line in enumerate(lines):
        size += len(line)
        if size > SAMPLE_BYTES and n:
            return lines[:n]
    return lines


def _fits(sample: list[str], dialect: Dialect, table: str | None) -> Candidate | None:
    limit = csv.field_size_limit(sys.maxsize >> 32)
    records: list[tuple[int, int, list[str]]] = []  # lines before, lines after, values
    try:
        found, before = reader(iter(sample), dialect), 0
        for values in itertools.islice(found, SAMPLE_RECORDS):
            if any(v.strip() for v in values) and not (before == 0 and _is_sep_line(values, sample[0])):
                records.append((before, found.line_num, values))
            before = found.line_num
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(limit)
    if not records:
        return None
    known = [known_names(values[:MOST_COLUMNS], table) for _, _, values in records[:HEADER_WITHIN]]
    place = max(range(len(known)), key=lambda n: (min(known[n], 2), -n))
    first, after, names = records[place]
    names = [printable(name) for name in names]
    rows = [values for _, _, values in records[place + 1 :]]
    if len(rows) > 1 and len(sample) > 1:
        rows = rows[:-1] if len(records) < SAMPLE_RECORDS and len("".join(sample)) > SAMPLE_BYTES else rows
    wide = len(names)
    if rows and all(len(values) == wide + 1 and not values[-1].strip() for values in rows):
        names, wide = [*names, ""], wide + 1
    even = sum(len(values) == wide for values in rows) / len(rows) if rows else 1.0
    # A quoted value that runs over many lines is a mark that was never closed.
    if dialect.quote and any(b - a > 200 for a, b, _ in records):
        even *= 0.5
    stray = dialect.quote == "" and any(
        v[:1] == '"' == v[-1:] and len(v) > 1 for values in [names, *rows] for v in values
    )
    return Candidate(dialect, Header(names, first + 1, after), known[place], even - stray)


def _is_sep_line(values: list[str], line: str) -> bool:
    return line.lstrip("\ufeff").strip().casefold()[:4] == "sep=" and len(line.strip()) <= 6
