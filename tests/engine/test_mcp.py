"""The MCP server, spoken to by the official client over standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from engine.store import questions
from engine.store.schema import tables
from tests.conftest import Trained
from tests.escapes import BOUNDED, REFUSED, SECRET

ROOT = Path(__file__).parents[2]
TOOLS = {"findings", "code_card", "lost_target", "explain", "ranking", "question", "tables", "sql"}


def talk(workspace: Path, work: Callable[[Client], Awaitable[Any]]) -> Any:
    """What `work` makes of a client of a server of its own."""

    async def talked() -> Any:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "engine", "mcp", "--workspace", str(workspace)],
            cwd=ROOT,
            env={**os.environ, "SIDELIGHT_CANARY": SECRET},
        )
        async with Client(server, read_timeout_seconds=120) as client:
            return await work(client)

    return asyncio.run(talked())


async def told(client: Client, name: str, /, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool that succeeds."""
    answer = await client.call_tool(name, arguments)
    assert not answer.is_error, answer.content
    assert answer.structured_content is not None
    return answer.structured_content


async def failed(client: Client, name: str, /, **arguments: Any) -> str:
    """The message of a tool that does not."""
    answer = await client.call_tool(name, arguments)
    assert answer.is_error, (name, arguments, answer.structured_content)
    return " ".join(getattr(part, "text", "") for part in answer.content)


@pytest.fixture(scope="module")
def known(trained: Trained) -> dict[str, Any]:
    """A query, an item that it ranks low, and its SID."""
    path = trained.workspace / "snapshots" / f"{trained.snapshot_id}.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        row = connection.execute(
            "SELECT l.query_id, q.text, l.item_id, l.verdict, l.level, s.sid FROM loss_ledger l JOIN queries q USING (query_id) "
            "JOIN sids s USING (run_id, item_id) WHERE run_id = $1 ORDER BY l.verdict = 'found', l.query_id, l.item_id LIMIT 1",
            [trained.dsirm_run],
        ).fetchone()
    assert row is not None
    return dict(zip(("query_id", "query", "item", "verdict", "level", "sid"), row, strict=True))


def test_every_tool_answers(trained: Trained, known: dict[str, Any]) -> None:
    async def work(client: Client) -> None:
        listed = await client.list_tools()
        assert {tool.name for tool in listed.tools} == TOOLS
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in listed.tools)
        assert all(tool.description for tool in listed.tools)
        run = trained.dsirm_run

        found = await told(client, "findings", run=run)
        assert found["snapshot_id"] == trained.snapshot_id
        assert found["rows"][0]["severity"] in {"act", "watch", "note", "unknown", "good"}

        (lost,) = (await told(client, "lost_target", query=known["query_id"], item=known["item"], run=run))["rows"]
        assert (lost["verdict"], lost["level"]) == (known["verdict"], known["level"])

        ranked = (await told(client, "ranking", query=known["query"].upper(), run=run, limit=5))["rows"]
        assert [row["rank"] for row in ranked] == [1, 2, 3, 4, 5]

        parts = (await told(client, "explain", query=known["query_id"], item=ranked[0]["item_id"], run=run))["rows"]
        total = sum(part["value"] for part in parts)
        assert total == pytest.approx(parts[0]["score"] - parts[0]["reference"], abs=1e-4)

        card = (await told(client, "code_card", code=known["sid"].split("-")[0], run=run))["rows"]
        assert card[0]["prefix"] == known["sid"].split("-")[0]
        assert card[0]["typical_items"]
        assert {row["level"] for row in card} == {1, 2}

        assert {q["name"] for q in (await told(client, "question", name="list"))["questions"]} == set(
            questions.QUESTIONS
        )
        runs = (await told(client, "question", name="runs"))["rows"]
        assert {row["run_id"] for row in runs} == {trained.none_run, trained.dsirm_run}

        assert set((await told(client, "tables"))["tables"]) == {table.name for table in tables()}
        columns = (await told(client, "tables", table="beams"))["columns"]
        assert "run_id" in {column["name"] for column in columns}

        counted = await told(client, "sql", text="SELECT count(*) AS n, now() IS NOT NULL AS t FROM items")
        assert counted["rows"] == [{"n": 500, "t": True}]
        many = await told(client, "sql", text="SELECT item_id FROM items, range(10)")
        assert (len(many["rows"]), many["cut"]) == (1000, "rows")

    talk(trained.workspace, work)


def test_errors_say_what_to_mend(trained: Trained) -> None:
    async def work(client: Client) -> None:
        assert "There is no question 'x'; there are: findings" in await failed(client, "question", name="x")
        assert "needs query" in await failed(client, "question", name="beams")
        assert "limit is a number" in await failed(client, "ranking", query="x", limit=0)
        assert "There is no table 'x'" in await failed(client, "tables", table="x")
        assert "Names or types do not fit" in await failed(client, "sql", text="SELECT nonsense FROM items")
        nothing = await told(client, "ranking", query="no such query")
        assert nothing["rows"] == []
        assert "no such query" in nothing["note"]

    talk(trained.workspace, work)


def test_no_attempt_succeeds(trained: Trained, tmp_path: Path) -> None:
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text(SECRET)
    path = trained.workspace / "snapshots" / f"{trained.snapshot_id}.duckdb"

    def filled(sql: str) -> str:
        for name, value in {"{file}": secret, "{folder}": tmp_path, "{out}": out, "{port}": 9, "{db}": path}.items():
            sql = sql.replace(name, str(value))
        return sql.replace("{hex}", "\\x".join(f"{byte:02x}" for byte in str(secret).encode()))

    async def work(client: Client) -> None:
        for name, sql in REFUSED.items():
            if name == "half a character":  # JSON in UTF-8 cannot carry it
                continue
            message = await failed(client, "sql", text=filled(sql))
            assert SECRET not in message, name
            assert str(path) not in message.replace(filled(sql), ""), name
        for name in ("one long cell", "very many rows", "sort that spills"):
            answer = await client.call_tool("sql", {"text": BOUNDED[name]})
            assert answer.is_error or len(json.dumps(answer.structured_content)) < 2**21, name
        assert (await told(client, "sql", text="SELECT 1 AS n"))["rows"] == [{"n": 1}]

    talk(trained.workspace, work)
    assert not out.exists()


def test_without_a_snapshot(tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        assert "No snapshot" in await failed(client, "findings")
        assert "No snapshot" in await failed(client, "sql", text="SELECT 1")

    talk(tmp_path, work)


def test_where_the_package_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')\n")
    done = subprocess.run(
        [sys.executable, "-m", "engine", "mcp", "--workspace", str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}"}, stdin=subprocess.DEVNULL, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install -r requirements-mcp.txt" in done.stderr
    assert done.stdout == ""
