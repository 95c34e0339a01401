"""Data that lies elsewhere -> a folder of contract files, from which the ordinary reading goes on.

`python -m engine ingest --from postgresql://... --items SQL` and `python -m engine ingest s3://bucket/folder/`.
"""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from engine.datasets.connectors.address import Address, address
from engine.datasets.connectors.database import connected
from engine.datasets.connectors.failures import told
from engine.datasets.connectors.objects import copy_files
from engine.datasets.connectors.tables import TableWriter
from engine.datasets.storage import writing
from engine.errors import DataError
from engine.progress import Progress, silent

_NAME = r'(?:"[^"]+"|`[^`]+`|[^\W\d][\w$-]*)'
_TABLE = re.compile(rf"{_NAME}(?:\.{_NAME}){{0,2}}")


@dataclass(frozen=True)
class Source:
    """Where data lies, and what to ask of it. Its `repr` shows no secret."""

    url: str = field(repr=False)
    statements: Mapping[str, str] = field(default_factory=dict)
    """Of a database: by table of the contract SQL, `@FILE` with SQL, or the name of a table."""
    everything: bool = False
    """Of files: all of them are copied, for adapters."""


def fetch(source: Source, folder: Path, progress: Progress = silent) -> None:
    """Writes what a source holds into an empty folder: `items.parquet` ... of a database, or copies of files; and a
    `dataset.toml` with name and source where it holds none. The source is named without user, password and parameters.

    Raises DataError for a URL that cannot be understood or reached, a driver that is not installed, a statement that
    fails or gives no rows, and statements that are missing or for no database.
    """
    place = address(source.url)
    if place.is_database:
        statements = {table: _statement(table, text, place) for table, text in source.statements.items()}
        if "items" not in statements:
            raise DataError(
                f"{place.public} is a database; say which rows are items: --items 'SELECT ...' or --items TABLE"
            )
        _fetch_tables(place, statements, folder, progress)
    else:
        if source.statements:
            given = ", ".join(f"--{table}" for table in source.statements)
            raise DataError(f"{given}: statements are for databases; from {place.public} files are read as they are")
        copy_files(place, folder, progress, everything=source.everything)
    _name(folder, place)


@contextlib.contextmanager
def fetched(source: Source, scratch: AbstractContextManager[Path], progress: Progress = silent) -> Iterator[Path]:
    """A temporary folder with what `fetch` brings, called as the source is. Raises DataError as `fetch` does."""
    with scratch as staged:
        folder = staged / address(source.url).name
        with writing(staged):
            folder.mkdir()
            fetch(source, folder, progress)
        yield folder


def _statement(table: str, given: str, place: Address) -> str:
    text = given.strip()
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            raise DataError(f"--{table} {given}: the file cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise DataError(f"--{table} {given}: the file is not UTF-8; save it as UTF-8") from None
    text = text.rstrip("; \t\r\n")
    if not text:
        raise DataError(f"--{table} is blank; give SQL, @FILE with SQL, or the name of a table")
    if _TABLE.fullmatch(text):
        return f"SELECT * FROM `{text}`" if place.scheme == "bigquery" and "`" not in text else f"SELECT * FROM {text}"
    return text


def _fetch_tables(place: Address, statements: dict[str, str], folder: Path, progress: Progress) -> None:
    with contextlib.ExitStack() as stack:
        with told(place, f"{place.public} cannot be opened"):
            session = stack.enter_context(connected(place))
        for number, (table, sql) in enumerate(statements.items()):
            answer = f"--{table}: {place.public} answers"
            with told(place, answer):
                rows = session.batches(sql)
                names = rows.schema.names
            _check_names(table, names)
            with TableWriter(folder / f"{table}.parquet") as writer:
                while True:
                    with told(place, answer):
                        batch = next(rows, None)
                    if batch is None:
                        break
                    if batch.num_rows:
                        writer.write(batch)
                    progress(number, len(statements))
                if not writer.rows:
                    raise DataError(f"--{table} gives no rows; it must give at least one")
            with told(place, answer):
                rows.close()
            progress(number + 1, len(statements))


def _check_names(table: str, names: list[str]) -> None:
    if not names:
        raise DataError(f"--{table} gives no columns; it must be a SELECT")
    folded = [name.casefold() for name in names]
    twice = next((name for name in names if folded.count(name.casefold()) > 1), None)
    if twice is not None:
        raise DataError(f"--{table} names column '{twice}' more than once; rename one with AS, or leave it out")


def _name(folder: Path, place: Address) -> None:
    path = folder / "dataset.toml"
    public = re.sub(r"[\x00-\x1f\x7f]", " ", place.public)
    source = f"source = {json.dumps(public, ensure_ascii=False)}\n"
    if not path.exists():
        path.write_text(f"name = {json.dumps(place.name, ensure_ascii=False)}\n{source}", encoding="utf-8")
        return
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "source" not in tomllib.loads(text):
            path.write_text(source + text, encoding="utf-8")
    except ValueError:
        return  # for the ordinary reading to tell
