"""Catalogues on disk: `WORKSPACE/catalogues/<fingerprint>/`, written aside and renamed, never changed after."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pandas import DataFrame

from engine import leftovers
from engine.datasets.contract import (
    CLICK_GRADES,
    CONTRACT_VERSION,
    REJECTS,
    TABLES,
    Catalogue,
    DatasetSettings,
    GivenText,
    damaged,
    read_frame,
)
from engine.datasets.report import Report
from engine.datasets.table_file import Written, write_table
from engine.errors import DataError, shown
from engine.seal import broken, seal

MANIFEST = "catalogue.json"
REJECTS_FILE = "rejects.parquet"


class Draft:
    """The tables of a catalogue that is being written, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[str, Written] = {}
        folder.mkdir()

    def write(self, table: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Writes a table as its rows come."""
        schema = CLICK_GRADES if table == "click_grades" else TABLES[table]
        self.written[table] = write_table(self.folder / f"{table}.parquet", schema, batches)

    def frame(self, table: str) -> DataFrame:
        """A table that is written, as a Catalogue gives it."""
        return read_frame(self.folder, table)

    def fingerprint(self, settings: DatasetSettings, *, named: bool) -> str:
        """16 hex digits of a sha256 over the content: equal for CSV, Parquet or JSON of the same rows.

        A name that is only the folder's does not count.
        """
        stated = dataclasses.asdict(settings) | ({} if named else {"name": None})
        if settings.grades_after is None:  # as before there was such a setting
            del stated["grades_after"]
        content = {name: self.written[name].content for name in TABLES if name in self.written}
        return hashlib.sha256(json.dumps([CONTRACT_VERSION, stated, content], sort_keys=True).encode()).hexdigest()[:16]

    def given_text(self) -> tuple[int, int] | None:
        """The values of `GivenText`."""
        items, queries = self.written["items"], self.written["queries"]
        if not items.rows or items.nulls["text_embedding"]:
            return None
        with pq.ParquetFile(self.folder / "items.parquet") as file:
            first = next(file.iter_batches(1, columns=["text_embedding"])).column(0)
        return len(first[0]), queries.rows - queries.nulls["text_embedding"]


@contextlib.contextmanager
def writing(workspace: Path) -> Iterator[None]:
    """Turns what the disk refuses into DataError; the caller's temporary folder sees to it that nothing is left."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(workspace) from error
        where = error.filename or workspace
        raise DataError(f"{where} cannot be read or written: {error.strerror or error}; nothing was stored") from error
    except duckdb.OutOfMemoryException as error:
        raise DataError("the dataset does not fit into memory; nothing was stored: use a larger machine") from error
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise _disk_full(workspace) from error
        raise


def _disk_full(workspace: Path) -> DataError:
    return DataError(
        f"no space left on the disk of {workspace}; nothing was stored: free some space or choose another workspace"
    )


@contextlib.contextmanager
def staging(workspace: Path) -> Iterator[Path]:
    """A temporary folder beside the catalogues, removed whatever happens."""
    catalogues = workspace / "catalogues"
    catalogues.mkdir(parents=True, exist_ok=True)
    leftovers.clear(workspace)
    with leftovers.working_folder("ingest", catalogues) as folder:
        yield folder


def store(
    workspace: Path, draft: Draft, name: str, settings: DatasetSettings, rejects: DataFrame, report: Report
) -> None:  # fmt: skip
    """Completes a draft and renames it into place.

    Where it is already there, nothing changes, unless this input was rejected in other rows: those replace the older.
    """
    target = workspace / "catalogues" / name
    folder = draft.folder
    rejected = pa.Table.from_pandas(rejects, REJECTS, preserve_index=False)
    pq.write_table(rejected, folder / REJECTS_FILE)
    manifest = {
        "fingerprint": name,
        "settings": dataclasses.asdict(settings),
        "rows": {table: draft.written[table].rows for table in TABLES},
        "given_text": draft.given_text(),
        "n_rejected": report.n_rejected,
        "rejects": hashlib.sha256(rejects.to_json(orient="split").encode()).hexdigest(),
        "report": report.to_dict(),
        "files": {file: sum_of for file, sum_of in seal(folder).items() if file != REJECTS_FILE},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    if (target / MANIFEST).exists():
        kept = _manifest(target)
        if kept["rejects"] != manifest["rejects"]:
            text = json.dumps({**manifest, "files": kept.get("files", {})}, ensure_ascii=False, indent=1)
            (folder / MANIFEST).write_text(text, encoding="utf-8")
            for part in (REJECTS_FILE, MANIFEST):
                os.replace(folder / part, target / part)
        return
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    try:
        os.replace(folder, target)
    except OSError:
        # Another process may have stored the same content meanwhile.
        if not (target / MANIFEST).exists():
            raise


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"catalogue {folder.name} is damaged ({MANIFEST}: {error}); remove {folder} and ingest again"
        ) from None
    return found


def load(workspace: Path, fingerprint: str) -> Catalogue:
    """The stored catalogue of that fingerprint (or of its unambiguous beginning, at least 4 digits).

    Raises DataError where there is none, or a file of it is no longer as it was stored.
    """
    catalogues = workspace / "catalogues"
    there = sorted(p.parent.name for p in catalogues.glob(f"*/{MANIFEST}"))
    found = [name for name in there if name == fingerprint or (len(fingerprint) >= 4 and name.startswith(fingerprint))]
    if len(found) != 1:
        what = f"matches {', '.join(found)}" if found else f"is not among {', '.join(there) or 'none at all'}"
        raise DataError(
            f"catalogue '{shown(fingerprint)}' {what} in {workspace}; ingest the dataset, or give one of those"
        )
    folder = catalogues / found[0]
    manifest = _manifest(folder)
    if names := broken(folder, manifest.get("files", {})):
        raise damaged(folder, f"{names[0]} is missing, or not as it was stored")
    try:
        for table in TABLES:
            pq.read_metadata(folder / f"{table}.parquet")
        raw: dict[str, Any] = manifest["settings"]
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        settings = DatasetSettings(**values)
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise damaged(folder, error) from None
    given = manifest.get("given_text")
    return Catalogue(
        fingerprint=found[0],
        settings=settings,
        n_rejected=manifest["n_rejected"],
        folder=folder,
        given_text=GivenText(*given) if given else None,
    )


def click_grades(catalogue: Catalogue) -> DataFrame | None:
    """What each judgment that was read from the log rests on (`contract.CLICK_GRADES`); None where none was."""
    path = catalogue.folder / "click_grades.parquet"
    return pq.read_table(path).to_pandas() if path.is_file() else None


def report_of(catalogue: Catalogue) -> dict[str, Any]:
    """What ingest reported of its files, as `Report.to_dict` wrote it."""
    return dict(_manifest(catalogue.folder)["report"])


def rejects_of(catalogue: Catalogue) -> DataFrame:
    """Its rejected rows, whole (`contract.REJECTS`)."""
    try:
        return pq.read_table(catalogue.folder / REJECTS_FILE).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise damaged(catalogue.folder, error) from None


def list_catalogues(workspace: Path) -> DataFrame:
    """fingerprint, name, n_items, n_queries, n_interactions, n_judgments, n_rejected, created_at; newest first."""
    tables = ("items", "queries", "interactions", "judgments")
    rows = [
        (m["fingerprint"], m["settings"]["name"], *(m["rows"][t] for t in tables), m["n_rejected"], m["created_at"])
        for m in (_manifest(path.parent) for path in (workspace / "catalogues").glob(f"*/{MANIFEST}"))
    ]
    found = DataFrame(rows, columns=["fingerprint", "name", *(f"n_{t}" for t in tables), "n_rejected", "created_at"])
    return found.sort_values(["created_at", "fingerprint"], ascending=[False, True], ignore_index=True)
