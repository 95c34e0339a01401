"""Formats that are no table on disk, told by their beginning: JSON in its shapes, feeds, workbooks, judgment files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb

from engine.datasets.reading import json_any, ltr, merchant_xml, qrels, rated_json, ubi, workbook
from engine.datasets.reading.decisions import Decision
from engine.datasets.reading.encoding import MARKS, Text, as_utf8
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


FORMATS = (
    Format("XML feed", "it holds items or entries", merchant_xml.recognise, merchant_xml.records),
    Format("LTR", "lines like '3 qid:1 1:0.5 # id'", ltr.recognise, ltr.records),
    Format("qrels", "lines of query, 0, item and grade", qrels.recognise, qrels.records),
    Format("rated queries (JSON)", "queries with their ratings", rated_json.recognise, rated_json.records),
    Format("UBI (JSON)", "queries and events of user behavior insights", ubi.recognise, ubi.records),
    Format("JSON", "objects, one a line or in a list", json_any.recognise, json_any.records),
)
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
    """The file in the format that its beginning shows; None where it shows none of these, unless its name says JSON.

    Raises DataError where it is damaged.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if workbook.recognise(head):
        return RecordFile(label, path, Format("workbook", "it begins like one", bool, workbook.records), staging)
    if whatever or head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[", b"<") or head.startswith(MARKS):
        text = as_utf8(path, label, staging, options.encoding)
    else:
        text = Text(path, "utf-8", "")
    with text.path.open("rb") as file:
        start = file.read(HEAD_BYTES).decode("utf-8-sig", "replace")
    form = next((form for form in FORMATS if form.recognise(start)), FORMATS[-1] if whatever else None)
    return None if form is None else RecordFile(label, text.path, form, staging)
