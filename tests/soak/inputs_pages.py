"""What others may ask of a snapshot: pages by their links, SQL, the tools of the MCP server, whole commands."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pyarrow as pa

from engine.errors import DataError, QueryError, printable
from tests.soak.contract import FAULT, READ, REFUSED, Tried, drawn, tried, wrong_text
from tests.soak.hostile import changed, value, word
from tests.soak.mutations import ROOT

APP = ROOT / "app"
KEYS = sorted(
    {
        key for path in APP.rglob("*.py") for found in re.findall(
            r'key="(\w+)"|query_params(?:\.get(?:_all)?\(|\[)"(\w+)"|bad_parameter\("(\w+)"', path.read_text(encoding="utf-8")
        ) for key in found if key
    } | {"filter", "of_attribute", "of_value", "ask-limit", "ask-query", "ask-item", "ask-code", "ask-dimension", "snapshot", "run", "base", "box", "sel"}
)  # fmt: skip
"""Names that pages read from their address, and those of all their widgets."""
VIEWS = sorted(path.stem for path in (APP / "views").glob("[a-z]*.py"))


def filled(place: Path) -> Path:
    """A workspace with a small snapshot that fills every table; the same one for every way in of a process."""
    sys.path.insert(0, str(ROOT / "tests" / "app"))
    from exact_ranker import write_exact_ranker
    from filled_snapshot import OTHER_RUN, RUN, write_snapshot

    write_exact_ranker(write_snapshot(place / "ws", runs=(RUN, OTHER_RUN)))
    return place / "ws"


def links(place: Path) -> Callable[[int, int], Tried]:
    """Every page with one to six parameters of its address that hold anything: shown, with a word on what is not there."""
    workspace = filled(place)
    from filled_snapshot import OTHER_RUN, RUN, SNAPSHOT
    from streamlit.testing.v1 import AppTest

    os.environ.update(
        {"SIDELIGHT_WORKSPACE": str(workspace), "SIDELIGHT_ALLOW_SQL": "1", "SIDELIGHT_ALLOW_UPLOAD": "1"}
    )
    with duckdb.connect(str(next(workspace.glob("snapshots/*.duckdb"))), read_only=True) as connection:
        known = [str(x) for sql in (
            "SELECT text FROM queries LIMIT 9", "SELECT query_id FROM queries LIMIT 3", "SELECT item_id FROM items LIMIT 9", "SELECT prefix FROM codes LIMIT 20",
            "SELECT DISTINCT category FROM items", "SELECT DISTINCT seller FROM items LIMIT 5", "SELECT DISTINCT kind FROM findings",
        ) for (x,) in connection.execute(sql).fetchall()]  # fmt: skip
    known += [
        RUN,
        OTHER_RUN,
        SNAPSHOT,
        f"{SNAPSHOT}:{OTHER_RUN}",
        "1",
        "2",
        "0.1,-0.35,2,1",
        "b0,0,1,1",
        "l0,0,1,1,0,1",
    ]
    options: dict[str, list[str]] = {}

    def opened(view: str, given: dict[str, str]) -> AppTest:
        page = AppTest.from_file(str(APP / "main.py"), default_timeout=60)
        for name, said in given.items():
            page.query_params[name] = said
        if view != "overview":
            page.switch_page(f"views/{view}.py")
        return page.run()

    for view in VIEWS:  # what widgets offer, so that parts below them are reached too
        page = opened(view, {})
        for kind in ("selectbox", "radio", "button_group", "multiselect"):
            for widget in page.get(kind):
                options.setdefault(widget.key, []).extend(map(str, widget.options))

    def attempt(seed: int, number: int) -> Tried:
        rng = drawn(seed, number, "links")
        view = VIEWS[number % len(VIEWS)]
        names = rng.sample(KEYS, rng.choice((1, 2, 4, 6)))
        given = {}
        for name in names:
            usual = rng.choice(options[name]) if options.get(name) and rng.random() < 0.6 else rng.choice(known)
            said = usual if rng.random() < 0.4 else changed(rng, usual) if rng.random() < 0.5 else word(rng)
            given[name] = said.encode("utf-8", "replace").decode()  # an address is UTF-8

        def work() -> str:
            page = opened(view, given)
            if page.exception:
                return f"an exception: {page.exception[0].value} {page.exception[0].stack_trace[-3:]}"
            if failed := [e.value for e in page.error if "This is a failure" in e.value.replace("\\", "")]:
                return f"a part that failed: {failed[0]}"
            told = [str(e.value) for kind in ("error", "warning", "info") for e in page.get(kind)]
            wrong = next((w for t in told if (w := wrong_text(t, place, ROOT, lines=True))), "")
            return f"{wrong}: {told}" if wrong else ""

        return tried(f"links: {view}", (view, given), work)

    return attempt


SQL = (
    "SELECT title, price FROM items ORDER BY price DESC LIMIT 20",
    "WITH a AS (SELECT category, count(*) AS n FROM items GROUP BY 1) SELECT * FROM a WHERE n > 3",
    "SELECT q.text, s.rank FROM scores s JOIN queries q USING (query_id) WHERE s.run_id = $run AND q.text = $query LIMIT $limit",
    "SELECT unnest(codes) AS c, list(title)[1:2], {'a': 1}, [1, NULL], INTERVAL 1 DAY, '\\x00'::BLOB FROM sids JOIN items USING (item_id)",
    "SUMMARIZE items", "DESCRIBE SELECT * FROM items", "VALUES (1, 'a'), (2, NULL)", "FROM range(10) SELECT *",
    "PIVOT items ON category USING count(*)", "SELECT * FROM items WHERE regexp_matches(title, '(a+)+$') QUALIFY row_number() OVER () < 3",
    "SELECT count(*) FROM range(100000000) a, range(100000000) b", "SELECT repeat('x', 100000000)", "SELECT 1::DECIMAL(38, 10) / 3, 'inf'::DOUBLE, 1 << 70",
)  # fmt: skip


def sql(place: Path) -> Callable[[int, int], Tried]:
    """SQL of strangers: read by the walls of `confined` here, and every twentieth in its own process as the console runs it."""
    from engine.store.confined import Refused, run, said
    from engine.store.locked import Limits, Locked
    from engine.store.rows import plain
    from tests.escapes import REFUSED as ESCAPES

    path = next((filled(place) / "snapshots").glob("*.duckdb"))
    locked = Locked(Limits(seconds=3.0, memory_mb=256, rows=1_000))
    usual = (*SQL[:10], *(text.replace("{file}", "/etc/passwd").replace("{folder}", "/etc").replace("{db}", str(path)).replace("{out}", str(place / "out")) for text in ESCAPES.values()))  # fmt: skip

    def attempt(seed: int, number: int) -> Tried:
        rng = drawn(seed, number, "sql")
        whole = number % 20 == 0
        text = rng.choice(SQL if whole else usual)
        text = text if rng.random() < 0.1 else changed(rng, text)
        given: dict[str, Any] = {"run": word(rng), "query": rng.choice((word(rng), None, 1.5)), "limit": rng.choice((3, -1, 10**30, word(rng)))}  # fmt: skip

        def here() -> str:
            from engine.store.confined import opened

            request = {
                "path": str(path),
                "sql": text,
                "parameters": json.loads(json.dumps(given)),
                "rows": 1_000,
                "bytes": 2**20,
                "memory_mb": 256,
            }
            connection = opened(str(path), 256, 1)
            clock = __import__("threading").Timer(3.0, connection.interrupt)
            clock.start()
            try:
                head, rows = run(connection, request)
                with pa.ipc.open_stream(rows) as stream:
                    json.dumps(plain(stream.read_all()))
                return f"cut: {head}" if head["cut"] not in ("", "rows", "bytes") else ""
            except (Refused, duckdb.Error, pa.ArrowException, MemoryError, RecursionError) as error:
                raise QueryError(said(error, request)) from None
            finally:
                clock.cancel()
                connection.close()

        def apart() -> str:
            json.dumps(plain(locked.ask(path, text, given).rows))
            return ""

        found = tried(f"SQL{' in its process' if whole else ''}", (text, given), apart if whole else here)
        if found.how == FAULT and found.said.startswith("a message of several lines"):
            found = found._replace(how=REFUSED)  # DuckDB points at the place in the lines below
            assert printable(found.said)
        if (place / "out").exists() or "root:x" in found.said:
            found = found._replace(how=FAULT, said=f"out of its walls: {text}")
        return found

    return attempt


def mcp(place: Path) -> Callable[[int, int], Tried]:
    """The tools of the MCP server, with arguments of every kind."""
    from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError

    from engine.mcp import server
    from engine.store.questions import PARAMETERS, QUESTIONS

    workspace = filled(place)
    made = server(workspace)
    tools = {
        "findings": ("run",), "code_card": ("code", "run"), "lost_target": ("query", "item", "run"), "explain": ("query", "item", "run"),
        "ranking": ("query", "run", "limit"), "question": ("name", "parameters"), "tables": ("table",),
    }  # fmt: skip

    def attempt(seed: int, number: int) -> Tried:
        rng = drawn(seed, number, "mcp")
        tool = [*tools][number % len(tools)]
        given: dict[str, Any] = {
            name: word(rng) if rng.random() < 0.7 else value(rng) for name in tools[tool] if rng.random() < 0.9
        }
        if tool == "question" and rng.random() < 0.8:
            given = {
                "name": rng.choice([*QUESTIONS]),
                "parameters": {name: value(rng) for name in PARAMETERS if rng.random() < 0.5},
            }
        if rng.random() < 0.1:
            given[word(rng)] = value(rng)

        def work() -> str:
            try:
                answer = asyncio.run(made.call_tool(tool, json.loads(json.dumps(given))))
            except UnexpectedToolError:
                raise
            except ToolError as error:
                said = str(error)
                wrong = wrong_text(said, place, ROOT, lines="validation error" in said)  # the library's own words
                if wrong:
                    return f"{wrong}: {said!r}"
                raise DataError(said.splitlines()[0]) from error
            text = json.dumps(answer, default=str)
            return "names a place of this machine" if str(place) in text else ""

        return tried(f"MCP: {tool}", given, work)

    return attempt


def commands(place: Path) -> Callable[[int, int], Tried]:
    """Whole commands with words of any kind in them: an exit code, and on the screen nothing but text."""
    from engine.cli import main

    workspace, empty = filled(place), place / "empty"
    sample = ROOT / "data" / "sample"
    lines = (
        ["query", "ranking", "-p", "query={}", "-w", "WS"], ["query", "{}", "-w", "WS"], ["query", "code", "-p", "code={}", "--format", "csv", "-w", "WS"],
        ["query", "beams", "-p", "{}={}", "-w", "WS"], ["audit", "--baseline", "{}", "-w", "WS"], ["audit", "--baseline", "pinned", "--fail-on", "{}", "-w", "WS"],
        ["validate", "{}"], ["validate", str(sample), "--adapter", "{}"], ["validate", "--from", "{}"], ["inspect", "{}"], ["import", "{}", "--sizes", "{}", "-w", "EMPTY"],
        ["train", "--set", "{}", "-w", "EMPTY"], ["train", "--method", "{}", "-w", "EMPTY"], ["train", "--catalogue", "{}", "-w", "EMPTY"], ["publish", "--run", "{}", "-w", "EMPTY"],
        ["beams", "{}", "-w", "EMPTY"], ["explain", "{}", "{}", "--run", "{}", "-w", "WS"], ["check-judgments", "{}", "-w", "EMPTY"], ["status", "-w", "{}"],
        ["runs", "-w", "WS"], ["{}"], ["judge", "--endpoint", "{}", "--model", "{}", "-w", "EMPTY"], ["ablate", "--methods", "{}", "-w", "EMPTY"],
        ["assign", "{}", "-w", "EMPTY"], ["ingest", "{}", "--set", "{}", "-w", "EMPTY"], ["query", "findings", "--output", "{}", "-w", "WS"],
    )  # fmt: skip

    def attempt(seed: int, number: int) -> Tried:
        rng = drawn(seed, number, "commands")
        line = [part.replace("WS", str(workspace)).replace("EMPTY", str(empty)) for part in lines[number % len(lines)]]
        # arguments of a process hold no zero bytes; half characters stand for bytes that are no UTF-8
        line = [re.sub(r"\{\}", lambda _: _argument(rng), part) for part in line]
        out, err, code = io.StringIO(), io.StringIO(), 0

        def work() -> str:
            nonlocal code
            try:
                with (
                    mock.patch.object(sys, "argv", ["engine", *line]),
                    contextlib.redirect_stdout(out),
                    contextlib.redirect_stderr(err),
                ):
                    main()
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
            drawn_out, failed = out.getvalue(), err.getvalue()
            exact = line[0] == "query"  # piped rows are exact: not for a screen
            wrong = wrong_text(failed + ("" if exact else drawn_out) + ".", lines=True)
            if code not in (0, 1, 2, 3, 4) or (code == 1 and not (failed + drawn_out).strip()):
                wrong = f"exit code {code}"
            return f"{wrong}: {failed[-300:]!r} {drawn_out[-300:]!r}" if wrong else ""

        cwd = os.getcwd()
        os.chdir(place)
        try:
            found = tried(
                f"command: {line[0] if line[0].isalpha() and line[0].isascii() and len(line[0]) < 20 else '?'}",
                line,
                work,
            )
        finally:
            os.chdir(cwd)
        return found._replace(how=REFUSED if found.how == READ and code else found.how)

    return attempt


def _argument(rng: random.Random) -> str:
    said = (
        word(rng)
        if rng.random() < 0.8
        else changed(rng, rng.choice(("kettle", "17-2", "dsirm-1", "quantizer.dim=3", "a.csv")))
    )
    said = "".join("\udcff" if 0xD800 <= ord(c) < 0xE000 else c for c in said if c != "\0")
    return said[:2_000]
