"""SQL of others: what is refused, what is bounded, what still works, and that pages are left alone."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

from engine.errors import QueryError
from engine.store import confined
from engine.store.building import SCHEMA
from engine.store.locked import Limits, Locked
from engine.store.snapshot import SCHEMA_VERSION, open_snapshot
from tests.escapes import BOUNDED, REFUSED, SECRET

LIMITS = Limits(seconds=4, memory_mb=256, rows=500, bytes=200_000)


class Place(NamedTuple):
    """A snapshot, a secret beside it, and a socket that nobody may call."""

    snapshot: Path
    secret: Path
    out: Path
    listener: socket.socket

    def filled(self, sql: str) -> str:
        port = str(self.listener.getsockname()[1])
        told = {
            "{file}": str(self.secret), "{folder}": str(self.secret.parent), "{out}": str(self.out), "{port}": port, "{db}": str(self.snapshot),
            "{hex}": "\\x".join(f"{byte:02x}" for byte in str(self.secret).encode()),
        }  # fmt: skip
        for name, value in told.items():
            sql = sql.replace(name, value)
        return sql


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("locked")
    path = folder / "snapshots" / "snap-0000test.duckdb"
    path.parent.mkdir()
    with duckdb.connect(str(path)) as connection:
        connection.execute(SCHEMA.read_text(encoding="utf-8"))
        connection.execute(
            "INSERT INTO items BY NAME SELECT 'I' || range AS item_id, 'lamp ' || range AS title, range / 2 AS price FROM range(1000)"
        )
        connection.execute(
            "INSERT INTO snapshot BY NAME SELECT 'snap-0000test' AS snapshot_id, $1 AS schema_version, now()::TIMESTAMP AS created_at, "
            "'Test' AS dataset, 'f' AS fingerprint",
            [SCHEMA_VERSION],
        )
    (folder / "CURRENT").write_text("snapshots/snap-0000test.duckdb\n")
    secret = folder / "secret.csv"
    secret.write_text(f"{SECRET}\n")
    os.environ["SIDELIGHT_CANARY"] = SECRET
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield Place(path, secret, folder / "out", listener)
    del os.environ["SIDELIGHT_CANARY"]


@pytest.fixture(scope="module")
def locked() -> Locked:
    return Locked(LIMITS)


def untouched(place: Place, before: str) -> None:
    """Nothing was written, nobody was called."""
    assert hashlib.sha256(place.snapshot.read_bytes()).hexdigest() == before
    assert not place.out.exists()
    assert {p.name for p in place.secret.parent.iterdir()} <= {"snapshots", "CURRENT", "secret.csv"}
    assert {p.name for p in place.snapshot.parent.iterdir()} <= {place.snapshot.name, "leases"}
    with pytest.raises(BlockingIOError):
        place.listener.accept()


def test_there_are_sixty_and_more() -> None:
    assert len(REFUSED) + len(BOUNDED) >= 60


@pytest.mark.parametrize("name", REFUSED)
def test_no_attempt_succeeds(name: str, place: Place, locked: Locked) -> None:
    sql, before = place.filled(REFUSED[name]), hashlib.sha256(place.snapshot.read_bytes()).hexdigest()
    with pytest.raises(QueryError) as refused:
        locked.ask(place.snapshot, sql)
    message = str(refused.value)
    assert SECRET not in message
    assert str(place.snapshot) not in message.replace(sql, "")
    assert "broke DuckDB" not in message, "it was refused, not broken"
    untouched(place, before)


@pytest.mark.parametrize("name", BOUNDED)
def test_limits_hold(name: str, place: Place, locked: Locked) -> None:
    began, before = time.monotonic(), hashlib.sha256(place.snapshot.read_bytes()).hexdigest()
    said, rows = "", None
    try:
        rows = locked.ask(place.snapshot, BOUNDED[name]).rows
    except QueryError as error:
        said = str(error)
    if rows is None:
        assert "stopped" in said or "more memory" in said
    else:
        assert len(rows) <= LIMITS.rows
        assert rows.nbytes <= LIMITS.bytes
    assert time.monotonic() - began < LIMITS.seconds + 20
    untouched(place, before)


def test_what_is_cut_says_so(place: Place, locked: Locked) -> None:
    answer = locked.ask(place.snapshot, "SELECT * FROM items ORDER BY price")
    assert (len(answer.rows), answer.cut) == (LIMITS.rows, "rows")
    answer = locked.ask(place.snapshot, "SELECT repeat('x', 1000) AS x FROM items LIMIT 500")
    assert answer.cut == "bytes"
    assert 0 < len(answer.rows) < 500
    assert locked.ask(place.snapshot, "SELECT * FROM items LIMIT 500").cut == ""


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) AS n FROM items", [{"n": 1000}]),
        ("SELECT count(*) AS n FROM main.Items -- DROP TABLE items;", [{"n": 1000}]),
        ("WITH a AS (SELECT max(price) AS p FROM items) SELECT * FROM a;", [{"p": 499.5}]),
        ("SELECT '; COPY items TO ''x'' --' AS a", [{"a": "; COPY items TO 'x' --"}]),
        ("SELECT $run AS a, $$it's$$ AS b", [{"a": "r1", "b": "it's"}]),
        ("FROM range(3) SELECT sum(range)::INT AS n", [{"n": 3}]),
        ("SELECT unnest([1, 2]) AS n", [{"n": 1}, {"n": 2}]),
        ("VALUES (1, 2)", [{"col0": 1, "col1": 2}]),
        ("SELECT item_id, item_id FROM items LIMIT 1", [{"item_id": "I0", "item_id:2": "I0"}]),
        ("SELECT column_name FROM (DESCRIBE items) LIMIT 1", [{"column_name": "item_id"}]),
    ],
)
def test_what_an_analyst_writes_runs(sql: str, rows: list[dict[str, object]], place: Place, locked: Locked) -> None:
    assert locked.ask(place.snapshot, sql, {"run": "r1", "item": "unused"}).rows.to_pylist() == rows


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "no SQL that DuckDB can read"),
        ("SELECT nonsense FROM items", "Names or types do not fit"),
        ("SELECT * FROM nonsense", "There is no table 'nonsense' in a snapshot"),
        ("SELECT 'x'::INT", "cannot be converted"),
        ("SELECT $other", "$other, and no value was given"),
        ("", "One SELECT at a time"),
    ],
)
def test_errors_are_in_plain_words(sql: str, words: str, place: Place, locked: Locked) -> None:
    with pytest.raises(QueryError, match=words.replace("$", r"\$")):
        locked.ask(place.snapshot, sql)


def test_cancelled_at_once_and_only_so_many(place: Place) -> None:
    locked = Locked(Limits(seconds=60), most=1)
    running = locked.start(place.snapshot, BOUNDED["counting"])
    with pytest.raises(QueryError, match="1 questions are at work"):
        locked.start(place.snapshot, "SELECT 1")
    began = time.monotonic()
    running.cancel()
    with pytest.raises(QueryError, match="cancelled"):
        running.answer()
    assert time.monotonic() - began < 5
    assert locked.ask(place.snapshot, "SELECT 1 AS n").rows.to_pylist() == [{"n": 1}]


@pytest.mark.skipif(sys.platform == "win32", reason="asks the system about a process")
def test_let_go_of_it_ends(place: Place) -> None:
    running = Locked(Limits(seconds=300)).start(place.snapshot, BOUNDED["counting"])
    process = running._process
    del running  # a session that was closed
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == confined.LEFT_ALONE


def test_pages_are_not_locked_and_do_not_unlock(place: Place, locked: Locked) -> None:
    """Another connection of this process to the same file keeps its settings, whichever came first."""
    opened = open_snapshot(place.snapshot.parents[1])
    try:
        opened.cursor().execute("SET enable_progress_bar = false")
        with pytest.raises(QueryError):
            locked.ask(place.snapshot, f"SELECT * FROM read_text('{place.secret}')")
        assert locked.ask(place.snapshot, "SELECT count(*) AS n FROM items").rows.to_pylist() == [{"n": 1000}]
        settings = opened.cursor().execute(
            "SELECT current_setting('lock_configuration'), current_setting('enable_external_access')"
        )
        assert settings.fetchone() == (False, True)
        opened.cursor().execute("SET memory_limit = '400MB'")
    finally:
        opened.close()


def test_functions_of_the_installed_duckdb() -> None:
    """A new DuckDB may bring functions that read, wait or write: whoever upgrades it looks at these."""
    with duckdb.connect() as connection:
        touching = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE has_side_effects AND function_type = 'scalar'"
        ).fetchall()
        scalar = {name for (name,) in connection.execute("SELECT function_name FROM duckdb_functions() WHERE function_type = 'scalar'").fetchall()}  # fmt: skip
    harmless = {"uuid", "uuidv4", "uuidv7", "gen_random_uuid", "random", "error", "current_query", "current_query_id",
                "current_connection_id", "current_transaction_id"}  # fmt: skip
    assert {name for (name,) in touching} <= harmless | confined.REFUSED_FUNCTIONS
    assert not {name for name in scalar if name.startswith(("read_", "write_", "getenv", "pragma"))} - confined.REFUSED_FUNCTIONS  # fmt: skip


def test_the_walls_hold_one_by_one(place: Place) -> None:
    """Without the reading of the SQL, DuckDB's own settings still refuse files, writing and unlocking."""
    connection = confined.opened(str(place.snapshot), 128, 1)
    for sql in (
        f"SELECT * FROM read_text('{place.secret}')",
        f"SELECT * FROM '{place.secret}'",
        f"COPY items TO '{place.out}'",
        f"ATTACH '{place.secret}.db' AS x",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET memory_limit = '10GB'",
        "INSTALL httpfs",
        "DELETE FROM items",
        "SELECT * FROM place",  # a Python variable of this frame
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(sql).fetchall()
    connection.close()
