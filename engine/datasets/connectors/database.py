"""Databases: the rows of a statement, batch by batch, in types that a Parquet file of the contract may hold.

A statement is run as it is given, inside another one that turns types only the database knows into text or numbers.
Nothing is written: PostgreSQL reads in one read-only transaction (all tables as of one moment), files are opened
read-only.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode

import duckdb
import pyarrow as pa

from engine.datasets.connectors.address import Address
from engine.datasets.connectors.optional import driver
from engine.datasets.connectors.readable import is_id
from engine.datasets.reading.raw import quoted
from engine.errors import DataError

CONNECT_SECONDS = "20"
"""PostgreSQL's own default is to wait for minutes."""
BATCH_ROWS = 16_384


class Session(Protocol):
    """An open database. Its methods raise what its driver raises."""

    def batches(self, sql: str) -> pa.RecordBatchReader:
        """The rows of a statement, which are not in memory at once. The reader is read before the next statement."""


@contextlib.contextmanager
def connected(place: Address) -> Iterator[Session]:
    """A session with the database of a URL.

    Raises DataError where its driver is not installed, and a file is missing; and what the driver raises.
    """
    with _OPENERS[place.scheme](place) as session:
        yield session


_KEPT = {"bool", "int2", "int4", "int8", "oid", "float4", "float8", "text", "varchar", "bpchar", "name", "char", "date",
         "timestamp", "timestamptz",
         "_bool", "_int2", "_int4", "_int8", "_float4", "_float8", "_text", "_varchar"}  # fmt: skip
"""PostgreSQL's types that ADBC gives as Arrow's own; `_text` is a list of texts."""


class _Postgres:
    """Types that only PostgreSQL knows are cast there; ADBC would hand over their bytes."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def batches(self, sql: str) -> pa.RecordBatchReader:
        schema = self._cursor.adbc_execute_schema(sql)  # prepares it and runs nothing
        if not len(schema):
            return schema.empty_table().to_reader()
        columns = ", ".join(f"c{i}{self._cast(field)} AS {quoted(field.name)}" for i, field in enumerate(schema))
        places = ", ".join(f"c{i}" for i in range(len(schema)))
        self._cursor.execute(f"SELECT {columns} FROM (\n{sql}\n) AS given({places})")
        return self._cursor.fetch_record_batch()

    def _cast(self, field: pa.Field) -> str:
        said = field.metadata or {}
        name = said.get(b"POSTGRESQL:type", b"").decode()
        if name in _KEPT:
            return ""
        if name == "numeric":
            modifier = int(said.get(b"POSTGRESQL:typmod", b"-1"))
            whole = modifier >= 4 and not (modifier - 4) & 0x7FF
            return "::text" if whole or is_id(field.name) else "::float8"  # ids may have more digits than a double
        return {"money": "::numeric::float8", "_numeric": "::float8[]"}.get(name, "::text")


class _Sqlite:
    """Every value arrives as text: SQLite's columns have no types, and ADBC would guess them from the first rows."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def batches(self, sql: str) -> pa.RecordBatchReader:
        self._cursor.execute(sql)
        with self._cursor.fetch_record_batch() as reader:
            names = reader.schema.names
        if not names:
            return pa.schema([]).empty_table().to_reader()
        places = [f"c{i}" for i in range(len(names))]
        first = ", ".join(f"'' AS {quoted(name)}" for name in names)  # a row of texts settles the types
        values = ", ".join(f"CAST({place} AS TEXT)" for place in places)
        self._cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
        self._cursor.execute(
            f"WITH given({', '.join(places)}) AS (\n{sql}\n) SELECT {first} UNION ALL SELECT {values} FROM given"
        )
        rows = self._cursor.fetch_record_batch()
        return pa.RecordBatchReader.from_batches(rows.schema, _without_first_row(rows))


