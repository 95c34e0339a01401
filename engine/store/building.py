"""Building a snapshot's database from the Parquet files of finished runs, in bounded memory.

A table is one file, `<table>.parquet`, or a folder of parts, `<table>/*.parquet`, taken in the order of their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from engine.errors import SnapshotError

SCHEMA = Path(__file__).with_name("schema.sql")
DERIVED = Path(__file__).with_name("derived.sql")
MEMORY = "1GB"
"""What DuckDB may hold while it builds; the rest goes to a folder beside the database."""


class RunTables(NamedTuple):
    """A finished run as the store sees it: its id and the folder of its tables, without `run_id`."""

    run_id: str
    folder: Path
    later: tuple[Path, ...] = ()  # Folders of tables that were added afterwards, in the order of their rows.


class Source(NamedTuple):
    """Files of a table's rows, in order."""

    table: str
    run_id: str | None  # Whose rows they are; None for a table that belongs to no single run.
    files: list[Path]


def table_columns() -> dict[str, list[str]]:
    """Column names of every table of the schema."""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA.read_text(encoding="utf-8"))
        rows = connection.execute(
            "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() WHERE NOT internal GROUP BY 1"
        ).fetchall()
    return dict(rows)


def find_sources(catalogue: Path, runs: Sequence[RunTables], given: Mapping[str, Path]) -> list[Source]:
    """What a snapshot takes: tables without `run_id` from `given` or the folder `catalogue`, the others from each run."""
    found = []
    for table, columns in sorted(table_columns().items()):
        if "run_id" in columns:
            found += [
                Source(
                    table, run.run_id, [file for folder in (run.folder, *run.later) for file in _files(folder, table)]
                )
                for run in runs
            ]
        else:
            found.append(Source(table, None, [given[table]] if table in given else _files(catalogue, table)))
    return [source for source in found if source.files]


def _files(folder: Path, table: str) -> list[Path]:
    whole, parts = folder / f"{table}.parquet", sorted((folder / table).glob("*.parquet"))
    assert not (parts and whole.is_file()), f"{folder}: table {table} is there both whole and in parts"
    return parts or [whole] * whole.is_file()


def content_hash(row: Mapping[str, Any], sources: Sequence[Source]) -> str:
    """12 hex digits of a sha256 over the schema, what is derived, the row of table `snapshot` and every file."""
    digest = hashlib.sha256(SCHEMA.read_bytes() + DERIVED.read_bytes())
    digest.update(repr(sorted((k, str(v)) for k, v in row.items())).encode())
    for source in sources:
        for path in source.files:
            digest.update(f"{source.run_id}/{source.table}".encode())
            with path.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:12]


def whole(path: Path) -> bool:
    """Whether a finished database is there, and every block of it as it was written: all of it is read."""
    if not path.is_file():
        return False
    try:
        with duckdb.connect(str(path), read_only=True) as connection:  # as readers of this very process have it open
            connection.execute(f"SET memory_limit = '{MEMORY}'")
            for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                connection.execute(f'SELECT count(hash(t)) FROM "{table}" t')
    except duckdb.Error:
        return False
    return True


_OLDER = (
    "Run {run} was made by another version of Sidelight ({why}). Train it again with the same command, "
    "or leave it out: name the others with --run."
)


_DAMAGED = (
    "{file} cannot be read ({why}). Repeat the command that made it, or delete what it belongs to, and publish again."
)


def build(path: Path, row: Mapping[str, Any], sources: Sequence[Source], spill: Path) -> None:
    """Write the database `path`: the schema, the row of table `snapshot`, the rows of `sources` in their files' order.

    `spill`: a folder for what memory does not hold; the caller removes it. Raises SnapshotError where a run's
    tables are damaged or not of this schema, and duckdb.Error.
    """
    columns = table_columns()
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path), config={"memory_limit": MEMORY, "temp_directory": str(spill)}) as connection:
        connection.execute(SCHEMA.read_text(encoding="utf-8"))
        connection.execute("SET preserve_insertion_order = true")
        names = ", ".join(row)
        connection.execute(f"INSERT INTO snapshot ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
        for source in sources:
            connection.begin()
            for file in source.files:
                try:
                    _insert(connection, source, file, columns[source.table])
                except duckdb.Error as error:
                    if not isinstance(error, duckdb.InvalidInputException) and type(error) is not duckdb.Error:
                        raise
                    raise SnapshotError(_DAMAGED.format(file=file, why=str(error).splitlines()[0])) from error
            connection.commit()
        derive(connection)
        connection.execute("CHECKPOINT")


def derive(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill the tables of what pages ask often from the others; what they held before is left out."""
    connection.execute(DERIVED.read_text(encoding="utf-8"))


def _insert(connection: duckdb.DuckDBPyConnection, source: Source, file: Path, columns: Sequence[str]) -> None:
    """Append a file to its table by the names of columns; each file is cast on its own, for one part may be all NULL."""
    described = connection.execute("SELECT * FROM read_parquet(?) LIMIT 0", [str(file)]).description or []
    names = [d[0] for d in described if d[0] != "run_id"]
    unknown = [n for n in names if n not in columns]
    if unknown:
        raise SnapshotError(_OLDER.format(run=source.run_id, why=f"table {source.table} has no {', '.join(unknown)}"))
    quoted = ", ".join(f'"{n}"' for n in names)
    owner = [] if source.run_id is None else [source.run_id]
    into, rows = ("run_id, " if owner else "") + quoted, ("?, " if owner else "") + quoted
    try:
        connection.execute(
            f'INSERT INTO "{source.table}" ({into}) SELECT {rows} FROM read_parquet(?)', [*owner, str(file)]
        )
    except duckdb.ConstraintException as error:
        raise SnapshotError(_OLDER.format(run=source.run_id, why=str(error).splitlines()[0])) from error
