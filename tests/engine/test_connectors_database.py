"""Databases: a real PostgreSQL on loopback, SQLite and DuckDB files, and stand-ins for the warehouses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.datasets.connectors import optional, source
from engine.datasets.connectors.source import Source, fetch, fetched
from engine.datasets.ingest import ingest
from engine.errors import DataError
from tests.conftest import ROOT
from tests.engine.postgres_server import PASSWORD, PostgresMissingError, postgres

SHOP = """
CREATE SCHEMA stock;
CREATE TYPE state AS ENUM ('new', 'used');
CREATE TABLE stock.products (
  item_id numeric(20) PRIMARY KEY, title text NOT NULL, price numeric(10,2), popularity bigint, attributes jsonb,
  created_at timestamptz, brand varchar(20), condition state, code uuid, image_embedding float4[]
);
INSERT INTO stock.products
  SELECT 9007199254740990 + n, 'Lamp ' || n, n + 0.99, n, jsonb_build_object('watts', n, 'colour', 'grün'),
         '2025-05-01 12:00+02'::timestamptz, CASE WHEN n % 2 = 0 THEN 'halden' END, 'new',
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', ARRAY[n, 0.5]
  FROM generate_series(1, 300) n;
CREATE TABLE grades (query text, item_id bigint, grade int);
INSERT INTO grades SELECT 'lamp ' || n % 3, 9007199254740990 + n, n % 4 FROM generate_series(1, 60) n;
CREATE SEQUENCE counter;
"""
URL = "postgresql://shop:{}@{}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A filled PostgreSQL, as 'shop@127.0.0.1:PORT/postgres'; skips where none is installed, unless
    SIDELIGHT_REQUIRE_POSTGRESQL=1."""
    with contextlib.ExitStack() as stack:
        try:
            where = stack.enter_context(postgres())
        except PostgresMissingError as error:
            if os.environ.get("SIDELIGHT_REQUIRE_POSTGRESQL") == "1":
                pytest.fail(str(error))
            pytest.skip(str(error))
        import adbc_driver_postgresql.dbapi as dbapi

        with dbapi.connect(with_password(where), autocommit=True) as connection, connection.cursor() as cursor:
            for statement in filter(str.strip, SHOP.split(";")):
                cursor.execute(statement)
        yield where


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def with_password(where: str) -> str:
    user, at, rest = where.partition("@")
    return f"postgresql://{user}:{quote(PASSWORD, safe='')}{at}{rest}"


def read(url: str, folder: Path, **statements: str) -> list[dict[str, Any]]:
    """The rows of `items.parquet`."""
    folder.mkdir(exist_ok=True)
    fetch(Source(url, statements), folder)
    rows: list[dict[str, Any]] = pq.read_table(folder / "items.parquet").to_pylist()
    return rows


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "engine", *map(str, arguments)], cwd=ROOT, text=True, capture_output=True, check=False,
        env={**os.environ, "COLUMNS": "400", **environment}, timeout=300,
    )  # fmt: skip


def assert_no_secret_in(folder: Path) -> None:
    for path in filter(Path.is_file, folder.rglob("*")):
        content = path.read_bytes()
        assert PASSWORD.encode() not in content, path
        assert quote(PASSWORD, safe="").encode() not in content, path


