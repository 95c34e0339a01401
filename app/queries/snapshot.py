"""What the snapshot is: its own row, its runs."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import duckdb
import pandas as pd


class SignalColumn(NamedTuple):
    """A column that a boosted ranker reads beside the dense ones."""

    name: str
    signal: str | None
    """None: no SID is read."""
    level: int
    """Prefix level; 0 without one."""


class RunRow(NamedTuple):
    """What pages ask of a run."""

    run_id: str
    method: str
    levels: int
    """0 where the run has no SIDs."""
    ranker: str | None
    """Whose `score` is stored; None where there are no scores."""
    baseline: str | None
    """Whose `score_without_sid` is."""
    columns: tuple[SignalColumn, ...]
    """What the lists `signals` hold, in order."""


def info(cursor: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The one row of table `snapshot`, by column name."""
    result = cursor.execute("SELECT * FROM snapshot")
    names = [column[0] for column in result.description]
    row = result.fetchone()
    assert row is not None, "open_snapshot refuses a snapshot without its row"
    return dict(zip(names, row, strict=True))


def runs(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Every run, oldest first; `config`, `versions` and `notes` are JSON text."""
    return cursor.execute("SELECT * FROM runs ORDER BY created_at, run_id").df()


def run(cursor: duckdb.DuckDBPyConnection, run_id: str) -> RunRow:
    """One run of the snapshot."""
    row = cursor.execute(
        "SELECT method, coalesce(levels, 0), ranker, baseline, signal_columns FROM runs WHERE run_id = ?", [run_id]
    ).fetchone()
    assert row is not None, "pages show only runs that the snapshot holds"
    method, levels, ranker, baseline, columns = row
    listed = tuple(SignalColumn(c["name"], c["signal"], int(c["level"])) for c in json.loads(columns or "[]"))
    return RunRow(run_id, method, int(levels), ranker, baseline, listed)


def missing_files(cursor: duckdb.DuckDBPyConnection, run_id: str) -> tuple[str, ...] | None:
    """What was not among the files of an imported run; None for a run that was trained here."""
    row = cursor.execute(
        """
        SELECT EXISTS (FROM sids WHERE run_id = $run), EXISTS (FROM beams WHERE run_id = $run),
               EXISTS (FROM beams WHERE run_id = $run AND log_prob IS NOT NULL), EXISTS (FROM scores WHERE run_id = $run),
               EXISTS (FROM scores WHERE run_id = $run AND score_without_sid IS NOT NULL)
        FROM runs WHERE run_id = $run AND method = 'imported'
        """,
        {"run": run_id},
    ).fetchone()
    if row is None:
        return None
    sids, beams, likely, scores, without = row
    there = {"SIDs": sids, "beams": beams, "probabilities of beams": likely or not beams,
             "scores with SIDs": scores, "scores without SIDs": without}  # fmt: skip
    return tuple(name for name, given in there.items() if not given)


def lacks(cursor: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, str]:
    """What a run that was trained here found absent in its catalogue ('judgments', 'clicks', 'queries', 'categories'), each
    with what is empty for it and what would fill it."""
    row = cursor.execute("SELECT lacks FROM runs WHERE run_id = ?", [run_id]).fetchone()
    return json.loads(row[0]) if row and row[0] else {}


def stages(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """How long each stage of a run took and its peak memory."""
    return cursor.execute(
        "SELECT stage, seconds, peak_mb, cached FROM stages WHERE run_id = ? ORDER BY position", [run_id]
    ).df()


def grades_from_clicks(cursor: duckdb.DuckDBPyConnection) -> tuple[int, int, int]:
    """How many judgments were read from clicks, how many of those are of held-out queries, and how many judgments there are."""
    row = cursor.execute(
        """
        SELECT count(*) FILTER (source = 'implicit'), count(*) FILTER (source = 'implicit' AND split IN ('valid', 'test')), count(*)
        FROM judgments
        """
    ).fetchone()
    return (int(row[0]), int(row[1]), int(row[2])) if row else (0, 0, 0)


def synthetic_queries(cursor: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """How many queries were made from item fields, and how many there are."""
    row = cursor.execute("SELECT count(*) FILTER (source = 'synthetic'), count(*) FROM queries").fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