def _without_first_row(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    for place, batch in enumerate(batches):
        yield batch.slice(1) if place == 0 else batch


class _DuckDb:
    """Another DuckDB file. The statement reaches nothing outside it."""

    _AS_TEXT = re.compile(r"(UUID|JSON|ENUM|INTERVAL|BIT|UNION|TIME|HUGEINT|UHUGEINT|VARINT|BIGNUM|GEOMETRY|VARIANT)\b")

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def batches(self, sql: str) -> pa.RecordBatchReader:
        described = self._connection.execute(f"DESCRIBE\n{sql}").fetchall()
        places = [f"c{i}" for i in range(len(described))]
        columns = ", ".join(
            f"{self._cast(place, str(kind))} AS {quoted(name)}"
            for place, (name, kind, *_) in zip(places, described, strict=True)
        )
        found = self._connection.execute(f"SELECT {columns} FROM (\n{sql}\n) AS given({', '.join(places)})")
        return found.to_arrow_reader(BATCH_ROWS)

    def _cast(self, place: str, kind: str) -> str:
        return f"CAST({place} AS VARCHAR)" if self._AS_TEXT.match(kind) and not kind.endswith("]") else place


class _Warehouse:
    """Snowflake and BigQuery, by their drivers' documented interface: their types are Arrow's already."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def batches(self, sql: str) -> pa.RecordBatchReader:
        self._cursor.execute(sql)
        return self._cursor.fetch_record_batch()


@contextlib.contextmanager
def _postgres(place: Address) -> Iterator[Session]:
    dbapi, url = driver("adbc_driver_postgresql"), place.url
    if "connect_timeout=" not in url and "PGCONNECT_TIMEOUT" not in os.environ:
        url += ("&" if "?" in url else "?") + urlencode({"connect_timeout": CONNECT_SECONDS})
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        yield _Postgres(cursor)


@contextlib.contextmanager
def _sqlite(place: Address) -> Iterator[Session]:
    dbapi, path = driver("adbc_driver_sqlite"), _file(place)
    with dbapi.connect(f"file:{quote(str(path))}?mode=ro") as connection, connection.cursor() as cursor:
        yield _Sqlite(cursor)


@contextlib.contextmanager
def _duckdb(place: Address) -> Iterator[Session]:
    locked: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
    }
    with duckdb.connect(str(_file(place)), read_only=True, config=locked) as connection:
        yield _DuckDb(connection)


@contextlib.contextmanager
def _snowflake(place: Address) -> Iterator[Session]:
    dbapi = driver("adbc_driver_snowflake")
    with dbapi.connect(place.url.partition("://")[2]) as connection, connection.cursor() as cursor:
        yield _Warehouse(cursor)


@contextlib.contextmanager
def _bigquery(place: Address) -> Iterator[Session]:
    dbapi = driver("adbc_driver_bigquery")
    project, _, dataset = place.place.strip("/").partition("/")
    options = {"adbc.bigquery.sql.project_id": project} | ({"adbc.bigquery.sql.dataset_id": dataset} if dataset else {})
    with dbapi.connect(db_kwargs=options) as connection, connection.cursor() as cursor:
        yield _Warehouse(cursor)


_OPENERS: dict[str, Callable[[Address], contextlib.AbstractContextManager[Session]]] = {
    "postgresql": _postgres,
    "postgres": _postgres,
    "sqlite": _sqlite,
    "duckdb": _duckdb,
    "snowflake": _snowflake,
    "bigquery": _bigquery,
}


def _file(place: Address) -> Path:
    """`sqlite:///shop.db` is relative, `sqlite:////data/shop.db` absolute, as in SQLAlchemy; an absolute path with one
    slash too few is understood where no relative one is meant."""
    given = unquote(place.place)
    if not given.startswith("/") or given == "/":
        raise DataError(
            f"{place.public} names no file; write {place.scheme}:///PATH, such as {place.scheme}:///shop.db"
        )
    ways = [Path(given[1:]), Path(given)]
    found = [path for path in ways if path.is_file()]
    if not found:
        raise DataError(f"{place.public}: there is no file {' and no file '.join(str(p) for p in dict.fromkeys(ways))}")
    if len(found) == 2 and not found[0].samefile(found[1]):
        raise DataError(
            f"{place.public} may mean {found[0].resolve()} or {found[1]}; write {place.scheme}:///{found[0].resolve()}"
        )
    return found[0].resolve()
