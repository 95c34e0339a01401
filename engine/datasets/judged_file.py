"""Checks a file of judgments against a stored catalogue, by the rules of ingest: `python -m engine check-judgments FILE`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from engine.datasets import rejects, storage
from engine.datasets.contract import Catalogue
from engine.datasets.reading.files import open_file
from engine.datasets.reading.interpretation import Interpretation
from engine.datasets.reading.parquet_file import ParquetFile
from engine.datasets.reading.raw import connected
from engine.datasets.report import Report
from engine.datasets.settings import SettingsFile
from engine.datasets.validation import Validator
from engine.errors import DataError
from engine.leftovers import working_folder

MOST = 1.0
"""No share of rejected rows stops a check: it is there to tell them."""


class Checked(NamedTuple):
    """What a file of judgments holds, as far as its rows are accepted."""

    report: Report  # Of this file alone.
    n_pairs: int  # Distinct (query, item).
    n_queries: int
    n_new_queries: int  # Not among the catalogue's.
    n_judged: int  # Pairs that the catalogue has a judgment of.
    n_unknown_items: int  # Distinct ids of items that the catalogue does not hold.

    def to_dict(self) -> dict[str, Any]:
        """For `json.dumps`."""
        return {**self._asdict(), "report": self.report.to_dict()}


def check_judgments(path: Path, catalogue: Catalogue) -> Checked:
    """Reads and validates a file as the catalogue's judgments and stores nothing.

    Queries are known by the catalogue's queries file where it was given one; else new ones may be asked. Raises DataError for
    a file that cannot be read as a table of judgments.
    """
    with (
        working_folder("judgments") as staged,
        connected(staged) as connection,
    ):
        settings = _settings(catalogue)
        opened = open_file(path, "judgments", settings, staged)
        if not opened.is_table:
            raise DataError(f"{path.name} is not a table of judgments (query, item_id, grade)")
        raws = {name: _stored(connection, catalogue, name, staged) for name in _known_by(catalogue)}
        raws["judgments"] = opened.load(connection, "judgments")
        reading = Interpretation(connection, settings)
        reading.read(raws)
        validator = Validator(connection, reading.settings)
        for table, raw in raws.items():
            validator.check(table, raw)
        own = (*opened.decisions(), *reading.decisions, *validator.decisions)
        report = rejects.report(
            validator,
            [w for w in reading.warnings if w.startswith(path.name)],
            max_reject_share=MOST,
            tables=("judgments",),
        )
        report = dataclasses.replace(report, decisions=tuple(d for d in own if d.file == path.name))
        return Checked(report, *_counts(validator, catalogue))


def _settings(catalogue: Catalogue) -> SettingsFile:
    """The catalogue's, as if stated: a file does not change the scale of grades, but where none has been set by any."""
    stated = {"category_separator"} | ({"max_grade", "relevant_grade"} if len(catalogue.judgments) else set())
    return SettingsFile(catalogue.settings, frozenset(stated))


def _known_by(catalogue: Catalogue) -> list[str]:
    given = {f.get("table") for f in storage.report_of(catalogue)["files"]}
    return ["items", *(["queries"] if "queries" in given else [])]


def _stored(connection: duckdb.DuckDBPyConnection, catalogue: Catalogue, table: str, staged: Path) -> Any:
    """The names of a stored table's rows as a raw table: ids and texts, without what a check does not ask for."""
    columns = {"items": "item_id, title", "queries": "query_id, text"}[table]
    path = staged / f"stored_{table}.parquet"
    where = "WHERE source <> 'synthetic'" if table == "queries" else ""
    stored = str(catalogue.folder / f"{table}.parquet").replace("'", "''")
    connection.execute(f"COPY (SELECT {columns} FROM read_parquet('{stored}') {where}) TO '{path}' (FORMAT parquet)")
    return ParquetFile(f"the catalogue's {table}", path).load(connection, table)


def _counts(validator: Validator, catalogue: Catalogue) -> tuple[int, ...]:
    connection = validator.connection
    for name in ("queries", "judgments"):
        connection.register(
            f"stored_{name}", getattr(catalogue, name)[["query_id", *(["item_id"] * (name == "judgments"))]]
        )
    row = connection.execute(
        f"""
        WITH pairs AS (SELECT DISTINCT _key AS query_id, item_id FROM {validator.accepted("judgments")})
        SELECT count(*), count(DISTINCT query_id),
               count(DISTINCT query_id) FILTER (query_id NOT IN (SELECT query_id FROM stored_queries)),
               count(*) FILTER ((query_id, item_id) IN (SELECT (query_id, item_id) FROM stored_judgments)),
               (SELECT count(DISTINCT value) FROM broken WHERE file = 'judgments' AND rule = 'unknown item')
        FROM pairs
        """
    ).fetchone()
    assert row is not None
    return tuple(int(n) for n in row)
