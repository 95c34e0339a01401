"""Finds what a folder or a list of files holds, tells by content what each file is, and reads it into DuckDB as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import duckdb

from engine.datasets.contract import AUDIT_FILES, COLUMNS, FILES
from engine.datasets.reading import formats, json_any, ubi
from engine.datasets.reading.csv_file import DelimitedFile
from engine.datasets.reading.decisions import Decision
from engine.datasets.reading.encoding import unpack
from engine.datasets.reading.formats import RecordFile
from engine.datasets.reading.names import ENDINGS, file_like, file_named, stem_of
from engine.datasets.reading.parquet_file import ParquetFile, is_parquet, parts_of
from engine.datasets.reading.raw import RawTable, needs
from engine.datasets.reading.ubi_log import UbiLog
from engine.datasets.settings import SettingsFile, default_settings
from engine.errors import DataError


class OpenFile(Protocol):
    """A file of which the beginning has been read."""

    label: str

    @property
    def names(self) -> list[str]:
        """Of its columns, as far as its beginning tells."""

    @property
    def is_table(self) -> bool:
        """Whether it may be a file of the contract at all."""

    def decisions(self) -> list[Decision]:
        """How it is read."""

    def load(self, connection: duckdb.DuckDBPyConnection, table: str) -> RawTable:
        """Loads table `raw_<table>`."""


class Seen(NamedTuple):
    """A file at a glance."""

    label: str
    table: str | None  # The file of the contract that it is, by its name or its columns.
    format: str
    names: list[str]  # Of its columns; what is wrong with it, where it cannot be opened.


def look_at(sources: Sequence[Path], staging: Path) -> list[Seen]:
    """What each file of the sources is, damaged ones too. Raises DataError where a source is missing."""
    seen = []
    for path in _paths(sources):
        table = file_named(stem_of(path.name))
        try:
            opened = open_file(path, table, default_settings(""), staging)
        except DataError as error:
            seen.append(Seen(path.name, table, "cannot be read", [str(error)]))
            continue
        form = next((d.found for d in opened.decisions() if d.what == "format"), "")
        known = (table or file_like(opened.names)) if opened.is_table else None
        seen.append(Seen(path.name, known, form if opened.is_table else f"no table of ours ({form})", opened.names))
    return seen


class Found(NamedTuple):
    """What there is to read."""

    files: dict[str, OpenFile]  # File of the contract -> the file that is it, in the contract's order.
    warnings: list[str]  # What is left, by name.
    decisions: list[Decision]


def find_files(
    sources: Sequence[Path], settings: SettingsFile, staging: Path, *, audit: bool = False
) -> Found:  # fmt: skip
    """The contract's files among folders and files, told by their names, else by their columns.

    With `audit` those that another system made too. `staging` receives unpacked and re-encoded copies.
    Raises DataError where a source is missing, there is no items file, or two files are one of the contract.
    """
    wanted = COLUMNS if audit else FILES
    named: dict[str, list[OpenFile]] = {}
    like: dict[str, list[OpenFile]] = {}
    left, faults = [], []
    log: dict[str, list[OpenFile]] = {}
    for path in _paths(sources):
        table = file_named(stem_of(path.name))
        ours = table is not None and table in wanted and stem_of(path.name).casefold() == table
        if path.suffix.casefold().removeprefix(".") not in ENDINGS and path.is_file():
            left.append(path.name)
            continue
        if table in AUDIT_FILES and not audit:
            left.append(f"{path.name} (it serves audits of SIDs made elsewhere: 'python -m engine import')")
            continue
        try:
            opened = open_file(path, table if table in wanted else None, settings, staging)
        except DataError as error:
            if ours:
                raise
            faults.append(error)
            left.append(f"{path.name} ({error})")
            continue
        if not ours and (half := ubi_half(opened)) is not None:
            log.setdefault(half, []).append(opened)
        elif table in wanted and table is not None and (ours or opened.is_table):
            named.setdefault(table, []).append(opened)
        elif opened.is_table and (kind := file_like(opened.names)) in wanted and kind is not None:
            like.setdefault(kind, []).append(opened)
        else:
            left.append(
                f"{path.name} (its columns are those of no file of a dataset)" if opened.is_table else path.name
            )
    if log:
        like.setdefault("interactions", []).append(UbiLog(log.get("queries", []), log.get("events", []), staging))
    files, decisions = {}, []
    for table in wanted:
        candidates = named.get(table) or like.get(table, [])
        if named.get(table):
            left += [f"{o.label} (there is {named[table][0].label})" for o in like.get(table, [])]
        if len(candidates) > 1:
            names = " and ".join(o.label for o in candidates)
            raise DataError(f"{names} are both '{table}'; keep one file of it, or name the files to read one by one")
        if candidates:
            files[table] = candidates[0]
            if not named.get(table):
                decisions.append(
                    Decision(candidates[0].label, "file", table, "its columns say so", f"its name: {table}.csv")
                )
    if "items" not in files:
        raise _no_items(sources, files, left, faults)
    warnings = [f"not read: {name}" for name in left]
    return Found(files, warnings, decisions)


def ubi_half(opened: OpenFile) -> str | None:
    """'queries' or 'events' where a file is one of the two tables of user behavior insights."""
    if isinstance(opened, RecordFile) and opened.form.recognise is ubi.recognise:
        return ubi.recognise_columns(json_any.first_names(opened.path))
    return ubi.recognise_columns(opened.names)


def _paths(sources: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        if not source.exists():
            raise DataError(
                f"{source} does not exist; give the folder that holds items.csv (or .parquet, .tsv, .jsonl ...)"
            )
        within = sorted(source.iterdir()) if source.is_dir() and not _is_parts(source) else [source]
        found += [
            p for p in within if (p.is_file() or _is_parts(p)) and p.name != "dataset.toml" and p.name[:1] not in "._"
        ]
    return list(dict.fromkeys(found))


def _is_parts(path: Path) -> bool:
    """A folder of Parquet parts, which are one table."""
    named = file_named(stem_of(path.name)) is not None
    return path.is_dir() and (named or path.suffix == ".parquet") and bool(parts_of(path))


def _no_items(
    sources: Sequence[Path], files: dict[str, OpenFile], left: list[str], faults: list[DataError]
) -> DataError:
    if len(faults) == 1 and not files:
        return faults[0]
    where = ", ".join(str(s) for s in sources)
    there = ", ".join([*(f"{o.label} ({table})" for table, o in files.items()), *left][:8]) or "nothing"
    return DataError(
        f"{where} is not a dataset: it has no items file (a table with an id and a title: items.csv, or .tsv, .jsonl, .json, "
        f".xlsx, .xml, .parquet, optionally .gz or .zip); it holds {there}"
    )


def open_file(path: Path, table: str | None, settings: SettingsFile, staging: Path) -> OpenFile:
    """Reads the beginning of a file; `table` is the file of the contract that its name says it is.

    Raises DataError for a file that is empty, damaged or of a kind that holds no table.
    """
    label, options = path.name, settings.options(table or "")
    if path.is_dir() or is_parquet(path):
        return ParquetFile(label, path)
    if path.stat().st_size == 0:
        raise DataError(f"{label} is empty (0 bytes); it needs {needs(table or 'items')}")
    plain = unpack(path, label, staging)
    if is_parquet(plain):
        return ParquetFile(label, plain)
    if any(part.casefold() in (".parquet", ".pq") for part in path.suffixes):
        raise DataError(
            f"{label} cannot be read as Parquet (it does not begin like one); it may be cut short: copy or write it again"
        )
    says_json = any(part.casefold() in (".json", ".jsonl", ".ndjson") for part in path.suffixes)
    if (found := formats.open_format(label, plain, options, staging, whatever=says_json)) is not None:
        return found
    suffix = ".tsv" if ".tsv" in [s.casefold() for s in path.suffixes] else ".csv"
    return DelimitedFile(label, plain, suffix, table, options, staging)


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