def test_types_arrive_readable(server: str, tmp_path: Path) -> None:
    sql = """SELECT 1::int2 AS small, 1.5::numeric(10,2) AS price, 7::numeric(30,0) AS whole, 12345678901234567890::numeric AS item_id,
      '2024-01-01 12:00+02'::timestamptz AS moment, '2024-01-01 12:00'::timestamp AS local, date '2024-02-03' AS day,
      '{"a": 1}'::jsonb AS jsonb, '{"b":2}'::json AS json, ARRAY[1.5,2.5]::float4[] AS vector, ARRAY[1.25]::numeric[] AS numbers,
      ARRAY['a','b'] AS texts, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS uuid, NULL::text AS nothing, NULL AS untyped,
      true AS flag, '12.30'::money AS money, 'x'::bytea AS bytes, '1 day'::interval AS span, '10.0.0.0/8'::inet AS address,
      'new'::state AS state, ROW(1,'z') AS record, int4range(1,5) AS range, ARRAY['{"q":1}'::jsonb] AS objects, '12:30'::time AS clock
      ;  """
    assert read(with_password(server), tmp_path / "got", items=sql) == [
        {
            "small": 1, "price": 1.5, "whole": "7", "item_id": "12345678901234567890",
            "moment": datetime(2024, 1, 1, 10), "local": datetime(2024, 1, 1, 12), "day": date(2024, 2, 3),
            "jsonb": '{"a": 1}', "json": '{"b":2}', "vector": [1.5, 2.5], "numbers": [1.25],
            "texts": ["a", "b"], "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "nothing": None, "untyped": None,
            "flag": True, "money": 12.3, "bytes": "\\x78", "span": "1 day", "address": "10.0.0.0/8",
            "state": "new", "record": "(1,z)", "range": "[1,5)", "objects": '{"{\\"q\\": 1}"}', "clock": "12:30:00",
        }
    ]  # fmt: skip


def test_a_shop_in_postgresql_is_ingested(server: str, tmp_path: Path) -> None:
    """From the command line; the password comes from the environment and is nowhere in what is stored or said."""
    (tmp_path / "grades.sql").write_text("SELECT query, item_id, grade FROM grades; \n", encoding="utf-8")
    asked = ("--from", f"postgresql://{server}", "--items", "stock.products", "--judgments", f"@{tmp_path}/grades.sql")
    workspace = tmp_path / "workspace"
    done = command("ingest", *asked, "--workspace", workspace, "--json", PGPASSWORD=PASSWORD)
    assert done.returncode == 0, done.stderr + done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert "Fetching" in done.stdout
    (folder,) = (workspace / "catalogues").iterdir()
    settings = json.loads((folder / "catalogue.json").read_text())["settings"]
    assert settings["name"] == "postgres"
    assert settings["source"] == "postgresql://" + server.partition("@")[2]
    items = pq.read_table(folder / "items.parquet").to_pylist()
    assert len(items) == 300
    first = items[0]
    assert (first["item_id"], first["title"], first["price"]) == ("9007199254740991", "Lamp 1", 1.99)
    assert first["created_at"] == datetime(2025, 5, 1, 10)
    assert first["image_embedding"] == [1.0, 0.5]
    assert json.loads(first["attributes"])["colour"] == "grün"
    assert {row["brand"] for row in items} == {None, "halden"}
    assert pq.read_metadata(folder / "judgments.parquet").num_rows == 60
    assert_no_secret_in(workspace)

    checked = command("validate", *asked, PGPASSWORD=PASSWORD)
    assert checked.returncode == 0, checked.stderr


