"""Catalogues on disk: `WORKSPACE/catalogues/<fingerprint>/`, written aside and renamed, never changed after."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pandas import DataFrame

from engine.datasets.contract import (
    CONTRACT_VERSION,
    REJECTS,
    TABLES,
    Catalogue,
    DatasetSettings,
    GivenText,
    plain_columns,
)
from engine.datasets.report import Report
from engine.datasets.vectors import BLOCK
from engine.errors import DataError, shown

MANIFEST = "catalogue.json"
REJECTS_FILE = "rejects.parquet"
ABANDONED_SECONDS = 86_400
"""A temporary folder older than this belonged to a process that was killed."""


def fingerprint(tables: dict[str, pa.Table], settings: DatasetSettings, *, named: bool) -> str:
    """16 hex digits of a sha256 over the content: equal for CSV, Parquet or JSON of the same rows.

    A name that is only the folder's does not count.
    """
    stated = dataclasses.asdict(settings) | ({} if named else {"name": None})
    if settings.grades_after is None:  # as before there was such a setting
        del stated["grades_after"]
    digest = hashlib.sha256(json.dumps([CONTRACT_VERSION, stated], sort_keys=True).encode())
    for name in TABLES:
        table = tables[name]
        digest.update(f"\0{name}:{table.num_rows}".encode())
        for column in table.column_names:
            digest.update(f"\0{column}".encode())
            for part in content(table.column(column)):
                digest.update(part)
    return digest.hexdigest()[:16]


def content(column: pa.ChunkedArray) -> Iterator[bytes | memoryview]:
    """The values of a column as bytes that depend on nothing else (not on chunks, offsets or unused bits)."""
    yield np.asarray(pc.is_valid(column).combine_chunks()).astype(np.uint8).tobytes()
    values = pc.drop_null(column)
    kind = values.type
    if pa.types.is_list(kind):
        yield np.asarray(pc.list_value_length(values).combine_chunks()).astype(np.int64).tobytes()
        values = pc.list_flatten(values)
    if pa.types.is_string(kind):
        yield np.asarray(pc.binary_length(values).combine_chunks()).astype(np.int64).tobytes()
        for chunk in values.chunks:
            texts = chunk.cast(pa.large_binary())
            _, offsets, letters = texts.buffers()
            bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
            if letters is not None and len(texts):
                yield memoryview(letters)[bounds[0] : bounds[-1]]
    else:
        for chunk in values.chunks:
            numbers = np.asarray(chunk)
            # Adding 0 makes -0.0 and 0.0 one value.
            yield (numbers.astype("datetime64[us]") if numbers.dtype.kind == "M" else numbers + 0).tobytes()


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
    for left in catalogues.glob(".ingest-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".ingest-", dir=catalogues, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def store(
    workspace: Path, staged: Path, name: str, tables: dict[str, pa.Table], settings: DatasetSettings,
    rejects: DataFrame, report: Report,
) -> None:  # fmt: skip
    """Writes a catalogue inside the folder `staged`, then renames it into place.

    Where it is already there, nothing changes, unless this input was rejected in other rows: those replace the older.
    """
    target = workspace / "catalogues" / name
    folder = staged / "catalogue"
    folder.mkdir()
    rejected = pa.Table.from_pandas(rejects, REJECTS, preserve_index=False)
    pq.write_table(rejected, folder / REJECTS_FILE)
    manifest = {
        "fingerprint": name,
        "settings": dataclasses.asdict(settings),
        "rows": {table: tables[table].num_rows for table in TABLES},
        "given_text": _given_text(tables),
        "n_rejected": report.n_rejected,
        "rejects": hashlib.sha256(rejects.to_json(orient="split").encode()).hexdigest(),
        "report": report.to_dict(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    if (target / MANIFEST).exists():
        if _manifest(target)["rejects"] != manifest["rejects"]:
            (folder / MANIFEST).write_text(text, encoding="utf-8")
            for part in (REJECTS_FILE, MANIFEST):
                os.replace(folder / part, target / part)
        return
    for table, rows in tables.items():
        pq.write_table(rows, folder / f"{table}.parquet", compression="zstd", row_group_size=BLOCK)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    try:
        os.replace(folder, target)
    except OSError:
        # Another process may have stored the same content meanwhile.
        if not (target / MANIFEST).exists():
            raise


def _given_text(tables: dict[str, pa.Table]) -> tuple[int, int] | None:
    """The values of `GivenText`."""
    items, queries = (tables[name].column("text_embedding") for name in ("items", "queries"))
    return None if items.null_count or not len(items) else (len(items[0]), len(queries) - queries.null_count)


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

    Raises DataError where there is none or its files are damaged.
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
    try:
        tables = {
            name: pq.read_table(folder / f"{name}.parquet", columns=plain_columns(name)).to_pandas()
            for name in TABLES
            if name != "judgments_raw"
        }
        raw: dict[str, Any] = manifest["settings"]
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        settings = DatasetSettings(**values)
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise DataError(f"catalogue {found[0]} is damaged ({error}); remove {folder} and ingest again") from None
    given = manifest.get("given_text")
    return Catalogue(
        fingerprint=found[0],
        settings=settings,
        n_rejected=manifest["n_rejected"],
        folder=folder,
        given_text=GivenText(*given) if given else None,
        **tables,
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
    return pq.read_table(catalogue.folder / REJECTS_FILE).to_pandas()


def list_catalogues(workspace: Path) -> DataFrame:
    """fingerprint, name, n_items, n_queries, n_interactions, n_judgments, n_rejected, created_at; newest first."""
    tables = ("items", "queries", "interactions", "judgments")
    rows = [
        (m["fingerprint"], m["settings"]["name"], *(m["rows"][t] for t in tables), m["n_rejected"], m["created_at"])
        for m in (_manifest(path.parent) for path in (workspace / "catalogues").glob(f"*/{MANIFEST}"))
    ]
    found = DataFrame(rows, columns=["fingerprint", "name", *(f"n_{t}" for t in tables), "n_rejected", "created_at"])
    return found.sort_values(["created_at", "fingerprint"], ascending=[False, True], ignore_index=True)
