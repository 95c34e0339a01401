"""How the catalogue came in: what ingest reported and rejected, which columns are filled, the search log summed.

Made when a snapshot is published, for it belongs to the catalogue and to no run; an imported run adds what became of its
own files.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from engine.datasets.contract import AUDIT_FILES, Catalogue
from engine.datasets.storage import rejects_of, report_of
from engine.datasets.summary import log_sums, missing_values
from engine.leftovers import working_folder
from engine.runs import Run, write_table

REPORT = "report.json"
"""In the folder of an imported run: what became of its files."""
KEPT = 1_000
"""Rejected rows of a file and rule that a snapshot holds; the catalogue keeps all."""
PLAIN = "format"
"""What decisions on how bytes become a table are about; the others say what values mean."""
_KEYS = {
    "data_files": {"file": "file", "table": "table", "read": "n_read", "accepted": "n_accepted", "rejected": "n_rejected",
                   "skipped": "n_skipped"},
    "data_decisions": {name: name for name in ("file", "what", "found", "because", "change")},
    "data_issues": {"file": "file", "rule": "rule", "column": "column", "count": "n_rows", "costs": "costs",
                    "examples": "examples"},
}  # fmt: skip
"""Table -> key of the report -> column."""

Rows = list[dict[str, Any]]


@contextlib.contextmanager
def written(
    catalogue: Catalogue, runs: Sequence[Run], more: Mapping[str, pd.DataFrame]
) -> Iterator[dict[str, Path]]:  # fmt: skip
    """Files of the snapshot's tables on how a catalogue and its imported runs came in, and of `more` tables that belong to no
    run; removed at the end."""
    with working_folder("intake") as folder:
        for name, frame in {**intake_tables(catalogue, runs), **more}.items():
            write_table(folder, name, frame)
        yield {path.stem: path for path in sorted(folder.glob("*.parquet"))}


def intake_tables(catalogue: Catalogue, runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """The tables of that part of the schema that have rows."""
    reports = {run.run_id: _imported(run) for run in runs if (run.folder / REPORT).is_file()}
    theirs = {f["file"] for report in reports.values() for f in report["files"] if f["table"] in AUDIT_FILES}
    own = report_of(catalogue)
    # A catalogue that was stored by an import also holds how that import's other files were read.
    own["decisions"] = [d for d in own.get("decisions", []) if d["file"] not in theirs]
    tables = _told(own, None)
    rejected = [_capped(rejects_of(catalogue), None)]
    for run in runs:
        if run.run_id not in reports:
            continue
        report = _of_files(reports[run.run_id], {f["file"] for f in own["files"]}, own["warnings"])
        for name, rows in _told(report, run.run_id).items():
            tables[name] += rows
        kept = pd.read_parquet(run.folder / "rejects.parquet")
        rejected.append(_capped(kept[kept["file"].isin(f["file"] for f in report["files"])], run.run_id))
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    columns = missing_values(catalogue)
    frames["data_columns"] = columns.assign(position=range(len(columns)))
    frames["rejects"] = pd.concat(rejected, ignore_index=True)
    frames["log_sums"] = log_sums(catalogue)
    return {name: frame for name, frame in frames.items() if len(frame)}


def _imported(run: Run) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run.folder / REPORT).read_text(encoding="utf-8"))
    return report


def _of_files(report: Mapping[str, Any], others: set[str], said: Sequence[str]) -> dict[str, Any]:
    """The part of an import's report that the catalogue's does not tell: on files that are not the catalogue's."""
    kept: dict[str, Any] = {
        key: [row for row in report[key] if row["file"] not in others] for key in ("files", "issues", "decisions")
    }
    kept["skipped"] = [row for row in report["skipped"] if row[0] not in others]
    return kept | {"warnings": [note for note in report["warnings"] if note not in said]}


def _told(report: Mapping[str, Any], run_id: str | None) -> dict[str, Rows]:
    """A report as rows of its tables; what catalogues of earlier versions do not tell is unknown."""
    of = {"data_files": "files", "data_decisions": "decisions", "data_issues": "issues"}
    tables: dict[str, Rows] = {
        name: [{column: row.get(key) for key, column in keys.items()} for row in report.get(of[name], [])]
        for name, keys in _KEYS.items()
    }
    for row in tables["data_decisions"]:
        row["notable"] = row["what"] != PLAIN
    tables["data_skipped"] = [{"file": file, "why": why, "n_rows": n} for file, why, n in report.get("skipped", ())]
    tables["data_notes"] = [{"note": note} for note in report["warnings"]]
    return {
        name: [{"imported_run": run_id, "position": n, **row} for n, row in enumerate(rows)]
        for name, rows in tables.items()
    }


def _capped(rows: pd.DataFrame, run_id: str | None) -> pd.DataFrame:
    """Table `rejects`: the first rows of each file and rules, with how many there are."""
    of = rows.groupby(["file", "rules"], sort=False)
    kept = rows.assign(n_alike=of["line"].transform("size"), imported_run=run_id)[(of.cumcount() < KEPT).to_numpy()]
    return kept.rename(columns={"row": "content"})
