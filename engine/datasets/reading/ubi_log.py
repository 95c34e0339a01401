"""UBI's two tables as one search log: impressions from the searches, what was done next from the events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb

from engine.datasets.reading import json_any, ubi
from engine.datasets.reading.decisions import Decision
from engine.datasets.reading.formats import RecordFile
from engine.datasets.reading.raw import BadRow, RawTable
from engine.datasets.reading.records import Record, as_text, load_records

BATCH = 10_000


class UbiLog:
    """Searches, and events where there are some, which are read as interactions with texts, impressions and positions."""

    def __init__(self, searches: list, events: list, staging: Path) -> None:
        """`searches` and `events`: open files (`files.OpenFile`) of either table."""
        self.searches, self.events, self.staging = searches, events, staging
        self.label = " + ".join(file.label for file in (*events, *searches))

    @property
    def names(self) -> list[str]:
        """Of the interactions that it becomes."""
        return ["query", "query_id", "session", "item_id", "event", "position", "date"]

    @property
    def is_table(self) -> bool:
        """It always is one."""
        return True

    def decisions(self) -> list[Decision]:
        """How the two become one."""
        found = "an impression for each item that a search showed, events with the text of their search"
        return [
            Decision(self.label, "format", f"UBI: {found}", "columns of user behavior insights", "interactions.csv")
        ]

    def load(self, connection: duckdb.DuckDBPyConnection, table: str) -> RawTable:
        """Loads table `raw_<table>`. Raises DataError where a file is damaged."""
        return load_records(connection, table, self.label, self._records(connection), self.staging)

    def _records(self, connection: duckdb.DuckDBPyConnection) -> Iterator[Record | BadRow]:
        texts: dict[str | None, object] = {}
        for file in (*self.searches, *self.events):
            for record in each_record(connection, file):
                if isinstance(record, BadRow):
                    yield record
                    continue
                flat = ubi.flatten(record.values)
                if flat["query"] is not None:
                    texts[as_text(flat["query_id"])] = flat["query"]
                for row in ubi.rows(record.values):
                    yield Record(record.line, row | {"query": row["query"] or texts.get(as_text(row["query_id"]))})


def each_record(connection: duckdb.DuckDBPyConnection, file: object) -> Iterator[Record | BadRow]:
    """The records of an open file, as it has them."""
    if isinstance(file, RecordFile):
        yield from json_any.records(file.path) if file.form.recognise is ubi.recognise else file.form.records(file.path)
        return
    raw: RawTable = file.load(connection, "beams")  # type: ignore[attr-defined]
    yield from raw.bad_rows
    names = list(raw.given)
    cursor = connection.cursor()
    cursor.execute(f"SELECT {', '.join(cell.place for cell in raw.given.values())} FROM {raw.name}")
    line = 0
    while rows := cursor.fetchmany(BATCH):
        for row in rows:
            values: Mapping[str, object] = dict(zip(names, row, strict=True))
            yield Record(int(raw.lines[line]), {k: v if isinstance(v, str | int | float | list | dict | None) else str(v)
                                                for k, v in values.items()})  # fmt: skip
            line += 1
    connection.execute(f"DROP TABLE {raw.name}")
