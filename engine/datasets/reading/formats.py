"""Formats that are no table on disk, told by their beginning: JSON in its shapes, feeds, workbooks, judgment files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb

from engine.datasets.reading import json_file
from engine.datasets.reading.decisions import Decision
from engine.datasets.reading.encoding import as_utf8
from engine.datasets.reading.raw import BadRow, RawTable
from engine.datasets.reading.records import Record, load_records
from engine.datasets.settings import ReadOptions

HEAD_BYTES = 1 << 16
PEEK = 50
"""Records that tell the names of a file's columns."""


class Format(NamedTuple):
    """One way to write records."""

    name: str
    because: str
    recognise: Callable[[str], bool]  # Given the first characters of a text.
    records: Callable[[Path], Iterator[Record | BadRow]]


FORMATS = (Format("JSON Lines", "each line is an object", json_file.recognise, json_file.records),)
"""In the order in which they are asked."""


class RecordFile:
    """A file of records of which the first have been read."""

    def __init__(self, label: str, path: Path, form: Format, staging: Path) -> None:
        self.label, self.path, self.form, self.staging = label, path, form, staging
        first = itertools.islice((r for r in form.records(path) if isinstance(r, Record)), PEEK)
        self._names = list(dict.fromkeys(name for record in first for name in record.values))

    @property
    def names(self) -> list[str]:
        """Of the first records' values."""
        return self._names

    @property
    def is_table(self) -> bool:
        """Whether it holds any record."""
        return bool(self._names)

    def decisions(self) -> list[Decision]:
        """What format it is."""
        return [Decision(self.label, "format", self.form.name, self.form.because, "another file")]

    def load(self, connection: duckdb.DuckDBPyConnection, table: str) -> RawTable:
        """Loads table `raw_<table>`. Raises DataError where there is no record."""
        return load_records(connection, table, self.label, self.form.records(self.path), self.staging)


def open_format(
    label: str, path: Path, options: ReadOptions, staging: Path, *, whatever: bool = False
) -> RecordFile | None:  # fmt: skip
    """The file in the format that its beginning shows; None where it shows none of these, unless it is said to be JSON."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"[") and not whatever:
        return None
    text = as_utf8(path, label, staging, options.encoding or "utf-8")
    for form in FORMATS:
        if form.recognise(head.decode("utf-8", "replace")):
            return RecordFile(label, text.path, form, staging)
    return RecordFile(label, text.path, FORMATS[-1], staging) if whatever else None