def test_nothing_is_held_whole(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 MB of rows arrive in pieces and leave in row groups."""
    sizes = []
    write = source.TableWriter.write
    monkeypatch.setattr(
        source.TableWriter, "write", lambda self, batch: (sizes.append(batch.nbytes), write(self, batch))
    )
    sql = "SELECT g AS item_id, repeat(md5(g::text), 12) AS title FROM generate_series(1, 200000) g"
    seen: list[tuple[int, int]] = []
    tmp_path.joinpath("got").mkdir()
    fetch(Source(with_password(server), {"items": sql}), tmp_path / "got", lambda *at: seen.append(at))
    assert max(sizes) < 40e6 < sum(sizes)
    assert pq.read_metadata(tmp_path / "got" / "items.parquet").num_row_groups > 2
    assert len(seen) > 3
    assert seen[-1] == (1, 1)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ({"items": "SELEC 1"}, r'--items: postgresql://\S+ answers: syntax error at or near "SELEC"'),
        ({"items": "nope"}, r'--items: .* answers: relation "nope" does not exist'),
        (
            {"items": "stock.products", "judgments": "SELECT gradé FROM grades"},
            '--judgments: .*column "gradé" does not exist',
        ),
        (
            {"items": "SELECT 1 / (g - 50000) FROM generate_series(1, 100000) g"},
            "--items: .* answers: division by zero",
        ),
        ({"items": "SELECT 1 WHERE false"}, "--items gives no rows"),
        ({"items": "SET x.y = 1"}, "--items gives no columns; it must be a SELECT"),
        ({"items": "SELECT 1 AS a, 2 AS A"}, "--items names column 'a' more than once"),
        ({"items": "SELECT nextval('counter')"}, "cannot execute nextval.* in a read-only transaction"),
        ({"items": "DELETE FROM grades RETURNING 1"}, "--items: .* syntax error"),
        ({"judgments": "grades"}, "is a database; say which rows are items: --items"),
        ({"items": " ; "}, "--items is blank"),
        ({"items": "@missing.sql"}, "--items @missing.sql: the file cannot be read: No such file"),
    ],
)
def test_what_a_statement_can_get_wrong(server: str, statements: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said) as caught:
        fetch(Source(with_password(server), statements), tmp_path)
    assert PASSWORD not in str(caught.value)
    assert quote(PASSWORD, safe="") not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_cannot_be_reached(server: str, tmp_path: Path) -> None:
    where = server.partition("@")[2]
    for url, said in (
        ("postgresql://shop:hush-hush@127.0.0.1:1/shop", r"127\.0\.0\.1:1/shop cannot be opened: .*Connection refused"),
        (f"postgresql://shop:hush-hush@{where}", "cannot be opened: .*password authentication failed"),
        (with_password(server).replace("/postgres", "/other"), 'cannot be opened: .*database "other" does not exist'),
        (f"postgresql://shop:hush%zzhush@{where}", "cannot be opened: .*invalid percent-encoded token"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            fetch(Source(url, {"items": "stock.products"}), tmp_path)
        assert "hush" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


def test_ctrl_c_stores_nothing_and_shows_no_password(server: str, tmp_path: Path) -> None:
    sql = "SELECT g AS item_id, 'x' || pg_sleep(0.01) AS title FROM generate_series(1, 100000) g"
    words = ["ingest", "--from", with_password(server), "--items", sql, "--workspace", str(tmp_path)]
    running = subprocess.Popen(
        [sys.executable, "-m", "engine", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "400"},
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob("catalogues/.sidelight-ingest-*/postgres")) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, out + err
    assert "go on with: python -m engine ingest --from 'postgresql://shop:***@127.0.0.1" in out
    assert quote(PASSWORD, safe="") not in out + err
    assert PASSWORD not in out + err
    assert not list(tmp_path.glob("catalogues/*"))
    assert not list(tmp_path.glob("catalogues/.*"))


# -- files


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    """The first 3,000 titles are missing; numbers with 15 digits; a text that is not UTF-8; a mixed column."""
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            'CREATE TABLE products (item_id INTEGER, title TEXT, price REAL, "odd ""name" ANY, data BLOB)'
        )
        connection.executemany(
            "INSERT INTO products VALUES (?, ?, ?, ?, ?)",
            [
                (n, None if n < 3000 else f"Lamp {n}", n + 0.123456789, n if n % 2 else "x", b"\xffab")
                for n in range(40_000)
            ],
        )
    return path


def test_sqlite_values_arrive_as_text(sqlite_file: Path, tmp_path: Path) -> None:
    rows = read(f"sqlite:///{sqlite_file}", tmp_path / "got", items="SELECT * FROM products ORDER BY item_id -- all")
    assert len(rows) == 40_000
    assert rows[0] == {"item_id": "0", "title": None, "price": "0.123456789", 'odd "name': "x", "data": "\ufffdab"}
    assert rows[39_999]["price"] == "39999.123456789"
    assert rows[39_999]["title"] == "Lamp 39999"
    assert [row["item_id"] for row in rows] == [str(n) for n in range(40_000)]


def test_paths_of_files(sqlite_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///shop.db", f"sqlite:///{sqlite_file}", f"sqlite://{sqlite_file}"):
        assert len(read(url, tmp_path / "got", items="SELECT * FROM products LIMIT 3")) == 3
    for url, said in (
        ("sqlite:///none.db", "there is no file none.db and no file /none.db"),
        ("sqlite://", "names no file; write sqlite:///PATH"),
        ("duckdb:///shop.db", "duckdb:///shop.db cannot be opened: "),
    ):
        with pytest.raises(DataError, match=said):
            fetch(Source(url, {"items": "products"}), tmp_path / "got")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", r'--items: sqlite:///\S+ answers: .*near "SELEC": syntax error'),
        ("nope", "no such table: nope"),
        ("SELECT 1 AS a WHERE 0", "--items gives no rows"),
        ("DELETE FROM products RETURNING item_id", "readonly database"),
    ],
)
def test_what_sqlite_says(sqlite_file: Path, tmp_path: Path, sql: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(f"sqlite:///{sqlite_file}", tmp_path / "got", items=sql)
    with contextlib.closing(sqlite3.connect(sqlite_file)) as connection:
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (40_000,)


def test_another_duckdb_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TYPE state AS ENUM ('new', 'used')")
        connection.execute("""CREATE TABLE products AS SELECT range + 1 AS item_id, 'Lamp ' || range AS title, 1.5::DECIMAL(9,2) AS price,
          17014118346046923173168730371588410572::HUGEINT AS big, uuid 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' AS code,
          'new'::state AS condition, '{"a":1}'::JSON AS attributes, {'x': 1, 'y': 'é'} AS pair, MAP {'k': 2} AS map,
          [0.5, 1]::FLOAT[2] AS image_embedding, TIMESTAMPTZ '2025-05-01 12:00:00+02' AS created_at, INTERVAL 1 DAY AS span,
          encode('é') AS bytes, TIME '12:30' AS clock, TIMESTAMP_NS '2025-05-01 12:00:00' AS ns FROM range(100000)""")
    rows = read(f"duckdb:///{path}", tmp_path / "got", items="products")
    assert len(rows) == 100_000
    assert rows[0] == {
        "item_id": 1, "title": "Lamp 0", "price": 1.5, "big": "17014118346046923173168730371588410572",
        "code": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "condition": "new", "attributes": '{"a":1}',
        "pair": '{"x": 1, "y": "é"}', "map": '{"k": 2}', "image_embedding": [0.5, 1.0],
        "created_at": datetime(2025, 5, 1, 10), "span": "1 day", "bytes": "é", "clock": "12:30:00",
        "ns": datetime(2025, 5, 1, 12),
    }  # fmt: skip
    for sql, said in (
        ("SELEC 1", "answers: .*syntax error"),
        ("nope", "Table with name nope does not exist"),
        ("SELECT * FROM read_text('/etc/hostname')", "--items: .*(disabled|not allowed)"),
        ("DELETE FROM products", "--items: .* answers: "),
    ):
        with pytest.raises(DataError, match=said):
            read(f"duckdb:///{path}", tmp_path / "got", items=sql)
    folder = tmp_path / "workspace"
    with fetched(Source(f"duckdb:///{path}", {"items": "SELECT item_id, title FROM products LIMIT 50"}),
                        contextlib.nullcontext(tmp_path)) as at:  # fmt: skip
        assert ingest(at, folder).catalogue.settings.name == "shop"


# -- drivers


def test_pinned_versions_are_those_of_the_requirements() -> None:
    lines = (ROOT / optional.EXTRA).read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pinned == optional.PINNED


@pytest.mark.parametrize(
    ("url", "module", "said"),
    [
        ("postgresql://ann:hush@db/shop", "adbc_driver_postgresql.dbapi",
         "pip install adbc-driver-postgresql==1.13.0 (or all of them: pip install -r requirements-connect.txt)"),
        ("snowflake://ann:hush@account/db", "adbc_driver_snowflake.dbapi", "pip install adbc-driver-snowflake==1.11.0"),
        ("bigquery://project/set", "adbc_driver_bigquery.dbapi", "pip install adbc-driver-bigquery==1.11.0"),
    ],
)  # fmt: skip
def test_a_missing_driver_is_named(
    url: str, module: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=re.escape(said) + "$") as caught:
        fetch(Source(url, {"items": "products"}), tmp_path)
    assert "hush" not in str(caught.value)


class Warehouse:
    """A stand-in with the interface of an ADBC driver's `dbapi`: connection and cursor in one."""

    def __init__(self) -> None:
        self.connected: tuple[Any, ...] = ()
        self.asked = ""

    def connect(self, *given: Any, **named: Any) -> Warehouse:
        self.connected = (*given, named)
        return self

    def cursor(self) -> Warehouse:
        return self

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, sql: str) -> None:
        self.asked = sql

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        rows = [{"ITEM_ID": Decimal(7), "TITLE": "Lamp", "PRICE": Decimal("1.50"), "PRODUCT_ID": Decimal("12")}]
        kinds = {"ITEM_ID": pa.decimal128(38, 0), "TITLE": pa.string(), "PRICE": pa.decimal128(38, 9), "PRODUCT_ID": pa.decimal128(38, 9)}  # fmt: skip
        return pa.Table.from_pylist(rows, pa.schema(kinds)).to_reader()


