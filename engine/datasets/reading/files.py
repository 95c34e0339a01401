"""Finds the input files of a dataset folder and reads them into DuckDB as they are."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from engine.datasets.contract import AUDIT_FILES, COLUMNS, FILES, close_matches
from engine.datasets.reading.csv_file import read_csv
from engine.datasets.reading.json_file import read_jsonl
from engine.datasets.reading.raw import Cell, RawTable, clean_columns, count, first_line, needs, places, quoted
from engine.errors import DataError

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")


class SourceFile(NamedTuple):
    """One input file of the contract."""

    table: str  # A file of `contract.COLUMNS`: 'items', 'queries' ...
    path: Path

    @property
    def suffix(self) -> str:
        """The format: '.csv' for `items.csv.gz`."""
        return Path(self.path.name.removesuffix(".gz")).suffix


def find_files(folder: Path, *, audit: bool = False) -> tuple[list[SourceFile], list[str]]:
    """The contract's files in a folder, in the contract's order, and warnings about others that look like data.

    With `audit` those that another system made too, after the catalogue's.

    Raises DataError where the folder is missing, holds no items file, or holds one kind of file twice.
    """
    if not folder.exists():
        raise DataError(f"{folder} does not exist; give the folder that holds items.csv (or .parquet, .tsv, .jsonl)")
    if not folder.is_dir():
        raise DataError(
            f"{folder} is a file; give the folder that holds it, with items.csv (or .parquet, .tsv, .jsonl)"
        )
    wanted = COLUMNS if audit else FILES
    found: dict[str, list[Path]] = {}
    warnings = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        name = path.name.removesuffix(".gz")
        stem, suffix = Path(name).stem, Path(name).suffix
        if suffix not in SUFFIXES:
            continue
        if stem in wanted:
            found.setdefault(stem, []).append(path)
        elif stem in AUDIT_FILES:
            warnings.append(
                f"{path.name} is not part of a catalogue and was not read (it serves audits of SIDs made elsewhere: "
                f"'python -m engine import')"
            )
        else:
            hint = close_matches(stem, list(wanted))
            warnings.append(f"{path.name} was not read" + (f"; did you mean '{hint[0]}{suffix}'?" if hint else ""))
    for stem, paths in found.items():
        if len(paths) > 1:
            raise DataError(f"{folder.name} holds {' and '.join(p.name for p in paths)}; keep one file of '{stem}'")
    if "items" not in found:
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{folder} is not a dataset: it has no items file (items.csv, .tsv, .jsonl or .parquet, optionally .gz); "
            f"it holds {there}"
        )
    return [SourceFile(table, found[table][0]) for table in wanted if table in found], warnings


def source_folder(source: Path, layout: str, files: Sequence[str], inner: str, hint: str) -> Path:
    """Where the files of a public layout lie: in `source`, or in its folder `inner`.

    Raises DataError, with the `hint`, where one is missing.
    """
    folder = source if (source / files[0]).is_file() else source / inner
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{source} is not {layout} folder: it has no {' and no '.join(missing)}; expected are {', '.join(files)} ({hint})"
        )
    return folder


def read_file(connection: duckdb.DuckDBPyConnection, source: SourceFile, staging: Path) -> RawTable:
    """Loads one file as table `raw_<table>`. `staging` receives unpacked copies.

    Raises DataError for a file that is empty, damaged, wrongly delimited, or whose column names clash.
    """
    path, label = source.path, source.path.name
    if path.stat().st_size == 0:
        raise DataError(f"{label} is empty (0 bytes); it needs {needs(source.table)}")
    if path.suffix == ".gz":
        path = _unpack(path, staging)
    if source.suffix == ".parquet":
        raw = _read_parquet(connection, source.table, label, path)
    elif source.suffix == ".jsonl":
        raw = read_jsonl(connection, source.table, label, path, staging)
    else:
        raw = read_csv(connection, source.table, label, path)
    if source.table == "items" and raw.n_read == 0:
        raise DataError(f"{label} has no rows; it needs at least one item")
    return raw


def _unpack(path: Path, staging: Path) -> Path:
    unpacked = staging / path.name.removesuffix(".gz")
    try:
        with gzip.open(path) as packed, unpacked.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(f"{path.name} is not a whole gzip file; it may be cut short: copy or write it again") from None
    if unpacked.stat().st_size == 0:
        raise DataError(f"{path.name} is empty once unpacked; it needs a header line and rows")
    return unpacked


def _read_parquet(connection: duckdb.DuckDBPyConnection, table: str, label: str, path: Path) -> RawTable:
    name = f"raw_{table}"
    try:
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
        names = clean_columns([row[0] for row in described], table, label)
        kinds = ["VARCHAR" if row[1] == "BLOB" else row[1] for row in described]
        columns = {name: Cell(*at) for name, *at in zip(names, places(len(names)), kinds, strict=True)}
        select = ", ".join(
            # Text written without its UTF-8 mark arrives as bytes.
            (f"decode({quoted(row[0])})" if row[1] == "BLOB" else quoted(row[0])) + f" AS {cell.place}"
            for row, cell in zip(described, columns.values(), strict=True)
        )
        connection.execute(f"CREATE TABLE {name} AS SELECT {select} FROM read_parquet(?)", [str(path)])
    except duckdb.OutOfMemoryException:
        raise
    except (duckdb.Error, UnicodeDecodeError) as error:
        if "No space left" in str(error):
            raise
        raise DataError(
            f"{label} cannot be read as Parquet ({first_line(error)}); it may be cut short: copy or write it again"
        ) from None
    return RawTable(name, label, columns, count(connection, name))