@pytest.mark.parametrize(
    ("url", "connected", "asked"),
    [
        ("snowflake://ann:${SNOW_PW}@account/db/schema?warehouse=w", ("ann:hu%2Fsh@account/db/schema?warehouse=w", {}),
         "SELECT * FROM products"),
        ("bigquery://project/set", ({"db_kwargs": {"adbc.bigquery.sql.project_id": "project", "adbc.bigquery.sql.dataset_id": "set"}},),
         "SELECT * FROM `products`"),
    ],
)  # fmt: skip
def test_warehouses_are_asked_as_their_drivers_document(
    url: str, connected: tuple[Any, ...], asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse, package, module = Warehouse(), ModuleType("package"), ModuleType("module")
    module.connect = warehouse.connect  # type: ignore[attr-defined]
    name = f"adbc_driver_{url.partition(':')[0]}"
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, f"{name}.dbapi", module)
    monkeypatch.setenv("SNOW_PW", "hu/sh")
    rows = read(url, tmp_path / "got", items="products")
    assert rows == [{"ITEM_ID": "7", "TITLE": "Lamp", "PRICE": 1.5, "PRODUCT_ID": "12.000000000"}]
    assert (warehouse.connected, warehouse.asked) == (connected, asked)
    assert "hu" not in (tmp_path / "got" / "dataset.toml").read_text().replace("shu", "")


# -- the command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give a folder or files, or --from URL instead of them"),
        (("data/sample", "--from", "sqlite:///x.db"), "(not both)"),
        (("data/sample", "--items", "SELECT 1"), "--items: statements need a database: --from URL"),
        (("--items", "SELECT 1"), "give a folder or files, or --from URL instead of them"),
        (("memory://x", "--items", "SELECT 1"), "--items: statements are for databases"),
        (("--from", "sqlite:///none.db"), "is a database; say which rows are items: --items"),
    ],
)
def test_words_that_do_not_go_together(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from engine.cli import main

    monkeypatch.setattr(sys, "argv", ["engine", "ingest", *words, "--workspace", str(tmp_path / "ws")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("ws/catalogues/*"))
